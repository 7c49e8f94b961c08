//! What can go wrong, with what context, and what to do next.
//!
//! There is one error type. It says what happened, where (rank, step, path), the value seen and the rule broken; a hint
//! says what to do next. It can be serialised, so that a vote can carry the error of one rank to all the others
//! ([`crate::comm`]).

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The class of an error; it decides the exit code and whether a relaunch can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The case file or the command line asks for what cannot be; another try cannot help.
    Case,
    /// The state of the simulation is not finite or not admissible.
    State,
    /// A message or the memory of a block is not what it was: a bit has flipped, and another try may well succeed.
    Corruption,
    /// A checkpoint or another file is damaged or belongs to another run.
    Checkpoint,
    /// The operating system or a file system refused something.
    Io,
    /// HDF5 refused something.
    Hdf5,
    /// MPI refused something, or ranks disagree.
    Mpi,
    /// The run directory is in use, or the run around this process is not as it should be.
    Run,
    /// A promise of this crate itself is broken.
    Internal,
}

/// An error: what happened, where, and what to do next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Error {
    kind: Kind,
    message: String,
    rank: Option<usize>,
    step: Option<u64>,
    path: Option<PathBuf>,
    hint: Option<String>,
}

impl Error {
    /// An error of the given kind; `message` names the thing, its value and the rule.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), rank: None, step: None, path: None, hint: None }
    }

    /// An impossible wish in the case file or on the command line.
    pub fn case(message: impl Into<String>) -> Self {
        Self::new(Kind::Case, message)
    }

    /// A refusal of the operating system: `doing` says what was tried, as in "write the journal".
    pub fn io(doing: &str, path: impl AsRef<Path>, cause: &std::io::Error) -> Self {
        Self::new(Kind::Io, format!("cannot {doing}: {cause}")).at_path(path)
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the rank on which it happened, unless one is known already.
    #[must_use]
    pub fn on_rank(mut self, rank: usize) -> Self {
        self.rank.get_or_insert(rank);
        self
    }

    /// Adds the step in which it happened, unless one is known already.
    #[must_use]
    pub fn in_step(mut self, step: u64) -> Self {
        self.step.get_or_insert(step);
        self
    }

    /// Adds the file or directory that it is about.
    #[must_use]
    pub fn at_path(mut self, path: impl AsRef<Path>) -> Self {
        self.path.get_or_insert_with(|| path.as_ref().to_owned());
        self
    }

    /// The class of the error.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The rank that it happened on, if that is known.
    pub fn rank(&self) -> Option<usize> {
        self.rank
    }

    /// The step that it happened in, if that is known.
    pub fn step(&self) -> Option<u64> {
        self.step
    }

    /// What happened, without place and hint.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The exit code that a program ends with: 2 for a bad command or case, 1 for everything else.
    pub fn exit_code(&self) -> u8 {
        if self.kind == Kind::Case { 2 } else { 1 }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let places = [
            self.path.as_ref().map(|path| format!("file {}", path.display())),
            self.rank.map(|rank| format!("rank {rank}")),
            self.step.map(|step| format!("step {step}")),
        ];
        let places: Vec<_> = places.into_iter().flatten().collect();
        if !places.is_empty() {
            write!(f, " ({})", places.join(", "))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_where_and_what_next() {
        let error = Error::new(Kind::Checkpoint, "block 7 of field u is damaged")
            .at_path("run/step-1.h5")
            .on_rank(3)
            .hint("use the one before");
        assert_eq!(
            error.to_string(),
            "block 7 of field u is damaged (file run/step-1.h5, rank 3)\n\nhint: use the one before"
        );
    }

    #[test]
    fn the_first_place_known_is_kept() {
        assert!(Error::case("x").on_rank(1).on_rank(2).to_string().contains("rank 1"));
    }

    #[test]
    fn only_bad_cases_end_with_code_two() {
        assert_eq!(Error::case("x").exit_code(), 2);
        assert_eq!(Error::new(Kind::Io, "x").exit_code(), 1);
    }
}
