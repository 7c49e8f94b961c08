//! Where the data lies: a patch's memory on `ndarray`, with ghosts; records of components; sweeps of a kernel over cells.
//!
//! A [`Field`] holds the patches of one rank: boxes of its blocks, as few as they can be. A [`Patch`] holds one plane a
//! component, each indexed `[z, y, x]` with x contiguous and `width` ghosts round the interior:
//!
//! ```text
//!            ghosts
//!        ┌──────────────┐
//!        │ ┌──────────┐ │      component 0: one plane     u.at(offset) reads relative to a cell;
//!        │ │ interior │ │      component 1: the next      a Record gathers a cell's components
//!        │ └──────────┘ │      …                          by value
//!        └──────────────┘
//! ```
//!
//! A kernel sees one cell at a time through a [`Stencil`]. [`sweep`] checks once that the region, grown by the kernel's
//! reach, lies in the patch's memory; after that a read needs no check, which is what lets the compiler vectorise a row.
//! This room knows nothing of other ranks, nor of what the numbers mean. Read on in [`crate::halo`].

mod ahead;
mod bandwidth;
mod ends;
mod observe;
mod patch;
mod record;
mod scalar;
mod stencil;
mod sweep;

pub use bandwidth::MemoryProbe;
pub use observe::Observe;
pub(crate) use patch::plane_bytes;
pub use patch::{Field, Patch};
pub use record::{Component, Member, Record, Role};
pub use scalar::{Scalar, ScalarKind};
pub use stencil::{LANES, Old, Stencil};
pub(crate) use sweep::{Rows, sweep_rows};
pub use sweep::{sweep, sweep_beside};
