//! Files that must outlive a crash: reserved space, the page cache, and directories on stable storage.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, PosixFadviseAdvice, fallocate, posix_fadvise};
use nix::sys::memfd::{MFdFlags, memfd_create};

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

/// A file without a name that lives in memory, where holes take up no space, and is gone when it is closed.
pub(crate) fn memory_file(name: &str) -> io::Result<File> {
    Ok(memfd_create(name, MFdFlags::MFD_CLOEXEC)?.into())
}

/// A path under which this process can open an open file again, whether or not it has a name.
pub(crate) fn path_of_open(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Asks that what is read next comes from the disk; what was synced leaves the page cache. Only advice.
pub(crate) fn forget_cached(file: &File) {
    if let Err(errno) = posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED) {
        log::debug!("the page cache keeps a file that is read back: {errno}");
    }
}

/// Makes the creation, renaming or removal of `path` itself survive a power loss.
pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}
