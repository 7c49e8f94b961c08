//! Where the pieces of a run lie on one node, under which names, and who may look.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crc_fast::{CrcAlgorithm, checksum};

use crate::error::{Error, Kind, Result};
use crate::sys::process::user;

/// What the name of a piece ends with, and what it ends with while it is written.
const PIECE: &str = ".piece";
const PARTIAL: &str = ".partial";

/// The folder of one run on one node: `DIRECTORY/RUN-HASH/NODE`.
///
/// The run is known by the path of its run directory, since its id is known only once something of it has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    directory: PathBuf,
    of_run: PathBuf,
    path: PathBuf,
}

impl Folder {
    /// The folder on a node, for the run directory whose absolute path is `run`.
    pub fn new(directory: &Path, run: &Path, node: &str) -> Self {
        let name = run.file_name().unwrap_or_default().to_string_lossy();
        let hash = checksum(CrcAlgorithm::Crc64Nvme, run.as_os_str().as_encoded_bytes());
        let of_run = directory.join(format!("{name}-{hash:016x}"));
        Folder { directory: directory.to_owned(), path: of_run.join(node), of_run }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the piece of a rank lies.
    pub(super) fn piece(&self, step: u64, save: u64, rank: usize) -> PathBuf {
        self.path.join(format!("step-{step:010}-{save:016x}-rank-{rank:05}{PIECE}"))
    }

    /// The pieces that are here; none if there is no folder, or it is another user's, who could have put anything there.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub(super) fn pieces(&self) -> Result<Vec<PathBuf>> {
        if !self.is_ours().unwrap_or(false) {
            return Ok(Vec::new());
        }
        let mut pieces = self.files()?;
        pieces.retain(|path| path.as_os_str().as_encoded_bytes().ends_with(PIECE.as_bytes()));
        Ok(pieces)
    }

    /// Everything that lies here, by name.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let refused = |cause: io::Error| Error::io("list the node-local checkpoints", &self.path, &cause);
        let listing = match fs::read_dir(&self.path) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            listing => listing.map_err(refused)?,
        };
        let paths = listing.map(|entry| entry.map(|entry| entry.path()));
        let mut paths = paths.collect::<io::Result<Vec<_>>>().map_err(refused)?;
        paths.sort();
        Ok(paths)
    }

    /// Writes a piece: under a passing name first, so that what bears its own is whole, unless the power fails.
    ///
    /// It is not synced: what a power loss tears does not fit its checksums, and a node that lost its power has lost its memory
    /// anyway. `go_on` is asked between parts.
    ///
    /// # Errors
    /// If it cannot be written; nothing is left of it then.
    pub(super) fn write(&self, path: &Path, words: &[u64], go_on: &dyn Fn() -> bool) -> Result<()> {
        self.create()?;
        let mut partial = path.as_os_str().to_owned();
        partial.push(PARTIAL);
        let partial = PathBuf::from(partial);
        let write = || {
            let mut file = fs::File::create(&partial)?;
            for part in bytemuck::cast_slice::<u64, u8>(words).chunks(LARGEST_WRITE) {
                if !go_on() {
                    return Err(io::Error::other("the node-local checkpoint was given up"));
                }
                file.write_all(part)?;
            }
            fs::rename(&partial, path)
        };
        write().map_err(|cause| {
            // What cannot be removed is swept away by the next attempt.
            let _ = fs::remove_file(&partial);
            self.refused("write a piece of the node-local checkpoint", &cause)
        })
    }

    /// Creates what is missing: the directory for all users, the folder of the run for its own.
    fn create(&self) -> Result<()> {
        let refused = |cause: io::Error| self.refused("create the folder of the node-local checkpoints", &cause);
        if !self.directory.is_dir() {
            fs::create_dir_all(&self.directory).map_err(refused)?;
            // Other users of the node need it too. Another rank may have been faster, and another user have made it.
            let _ = fs::set_permissions(&self.directory, Permissions::from_mode(0o1777));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path).map_err(refused)?;
        if !self.is_ours().map_err(refused)? {
            return Err(Error::new(Kind::Io, "the folder of the node-local checkpoints is another user's")
                .at_path(&self.of_run)
                .hint("choose another directory: checkpoint.local.directory"));
        }
        Ok(())
    }

    /// Whether the folder of the run is one, and this user's: no link that somebody planted to lead elsewhere.
    fn is_ours(&self) -> io::Result<bool> {
        let metadata = fs::symlink_metadata(&self.of_run)?;
        Ok(metadata.is_dir() && metadata.uid() == user())
    }

    fn refused(&self, doing: &str, cause: &io::Error) -> Error {
        let error = Error::io(doing, &self.path, cause);
        match cause.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                error.hint("make room on the node, or choose another directory: checkpoint.local.directory")
            }
            _ => error.hint("choose a directory that exists on every node: checkpoint.local.directory"),
        }
    }

    /// Removes everything but these files, and the folder itself if nothing is left in it.
    ///
    /// # Errors
    /// If something cannot be listed or removed.
    pub fn sweep(&self, keep: &[PathBuf]) -> Result<()> {
        if !self.is_ours().unwrap_or(false) {
            return Ok(());
        }
        for path in self.files()?.into_iter().filter(|path| !keep.contains(path)) {
            remove(&path)?;
        }
        // They stay if they are not empty, and nothing is lost if they stay.
        let _ = fs::remove_dir(&self.path).and_then(|()| fs::remove_dir(&self.of_run));
        Ok(())
    }
}

/// The most bytes that are written between two looks at whether to go on.
const LARGEST_WRITE: usize = 8 << 20;

/// Removes a piece; one that is gone already is as good.
///
/// # Errors
/// If it is there and cannot be removed.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != ErrorKind::NotFound => {
            Err(Error::io("remove an old piece of a node-local checkpoint", path, &cause))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_bears_its_name_when_it_is_whole_and_a_sweep_leaves_what_is_kept() {
        let room = tempfile::tempdir().unwrap();
        let folder = Folder::new(&room.path().join("local"), Path::new("/runs/heat.run"), "n0");
        assert_eq!(folder.pieces().unwrap(), Vec::<PathBuf>::new());
        let paths = [1, 2].map(|step| folder.piece(step, 7, 0));
        for path in &paths {
            folder.write(path, &[1, 2, 3], &|| true).unwrap();
        }
        assert!(folder.write(&folder.piece(3, 7, 0), &[1], &|| false).is_err());
        assert_eq!(folder.files().unwrap(), paths);
        folder.sweep(&paths[1..]).unwrap();
        assert_eq!(folder.pieces().unwrap(), paths[1..]);
        folder.sweep(&[]).unwrap();
        assert!(!folder.of_run.exists() && folder.directory.exists());
    }

    #[test]
    fn another_run_has_another_folder_and_nobody_else_may_look_inside() {
        let room = tempfile::tempdir().unwrap();
        let [one, other] = ["/a/x.run", "/b/x.run"].map(|run| Folder::new(room.path(), Path::new(run), "n"));
        assert_ne!(one, other);
        one.write(&one.piece(1, 1, 1), &[], &|| true).unwrap();
        assert_eq!(fs::metadata(&one.of_run).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_directory_that_cannot_be_is_an_error_with_the_key_to_change() {
        let folder = Folder::new(Path::new("/proc/none"), Path::new("/a"), "n");
        let error = folder.write(&folder.piece(1, 1, 1), &[], &|| true).unwrap_err();
        assert!(error.to_string().contains("checkpoint.local.directory"), "{error}");
    }
}
