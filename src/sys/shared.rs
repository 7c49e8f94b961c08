//! Memory of one process that others of its node read.
//!
//! It is a file without a name or a place, which its owner opens for the others under `/proc`: so it needs no room in
//! `/dev/shm`, and nothing is left of it when the last process ends, however that ends. Where this cannot be had (another
//! system, other containers, no file descriptor left), there is an error, and numbers travel some other way.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::files::{memory_file, reserve};

/// How many memories this process has shared; together with the process and the time it makes a name that no other has.
static SHARED: AtomicU64 = AtomicU64::new(0);

/// What another process needs to find a memory: its owner, the owner's handle, its name and its bytes.
pub(crate) type Ticket = [u64; 4];

/// The processes that may find each other's memory have the same number: those of one user who see the same system and
/// the same processes. None if the system does not say.
pub(crate) fn surroundings() -> Option<u64> {
    let system = std::fs::read("/proc/sys/kernel/random/boot_id").ok()?;
    let processes = std::fs::read_link("/proc/self/ns/pid").ok()?;
    let mut hasher = DefaultHasher::new();
    (system, processes, super::process::user()).hash(&mut hasher);
    Some(hasher.finish())
}

/// A mapped stretch of memory, unmapped when dropped.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    bytes: NonZeroUsize,
}

impl Mapping {
    fn new(file: &File, bytes: NonZeroUsize, access: ProtFlags) -> io::Result<Self> {
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE;
        // SAFETY: a new mapping at a place of the system's choice overlaps nothing that this process has.
        let start = unsafe { mmap(None, bytes, access, flags, file, 0)? };
        Ok(Mapping { start: start.cast(), bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by its only owner, whose borrows have ended. A failure leaks it; nobody could do
        // better about it.
        let _ = unsafe { munmap(self.start.cast(), self.bytes.get()) };
    }
}

/// Memory that this process writes, and others may read.
#[derive(Debug)]
pub(crate) struct Memory {
    mapping: Mapping,
    name: u64,
    /// Open for as long as others may still look for it.
    file: Option<File>,
}

impl Memory {
    /// So many bytes, all zero and in memory already; at least one.
    pub fn new(bytes: usize) -> io::Result<Self> {
        let bytes = NonZeroUsize::new(bytes).ok_or(io::ErrorKind::InvalidInput)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut hasher = DefaultHasher::new();
        (now, std::process::id(), SHARED.fetch_add(1, Ordering::Relaxed)).hash(&mut hasher);
        let name = hasher.finish();
        let file = memory_file(&called(name))?;
        file.set_len(bytes.get() as u64)?;
        // What is missing is told here, and not by a signal at the first touch.
        reserve(&file, bytes.get() as u64)?;
        let mapping = Mapping::new(&file, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
        Ok(Memory { mapping, name, file: Some(file) })
    }

    /// With this, others can find it until it is [closed](Self::close).
    pub fn ticket(&self) -> Option<Ticket> {
        let file = self.file.as_ref()?;
        Some([u64::from(std::process::id()), file.as_raw_fd() as u64, self.name, self.mapping.bytes.get() as u64])
    }

    /// Takes it from those who have not found it yet; those who have keep it.
    pub fn close(&mut self) {
        self.file = None;
    }

    /// Where it begins: on a page.
    pub fn start(&mut self) -> NonNull<u8> {
        self.mapping.start
    }
}

/// Memory that another process writes, and this one reads.
#[derive(Debug)]
pub(crate) struct View(Mapping);

impl View {
    /// The memory that the ticket is for, of a process with the same [`surroundings`].
    pub fn new([process, handle, name, bytes]: Ticket) -> io::Result<Self> {
        let bytes = usize::try_from(bytes).ok().and_then(NonZeroUsize::new).ok_or(io::ErrorKind::InvalidInput)?;
        let path = PathBuf::from(format!("/proc/{process}/fd/{handle}"));
        // A handle of something else, such as a pipe or a device, must not even be opened.
        let found = std::fs::read_link(&path)?;
        if found.to_str().is_none_or(|found| found.trim_end_matches(" (deleted)") != format!("/memfd:{}", called(name)))
        {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("{path:?} is {found:?}")));
        }
        let file = File::options().read(true).custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK).open(&path)?;
        if file.metadata()?.len() != bytes.get() as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{path:?} has not {bytes} bytes")));
        }
        Ok(View(Mapping::new(&file, bytes, ProtFlags::PROT_READ)?))
    }

    /// Where it begins: on a page.
    pub fn start(&self) -> NonNull<u8> {
        self.0.start
    }

    /// How long it is.
    pub fn bytes(&self) -> usize {
        self.0.bytes.get()
    }
}

fn called(name: u64) -> String {
    format!("steadfast-{name:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(view: &View) -> Vec<u8> {
        // SAFETY: the view is so long, and nobody writes while these tests read.
        unsafe { std::slice::from_raw_parts(view.start().as_ptr(), view.bytes()) }.to_vec()
    }

    fn write(memory: &mut Memory, place: usize, byte: u8) {
        assert!(place < memory.mapping.bytes.get());
        // SAFETY: the place lies within the memory, and nobody reads it meanwhile.
        unsafe { memory.start().as_ptr().add(place).write(byte) }
    }

    #[test]
    fn what_one_writes_another_reads_even_after_it_is_closed_and_gone() {
        let mut memory = Memory::new(10_000).unwrap();
        let view = View::new(memory.ticket().unwrap()).unwrap();
        assert_eq!(read(&view), [0; 10_000]);
        write(&mut memory, 9_999, 7);
        memory.close();
        assert_eq!(memory.ticket(), None);
        write(&mut memory, 0, 8);
        drop(memory);
        let found = read(&view);
        assert_eq!((found[0], found[9_999]), (8, 7));
    }

    #[test]
    fn another_memory_than_the_tickets_is_not_opened() {
        let memory = Memory::new(100).unwrap();
        let [process, handle, name, bytes] = memory.ticket().unwrap();
        for wrong in [
            [process, handle, name ^ 1, bytes],
            [process, handle, name, bytes + 1],
            [process, handle, name, 0],
            [process, u64::from(u32::MAX), name, bytes],
            [u64::from(u32::MAX), handle, name, bytes],
        ] {
            assert!(View::new(wrong).is_err(), "{wrong:?}");
        }
        assert!(View::new([process, handle, name, bytes]).is_ok());
    }

    #[test]
    fn no_memory_is_an_error() {
        assert!(Memory::new(0).is_err());
    }

    #[test]
    fn a_process_always_has_the_same_surroundings() {
        assert_eq!(surroundings(), surroundings());
    }
}
