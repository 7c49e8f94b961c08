//! Files that must outlive a crash: reserved space, the page cache, and directories on stable storage.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, PosixFadviseAdvice, fallocate, posix_fadvise};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::statvfs::statvfs;

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

/// The bytes that may still be written where a directory lies; none if its file system does not count blocks.
pub(crate) fn free_space(directory: &Path) -> io::Result<Option<u64>> {
    let told = statvfs(directory)?;
    Ok((told.blocks() > 0).then(|| told.blocks_available().saturating_mul(told.fragment_size())))
}

/// The directory in which a path's name stands.
pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes what was created, renamed and removed in a directory survive a power loss.
///
/// A file system that cannot sync a directory (`EINVAL`: some network and user-space ones) is no error: its server decides
/// when a name is durable, and a run there would never get a checkpoint otherwise.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    match File::open(directory)?.sync_all() {
        Err(cause) if cause.raw_os_error() == Some(Errno::EINVAL as i32) => Ok(()),
        synced => synced,
    }
}

/// Makes the creation, renaming or removal of `path` itself survive a power loss.
pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    sync_directory(directory_of(path))
}
