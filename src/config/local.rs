//! `[checkpoint.local]`: checkpoints on the nodes themselves.

use std::path::PathBuf;
use std::time::Duration;

use toml::{Table as Toml, Value as TomlValue};

use super::keys::{Table, Value};
use super::schedule::Schedule;
use crate::error::Result;

/// The keys of `[checkpoint.local]`.
pub(super) const LOCAL_KEYS: [&str; 3] = ["directory", "every", "keep"];

/// Checkpoints on the nodes themselves, each with a copy on another node.
#[derive(Debug, Clone, PartialEq)]
pub struct Local {
    /// The directory that they go to, on every node: in memory, or on a disk of its own.
    pub directory: PathBuf,
    /// When one is due. Wall time is stretched so that they cost at most a hundredth of it.
    pub every: Schedule,
    /// How many are kept, beside the one that is being taken.
    pub keep: usize,
}

/// Reads the table; `schedule` reads what the program allows of schedules.
pub(super) fn check_local(local: &Table<'_>, schedule: impl Fn(&Value<'_>) -> Result<Schedule>) -> Result<Local> {
    let directory = local.get("directory").map(|value| Ok((value.text()?, value))).transpose()?;
    if let Some((text, value)) = &directory
        && !text.starts_with('/')
    {
        return Err(value.wrong("is relative; it must be an absolute path, since the nodes share no current directory"));
    }
    let every = local.get("every").map(|value| match schedule(&value)? {
        Schedule::Time { exact: true, .. } => {
            Err(value.wrong("is exact, but node-local checkpoints must not change the result").hint("leave exact out"))
        }
        every => Ok(every),
    });
    Ok(Local {
        directory: directory.map_or("/dev/shm/steadfast", |(text, _)| text).into(),
        every: every.transpose()?.unwrap_or(Schedule::Wall(Duration::from_secs(5))),
        keep: local.get("keep").map_or(Ok(2), |value| value.whole(1))? as usize,
    })
}

/// The table as the case file writes it.
pub(super) fn write_local(local: &Local) -> Toml {
    Toml::from_iter([
        ("directory".into(), local.directory.to_string_lossy().into_owned().into()),
        ("every".into(), local.every.written()),
        ("keep".into(), TomlValue::Integer(local.keep as i64)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;
    use crate::config::keys::Document;

    fn read(text: &str) -> Result<Local, String> {
        let source = Source::from_text("c.toml", text).unwrap();
        let document = Document::parse(&source).unwrap();
        let root = document.root(&["local"]).unwrap();
        let local = root.table("local", &LOCAL_KEYS).map_err(|error| error.to_string())?;
        check_local(&local, Schedule::read).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_table_asks_for_the_defaults_and_what_is_read_is_written_back() {
        let local = read("[local]").unwrap();
        let every = Schedule::Wall(Duration::from_secs(5));
        assert_eq!(local, Local { directory: "/dev/shm/steadfast".into(), every, keep: 2 });
        let text = "[local]\ndirectory = '/tmp/x'\nevery = { steps = 7 }\nkeep = 1";
        let local = read(text).unwrap();
        assert_eq!((local.every, local.keep), (Schedule::Steps(7), 1));
        let written = Toml::from_iter([("local".to_owned(), TomlValue::from(write_local(&local)))]);
        assert_eq!(read(&toml::to_string(&written).unwrap()), Ok(local));
    }

    #[test]
    fn what_cannot_be_is_explained() {
        for (text, expected) in [
            ("directory = 'tmp'", "local.directory = 'tmp' is relative; it must be an absolute path"),
            ("keep = 0", "local.keep = 0 must be at least 1"),
            ("every = { time = 1, exact = true }", "must not change the result"),
            ("evry = 'never'", "did you mean every?"),
        ] {
            let error = read(&format!("[local]\n{text}")).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
