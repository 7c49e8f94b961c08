//! The supervisor: a small process outside MPI that launches the ranks, watches them, and brings the run back.
//!
//! It promises that every attempt ends, that nothing outlives it, and that what comes next follows from a pure policy:
//! the run is finished, it is relaunched from its newest good checkpoint, or it stops with a reason. It journals each
//! step of that in the run directory.
//!
//! ```text
//!            launch                watch: exit, pids, heartbeats            decide
//!  plan ──▶ [Launcher] ──▶ ranks ──▶ [attempt] ──▶ Observation ──▶ [policy] ──▶ finished | stop
//!    ▲         ▲                                                      │  └────▶ pause: back into the queue
//!    │         └──── ground: live nodes, time left ◀──── relaunch ────┘                    │
//!    └─────────────────────────────── the next life of the job ◀───────────────────────────┘
//! ```
//!
//! It knows neither MPI nor the simulation: it meets the ranks in the run directory ([`crate::rundir`]) and nowhere
//! else, so it never hangs in a call that waits for a dead rank.
//!
//! Read [`supervisor`] (the loop) first, then [`policy`] and [`nodes`]; `attempt`, `watch`, `pace` and `complaint` tell how an
//! observation is made; [`allocation`], `ground` and `lives` what a batch job adds: nodes that come and go, and lives before
//! this one.

pub mod allocation;
mod attempt;
mod complaint;
mod ground;
mod history;
pub mod launcher;
mod lives;
pub mod nodes;
mod observation;
mod pace;
pub mod policy;
mod signals;
pub mod supervisor;
mod watch;

pub use allocation::Allocation;
pub use launcher::Launcher;
pub use nodes::Nodes;
pub use supervisor::{Plan, Verdict, supervise};
