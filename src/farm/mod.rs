//! A farm of independent tasks, one for each cell of a grid: work that needs no neighbours, given to whoever is free.
//!
//! ```text
//!   waiting ──┐ by priority, then longest first        ┌──► running on rank 0 ──┐
//!             ├────────────────────────────────────────┼──► running on rank 1 ──┼──► done: its outcome is kept
//!             │      whenever a rank is free           └──► running on rank 2 ──┘
//! ```
//!
//! It promises that each task whose outcome is in a checkpoint is done once and never again, that an interrupted one is done
//! anew, and that the outcomes do not depend on who computed them or when. Ranks meet in short rounds, in which they tell
//! what is done and are given what is next; the tasks themselves run on threads of their own all the while. Every rank
//! knows the state of every task and draws the same conclusion from it, so that there is no master to lose.
//!
//! A farm is a [`Program`](crate::sim::Program): checkpoints, recovery and the command line are those of a simulation. A
//! checkpoint is taken whenever there are new outcomes and the one before is on stable storage.
//!
//! Read [`Tasks`], which a user writes, then `queue` and [`Farm`].

mod program;
mod queue;
mod tasks;
mod workers;

pub use program::{Farm, Stored};
pub use tasks::Tasks;
