//! The checkpoints of a directory: which of them are kept, and which no longer count.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::{Disk, System};
use super::phases::{Fence, Verify};
use crate::error::{Error, Result};
use crate::rundir::{checkpoint_name, step_of};
use crate::sys::files::directory_of;

/// The fewest checkpoints that are ever kept: should the newest turn out to be damaged, there is one before it.
pub const FEWEST_KEPT: usize = 2;

/// What a writer remembers of the checkpoints that it wrote, as far as it bears on which may be removed.
#[derive(Debug, Clone, Default)]
pub(super) struct Past {
    /// How many were committed since the last one of which every block was read back; none if there was none yet.
    since_whole: Option<usize>,
    /// Those that have their final names, which may not survive a power loss. Only rank 0 knows them.
    doubtful: Vec<u64>,
}

impl Past {
    /// How much of the next checkpoint is read back.
    ///
    /// Where not every block of each is asked for, every block of the first one is, and of one among any `keep` in a row: so
    /// retention never leaves only such as nobody has read. Where nothing is ever removed, as asked.
    pub fn verify(&self, asked: Verify, keep: usize) -> Verify {
        let due = self.since_whole.is_none_or(|count| count + 1 >= keep.max(FEWEST_KEPT));
        if due && keep < usize::MAX { Verify::All } else { asked }
    }

    /// A checkpoint was committed after it had been read back so far.
    pub fn committed(&mut self, step: u64, how: Verify) {
        self.since_whole = match how {
            Verify::All => Some(0),
            Verify::Sample | Verify::None => self.since_whole.map(|count| count + 1),
        };
        self.doubtful.retain(|&doubtful| doubtful != step);
    }

    /// A checkpoint was discarded when it had its final name already.
    pub fn doubt(&mut self, step: u64) {
        self.doubtful.push(step);
    }
}

/// Removes the oldest checkpoints of a directory so that `keep` remain of those up to `step`, but never fewer than
/// [`FEWEST_KEPT`].
///
/// A [`Writer`](super::Writer) does so by itself after each commit; this is for those who call [`save`](super::save()).
/// Later checkpoints are left alone and do not count: a run that fell back behind a damaged one must not take that for one
/// of its last good ones.
///
/// # Errors
/// If the directory cannot be read, or a file not be removed. The newer ones are left alone then.
pub fn retain(directory: &Path, step: u64, keep: usize) -> Result<()> {
    retain_on(&System, directory, step, keep, &Past::default(), None)
}

/// As [`retain`], on any disk; those whose names may not last do not count. The fence is asked before each removal.
pub(super) fn retain_on(
    disk: &dyn Disk,
    directory: &Path,
    step: u64,
    keep: usize,
    past: &Past,
    fence: Option<&Fence>,
) -> Result<()> {
    let names = disk.names(directory).map_err(|cause| Error::io("list the checkpoints", directory, &cause))?;
    let mut own: Vec<u64> = names.iter().filter_map(|name| step_of(name)).filter(|&own| own <= step).collect();
    own.sort_unstable();
    let mut lasting = own.iter().rev().filter(|step| !past.doubtful.contains(step));
    let Some(&oldest) = lasting.nth(keep.max(FEWEST_KEPT) - 1) else { return Ok(()) };
    own.retain(|&step| step < oldest);
    for &step in &own {
        if let Some(fence) = fence {
            fence()?;
        }
        let path = directory.join(checkpoint_name(step));
        match disk.remove(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove an old checkpoint", &path, &cause));
            }
            _ => {}
        }
    }
    match own.is_empty() {
        true => Ok(()),
        false => disk.sync_directory(directory).map_err(|cause| Error::io("sync the directory", directory, &cause)),
    }
}

/// Renames a damaged checkpoint to `NAME.bad` in its directory, and returns its new path.
///
/// It is then no checkpoint any more: it is neither kept nor removed as one, and no restart looks at it. Whoever wants to
/// find out what happened to it still can.
///
/// # Errors
/// If it cannot be renamed, or the renaming cannot be put on stable storage.
pub fn set_aside(path: &Path) -> Result<PathBuf> {
    set_aside_on(&System, path)
}

/// As [`set_aside`], on any disk.
pub(super) fn set_aside_on(disk: &dyn Disk, path: &Path) -> Result<PathBuf> {
    let mut bad = path.as_os_str().to_owned();
    bad.push(".bad");
    let bad = PathBuf::from(bad);
    disk.rename(path, &bad)
        .and_then(|()| disk.sync_directory(directory_of(path)))
        .map_err(|cause| Error::io("set the damaged checkpoint aside", path, &cause))?;
    Ok(bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rundir::checkpoints_in;

    fn keep(directory: &Path, step: u64, keep: usize, past: &Past) {
        retain_on(&System, directory, step, keep, past, None).unwrap();
    }

    fn steps(directory: &Path) -> Vec<u64> {
        checkpoints_in(directory).unwrap().into_iter().map(|entry| entry.step).collect()
    }

    #[test]
    fn the_oldest_go_first_and_two_always_stay() {
        let directory = tempfile::tempdir().unwrap();
        for step in [10, 20, 30, 40, 50] {
            std::fs::write(directory.path().join(checkpoint_name(step)), "").unwrap();
        }
        std::fs::write(directory.path().join("notes.txt"), "").unwrap();
        keep(directory.path(), 50, 3, &Past::default());
        assert_eq!(steps(directory.path()), [50, 40, 30]);
        keep(directory.path(), 50, 0, &Past::default());
        assert_eq!(steps(directory.path()), [50, 40]);
        assert!(directory.path().join("notes.txt").exists());
    }

    #[test]
    fn a_damaged_checkpoint_that_was_set_aside_takes_no_place_among_the_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = |step| directory.path().join(checkpoint_name(step));
        for step in [10, 20, 30] {
            std::fs::write(path(step), step.to_string()).unwrap();
        }
        let bad = set_aside(&path(30)).unwrap();
        assert_eq!(bad, directory.path().join("step-0000000030.h5.bad"));
        std::fs::write(path(40), "").unwrap();
        keep(directory.path(), 40, 2, &Past::default());
        assert_eq!(steps(directory.path()), [40, 20]);
        assert_eq!(std::fs::read_to_string(&bad).unwrap(), "30", "it stays for whoever wants to know");
        let error = set_aside(&path(30)).unwrap_err();
        assert!(error.to_string().contains("step-0000000030.h5"), "{error}");
    }

    #[test]
    fn a_later_checkpoint_that_was_refused_does_not_count() {
        let directory = tempfile::tempdir().unwrap();
        for step in [10, 20, 30, 99] {
            std::fs::write(directory.path().join(checkpoint_name(step)), "").unwrap();
        }
        keep(directory.path(), 30, 2, &Past::default());
        assert_eq!(steps(directory.path()), [99, 30, 20]);
    }

    #[test]
    fn one_whose_name_may_not_last_does_not_count_and_goes_when_it_is_too_old() {
        let directory = tempfile::tempdir().unwrap();
        for step in [10, 20, 30, 40] {
            std::fs::write(directory.path().join(checkpoint_name(step)), "").unwrap();
        }
        let mut past = Past::default();
        past.doubt(30);
        keep(directory.path(), 40, 2, &past);
        assert_eq!(steps(directory.path()), [40, 30, 20]);
        std::fs::write(directory.path().join(checkpoint_name(50)), "").unwrap();
        keep(directory.path(), 50, 2, &past);
        assert_eq!(steps(directory.path()), [50, 40]);
        past.committed(30, Verify::All);
        assert!(past.doubtful.is_empty());
    }

    #[test]
    fn a_fence_that_closes_ends_the_removals() {
        let directory = tempfile::tempdir().unwrap();
        for step in [10, 20, 30, 40] {
            std::fs::write(directory.path().join(checkpoint_name(step)), "").unwrap();
        }
        let first = directory.path().join(checkpoint_name(10));
        let fence: Fence = std::sync::Arc::new(move || match first.exists() {
            true => Ok(()),
            false => Err(Error::new(crate::error::Kind::Run, "the lease is lost")),
        });
        assert!(retain_on(&System, directory.path(), 40, 2, &Past::default(), Some(&fence)).is_err());
        assert_eq!(steps(directory.path()), [40, 30, 20]);
    }

    #[test]
    fn among_those_that_are_kept_one_was_always_read_back_whole() {
        for keep in 0..6 {
            for asked in [Verify::None, Verify::Sample, Verify::All] {
                let (mut past, mut history) = (Past::default(), Vec::new());
                for step in 0..50 {
                    let how = past.verify(asked, keep);
                    past.committed(step, how);
                    history.push(how);
                    let kept = history.iter().rev().take(keep.max(FEWEST_KEPT));
                    assert!(kept.clone().any(|&how| how == Verify::All), "keep {keep}: {history:?}");
                }
                let whole = history.iter().filter(|&&how| how == Verify::All).count();
                assert!(asked == Verify::All || whole <= 50 / keep.max(FEWEST_KEPT) + 1, "no more than needed");
            }
        }
        assert_eq!(Past::default().verify(Verify::None, usize::MAX), Verify::None, "where nothing is ever removed");
    }
}
