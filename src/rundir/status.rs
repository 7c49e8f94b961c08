//! What the run does now, for people and programs that look at it.

use std::fmt;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::directory::RunDirectory;
use super::replace::{Durability, replace};
use crate::error::{Error, Kind, Result};

/// Whether the run moves, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The ranks compute.
    Running,
    /// The end was reached.
    Finished,
    /// It was asked to stop, and can go on.
    Stopped,
    /// It ended with an error.
    Failed,
}

impl State {
    /// The word for people and for JSON.
    pub fn name(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Finished => "finished",
            State::Stopped => "stopped",
            State::Failed => "failed",
        }
    }
}

/// The newest checkpoint that the run has committed or started from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCheckpoint {
    /// The step after which it was taken.
    pub step: u64,
    /// When it was committed.
    pub at: Timestamp,
}

/// What saving came to in an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Checkpointing {
    /// The time between two checkpoints, if it follows from measurement, in seconds.
    pub interval: Option<f64>,
    /// Checkpoints that were committed.
    pub committed: u32,
    /// How long the sweeps stood for them, in seconds.
    pub stall: f64,
    /// The same as a part of the time of the attempt.
    pub share: f64,
}

impl fmt::Display for Checkpointing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(interval) = self.interval {
            write!(f, "every {interval:.1} s by measurement, ")?;
        }
        let plural = if self.committed == 1 { "" } else { "s" };
        write!(f, "{} committed checkpoint{plural} cost {:.2} % of the time", self.committed, 100.0 * self.share)
    }
}

/// When the next checkpoint is due.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NextCheckpoint {
    /// After this step.
    Step(u64),
    /// When the simulated time reaches this.
    Time(f64),
    /// At this wall time.
    At(Timestamp),
}

/// What rank 0 writes about once a second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The run's own name.
    pub run_id: String,
    /// The program's name.
    pub program: String,
    /// Whether the run moves.
    pub state: State,
    /// The step.
    pub step: u64,
    /// The simulated time.
    pub time: f64,
    /// The simulated time at which the run ends, if it is known.
    pub end_time: Option<f64>,
    /// The last step's length in simulated time.
    pub dt: f64,
    /// Cells of the grid.
    pub cells: u64,
    /// Ranks that compute.
    pub ranks: usize,
    /// Threads of each rank.
    pub threads: usize,
    /// Cell updates per second, over the last seconds.
    pub rate: f64,
    /// Seconds until the end at this rate, if they can be told.
    pub eta: Option<f64>,
    /// The newest checkpoint.
    pub last_checkpoint: Option<LastCheckpoint>,
    /// When the next checkpoint is due; none if none is before the end.
    #[serde(default)]
    pub next_checkpoint: Option<NextCheckpoint>,
    /// What saving has come to in this attempt; none before the first checkpoint.
    pub checkpointing: Option<Checkpointing>,
    /// The newest node-local checkpoint of this attempt.
    #[serde(default)]
    pub last_local: Option<LastCheckpoint>,
    /// The attempt.
    pub attempt: u32,
    /// When this was written.
    pub updated: Timestamp,
}

impl Status {
    /// Reads the status of `run`; none before the first was written.
    ///
    /// # Errors
    ///
    /// An I/O error, if the file is there and cannot be read; a run error, if it is no status.
    pub fn read(run: &RunDirectory) -> Result<Option<Status>> {
        let path = run.status();
        let text = match std::fs::read_to_string(&path) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|cause| Error::io("read the status", &path, &cause))?,
        };
        serde_json::from_str(&text).map(Some).map_err(|cause| {
            Error::new(Kind::Run, format!("the status file is no status: {cause}"))
                .at_path(&path)
                .hint("remove it: the run writes a new one within seconds")
        })
    }
}

/// Where rank 0 posts its status.
#[derive(Debug)]
pub struct StatusBoard {
    run: RunDirectory,
    failing: AtomicBool,
}

impl StatusBoard {
    /// The board of `run`.
    pub fn new(run: &RunDirectory) -> Self {
        StatusBoard { run: run.clone(), failing: AtomicBool::new(false) }
    }

    /// Replaces the status.
    ///
    /// A status that cannot be written warns once, and again after it could be in between: the run goes on.
    pub fn post(&self, status: &Status) {
        let text = serde_json::to_string_pretty(status).expect("a status holds nothing that JSON cannot");
        let path = self.run.status();
        let posted = replace(&path, &(text + "\n"), Durability::Passing);
        let failed_before = self.failing.swap(posted.is_err(), Ordering::Relaxed);
        if let Err(cause) = posted
            && !failed_before
        {
            log::warn!("cannot write the status {}: {cause}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status {
            run_id: "r".into(),
            program: "heat".into(),
            state: State::Running,
            step: 12,
            time: 0.1,
            end_time: Some(1.0),
            dt: 1e-300,
            cells: 1 << 40,
            ranks: 4,
            threads: 2,
            rate: 1e9,
            eta: None,
            last_checkpoint: Some(LastCheckpoint { step: 10, at: Timestamp::UNIX_EPOCH }),
            next_checkpoint: Some(NextCheckpoint::Step(20)),
            checkpointing: Some(Checkpointing { interval: Some(60.0), committed: 3, stall: 0.25, share: 0.01 }),
            last_local: Some(LastCheckpoint { step: 11, at: Timestamp::UNIX_EPOCH }),
            attempt: 1,
            updated: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn what_saving_came_to_is_told_in_a_sentence() {
        let told = |interval| Checkpointing { interval, committed: 3, stall: 0.25, share: 0.0123 }.to_string();
        assert_eq!(told(Some(58.8)), "every 58.8 s by measurement, 3 committed checkpoints cost 1.23 % of the time");
        assert_eq!(told(None), "3 committed checkpoints cost 1.23 % of the time");
    }

    #[test]
    fn what_is_posted_is_what_is_read() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        assert_eq!(Status::read(&run).unwrap(), None);
        StatusBoard::new(&run).post(&status());
        assert_eq!(Status::read(&run).unwrap(), Some(status()));
    }

    #[test]
    fn a_status_of_a_version_that_did_not_know_what_comes_next_is_read() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        let mut old = serde_json::to_value(status()).unwrap();
        old.as_object_mut().unwrap().remove("next_checkpoint").unwrap();
        std::fs::write(run.status(), old.to_string()).unwrap();
        assert_eq!(Status::read(&run).unwrap(), Some(Status { next_checkpoint: None, ..status() }));
    }

    #[test]
    fn a_board_that_is_gone_ends_nothing() {
        let board = StatusBoard::new(&RunDirectory::new("/nonexistent"));
        board.post(&status());
        board.post(&status());
    }

    #[test]
    fn a_damaged_status_is_an_error_that_says_what_to_do() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        std::fs::write(run.status(), "{").unwrap();
        assert!(Status::read(&run).unwrap_err().to_string().contains("hint: remove it"));
    }

    #[test]
    fn a_state_has_one_name() {
        for state in [State::Running, State::Finished, State::Stopped, State::Failed] {
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{}\"", state.name()));
        }
    }
}
