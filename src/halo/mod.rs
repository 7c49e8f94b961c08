//! What neighbours tell each other, and what lies beyond the domain: how every ghost gets its value.
//!
//! A ghost is of one of three kinds, and this room fills them all:
//!
//! ```text
//!   rank 0          rank 1
//!   ┌─────┬─────┐   ┌─────┐      a  in a patch of the same rank:    copied in memory
//!   │     │a    │   │     │      b  in a patch of another rank:     one packed message a neighbour rank
//!   │    a│    b│ → │b    │      c  beyond the domain's outer face: follows from the cells within (Boundary)
//!   ├─────┼─────┤   ├─────┤
//!   │     │    c│   │c    │      periodic faces are no outer faces: beyond them lies the other end
//!   └─────┴─────┘   └─────┘
//! ```
//!
//! A [`Plan`] says which regions travel; it is pure data, made from the tiling and the partition alone, and tested
//! without MPI. An [`Exchange`] does it: [`start`](Exchange::start) packs and sends and copies,
//! [`finish`](Exchange::finish) waits and unpacks, and in between the cells that need no message can be computed.
//! [`fill_boundaries`] does the rest, patch by patch. [`check_exchange`] proves an exchange on the machine at hand, with
//! cells that hold their own coordinates.
//!
//! This room does not know what the numbers mean, nor when an exchange is due. Read on in [`crate::sim`].

mod boundary;
mod check;
mod checksum;
mod exchange;
mod plan;
mod rows;

pub use boundary::fill_boundaries;
pub(crate) use boundary::fill_boundaries_of;
pub use check::{check_backend, check_exchange};
pub(crate) use exchange::wrap_rows;
pub use exchange::{Backend, Exchange};
pub use plan::{Copy, Message, Piece, Plan};
