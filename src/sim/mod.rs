//! The simulation: the physics of one cell becomes a run that ends, survives, and gives the same bits every time.
//!
//! ```text
//!   agree     one all-reduce: soundness, the next step's length, wishes to stop, how far the writers are
//!   publish   the outputs that are due
//!   save      a checkpoint, if one is due; it is written while the sweeps go on
//!   advance   the integrator's stages: exchange, sweep, combine
//! ```
//!
//! What determines the bits of a result: the grid, the boundaries, the initial state, the model and its parameters, the
//! integrator, the step or CFL number, and schedules of simulated time that steps have to meet exactly. What does not:
//! the number of ranks and threads, the shape of the blocks, how many sweeps share an exchange, how halos travel, when
//! and how often checkpoints and other outputs are written, and any number of failures and restarts. Wall time decides
//! when something is written, never what is computed.
//!
//! This room does not know how messages, files or processes work. Read [`model`] and [`program`] first, then [`driver`].

mod checksums;
pub mod chronicle;
pub mod clock;
mod domain;
pub mod driver;
mod evolution;
mod farewell;
mod finite_volume;
mod guard;
mod heading;
mod initial;
mod integrator;
mod interval;
pub mod layout;
mod local;
pub mod model;
mod outputs;
pub mod physics;
pub mod program;
mod pulse;
mod restart;
mod rows;
pub mod run;
mod samples;
mod saving;
mod scribe;
mod setup;
mod spoil;
pub mod stops;
mod sweeps;
mod times;
mod totals;
mod trial;
mod walk;

pub use chronicle::{Beginning, Monitor, Unwatched};
pub use clock::Instant;
pub use domain::Domain;
pub use driver::Simulation;
pub use evolution::Evolution;
pub use finite_volume::FiniteVolume;
pub use layout::Layout;
pub use model::Model;
pub use physics::Pointwise;
pub use program::{Activity, Needs, Program, Progress, Step, Together, Traffic};
pub use run::{Bandwidth, Outcome, Run, Start};
pub use stops::Stops;
