//! Steadfast: block-structured simulations on MPI that keep going when machines do not.
//!
//! You write the physics of one cell. Steadfast cuts the domain into blocks, shares them out over ranks and threads,
//! exchanges halos, steps, writes checkpoints that any HDF5 tool can read, and brings the run back after a failure, with
//! the same bits in the result as if nothing had happened.
//!
//! # A program
//!
//! This is a whole one: with a case file it has boundaries, outputs, checkpoints, restarts and a command line.
//!
//! ```no_run
//! use steadfast::prelude::*;
//!
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Heat {
//!     /// Thermal diffusivity κ, m²/s.
//!     diffusivity: f64,
//! }
//!
//! impl<const N: usize> Model<N> for Heat {
//!     type State = f64; // temperature, K
//!     const REACH: usize = 1;
//!
//!     fn initial(&self, x: Vector<N>) -> f64 {
//!         (-x.norm_squared()).exp()
//!     }
//!
//!     #[inline(always)]
//!     fn rate(&self, u: Stencil<'_, f64, N>, _time: f64) -> f64 {
//!         let curvature = |a: Axis<N>| (u.at(-a) - 2.0 * u.here() + u.at(a)) * u.spacing(a).powi(-2);
//!         self.diffusivity * Axis::all().map(curvature).sum::<f64>()
//!     }
//!
//!     #[inline(always)]
//!     fn timescale(&self, _u: f64, spacing: Vector<N>) -> f64 {
//!         0.5 / (self.diffusivity * spacing.0.iter().map(|h| h.powi(-2)).sum::<f64>())
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     steadfast::main::<Heat>()
//! }
//! ```
//!
//! ```text
//! heat run heat.toml                                    one rank
//! mpirun -n 4 heat run heat.toml                        four
//! steadfast launch -n 4 -- heat run heat.toml           four, brought back after failures
//! steadfast submit -N 4 -- heat run heat.toml           four nodes of a cluster, the same, without anybody who looks on
//! ```
//!
//! # The gallery
//!
//! Start from the example that is nearest to what you want; each has a case file of the same name, and is also a test.
//!
//! | you have | you write | examples |
//! |---|---|---|
//! | a rate of change, cell by cell | [`Model`](sim::Model), [`main`](fn@main) | `heat`, `hillslope`, `advection`, `wave`, `gray_scott`, `life` |
//! | a conservation law | [`ConservationLaw`](scheme::ConservationLaw), [`main_law`] | `euler` (gas dynamics), `tsunami` (shallow water) |
//! | implicit steps | [`Operator`](solve::Operator) in a [`Program`](sim::Program) | `tealeaf` (heat conduction) |
//! | anything in steps on partitioned data | [`Program`](sim::Program), [`main_program`] | `kmeans` (data mining), `logistic` (machine learning), `ledger` (transactions) |
//! | independent tasks | [`Tasks`](farm::Tasks), [`Farm`](farm::Farm) | `sweep` (a study of parameters) |
//! | a loop of your own | [`Field`](field::Field), [`Exchange`](halo::Exchange) | `by_hand` |
//!
//! The state of a cell is a number or a [`record!`] of several; a kernel reads its neighbours through a
//! [`Stencil`](field::Stencil); the keys of the case file stand in [`config`].
//!
//! # The rooms
//!
//! To understand the house, follow the data:
//!
//! | room | question |
//! |---|---|
//! | [`config`] | what is asked: the case file |
//! | [`grid`] | who owns what: cells, regions, blocks, partition |
//! | [`field`] | where it lies: memory, ghosts, records, stencils, sweeps |
//! | [`comm`] | what ranks agree on: votes, exact sums |
//! | [`halo`] | what neighbours must tell each other, and what lies beyond the domain |
//! | [`scheme`] | how a conservation law becomes a rate: reconstruction, Riemann solvers |
//! | [`solve`] | implicit steps: conjugate gradients without a matrix |
//! | [`sim`] | models and programs, the integrators, and the loop |
//! | [`farm`] | who does which of many independent tasks |
//! | [`checkpoint`] | what survives: one HDF5 file |
//! | [`nearby`] | what the nodes themselves keep, each with a copy on another |
//! | [`rundir`] | what a run leaves on disk for its watchers and its next life |
//! | [`batch`] | what the batch system knows of jobs and nodes |
//! | [`supervise`] | what happens after a failure |
//! | [`cli`] | the commands |
//!
//! A room uses only those beneath it, so that the lower ones stand alone: `examples/by_hand.rs` has a loop of its own.
//!
//! # What there is, and what not
//!
//! Uniform grids of one, two or three dimensions; states of one number or a record of several, all of one type (f64, f32,
//! i64, i32, u8); explicit integrators of order one to four; finite volumes with reconstructions up to fifth order; conjugate
//! gradients; boundaries for each face; any stock MPI with any number of ranks. There is no mesh refinement, no multigrid,
//! and no batch system but Slurm.

pub mod batch;
pub mod checkpoint;
pub mod cli;
pub mod comm;
pub mod config;
pub mod error;
pub mod farm;
pub mod field;
pub mod grid;
pub mod halo;
pub mod nearby;
pub mod rundir;
pub mod scheme;
pub mod sim;
pub mod solve;
pub mod supervise;
mod sys;

pub use cli::program::{main, main_in, main_law, main_law_in, main_program};
pub use error::{Error, Result};

/// What a model program needs: `use steadfast::prelude::*`.
pub mod prelude {
    pub use std::path::Path;
    pub use std::process::ExitCode;

    pub use serde::{Deserialize, Serialize};

    pub use crate::error::{Error, Kind, Result};
    pub use crate::farm::{Farm, Tasks};
    pub use crate::field::{Component, Record, Stencil};
    pub use crate::grid::{Axis, Cell, Offset, Vector, random};
    pub use crate::record;
    pub use crate::scheme::ConservationLaw;
    pub use crate::sim::{Activity, Domain, Model, Needs, Program, Progress, Step};
}
