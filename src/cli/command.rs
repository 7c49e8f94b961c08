//! What the command of a run says to those who start it: its program, its case, its run directory.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::config::{Recovery, Source};
use crate::error::{Error, Result};
use crate::rundir::{RunDirectory, case_in};
use crate::supervise::launcher;

/// The program's executable file.
///
/// # Errors
///
/// A bad command, if there is none.
pub(super) fn program(command: &[OsString]) -> Result<PathBuf> {
    launcher::find(&command[0]).ok_or_else(|| {
        Error::case(format!("the program \"{}\" is no executable file and not on PATH", command[0].display()))
            .hint("name it with its path, as in ./target/release/heat")
    })
}

/// What the case that the command names says about recovery; the defaults, if it names none.
///
/// # Errors
///
/// A bad case, if the case or a setting of the command cannot be understood.
pub(super) fn recovery(command: &[OsString]) -> Result<Recovery> {
    let source = match case_in(command).filter(|case| case.is_file()) {
        Some(case) => Source::read(case)?,
        None => Source::from_text("no case", "recovery = {}")?,
    };
    let settings: Vec<&str> = settings(command).filter(|setting| setting.starts_with("recovery.")).collect();
    source.set(&settings)?.recovery()
}

/// The keys that the command sets, as `key=value`.
pub(super) fn settings(command: &[OsString]) -> impl Iterator<Item = &str> {
    let mut arguments = command.iter().filter_map(|argument| argument.to_str());
    std::iter::from_fn(move || {
        loop {
            let argument = arguments.next()?;
            let value = if argument == "--set" { arguments.next() } else { argument.strip_prefix("--set=") };
            if value.is_some() {
                return value;
            }
        }
    })
}

/// The run directory, on which those who start the program and the program itself must agree; an absolute path, since the
/// ranks may start elsewhere.
///
/// # Errors
///
/// A bad command, if it is not known or named twice; an I/O error, if there is no current directory.
pub(super) fn directory(asked: Option<&Path>, command: &[OsString]) -> Result<RunDirectory> {
    let run = match (asked, RunDirectory::asked_in(command)) {
        (None, _) => RunDirectory::of_command(command)?,
        (Some(asked), Some(own)) if own.root() != asked => {
            return Err(Error::case(format!(
                "the run directory is to be {} for the supervisor and {} for the program",
                asked.display(),
                own.root().display()
            ))
            .hint("name it once"));
        }
        (Some(asked), _) => RunDirectory::new(asked),
    };
    absolute(run.root()).map(RunDirectory::new)
}

/// The whole path of a file or directory, which need not exist.
///
/// # Errors
///
/// An I/O error, if there is no current directory.
pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|cause| Error::io("find the whole path", path, &cause))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_run_has_one_directory() {
        let command: Vec<OsString> = ["heat", "run", "a.toml", "--dir", "x"].map(OsString::from).into();
        assert!(directory(Some(Path::new("x")), &command).is_ok());
        assert_eq!(directory(Some(Path::new("y")), &command).unwrap_err().exit_code(), 2);
        assert_eq!(directory(None, &command).unwrap().root(), std::env::current_dir().unwrap().join("x"));
    }

    #[test]
    fn what_a_command_sets_is_found_in_both_forms() {
        let command: Vec<OsString> = ["heat", "--set", "a=1", "b.toml", "--set=c=2"].map(OsString::from).into();
        assert_eq!(settings(&command).collect::<Vec<_>>(), ["a=1", "c=2"]);
    }

    #[test]
    fn the_case_says_how_patient_the_supervisor_is() {
        let room = tempfile::tempdir().unwrap();
        let case = room.path().join("a.toml");
        std::fs::write(&case, "[recovery]\nhang_after = '3 s'\nfailures_without_progress = 7\n").unwrap();
        let command = |last: &str| ["heat", "run", &case.to_string_lossy(), last].map(OsString::from);
        let read = recovery(&command("--set=recovery.hang_after=5 s")).unwrap();
        assert_eq!((read.hang_after.at_least, read.failures_without_progress), (Duration::from_secs(5), 7));
        assert_eq!(recovery(&command("--set=recovery.hang_after=soon")).unwrap_err().exit_code(), 2);
        assert_eq!(recovery(&["heat".into()]).unwrap().failures_without_progress, 3);
    }
}
