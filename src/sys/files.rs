//! Files that must outlive a crash: reserved space, the page cache, and directories on stable storage.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, PosixFadviseAdvice, fallocate, posix_fadvise};

/// Reserves the space of a file, so that a full disk is met now and not in the middle of a write.
///
/// A file system that cannot reserve (`EOPNOTSUPP`) is no error: a full disk is met later then, at a write. The C
/// library's `posix_fallocate` would write zeros there instead, which costs as much as the checkpoint itself.
pub(crate) fn reserve(file: &File, length: u64) -> io::Result<()> {
    let length = i64::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    match fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, length) {
        Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Asks that what is read next comes from the disk; what was synced leaves the page cache. Only advice.
pub(crate) fn forget_cached(file: &File) {
    if let Err(errno) = posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED) {
        log::debug!("the page cache keeps a file that is read back: {errno}");
    }
}

/// Puts the names in a directory on stable storage: what was created in it, renamed or removed.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
