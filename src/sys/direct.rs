//! Files that are read and written past the page cache, where the file system can and it pays.
//!
//! What a checkpoint writes is read back once, to see that it is on the disk, and perhaps never again. Through the page cache
//! it is copied once more, takes memory that the run's node may need, and comes back from there instead of from the disk.
//! Past it, with memory in huge pages, a disk took 2.3 GB/s instead of 1.5, and gave 3.3 instead of 0.8 to 2.8 (measured).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::pages::PAGE;

/// Of fewer bytes than this the disk's answer takes longer than all else: the page cache puts them together.
const FEWEST: usize = 1 << 20;

/// An open file, and a second handle to it that goes past the page cache.
#[derive(Debug)]
pub(crate) struct DirectFile {
    cached: File,
    for_writing: bool,
    /// Opened when it is asked for first.
    direct: OnceLock<Option<File>>,
    /// Whether the second handle was refused what it was opened for.
    is_refused: AtomicBool,
    /// What was written since the last sync: see [`unsynced`](DirectFile::unsynced).
    unsynced: AtomicUsize,
}

/// How far a transfer goes in one call, and past the page cache or not.
#[derive(Debug, PartialEq, Eq)]
enum Stretch {
    Direct(usize),
    Cached(usize),
}

/// The first stretch of a transfer between memory at an address and a file at a place: past the page cache go whole pages, to
/// and from whole pages.
fn stretch(address: usize, length: usize, at: u64) -> Stretch {
    let within = (at % PAGE as u64) as usize;
    if length < FEWEST || address % PAGE != within {
        Stretch::Cached(length)
    } else if within > 0 {
        Stretch::Cached(PAGE - within)
    } else {
        Stretch::Direct(length - length % PAGE)
    }
}

impl DirectFile {
    /// A file that is open, for writing or not.
    pub fn new(cached: File, for_writing: bool) -> Self {
        let (is_refused, unsynced) = (AtomicBool::new(false), AtomicUsize::new(0));
        DirectFile { cached, for_writing, direct: OnceLock::new(), is_refused, unsynced }
    }

    /// Another handle to this file, whatever has its name by now.
    #[cfg(target_os = "linux")]
    fn open_direct(&self) -> io::Result<File> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = File::options();
        options.read(true).write(self.for_writing).custom_flags(nix::libc::O_DIRECT);
        options.open(super::files::path_of_open(&self.cached))
    }

    #[cfg(not(target_os = "linux"))]
    fn open_direct(&self) -> io::Result<File> {
        let _ = self.for_writing;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The file as it was opened.
    pub fn cached(&self) -> &File {
        &self.cached
    }

    /// How many of the bytes written here may still wait in memory. Of those that went past the page cache an eighth counts:
    /// there are file systems that agree to it and keep them all the same.
    pub fn unsynced(&self) -> usize {
        self.unsynced.load(Ordering::Relaxed)
    }

    /// Puts everything that was written through any handle on stable storage.
    pub fn sync(&self) -> io::Result<()> {
        self.cached.sync_all()?;
        self.unsynced.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Does something past the page cache; none if this cannot be.
    fn direct(&self, mut transfer: impl FnMut(&File) -> io::Result<usize>) -> Option<io::Result<usize>> {
        let refuse = |cause: &io::Error| log::debug!("a file goes through the page cache: {cause}");
        let open = || self.open_direct().inspect_err(refuse).ok();
        let file = self.direct.get_or_init(open).as_ref().filter(|_| !self.is_refused.load(Ordering::Relaxed))?;
        match transfer(file) {
            // Some file systems say only now that they cannot, or not these places.
            Err(cause) if matches!(cause.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
                refuse(&cause);
                self.is_refused.store(true, Ordering::Relaxed);
                None
            }
            done => Some(done),
        }
    }
}

impl FileExt for DirectFile {
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let cached = match stretch(bytes.as_ptr().addr(), bytes.len(), at) {
            Stretch::Direct(length) => match self.direct(|file| file.read_at(&mut bytes[..length], at)) {
                Some(done) => return done,
                None => bytes.len(),
            },
            Stretch::Cached(length) => length,
        };
        self.cached.read_at(&mut bytes[..cached], at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let cached = match stretch(bytes.as_ptr().addr(), bytes.len(), at) {
            Stretch::Direct(length) => match self.direct(|file| file.write_at(&bytes[..length], at)) {
                Some(done) => {
                    return done.inspect(|written| _ = self.unsynced.fetch_add(written / 8, Ordering::Relaxed));
                }
                None => bytes.len(),
            },
            Stretch::Cached(length) => length,
        };
        let written = self.cached.write_at(&bytes[..cached], at)?;
        self.unsynced.fetch_add(written, Ordering::Relaxed);
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::super::pages::Pages;
    use super::*;

    #[test]
    fn whole_pages_go_past_the_cache_if_they_are_many() {
        let page = PAGE as u64;
        assert_eq!(stretch(8 * PAGE, FEWEST, 3 * page), Stretch::Direct(FEWEST));
        assert_eq!(stretch(8 * PAGE, FEWEST + 5, 0), Stretch::Direct(FEWEST));
        assert_eq!(stretch(8 * PAGE + 16, FEWEST + PAGE, page + 16), Stretch::Cached(PAGE - 16));
        assert_eq!(stretch(8 * PAGE + 8, 2 * FEWEST, 3 * page), Stretch::Cached(2 * FEWEST), "in different places");
        assert_eq!(stretch(8 * PAGE, FEWEST - 1, 0), Stretch::Cached(FEWEST - 1), "few");
    }

    /// Writes all of some bytes and reads them back into the same place.
    fn goes_round(file: &DirectFile, bytes: &mut [u8], at: u64) {
        let expected = bytes.to_vec();
        file.write_all_at(bytes, at).unwrap();
        bytes.fill(0);
        file.read_exact_at(bytes, at).unwrap();
        assert!(bytes == expected);
        assert_eq!(file.read_at(&mut bytes[..1], at + expected.len() as u64).unwrap(), 0, "the end");
    }

    #[test]
    fn what_is_written_is_read_back_from_any_place_on_any_file_system() {
        let beside = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        for file in [tempfile::tempfile().unwrap(), beside, super::super::files::memory_file("direct").unwrap()] {
            let file = DirectFile::new(file, true);
            let mut pages = Pages::<u8>::zeroed(2 * FEWEST + 3 * PAGE);
            pages.iter_mut().enumerate().for_each(|(i, byte)| *byte = ((i * 2_654_435_761) >> 13) as u8);
            for (from, length, at) in [
                (0, 2 * FEWEST, 0),
                (0, FEWEST + 100, PAGE as u64),
                (100, FEWEST + PAGE, 3 * PAGE as u64 + 100),
                (8, FEWEST + 8, 5),
                (0, 10, 7),
            ] {
                file.cached().set_len(0).unwrap();
                goes_round(&file, &mut pages[from..from + length], at);
            }
            assert!(file.unsynced() > 0, "none of it is on the disk yet");
            file.sync().unwrap();
            assert_eq!(file.unsynced(), 0);
        }
    }

    #[test]
    fn a_handle_that_is_refused_is_not_asked_again() {
        let file = DirectFile::new(tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap(), true);
        assert!(file.direct(|_| Err(io::ErrorKind::InvalidInput.into())).is_none());
        assert!(file.direct(|_| panic!("it is asked again")).is_none());
        let mut pages = Pages::<u8>::zeroed(FEWEST);
        pages.fill(3);
        goes_round(&file, &mut pages, 0);
        assert!(file.unsynced() >= FEWEST, "all of it goes through the page cache");
    }
}
