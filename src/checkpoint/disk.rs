//! What a checkpoint asks of a file system: a few verbs, so that a test can put a disk of its own beneath them.
//!
//! [`System`] is the real one: a verb is a system call, and large parts of a file go past the page cache. The tests' own disk
//! knows what is durable and what is merely written, loses power where it is told to, and fails as disks do. The cost of the
//! indirection is a call through a table for each system call.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use crate::sys::direct::DirectFile;
use crate::sys::files::{forget_cached, free_space, reserve, sync_directory};

/// A file system. A call that a signal interrupts is begun again; an error is final.
pub(super) trait Disk: Send + Sync {
    /// Creates a file that is not there yet, open for reading and writing.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file another name at once or not at all; what had that name before has none any more.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes a file's name away.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, in no order.
    fn names(&self, directory: &Path) -> io::Result<Vec<String>>;
    /// Makes what was created, renamed and removed in a directory so far survive a power loss.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
    /// What tells the file of this name from any other, whatever its name.
    fn inode(&self, path: &Path) -> io::Result<u64>;
    /// The bytes that may still be written where a directory lies; none if the file system does not tell.
    fn free(&self, directory: &Path) -> io::Result<Option<u64>>;
}

/// An open file.
pub(super) trait DiskFile: Debug + Send + Sync {
    /// Reads some bytes at a place, none only at the end of the file; may be interrupted.
    fn read_some(&self, bytes: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes some bytes at a place; may be interrupted.
    fn write_some(&self, bytes: &[u8], at: u64) -> io::Result<usize>;
    /// Cuts the file off, or adds a hole.
    fn set_length(&self, length: u64) -> io::Result<()>;
    /// Takes the space of the file's first bytes, where the file system can.
    fn reserve(&self, length: u64) -> io::Result<()>;
    /// Puts everything that was written through any handle on stable storage. After an error nobody knows what is there:
    /// the system has given up what it could not write, and says yes the next time.
    fn sync(&self) -> io::Result<()>;
    /// How many of the bytes that were written may wait in memory for a sync, of those through this handle at least.
    fn unsynced(&self) -> usize;
    /// Asks that what is read next comes from the disk.
    fn forget_cached(&self);
    /// What tells this file from any other.
    fn inode(&self) -> io::Result<u64>;

    /// Reads all bytes of a range, in however many calls it takes.
    fn read_whole(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            match self.read_some(&mut bytes[done..], at + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => done += count,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(cause),
            }
        }
        Ok(())
    }

    /// Writes all bytes of a range, in however many calls it takes.
    fn write_whole(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            match self.write_some(&bytes[done..], at + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(cause),
            }
        }
        Ok(())
    }
}

/// The file system of the machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct System;

impl Disk for System {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        Ok(Box::new(DirectFile::new(file, true)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(DirectFile::new(File::options().read(true).write(true).open(path)?, true)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        again(|| fs::rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        again(|| fs::remove_file(path))
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        again(|| fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        sync_directory(directory)
    }

    fn inode(&self, path: &Path) -> io::Result<u64> {
        again(|| fs::metadata(path)).map(|metadata| metadata.ino())
    }

    fn free(&self, directory: &Path) -> io::Result<Option<u64>> {
        again(|| free_space(directory))
    }
}

impl DiskFile for DirectFile {
    fn read_some(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        self.read_at(bytes, at)
    }

    fn write_some(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        self.write_at(bytes, at)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.cached().set_len(length)
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        again(|| reserve(self.cached(), length))
    }

    fn sync(&self) -> io::Result<()> {
        DirectFile::sync(self)
    }

    fn unsynced(&self) -> usize {
        DirectFile::unsynced(self)
    }

    fn forget_cached(&self) {
        forget_cached(self.cached());
    }

    fn inode(&self) -> io::Result<u64> {
        again(|| self.cached().metadata()).map(|metadata| metadata.ino())
    }
}

/// Makes a call again for as long as a signal interrupts it, where the standard library does not.
fn again<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
