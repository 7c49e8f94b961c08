//! Where a case comes from: the text of its file, with the settings of the command line put into it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml_edit::{DocumentMut, InlineTable, Item, Key, Value};

use super::keys::Document;
use crate::error::{Error, Result};

/// The largest case file that is read, in bytes: a case is written by hand, so a larger file is another one.
const LARGEST: u64 = 1 << 20;

/// The text of a case, and where each part of it was written: what [`check`](super::check) needs, and errors name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    pub(super) path: PathBuf,
    /// The text of the file: the lines that errors name are lines of this.
    pub(super) written: String,
    /// The text with the settings put in.
    pub(super) text: String,
    pub(super) settings: Vec<Setting>,
}

/// One `--set key=value`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Setting {
    pub key: Vec<String>,
    pub argument: String,
}

impl Source {
    /// Reads a case file; what it says is looked at only by [`check`](super::check).
    ///
    /// # Errors
    /// If there is no such file, or it cannot be read, is empty, not UTF-8 or larger than 1 MiB.
    pub fn read(path: impl AsRef<Path>) -> Result<Source> {
        let path = path.as_ref();
        let name = path.display();
        let refused = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::case(format!("there is no case file {name}"))
                .hint("give the path of a .toml file, relative to the directory that this command runs in"),
            _ => Error::case(format!("the case file {name} cannot be read: {error}")),
        };
        let file = File::open(path).map_err(refused)?;
        if file.metadata().map_err(refused)?.is_dir() {
            return Err(Error::case(format!("{name} is a directory; a case is one .toml file"))
                .hint("name the case file in that directory; its run directory is set by --dir"));
        }
        let mut bytes = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(refused)?;
        if bytes.len() as u64 > LARGEST {
            return Err(Error::case(format!("the case file {name} is larger than {LARGEST} bytes; a case is less"))
                .hint("is it another file, as a data set or a checkpoint?"));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..valid].iter().filter(|&&byte| byte == b'\n').count() + 1;
            Error::case(format!("{name}:{line}: byte {valid} of the case file is not UTF-8; a case is UTF-8 text"))
                .hint("is it another file, as a data set or a checkpoint?")
        })?;
        Self::from_text(path, text)
    }

    /// Takes a text as a case; `name` stands for the file in messages, and its stem is the name of the case.
    ///
    /// # Errors
    /// If the text is empty.
    pub fn from_text(name: impl Into<PathBuf>, text: impl Into<String>) -> Result<Source> {
        let (path, text) = (name.into(), text.into());
        if text.trim().is_empty() {
            return Err(Error::case(format!("{}:1: the case file is empty", path.display()))
                .hint("the least case has [grid] with cells, and [time] with end and cfl"));
        }
        Ok(Source { path, written: text.clone(), text, settings: Vec::new() })
    }

    /// Puts settings of the form `key=value` into the case, as `--set` does; see [`config`](super) for what they may be.
    ///
    /// # Errors
    /// If an argument has no `=`, its key or value is not TOML, or the key leads through something that is no table. Whether
    /// the key exists and the value fits is said by [`check`](super::check), which names the argument then.
    pub fn set(&self, arguments: &[impl AsRef<str>]) -> Result<Source> {
        if arguments.is_empty() {
            return Ok(self.clone());
        }
        Document::parse(self)?;
        let mut changed = self.clone();
        let mut document: DocumentMut = self.text.parse().map_err(|error: toml_edit::TomlError| {
            Error::case(format!("{}: {}", self.path.display(), error.message().trim()))
        })?;
        for argument in arguments.iter().map(AsRef::as_ref) {
            let refused = |why: String| {
                Error::case(format!("--set {argument}: {why}"))
                    .hint("as in --set time.end=2.0, or --set 'checkpoint.every={ steps = 10 }'")
            };
            let (key, value) =
                argument.split_once('=').ok_or_else(|| refused("there is no =; it must be key=value".into()))?;
            let keys = Key::parse(key)
                .map_err(|error| refused(format!("the key {key:?} is not TOML: {}", error.message().trim())))?;
            let keys: Vec<String> = keys.iter().map(|key| key.get().to_owned()).collect();
            put(document.as_item_mut(), &keys, read_value(value).map_err(&refused)?).map_err(&refused)?;
            changed.settings.retain(|earlier| !earlier.key.starts_with(&keys));
            changed.settings.push(Setting { key: keys, argument: argument.to_owned() });
        }
        changed.text = document.to_string();
        Ok(changed)
    }

    /// The text of the case with all settings in it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The path of the case file, as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the case: the file's name without its extension.
    pub fn name(&self) -> String {
        self.path.file_stem().map_or_else(|| "case".into(), |stem| stem.to_string_lossy().into_owned())
    }

    /// A path of the case file, which is relative to the directory that the case file lies in, as a path of this process.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }
}

/// The value of a setting: `None` for an empty text, which removes the key. A text that is no TOML and could not have been
/// meant as such is taken as a string, since quotes are hard to get through a shell.
fn read_value(text: &str) -> Result<Option<Value>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<Value>() {
        Ok(value) => Ok(Some(value)),
        Err(error) if text.starts_with(['[', '{', '"', '\'']) || text.contains(['\n', '\r']) => {
            Err(format!("the value is not TOML: {}", error.message().trim()))
        }
        Err(_) => Ok(Some(Value::from(text))),
    }
}

/// Puts a value where the keys lead from `item`, making the tables on the way; `None` removes what is there.
fn put(item: &mut Item, keys: &[String], value: Option<Value>) -> Result<(), String> {
    let (key, rest) = keys.split_first().ok_or("the key is empty")?;
    if item.is_array_of_tables() || item.is_array() {
        let place = key.parse::<usize>().ok();
        let element = place.and_then(|place| item.get_mut(place)).ok_or_else(|| {
            format!("{key} names no entry of a list; its entries are numbered from 0, as written in the case file")
        })?;
        return match (rest.is_empty(), value) {
            (false, value) => put(element, rest, value),
            (true, Some(value)) if element.is_value() => {
                *element = Item::Value(value);
                Ok(())
            }
            (true, _) => Err(format!("entry {key} can only be changed key by key, as in {key}.every=…")),
        };
    }
    let inline = item.is_inline_table();
    let table = item.as_table_like_mut().ok_or_else(|| format!("{key} would lie within a value that is no table"))?;
    if !rest.is_empty() {
        if !table.contains_key(key) {
            let empty = if inline { Item::Value(InlineTable::new().into()) } else { toml_edit::table() };
            table.insert(key, empty);
        }
        let inner = table.get_mut(key).expect("the key was there or has just been put there");
        return put(inner, rest, value);
    }
    match value {
        Some(value) => {
            table.insert(key, Item::Value(value));
        }
        None => {
            table.remove(key).ok_or_else(|| format!("there is no {key} to remove; an empty value removes a key"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: &str = "title = \"t\" # why\n[time]\nend = 1.0\n[[output]]\nwhat = \"fields\"\nevery = { steps = 1 }\n";

    fn set(arguments: &[&str]) -> Result<String> {
        Ok(Source::from_text("a/case.toml", CASE)?.set(arguments)?.text().to_owned())
    }

    #[test]
    fn a_setting_changes_one_key_and_keeps_the_rest_of_the_text() {
        let text = set(&["time.end=2.5"]).unwrap();
        assert_eq!(text, CASE.replace("1.0", "2.5"));
        assert!(set(&["output.0.every.steps=7"]).unwrap().contains("steps = 7"));
        assert!(set(&["run.threads=2"]).unwrap().contains("[run]\nthreads = 2"));
        assert!(set(&["output.0.every.deep.er=7"]).unwrap().parse::<toml::Table>().is_ok());
    }

    #[test]
    fn words_need_no_quotes_and_an_empty_value_removes_the_key() {
        assert!(set(&["time.integrator=rk4"]).unwrap().contains("integrator = \"rk4\""));
        assert!(set(&["checkpoint.every.wall=10 min"]).unwrap().contains("wall = \"10 min\""));
        assert!(!set(&["time.end="]).unwrap().contains("end"));
    }

    #[test]
    fn a_setting_that_leads_nowhere_is_refused_by_its_name() {
        for argument in
            ["time", "time.end.x=1", "output.3.what=fields", "=1", "time.begin=", "a=[1", "output.0=1", "a..b=1"]
        {
            let error = set(&[argument]).unwrap_err();
            assert!(error.message().starts_with(&format!("--set {argument}: ")), "{argument}: {error}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn files_that_are_no_case_are_named_and_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(dir.path().join(name), bytes).unwrap();
            dir.path().join(name)
        };
        let message = |path: PathBuf| Source::read(path).unwrap_err().message().to_owned();
        assert!(message(dir.path().join("none.toml")).contains("there is no case file"));
        assert!(message(dir.path().to_owned()).contains("is a directory"));
        assert!(message(write("empty.toml", b" \n\n")).contains("is empty"));
        assert!(message(write("data.h5", b"a = 1\n\x89HDF")).contains("data.h5:2: byte 6"));
        assert!(message(write("huge.toml", &vec![b'#'; (1 << 20) + 1])).contains("larger than"));
        assert!(Source::read(write("good.toml", CASE.as_bytes())).is_ok());
    }

    #[test]
    fn paths_of_a_case_start_at_its_directory() {
        let source = Source::from_text("runs/heat.toml", "a = 1").unwrap();
        assert_eq!(source.resolve(Path::new("data/t.h5")), Path::new("runs/data/t.h5"));
        assert_eq!(source.resolve(Path::new("/data/t.h5")), Path::new("/data/t.h5"));
        assert_eq!(source.name(), "heat");
    }
}
