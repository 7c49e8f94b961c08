//! The one unsafe room: MPI, HDF5 and the operating system, each behind a safe door.

pub(crate) mod process;
