//! What a case will take on a number of ranks, as its own program tells it (`PROGRAM plan CASE --json`).

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde::Deserialize;

use super::command;
use crate::error::{Error, Kind, Result};
use crate::rundir::case_in;

/// What a plan tells of a case.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Forecast {
    /// The blocks of the grid: more ranks than these have nothing to do.
    pub blocks: usize,
    /// The threads of each rank.
    pub threads: usize,
    /// The least and the most memory of a rank, in bytes.
    memory_bytes_a_rank: [u64; 2],
    /// The least and the most that a rank stages for a checkpoint, in bytes.
    staging_bytes_a_rank: [u64; 2],
    /// The size of a checkpoint.
    pub checkpoint_bytes: u64,
}

impl Forecast {
    /// What the command's case takes on so many ranks; none, if the program is no model program and tells nothing.
    ///
    /// # Errors
    ///
    /// A bad case, in the program's own words, if it refuses its case; a run error, if it cannot be run.
    pub fn of(program: &Path, command: &[OsString], ranks: usize) -> Result<Option<Forecast>> {
        let Some(case) = case_in(command).filter(|_| command.get(1).is_some_and(|word| word == "run")) else {
            return Ok(None);
        };
        // Whoever has no plan may run whatever it is called with: it is asked for help first.
        let help = said(program, &["plan".into(), "--help".into()])?;
        if !help.status.success() || !String::from_utf8_lossy(&help.stdout).contains("--json") {
            return Ok(None);
        }
        let mut arguments = vec!["plan".into(), case.into(), "-n".into(), ranks.to_string().into(), "--json".into()];
        arguments.extend(command::settings(command).flat_map(|setting| ["--set".into(), setting.into()]));
        let answer = said(program, &arguments)?;
        if !answer.status.success() {
            return Err(refusal(program, &answer));
        }
        serde_json::from_slice(&answer.stdout).map(Some).map_err(|cause| {
            Error::new(Kind::Run, format!("{} plan gives what is no plan: {cause}", program.display()))
                .hint("is the program built with another version of Steadfast than this tool?")
        })
    }

    /// The most memory that a rank takes for its blocks and for the checkpoint that it writes, in bytes.
    pub fn memory_a_rank(&self) -> u64 {
        self.memory_bytes_a_rank[1] + self.staging_bytes_a_rank[1]
    }
}

fn said(program: &Path, arguments: &[OsString]) -> Result<Output> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    output.map_err(|cause| Error::io("run the program", program, &cause))
}

/// What the program has to say against its case, as our own error.
fn refusal(program: &Path, answer: &Output) -> Error {
    let text = String::from_utf8_lossy(&answer.stderr);
    let text = text.trim();
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let (message, hint) = match text.split_once("\n\nhint: ") {
        Some((message, hint)) => (message, Some(hint)),
        None => (text, None),
    };
    let error = match (answer.status.code(), message) {
        (Some(2), message) if !message.is_empty() => Error::case(message),
        (_, "") => Error::new(Kind::Run, format!("{} plan ended with {}", program.display(), answer.status)),
        _ => Error::new(Kind::Run, message),
    };
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::path::PathBuf;

    use super::*;

    /// A program that is this shell script.
    fn program(script: &str) -> (tempfile::TempDir, PathBuf) {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("heat");
        // Written by another process: a file that this one has open for writing in any thread cannot be run.
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod +x "$2""#;
        let arguments = [OsStr::new("-c"), write.as_ref(), "write".as_ref(), script.as_ref(), path.as_ref()];
        assert!(Command::new("sh").args(arguments).status().unwrap().success());
        (room, path)
    }

    fn command() -> Vec<OsString> {
        ["heat", "run", "a.toml", "--set", "grid.block=8", "--dir", "x"].map(OsString::from).into()
    }

    #[test]
    fn a_model_program_is_asked_with_the_settings_of_the_command() {
        let (_room, program) = program(
            "case \"$*\" in 'plan --help') echo --json;;
             'plan a.toml -n 6 --json --set grid.block=8') echo '{\"blocks\": 9, \"threads\": 1, \"memory_bytes_a_rank\":
             [5, 7], \"staging_bytes_a_rank\": [1, 2], \"checkpoint_bytes\": 3, \"more\": 4}';; *) exit 1;; esac",
        );
        let forecast = Forecast::of(&program, &command(), 6).unwrap().unwrap();
        assert_eq!((forecast.blocks, forecast.memory_a_rank()), (9, 9));
    }

    #[test]
    fn a_program_that_has_no_plan_is_not_run() {
        let (room, program) = program("echo \"$*\" >> \"$0.calls\"; exit 2");
        assert_eq!(Forecast::of(&program, &command(), 6).unwrap(), None);
        assert_eq!(std::fs::read_to_string(room.path().join("heat.calls")).unwrap(), "plan --help\n");
        assert_eq!(Forecast::of(&program, &["heat".into()], 6).unwrap(), None);
    }

    #[test]
    fn a_bad_case_is_told_in_the_words_of_the_program() {
        let refuse =
            "case $2 in --help) echo --json;; *) printf 'error: no cells\\n\\nhint: have some\\n' >&2; exit 2;; esac";
        let (_room, program) = program(refuse);
        let error = Forecast::of(&program, &command(), 6).unwrap_err();
        assert_eq!((error.exit_code(), error.to_string().as_str()), (2, "no cells\n\nhint: have some"));
    }
}
