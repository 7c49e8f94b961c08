//! How a small file is replaced so that a reader sees the old text or the new, never a part.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::sys::files::sync_directory_of;

/// Whether the new text must survive a power loss that comes right after.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// It is for watchers: the next one is about to come.
    Passing,
    /// It must stay: file and directory are synced.
    Lasting,
}

/// Replaces the file at `path` by `text`: temporary file beside it, rename.
pub(super) fn replace(path: &Path, text: &str, durability: Durability) -> io::Result<()> {
    let temporary = with_suffix(path, &format!(".{}.tmp", std::process::id()));
    let written = write(&temporary, text, durability).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // Nobody reads a leftover; the error that matters is the one above.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    if durability == Durability::Lasting {
        sync_directory_of(path)?;
    }
    Ok(())
}

/// The path with something added to its last name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn write(path: &Path, text: &str, durability: Durability) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    if durability == Durability::Lasting {
        file.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_leaves_no_temporary_behind() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("status.json");
        for text in ["one", "two"] {
            replace(&path, text, Durability::Lasting).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::read_dir(room.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_vanished_directory_is_an_error() {
        assert!(replace(Path::new("/nonexistent/status.json"), "", Durability::Passing).is_err());
    }
}
