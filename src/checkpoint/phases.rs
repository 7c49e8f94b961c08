//! What one rank does for a checkpoint after the staging copy: write, verify, commit. No MPI and no HDF5.
//!
//! Each of the three runs on a thread beside the sweeps and ends in a result that [`super::writer`] lets the ranks agree on.
//! An error is final: after a failed fsync nobody knows what is on the disk, so that a second one proves nothing.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::checksum;
use super::header::Header;
use super::layout::Layout;
use super::open::read_chunk;
use crate::error::{Error, Kind, Result};
use crate::grid::random::mix;
use crate::rundir::partial_of;
use crate::sys::files::{forget_cached, sync_directory_of};

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

/// The most bytes that are written by one call, so that a thread that is told to stop does so soon.
const LARGEST_WRITE: usize = 8 << 20;

/// The most bytes that wait in memory for the disk. The system would take them all at once and then be silent for as long as
/// a slow disk needs, which is how a stuck one looks.
const MOST_UNSYNCED: usize = 64 << 20;

impl Job {
    /// The checkpoint that will be at `path`, and whose file was just created.
    pub fn new(header: Header, layout: Layout, path: PathBuf, file: &File) -> Result<Self> {
        let partial = partial_of(&path);
        let metadata = file.metadata().map_err(|cause| Error::io("look at the new checkpoint", &partial, &cause))?;
        Ok(Job { header, layout, partial, path, inode: metadata.ino() })
    }

    /// Opens the file that rank 0 created.
    pub fn open(&self) -> Result<File> {
        let opened = File::options().read(true).write(true).open(&self.partial);
        let file = opened.map_err(self.refused("open the checkpoint that is written"))?;
        self.check_own(&file.metadata().map_err(self.refused("look at the checkpoint that is written"))?)?;
        Ok(file)
    }

    /// Writes blocks that are sorted by chunk and puts them on stable storage; neighbours in the file go in one write.
    pub fn write(&self, file: &File, chunks: &[usize], bytes: &[u8], watch: &Watch) -> Result<()> {
        let refused = self.refused("write the blocks of the checkpoint");
        let not_stable = self.refused("put the blocks of the checkpoint on stable storage");
        let size = self.layout.chunk_bytes as usize;
        let mut unsynced = 0;
        for component in 0..self.layout.fields.len() {
            let mut rest = &bytes[component * chunks.len() * size..][..chunks.len() * size];
            for run in chunks.chunk_by(|a, b| a + 1 == *b) {
                let (here, after) = rest.split_at(run.len() * size);
                rest = after;
                let mut at = self.layout.chunk(component, run[0]).start;
                for part in here.chunks(LARGEST_WRITE) {
                    watch.part(self)?;
                    file.write_all_at(part, at).map_err(&refused)?;
                    at += part.len() as u64;
                    unsynced += part.len();
                    if unsynced >= MOST_UNSYNCED {
                        file.sync_data().map_err(&not_stable)?;
                        unsynced = 0;
                    }
                }
            }
        }
        file.sync_all().map_err(not_stable)
    }

    /// Reads blocks back, from the disk where the system allows, and compares them with their checksums.
    ///
    /// `checksums` is the table of all blocks.
    pub fn verify(&self, file: &File, chunks: &[usize], checksums: &[u64], watch: &Watch, how: Verify) -> Result<()> {
        forget_cached(file);
        let mut bytes = vec![0; self.layout.chunk_bytes as usize];
        for component in 0..self.layout.fields.len() {
            for &chunk in chunks.iter().filter(|&&chunk| how.wants(self.header.step, chunk)) {
                watch.part(self)?;
                read_chunk(file, &self.layout, component, chunk, &mut bytes)
                    .map_err(self.refused("read the checkpoint back"))?;
                let found = checksum::of_block(&self.header, component, chunk, &bytes);
                if found != checksums[self.layout.entry(component, chunk)] {
                    let name = &self.header.components[component].name;
                    let cells = self.header.cells_of_chunk(chunk);
                    return Err(Error::new(
                        Kind::Io,
                        format!("block {chunk} of field {name} (cells {cells}) reads back other than it was written"),
                    )
                    .at_path(&self.partial)
                    .hint("memory, cable or disk is at fault: look at the system's log"));
                }
            }
        }
        Ok(())
    }

    /// Writes checksums, costs and seal, and gives the file its final name: the commit.
    pub fn commit(&self, file: &File, checksums: &[u64], costs: &[f64], fence: Option<&Fence>) -> Result<()> {
        let refused = self.refused("write the checksums of the checkpoint");
        file.write_all_at(bytemuck::cast_slice(checksums), self.layout.checksums.start).map_err(&refused)?;
        file.write_all_at(bytemuck::cast_slice(costs), self.layout.costs.start).map_err(&refused)?;
        let seal = checksum::of_file(file, &self.layout).map_err(&refused)?;
        file.write_all_at(&seal.to_ne_bytes(), self.layout.seal.start).map_err(&refused)?;
        file.sync_all().map_err(self.refused("put the checkpoint on stable storage"))?;
        self.check_sealed(file, checksums, costs, seal)?;
        if let Some(fence) = fence {
            fence()?;
        }
        self.check_own(&std::fs::metadata(&self.partial).map_err(self.refused("look at the finished checkpoint"))?)?;
        std::fs::rename(&self.partial, &self.path).map_err(self.refused("rename the finished checkpoint"))?;
        sync_directory_of(&self.path).map_err(self.refused("put the checkpoint's name on stable storage"))
    }

    /// Reads everything but the blocks back: it must be what was sealed, and what was sealed must be what was meant.
    fn check_sealed(&self, file: &File, checksums: &[u64], costs: &[f64], seal: u64) -> Result<()> {
        forget_cached(file);
        let refused = self.refused("read the checkpoint back");
        let json = self.header.to_json()?;
        let parts: [(&[u8], u64); 4] = [
            (&json, self.layout.header.start),
            (bytemuck::cast_slice(checksums), self.layout.checksums.start),
            (bytemuck::cast_slice(costs), self.layout.costs.start),
            (&seal.to_ne_bytes(), self.layout.seal.start),
        ];
        let mut sound = checksum::of_file(file, &self.layout).map_err(&refused)? == seal;
        for (expected, at) in parts {
            let mut found = vec![0; expected.len()];
            file.read_exact_at(&mut found, at).map_err(&refused)?;
            sound &= found == expected;
        }
        if sound {
            return Ok(());
        }
        Err(Error::new(Kind::Io, "the header or the checksums read back other than they were written")
            .at_path(&self.partial)
            .hint("memory, cable or disk is at fault: look at the system's log"))
    }

    /// Removes what a checkpoint that failed may have left, also under its final name.
    pub fn remove(&self) {
        self.remove_partial();
        self.remove_own(&self.path);
    }

    /// Removes the file of a checkpoint that will not be committed.
    pub fn remove_partial(&self) {
        self.remove_own(&self.partial);
    }

    /// Removes the file if it is this checkpoint's; a failure is only logged, since its cause is reported already.
    fn remove_own(&self, path: &Path) {
        let own = std::fs::metadata(path).is_ok_and(|metadata| metadata.ino() == self.inode);
        if let Some(cause) = own.then(|| std::fs::remove_file(path)).and_then(io::Result::err) {
            log::warn!("cannot remove the discarded checkpoint {}: {cause}", path.display());
        }
    }

    fn check_own(&self, metadata: &std::fs::Metadata) -> Result<()> {
        if metadata.ino() == self.inode {
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
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                error.hint("free some space, keep fewer checkpoints (checkpoint.keep), or use another --dir")
            }
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                error.hint("see that the run directory is there and can be written to")
            }
            _ => error,
        }
    }
}
