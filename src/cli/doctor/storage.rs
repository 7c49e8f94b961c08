//! Whether a directory keeps what is written to it: what checkpoints and leases rely on, tried out.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use nix::sys::statfs::{FsType, NFS_SUPER_MAGIC, TMPFS_MAGIC, statfs};

use super::Check;
use crate::checkpoint::{Header, Reader, save};
use crate::cli::show;
use crate::error::{Error, Kind, Result};
use crate::field::{Component, Field, ScalarKind};
use crate::grid::{Grid, Partition, Tiling, Vector};
use crate::sys::direct::DirectFile;
use crate::sys::pages::Pages;

/// How much is written to measure the speed, in bytes,
const AMOUNT: usize = 64 << 20;
/// and in pieces of how many.
const PIECE: usize = 8 << 20;
/// With less free space than this, in bytes, no run should start.
const LITTLE: u64 = 1 << 30;
/// A disk slower than this, in bytes per second, makes runs wait for their checkpoints.
const SLOW: f64 = 20e6;

/// Something to try in a directory.
type Attempt = fn(&Path) -> io::Result<Found>;

/// Looks at the file system of a directory, in a folder of its own that is removed afterwards.
pub fn look(directory: &Path) -> Vec<Check> {
    let scratch = match Scratch::new(directory) {
        Ok(scratch) => scratch,
        Err(cause) => {
            let found = format!("{} cannot be written: {cause}", directory.display());
            return vec![Check::fail("directory", found, "name a directory that you may write to: --dir DIR")];
        }
    };
    let mut checks = vec![kind(&scratch.0), space(&scratch.0)];
    let tries: [(&str, &str, Attempt); 4] = [
        ("write, fsync", "choose another file system for checkpoints: --dir DIR", speed),
        ("rename", "no checkpoint can be committed here; choose another file system", rename),
        ("lock", "two launches could use one run here; mount with locks, or choose another file system", lock),
        ("file times", "synchronise the clocks of this machine and the file server", times),
    ];
    for (name, hint, attempt) in tries {
        checks.push(match attempt(&scratch.0) {
            Ok(Found::Good(found)) => Check::ok(name, found),
            Ok(Found::Doubtful(found)) => Check::warn(name, found, hint),
            Ok(Found::Bad(found)) => Check::fail(name, found, hint),
            Err(cause) => Check::fail(name, cause.to_string(), hint),
        });
    }
    checks.push(match checkpoint(&scratch.0) {
        Ok(found) => Check::ok("checkpoint", found),
        Err(error) => Check::fail("checkpoint", error.message(), "report this with the version of HDF5 above"),
    });
    checks
}

/// What a try has shown.
enum Found {
    Good(String),
    Doubtful(String),
    Bad(String),
}

/// A folder that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(directory: &Path) -> io::Result<Self> {
        let path = directory.canonicalize()?.join(format!(".steadfast-doctor-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(cause) = fs::remove_dir_all(&self.0) {
            log::warn!("cannot remove {}: {cause}", self.0.display());
        }
    }
}

fn kind(scratch: &Path) -> Check {
    let name = "file system";
    let place = scratch.parent().unwrap_or(scratch).display();
    match statfs(scratch).map(|status| status.filesystem_type()) {
        Ok(TMPFS_MAGIC) => {
            let hint = "keep checkpoints on a disk: --dir DIR";
            Check::warn(name, format!("{place} lies in memory and does not survive a reboot"), hint)
        }
        Ok(NFS_SUPER_MAGIC) => {
            let hint = "prefer a parallel or a local file system for checkpoints, if there is one";
            Check::warn(name, format!("{place} is on NFS: shared, and slow to sync"), hint)
        }
        Ok(FsType(magic)) => Check::ok(name, format!("{place}, type {magic:#x}")),
        Err(errno) => Check::warn(name, format!("unknown: {errno}"), "run the doctor where runs will write"),
    }
}

fn space(scratch: &Path) -> Check {
    match nix::sys::statvfs::statvfs(scratch) {
        Ok(status) => {
            let free = status.blocks_available() * status.fragment_size();
            let found = format!("{} free", show::bytes(free));
            match free < LITTLE {
                true => Check::warn("space", found, "`PROGRAM plan` says how large a checkpoint is; three must fit"),
                false => Check::ok("space", found),
            }
        }
        Err(errno) => Check::warn("space", format!("unknown: {errno}"), "run the doctor where runs will write"),
    }
}

/// Writes as a checkpoint does, and reads it back past the page cache where the system allows.
fn speed(scratch: &Path) -> io::Result<Found> {
    let file = OpenOptions::new().create_new(true).read(true).write(true).open(scratch.join("speed"))?;
    let file = DirectFile::new(file, true);
    // Not all alike, so that nothing is compressed or left out as a hole.
    let content = |piece: usize| -> Pages<u8> {
        let number = |i: usize| crate::grid::random::mix((piece * PIECE + i) as u64).to_le_bytes();
        let mut content = Pages::zeroed(PIECE);
        content.chunks_exact_mut(8).enumerate().for_each(|(i, bytes)| bytes.copy_from_slice(&number(i)));
        content
    };
    let pieces: Vec<Pages<u8>> = (0..AMOUNT / PIECE).map(content).collect();
    let start = Instant::now();
    for (i, piece) in pieces.iter().enumerate() {
        file.write_all_at(piece, (i * PIECE) as u64)?;
    }
    file.sync()?;
    let rate = AMOUNT as f64 / start.elapsed().as_secs_f64();
    crate::sys::files::forget_cached(file.cached());
    let mut back = Pages::zeroed(PIECE);
    for (i, piece) in pieces.iter().enumerate() {
        file.read_exact_at(&mut back, (i * PIECE) as u64)?;
        if back[..] != piece[..] {
            return Ok(Found::Bad("what is read is not what was written".into()));
        }
    }
    let found = format!("{}B/s for {}", show::rate(rate), show::bytes(AMOUNT as u64));
    Ok(if rate < SLOW { Found::Doubtful(format!("only {found}")) } else { Found::Good(found) })
}

/// A commit: a file takes the place of another, and the directory is synced.
fn rename(scratch: &Path) -> io::Result<Found> {
    let (new, old) = (scratch.join("new"), scratch.join("old"));
    fs::write(&old, "old")?;
    fs::write(&new, "new")?;
    fs::rename(&new, &old)?;
    File::open(scratch)?.sync_all()?;
    Ok(match fs::read_to_string(&old)?.as_str() {
        "new" if !new.exists() => Found::Good("replaces a file at once, and the directory can be synced".into()),
        _ => Found::Bad("a rename does not replace the file".into()),
    })
}

/// A lease: what one holds, another must not get.
fn lock(scratch: &Path) -> io::Result<Found> {
    let path = scratch.join("lock");
    let (first, second) = (File::create(&path)?, File::create(&path)?);
    first.lock()?;
    match second.try_lock() {
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(cause)) => return Err(cause),
        Ok(()) => return Ok(Found::Bad("two hold one lock".into())),
    }
    drop(first);
    Ok(match second.try_lock() {
        Ok(()) => Found::Good("is held by one alone, and freed when that one ends".into()),
        Err(cause) => Found::Bad(format!("is not freed: {cause}")),
    })
}

/// The file server's clock against this machine's.
fn times(scratch: &Path) -> io::Result<Found> {
    let path = scratch.join("time");
    fs::write(&path, "now")?;
    let (now, stamp) = (SystemTime::now(), fs::metadata(&path)?.modified()?);
    let skew = now.duration_since(stamp).unwrap_or_else(|early| early.duration()).as_secs_f64();
    let found = format!("{skew:.3} s off this machine's clock");
    Ok(if skew > 2.0 { Found::Doubtful(found) } else { Found::Good(found) })
}

/// A whole checkpoint, written, committed, read back and compared.
fn checkpoint(scratch: &Path) -> Result<String> {
    let grid = Grid::new([48, 40], Vector::ZERO, Vector([1.0; 2]), [false; 2])?;
    let tiling = Tiling::new(grid, [16, 16])?;
    let partition = Partition::by_cost(&vec![1.0; tiling.len()], 1);
    let mut field = Field::<f64, 2>::new(&tiling, &partition, 0, 1, 1);
    for block in field.patches_mut() {
        for cell in block.interior().cells() {
            block.set(cell, (cell.0[0] + 48 * cell.0[1]) as f64);
        }
    }
    let header = Header {
        program: "doctor".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        run_id: "doctor".into(),
        epoch: 0,
        step: 0,
        time: 0.0,
        cells: grid.cells().into(),
        lower: grid.lower().0.into(),
        upper: grid.upper().0.into(),
        periodic: grid.periodic().into(),
        block: tiling.shape().into(),
        components: vec![Component::scalar("u", "1")],
        scalar: ScalarKind::F64,
        case: String::new(),
        physics: String::new(),
        replicated: BTreeMap::new(),
    };
    let path = scratch.join("checkpoint.h5");
    let bytes = save(&path, &header, &tiling, &field, &vec![1.0; tiling.len()])?;
    let reader = Reader::open(&path)?;
    if reader.fingerprint()? != field.fingerprint(&tiling) {
        return Err(Error::new(Kind::Checkpoint, "the checkpoint does not hold what was written"));
    }
    Ok(format!("{} blocks, {}, reads back bit by bit", tiling.len(), show::bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_good_directory_passes_and_is_left_as_it_was() {
        let room = tempfile::tempdir().unwrap();
        let checks = look(room.path());
        assert_eq!(checks.len(), 7);
        assert_eq!(checks.iter().find(|check| check.verdict == Verdict::Fail), None);
        assert_eq!(fs::read_dir(room.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_is_not_there_fails_with_a_hint() {
        let checks = look(Path::new("/nowhere/at/all"));
        assert!(matches!(&checks[..], [check] if check.verdict == Verdict::Fail && check.hint.is_some()));
    }
}
