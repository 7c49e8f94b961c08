//! Pure geometry: vectors, axes, cells, regions, the grid, its blocks, who owns them and how they lie together. No
//! memory, no MPI.
//!
//! Two orders occur, and only these two. Vectors, cells and the case file list their members as *x, y, z*. Arrays, in
//! memory and in files, are indexed `[z, y, x]` as in numpy, netCDF and VTK: x, the last array axis, is contiguous.
//!
//! ```text
//!            Grid                 Tiling                    Partition
//!   cells, lower, upper   →  blocks along a curve   →   a cut of the curve by cost
//!     ┌───────────┐            ┌──┬──┬──┬──┐              rank 0: blocks 0 1 2 3
//!     │           │            │ 1│ 2│13│14│              rank 1: blocks 4 5 6
//!     │           │            ├──┼──┼──┼──┤              …
//!     └───────────┘            │ 0│ 3│12│15│
//! ```
//!
//! Blocks are what work is cut into; the [`Patches`] of a rank are what its memory is made of: boxes of its blocks, as
//! few as they can be.
//!
//! A cell is named by its global coordinates everywhere, so a region means the same on every rank; only
//! [`crate::field`] turns it into positions in memory. A block is named by its [`BlockId`], its place on the curve; its
//! [`BlockKey`] can carry a refinement level, and no other room assumes that blocks tile a single level.
//!
//! Read on in [`crate::field`], where the cells get their memory.

mod axis;
mod boundary;
mod curve;
mod domain;
mod partition;
mod patches;
pub mod random;
mod region;
mod tiling;
mod vector;

pub use axis::{Axis, Offset, Side};
pub use boundary::{Boundaries, Boundary};
pub use domain::Grid;
pub use partition::Partition;
pub use patches::Patches;
pub use region::{Cell, Parts, Region};
pub use tiling::{BlockId, BlockKey, GhostPiece, Tiling};
pub use vector::Vector;
