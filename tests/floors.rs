//! The order of the house, read from the sources: who imports whom, who prints, where `unsafe` is allowed.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms by floor, the lowest first; a room imports only from floors beneath its own.
const FLOORS: [&[&str]; 11] = [
    &["error"],
    &["sys"],
    &["grid", "rundir", "batch"],
    &["field", "comm"],
    &["halo", "scheme"],
    &["checkpoint", "config", "solve"],
    &["nearby"],
    &["sim"],
    &["farm"],
    &["supervise"],
    &["cli", "lib", "main"],
];

/// The supervisor must survive its ranks: it knows nothing of them but their processes and their files.
const UNKNOWN_TO_SUPERVISE: [&str; 4] = ["sim", "halo", "comm", "field"];

/// The longest file, in lines of code: documentation, blank lines and tests aside.
const LONGEST: usize = 400;

/// A source file without its comments and its unit tests.
struct Source {
    path: PathBuf,
    room: String,
    /// Numbered from 1.
    code: Vec<(usize, String)>,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is_for_tests(&path) {
                sources.push(Source::read(&root, path));
            }
        }
    }
    assert!(sources.len() > 50, "the sources lie in {}", root.display());
    sources
}

/// Whether the room declares this file for its tests alone.
fn is_for_tests(path: &Path) -> bool {
    let name = path.file_stem().unwrap().to_str().unwrap();
    let room = fs::read_to_string(path.with_file_name("mod.rs")).unwrap_or_default();
    room.contains(&format!("#[cfg(test)]\nmod {name};"))
}

impl Source {
    fn read(root: &Path, path: PathBuf) -> Source {
        let text = fs::read_to_string(&path).unwrap();
        let tests = text.match_indices("#[cfg(test)]\n").map(|(at, _)| at);
        let end = tests.into_iter().find(|at| text[*at..].lines().nth(1).unwrap().contains("mod tests {"));
        let code = text[..end.unwrap_or(text.len())].lines().map(|line| line.split("//").next().unwrap().trim_end());
        let code = (1..).zip(code).filter(|(_, line)| !line.is_empty()).map(|(n, line)| (n, line.to_owned())).collect();
        let inside = path.strip_prefix(root).unwrap();
        let room = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        Source { path: inside.to_owned(), room, code }
    }

    /// The rooms that a line names by `crate::room`.
    fn rooms(line: &str) -> impl Iterator<Item = &str> {
        line.split("crate::").skip(1).map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap())
    }
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&room))
}

/// Fails with all places at once.
fn none(rule: &str, places: Vec<String>) {
    assert!(places.is_empty(), "{rule}:\n  {}", places.join("\n  "));
}

/// The places where a line of code breaks a rule.
fn places(is_bad: impl Fn(&Source, &str) -> bool) -> Vec<String> {
    let mut places = Vec::new();
    for source in sources() {
        for (number, line) in source.code.iter().filter(|(_, line)| is_bad(&source, line)) {
            places.push(format!("src/{}:{number}: {}", source.path.display(), line.trim()));
        }
    }
    places
}

#[test]
fn every_room_has_a_floor() {
    none("rooms without a floor", places(|source, _| floor(&source.room).is_none()));
}

#[test]
fn a_room_imports_only_from_floors_beneath_its_own() {
    let is_bad = |source: &Source, line: &str| {
        Source::rooms(line).any(|room| match floor(room) {
            Some(other) => room != source.room && other >= floor(&source.room).unwrap_or(0),
            // A list would hide its rooms from this test; a macro or a type at the root is no room.
            None => room.is_empty(),
        })
    };
    none("imports from the same floor or above, or as a list", places(is_bad));
}

#[test]
fn the_supervisor_knows_neither_mpi_nor_physics() {
    let knows = |source: &Source, line: &str| {
        source.room == "supervise"
            && (Source::rooms(line).any(|room| UNKNOWN_TO_SUPERVISE.contains(&room)) || line.contains("sys::mpi"))
    };
    none("imports of what it must not know", places(knows));
}

#[test]
fn only_the_command_line_prints() {
    let words = ["print!(", "println!(", "eprint!(", "eprintln!(", "dbg!(", "io::stdout", "io::stderr"];
    let prints = |source: &Source, line: &str| {
        // The last words of a rank that panics cannot wait for a room above.
        !["cli", "main"].contains(&source.room.as_str())
            && !source.path.ends_with("comm/panic.rs")
            && words.iter().any(|word| line.contains(word))
    };
    none("prints outside cli", places(prints));
}

#[test]
fn unsafe_code_is_in_sys_and_in_the_load_of_a_stencil() {
    let is_unsafe = |source: &Source, line: &str| {
        source.room != "sys" && !source.path.ends_with("field/stencil.rs") && {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            words.any(|word| word == "unsafe")
        }
    };
    none("unsafe code", places(is_unsafe));
}

#[test]
fn nothing_is_unwrapped_without_a_reason() {
    none("unwrap", places(|_, line| line.contains(".unwrap()")));
}

#[test]
fn no_file_is_longer_than_it_should_be() {
    let long = sources().into_iter().filter(|source| source.code.len() > LONGEST);
    none("long files", long.map(|source| format!("{}: {}", source.path.display(), source.code.len())).collect());
}
