//! What survives: one HDF5 file that any tool can read, and that restarts the run with the same bits.
//!
//! It promises that a file that bears its final name is complete, on stable storage, and that every byte of it is under
//! exactly one checksum: a block's own, computed from the memory that it was copied from, or the seal of the file. Damage is
//! always noticed and never used. A crash at any instant leaves the checkpoints that were committed before as they are.
//!
//! ```text
//!   sweeps ──┐ copy, checksum                       sweeps go on
//!            └──────────────► staging ─► pwrite, fsync ─► read back ─► seal, fsync, rename, fsync directory
//!                                        1 written        2 verified   3 committed
//! ```
//!
//! HDF5 is used by one rank alone, for what it is good at: to write the metadata, which are read back without it, so that
//! no file crashes a restart. A block is a chunk, and chunks lie one after another
//! ([`Header::block`] and the file offset of the first tell where each is), so that every rank writes its own blocks with
//! plain system calls whose results mean something. Rejected: parallel HDF5, which on a full disk reports success and
//! leaves an unreadable file, or leaves ranks waiting for each other for ever.
//!
//! Whatever is done to the files goes through `disk`, a few verbs: so the tests own the disk, and take power from it between
//! any two calls.
//!
//! The file's layout, its invariants, what a crash at each instant leaves, and how to read it with other tools stand in
//! FORMAT.md beside this file. This room does not know when a checkpoint is due, nor which one a run should go on from.
//!
//! Read [`Header`], then [`Writer`] and what it calls: `create`, `stage`, `phases`; then `open`, `objects`, [`Reader`] and
//! [`restore()`]. Read on in [`crate::sim`].

mod checksum;
mod create;
#[cfg(test)]
mod crew;
mod disk;
mod header;
mod layout;
mod objects;
mod open;
mod phases;
#[cfg(test)]
mod power_loss;
mod reader;
mod restore;
mod save;
#[cfg(test)]
mod schedules;
#[cfg(test)]
mod simulated;
mod stage;
pub mod store;
mod stored;
mod worker;
mod writer;

pub(crate) use checksum::of_block;
pub use header::{Header, fingerprint_of_shared};
pub use open::read_header;
pub use phases::{Fence, Tick, Verify};
pub use reader::{Fault, Reader, Report};
pub use restore::restore;
pub(crate) use restore::{check_same_shape, copy_common};
pub use save::save;
pub(crate) use stage::{copy_blocks, in_order_of_file};
pub use writer::{Outcome, Settings, Writer};
