//! The checkpoints of a directory: which of them are kept, and which no longer count.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::rundir::checkpoints_in;
use crate::sys::files::sync_directory_of;

/// The fewest checkpoints that are ever kept: should the newest turn out to be damaged, there is one before it.
pub const FEWEST_KEPT: usize = 2;

/// Removes the oldest checkpoints so that `keep` remain of those up to `step`, but never fewer than [`FEWEST_KEPT`].
///
/// Later ones are left alone and do not count: a run that fell back behind a damaged checkpoint must not take that for
/// one of its last good ones.
pub(super) fn retain(directory: &Path, step: u64, keep: usize) -> Result<()> {
    let own = checkpoints_in(directory)?.into_iter().filter(|entry| entry.step <= step);
    let doomed: Vec<PathBuf> = own.skip(keep.max(FEWEST_KEPT)).map(|entry| entry.path).collect();
    for path in doomed.iter().rev() {
        std::fs::remove_file(path).map_err(|cause| Error::io("remove an old checkpoint", path, &cause))?;
    }
    match doomed.first() {
        Some(path) => sync_directory_of(path).map_err(|cause| Error::io("sync the directory of", path, &cause)),
        None => Ok(()),
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
    let mut bad = path.as_os_str().to_owned();
    bad.push(".bad");
    let bad = PathBuf::from(bad);
    std::fs::rename(path, &bad)
        .and_then(|()| sync_directory_of(path))
        .map_err(|cause| Error::io("set the damaged checkpoint aside", path, &cause))?;
    Ok(bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rundir::checkpoint_name;

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
        retain(directory.path(), 50, 3).unwrap();
        assert_eq!(steps(directory.path()), [50, 40, 30]);
        retain(directory.path(), 50, 0).unwrap();
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
        retain(directory.path(), 40, 2).unwrap();
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
        retain(directory.path(), 30, 2).unwrap();
        assert_eq!(steps(directory.path()), [99, 30, 20]);
    }
}
