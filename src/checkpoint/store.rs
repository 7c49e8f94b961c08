//! The checkpoints of a directory: their names, and which of them are kept.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::rundir::step_of;
use crate::sys::files::sync_directory;

/// The fewest checkpoints that are ever kept: should the newest turn out to be damaged, there is one before it.
pub const FEWEST_KEPT: usize = 2;

/// The committed checkpoints of a directory, newest first.
///
/// # Errors
/// If the directory cannot be read.
pub fn list(directory: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let refused = |cause: io::Error| Error::io("list the checkpoints", directory, &cause);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        if let Some(step) = entry.file_name().to_str().and_then(step_of) {
            found.push((step, entry.path()));
        }
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

/// Removes the oldest checkpoints so that `keep` remain of those up to `step`, but never fewer than [`FEWEST_KEPT`].
///
/// Later ones are left alone and do not count: a run that fell back behind a damaged checkpoint must not take that for
/// one of its last good ones.
pub(super) fn retain(directory: &Path, step: u64, keep: usize) -> Result<()> {
    let mut own = list(directory)?;
    own.retain(|(found, _)| *found <= step);
    for (_, path) in own.iter().skip(keep.max(FEWEST_KEPT)).rev() {
        std::fs::remove_file(path).map_err(|cause| Error::io("remove an old checkpoint", path, &cause))?;
    }
    sync_directory(directory).map_err(|cause| Error::io("sync the directory", directory, &cause))
}

/// The directory that a checkpoint lies in.
pub(super) fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rundir::checkpoint_name;

    fn steps(directory: &Path) -> Vec<u64> {
        list(directory).unwrap().into_iter().map(|(step, _)| step).collect()
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
    fn a_later_checkpoint_that_was_refused_does_not_count() {
        let directory = tempfile::tempdir().unwrap();
        for step in [10, 20, 30, 99] {
            std::fs::write(directory.path().join(checkpoint_name(step)), "").unwrap();
        }
        retain(directory.path(), 30, 2).unwrap();
        assert_eq!(steps(directory.path()), [99, 30, 20]);
    }
}
