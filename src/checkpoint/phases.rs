//! What one rank does for a checkpoint after the staging copy: write, verify, commit. No MPI and no HDF5.
//!
//! Each of the three runs on a thread beside the sweeps and ends in a result that [`super::writer`] lets the ranks agree on.
//! An error is final: after a failed fsync nobody knows what is on the disk, so that a second one proves nothing.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::checksum;
use super::create::Created;
use super::disk::{Disk, DiskFile};
use super::header::Header;
use super::layout::Layout;
use crate::error::{Error, Kind, Result};
use crate::grid::random::mix;
use crate::sys::files::directory_of;
use crate::sys::pages::Pages;

/// How much of a checkpoint is read back from the disk before it is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// Every block.
    All,
    /// One block in eight, others in each checkpoint.
    Sample,
    /// None.
    None,
}

impl Verify {
    /// Whether this block is read back; the same on every rank.
    pub(super) fn wants(self, step: u64, chunk: usize) -> bool {
        match self {
            Verify::All => true,
            Verify::Sample => mix(step ^ mix(chunk as u64)).is_multiple_of(8),
            Verify::None => false,
        }
    }
}

/// Asked just before a checkpoint gets its final name; an error discards it.
pub type Fence = std::sync::Arc<dyn Fn() -> Result<()> + Send + Sync>;

/// Called for each part that is written or read, on the thread that does it: a sign that it moves.
pub type Tick = std::sync::Arc<dyn Fn() + Send + Sync>;

/// What a thread at work on a checkpoint is told by those who started it, and tells them.
pub(super) struct Watch<'a> {
    stop: &'a AtomicBool,
    tick: Option<&'a Tick>,
}

impl<'a> Watch<'a> {
    pub fn new(stop: &'a AtomicBool, tick: Option<&'a Tick>) -> Self {
        Watch { stop, tick }
    }

    /// Another part is done: says so, and learns whether to go on.
    fn part(&self, job: &Job) -> Result<()> {
        if let Some(tick) = self.tick {
            tick();
        }
        match self.stop.load(Ordering::Relaxed) {
            true => Err(Error::new(Kind::Run, "the checkpoint was given up").at_path(&job.partial)),
            false => Ok(()),
        }
    }
}

/// Everything about a pending checkpoint that its threads need.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Job {
    pub header: Header,
    pub layout: Layout,
    pub partial: PathBuf,
    pub path: PathBuf,
    /// The file's inode: a later attempt of the run may have put another one in its place.
    pub inode: u64,
}

/// The most bytes that are written or read back by one call, so that a thread that is told to stop does so soon.
pub(super) const LARGEST_PART: usize = 8 << 20;

/// The most bytes that wait in memory for the disk. The system would take them all at once and then be silent for as long as a
/// slow disk needs, which is how a stuck one looks.
const MOST_UNSYNCED: usize = 64 << 20;

/// Blocks of the same size in the order of the file, by neighbours that are read at once; at least one at a time.
pub(super) fn parts_to_read<B>(blocks: &[B], size: usize, chunk: impl Fn(&B) -> usize) -> impl Iterator<Item = &[B]> {
    let most = (LARGEST_PART / size.max(1)).max(1);
    blocks.chunk_by(move |a, b| chunk(a) + 1 == chunk(b)).flat_map(move |run| run.chunks(most))
}

impl Job {
    /// Opens the file that rank 0 created.
    pub fn open(&self, disk: &dyn Disk) -> Result<Box<dyn DiskFile>> {
        let file = disk.open(&self.partial).map_err(self.refused("open the checkpoint that is written"))?;
        self.check_own(file.inode().map_err(self.refused("look at the checkpoint that is written"))?)?;
        Ok(file)
    }

    /// Writes blocks that are sorted by chunk and puts them on stable storage; neighbours in the file go in one write.
    pub fn write(&self, file: &dyn DiskFile, chunks: &[usize], bytes: &[u8], watch: &Watch) -> Result<()> {
        let refused = self.refused("write the blocks of the checkpoint");
        let not_stable = self.refused("put the blocks of the checkpoint on stable storage");
        let size = self.layout.chunk_bytes as usize;
        for component in 0..self.layout.fields.len() {
            let mut rest = &bytes[component * chunks.len() * size..][..chunks.len() * size];
            for run in chunks.chunk_by(|a, b| a + 1 == *b) {
                let (here, after) = rest.split_at(run.len() * size);
                rest = after;
                let mut at = self.layout.chunk(component, run[0]).start;
                for part in here.chunks(LARGEST_PART) {
                    watch.part(self)?;
                    file.write_whole(part, at).map_err(&refused)?;
                    at += part.len() as u64;
                    if file.unsynced() >= MOST_UNSYNCED {
                        file.sync().map_err(&not_stable)?;
                    }
                }
            }
        }
        file.sync().map_err(not_stable)
    }

    /// Reads blocks back, from the disk where the system allows, and compares them with their checksums.
    ///
    /// `checksums` has those of these blocks, component after component.
    pub fn verify(
        &self,
        file: &dyn DiskFile,
        chunks: &[usize],
        checksums: &[u64],
        watch: &Watch,
        how: Verify,
    ) -> Result<()> {
        file.forget_cached();
        let size = self.layout.chunk_bytes as usize;
        let mut bytes = Pages::<u8>::default();
        for component in 0..self.layout.fields.len() {
            let blocks = chunks.iter().copied().zip(checksums[component * chunks.len()..].iter().copied());
            let wanted: Vec<_> = blocks.filter(|&(chunk, _)| how.wants(self.header.step, chunk)).collect();
            for part in parts_to_read(&wanted, size, |&(chunk, _)| chunk) {
                bytes.make_room(part.len() * size);
                let mut at = self.layout.chunk(component, part[0].0).start;
                for bytes in bytes.chunks_mut(LARGEST_PART) {
                    watch.part(self)?;
                    file.read_whole(bytes, at).map_err(self.refused("read the checkpoint back"))?;
                    at += bytes.len() as u64;
                }
                for (&(chunk, checksum), bytes) in part.iter().zip(bytes.chunks(size)) {
                    if checksum::of_block(&self.header, component, chunk, bytes) != checksum {
                        return Err(self.reads_back_other(component, chunk));
                    }
                }
            }
        }
        Ok(())
    }

    fn reads_back_other(&self, component: usize, chunk: usize) -> Error {
        let (name, cells) = (&self.header.components[component].name, self.header.cells_of_chunk(chunk));
        let what = format!("block {chunk} of field {name} (cells {cells}) reads back other than it was written");
        let hint = "memory, cable or disk is at fault: look at the system's log";
        Error::new(Kind::Io, what).at_path(&self.partial).hint(hint)
    }

    /// Writes checksums, costs and seal, and gives the file its final name: the commit.
    pub fn commit(
        &self,
        disk: &dyn Disk,
        created: &Created,
        checksums: &[u64],
        costs: &[f64],
        fence: Option<&Fence>,
    ) -> Result<()> {
        let Created { file, meant } = created;
        let unwritten = self.refused("write the checksums of the checkpoint");
        let tables: [(&[u8], u64); 2] = [
            (bytemuck::cast_slice(checksums), self.layout.checksums.start),
            (bytemuck::cast_slice(costs), self.layout.costs.start),
        ];
        for (table, at) in tables {
            meant.write_all_at(table, at).map_err(&unwritten)?;
            file.write_whole(table, at).map_err(&unwritten)?;
        }
        let seal = checksum::of_file(|bytes, at| meant.read_exact_at(bytes, at), &self.layout).map_err(&unwritten)?;
        file.write_whole(&seal.to_ne_bytes(), self.layout.seal.start).map_err(&unwritten)?;
        file.sync().map_err(self.refused("put the checkpoint on stable storage"))?;
        self.check_sealed(file.as_ref(), seal)?;
        if let Some(fence) = fence {
            fence()?;
        }
        self.check_own(disk.inode(&self.partial).map_err(self.refused("look at the finished checkpoint"))?)?;
        match disk.rename(&self.partial, &self.path) {
            // A network file system may lose the answer and not the renaming; the inode tells.
            Err(cause) if !self.is_named(disk) => return Err(self.refused("rename the finished checkpoint")(cause)),
            _ => {}
        }
        disk.sync_directory(directory_of(&self.path)).map_err(|cause| {
            refused("put the checkpoint's name on stable storage", &self.path)(cause)
                .in_step(self.header.step)
                .hint("the file is complete and stays, but a power loss may take its name; it does not count among those kept")
        })
    }

    /// Whether the file has its final name.
    pub fn is_named(&self, disk: &dyn Disk) -> bool {
        disk.inode(&self.path).is_ok_and(|inode| inode == self.inode)
    }

    /// Reads everything but the blocks back, from the disk where the system allows: it must be what was meant.
    fn check_sealed(&self, file: &dyn DiskFile, seal: u64) -> Result<()> {
        file.forget_cached();
        let refused = self.refused("read the checkpoint back");
        let mut stored = [0; 8];
        file.read_whole(&mut stored, self.layout.seal.start).map_err(&refused)?;
        let found = checksum::of_file(|bytes, at| file.read_whole(bytes, at), &self.layout).map_err(&refused)?;
        let sound = stored == seal.to_ne_bytes() && found == seal;
        if sound {
            return Ok(());
        }
        Err(Error::new(Kind::Io, "the metadata or the checksums read back other than they were written")
            .at_path(&self.partial)
            .hint("memory, cable or disk is at fault: look at the system's log"))
    }

    /// Removes the file of a checkpoint that will not be committed; a failure is only logged, since its cause is reported.
    ///
    /// Under its final name it stays: there it is complete, it may have been on the disk for a while, and by now the name may be
    /// that of another attempt's checkpoint.
    pub fn remove(&self, disk: &dyn Disk) {
        let own = disk.inode(&self.partial).is_ok_and(|inode| inode == self.inode);
        if let Some(cause) = own.then(|| disk.remove(&self.partial)).and_then(io::Result::err) {
            log::warn!("cannot remove the discarded checkpoint {}: {cause}", self.partial.display());
        }
    }

    fn check_own(&self, inode: u64) -> Result<()> {
        if inode == self.inode {
            return Ok(());
        }
        Err(Error::new(Kind::Run, "another attempt of the run has replaced the checkpoint that is written")
            .at_path(&self.partial)
            .hint("see that only one launch works in the run directory"))
    }

    fn refused(&self, doing: &str) -> impl Fn(io::Error) -> Error + use<> {
        let (refused, step) = (refused(doing, &self.partial), self.header.step);
        move |cause| refused(cause).in_step(step)
    }
}

/// Turns what the system refused of a checkpoint into an error that says what can be done.
pub(super) fn refused(doing: &str, path: &Path) -> impl Fn(io::Error) -> Error + use<> {
    let (doing, path) = (doing.to_owned(), path.to_owned());
    move |cause| {
        let error = Error::io(&doing, &path, &cause);
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => no_space(error),
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                error.hint("see that the run directory is there and can be written to")
            }
            _ => error,
        }
    }
}

/// Says what can be done where there is no room.
pub(super) fn no_space(error: Error) -> Error {
    error.hint("free some space, keep fewer checkpoints (checkpoint.keep), or use another --dir")
}
