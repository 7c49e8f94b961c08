//! The other ranks: who they are, what they agree on, and sums that no order can change.
//!
//! [`Mpi`] starts MPI and refuses the launcher of another MPI. A [`Communicator`] has the few collectives that a run
//! needs. Three promises hold for all of them:
//!
//! - *All or none.* [`Communicator::vote`] turns an error on one rank into the same error on all, before the next
//!   collective; so nobody waits for a rank that has left. A panic ends all ranks ([`install_panic_hook`]).
//! - *Same bits.* Minimum and maximum are exact, with NaN above everything; a sum goes through an [`ExactSum`]. So no
//!   result depends on the number of ranks or on the order in which MPI combines them.
//! - *Any size.* Broadcasts, gathers and exchanges of all with all are cut into rounds, so that no count of MPI overflows.
//!
//! ```text
//!   rank 0: Ok ─┐                       ┌─ Err(rank 2: disk full)
//!   rank 1: Ok ─┼─ one small all-reduce ┼─ Err(rank 2: disk full)
//!   rank 2: Err ┘                       └─ Err(rank 2: disk full)
//! ```
//!
//! What a rank's time goes to is kept by its [`Meter`]: whoever waits here within a step is counted.
//!
//! This room knows nothing of grids and fields. Read on in [`crate::halo`], where neighbours tell each other their rims.

mod communicator;
mod exact_sum;
mod meter;
mod panic;
mod reduce;
mod start;
mod vote;

pub use communicator::{Communicator, Node};
pub use exact_sum::ExactSum;
pub use meter::{Aside, Meter};
pub use panic::install_panic_hook;
pub use start::Mpi;
