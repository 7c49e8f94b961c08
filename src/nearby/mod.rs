//! The cheap level: checkpoints in the memory or on the disks of the nodes themselves, every few seconds, with a copy on
//! another node.
//!
//! It promises that the loss of one node costs no more than those seconds: each rank's blocks lie on its own node and on
//! the next one. What it takes is bounded: two buffers a rank, and `keep + 1` saves on each node. It promises nothing if a node
//! and its partner are lost together, or the power of all: the shared checkpoints are for that, and go on whatever happens
//! here. A failure on this level warns, and costs a save.
//!
//! ```text
//!   node a   rank 0  ──copy──► own piece ──► /dev/shm/…/a/step-…-rank-00000.piece
//!                                  │
//!                                  ▼ beside the sweeps
//!   node b   rank 2            a ward's  ──► /dev/shm/…/b/step-…-rank-00000.piece
//! ```
//!
//! A save counts when all ranks have their own piece and their wards'. A restart asks another question: of all pieces that are
//! found on the nodes that are left, is there one of every block, all of one save? The newest save for which there is can be
//! made whole, on any number of ranks; it need not have been known to count.
//!
//! Rejected: XOR or Reed–Solomon groups, which need less memory but all of a group to restore (SCR offers both; with
//! two copies a restart reads what lies on the own node); and copies in the memory of the partner's process, which a relaunch
//! around MPI does not survive.
//!
//! This room does not know when a save is due, nor whether a shared checkpoint is newer. Read [`piece`] first, then
//! [`Level`], `whole`, and [`restore()`]. Read on in [`crate::sim`].
//!
//! # Sources
//! G. Zheng, L. Shi, L. V. Kalé (2004), FTC-Charm++, doi:10.1109/CLUSTR.2004.1392606; A. Moody, G. Bronevetsky, K. Mohror,
//! B. R. de Supinski (2010), SCR, doi:10.1109/SC.2010.18.

mod folder;
mod keeper;
mod level;
mod nodes;
pub mod piece;
mod restore;
mod whole;

pub use folder::Folder;
pub use level::{Level, Outcome, Settings};
pub use nodes::Nodes;
pub use restore::{Restored, Survey, restore};
pub use whole::Save;
