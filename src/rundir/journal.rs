//! What happened to a run, in order, for good: an append-only file of one JSON object a line.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize};

use super::directory::RunDirectory;
use super::event::Event;
use super::finished::Finished;
use crate::error::{Error, Result};

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was written, UTC.
    pub time: Timestamp,
    /// The attempt in which it happened; 0 stands for the time before the first.
    pub attempt: u32,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// The line as it is written: the entry, and its sentence for people.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    entry: &'a Entry,
    says: String,
}

/// The journal of one run, opened by one writer; several writers may append at once.
#[derive(Debug, Clone)]
pub struct Journal {
    path: PathBuf,
    attempt: u32,
}

impl Journal {
    /// The journal of `run`, to be written to in the name of `attempt`.
    pub fn new(run: &RunDirectory, attempt: u32) -> Self {
        Journal { path: run.journal(), attempt }
    }

    /// Appends an event, on stable storage when it returns.
    ///
    /// A journal that cannot be written warns and nothing more: a run does not die of its diary.
    pub fn append(&self, event: Event) {
        self.append_at(Timestamp::now(), event);
    }

    /// [`Journal::append`] for what happened at some time before.
    pub fn append_at(&self, time: Timestamp, event: Event) {
        if let Err(cause) = self.try_append(time, event) {
            log::warn!("cannot write the journal {}: {cause}", self.path.display());
        }
    }

    /// Reads the journal of `run`; a line that is torn or damaged is passed over, a missing journal is empty.
    ///
    /// # Errors
    ///
    /// An I/O error, if the file is there and cannot be read.
    pub fn read(run: &RunDirectory) -> Result<Vec<Entry>> {
        let path = run.journal();
        let bytes = match std::fs::read(&path) {
            Err(cause) if matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Vec::new());
            }
            bytes => bytes.map_err(|cause| Error::io("read the journal", &path, &cause))?,
        };
        Ok(bytes.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }

    /// The number of the last attempt that left a trace, here or in the completion record; 0 if none did.
    ///
    /// The completion record counts because the journal may be lost: a new attempt must not have the number of the old
    /// one that it tells of, or else it would be taken for finished.
    ///
    /// # Errors
    ///
    /// An I/O error, if the journal or the record is there and cannot be read; a run error, if the record is damaged.
    pub fn last_attempt(run: &RunDirectory) -> Result<u32> {
        let told = Self::read(run)?.iter().map(|entry| entry.attempt).max();
        let finished = Finished::read(run)?.map(|record| record.attempt);
        Ok(told.max(finished).unwrap_or(0))
    }

    fn try_append(&self, time: Timestamp, event: Event) -> io::Result<()> {
        let time = time.round(Unit::Millisecond).unwrap_or(time);
        let says = event.to_string();
        let entry = Entry { time, attempt: self.attempt, event };
        let mut text = serde_json::to_vec(&Line { entry: &entry, says }).map_err(io::Error::other)?;
        text.push(b'\n');
        let mut file = open(&self.path)?;
        if ends_within_a_line(&file)? {
            // A power loss tore the last line: it must not swallow this one.
            text.insert(0, b'\n');
        }
        // One write(2) with O_APPEND: lines of different writers never mix.
        let written = file.write(&text)?;
        if written < text.len() {
            return Err(io::Error::new(ErrorKind::StorageFull, "only a part of the line was written"));
        }
        file.sync_data()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).open(path)
}

fn ends_within_a_line(file: &File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    Ok(last != [b'\n'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::rundir::record::Phase;

    fn room() -> (tempfile::TempDir, RunDirectory) {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        (room, run)
    }

    fn stopped(step: u64) -> Event {
        Event::Stopped { reason: "a test".into(), step }
    }

    #[test]
    fn every_event_is_read_back_as_it_was_written() {
        let (_room, run) = room();
        let events = [
            Event::Started { run_id: "r".into(), ranks: 4, program: "heat".into(), resumed_from: Some(u64::MAX) },
            Event::CheckpointCommitted {
                step: 1,
                time: 0.1,
                path: "c".into(),
                bytes: 1 << 40,
                seconds: 0.25,
                stall: 0.5,
            },
            Event::CheckpointRejected { path: "c".into(), reason: "block 7".into() },
            Event::CheckpointFailed { step: 3, reason: "full".into() },
            Event::LocalSaved { step: 3, nodes: 2, seconds: 0.5, cost: 0.25 },
            Event::LocalFailed { step: 3, reason: "full".into() },
            Event::LocalRejected { step: 3, reason: "2 of 6 blocks".into() },
            Event::LocalRestored { step: 3, blocks: 6, copies: 2, damaged: 1, seconds: 0.5 },
            stopped(4),
            Event::Finished { step: 9, time: 1.0, hash: "00ff".into() },
            Event::Failed { error: Error::new(Kind::State, "u is not finite").on_rank(2).in_step(7) },
            Event::AttemptLaunched {
                launcher: "mpirun".into(),
                ranks: 1,
                nodes: Vec::new(),
                command: vec!["a\nb".into()],
            },
            Event::AttemptEnded { outcome: "code 1".into(), step: 8 },
            Event::Decision { what: "relaunch".into(), why: "budget".into() },
            Event::RankDied { rank: 1, node: "n".into(), pid: 7, phase: Phase::Sweep, step: 5, signal: Some(9) },
            Event::RankHung { rank: 1, node: "n".into(), pid: 7, phase: Phase::Sweep, step: 5, seconds: 10.0 },
            Event::StopRequested { reason: "SIGTERM".into() },
        ];
        let journal = Journal::new(&run, 3);
        for event in &events {
            journal.append(event.clone());
        }
        let entries = Journal::read(&run).unwrap();
        assert!(entries.iter().all(|entry| entry.attempt == 3));
        assert_eq!(entries.into_iter().map(|entry| entry.event).collect::<Vec<_>>(), events);
        assert_eq!(Journal::last_attempt(&run).unwrap(), 3);
    }

    #[test]
    fn a_torn_last_line_is_passed_over_and_does_not_swallow_the_next() {
        let (_room, run) = room();
        let journal = Journal::new(&run, 1);
        journal.append(stopped(1));
        let whole = std::fs::read(run.journal()).unwrap();
        for length in 0..whole.len() {
            std::fs::write(run.journal(), [&whole[..], &whole[..length]].concat()).unwrap();
            let before = Journal::read(&run).unwrap().len();
            journal.append(stopped(2));
            let entries = Journal::read(&run).unwrap();
            assert_eq!(entries.len(), before + 1, "torn after {length} bytes");
            assert_eq!(entries.last().unwrap().event, stopped(2));
        }
    }

    #[test]
    fn an_event_of_a_later_version_is_kept_as_unknown() {
        let (_room, run) = room();
        std::fs::write(run.journal(), r#"{"time":"2026-01-01T00:00:00Z","attempt":1,"event":"moved","to":"x"}"#)
            .unwrap();
        assert_eq!(Journal::read(&run).unwrap()[0].event, Event::Unknown);
    }

    #[test]
    fn a_line_says_in_words_what_happened() {
        let (_room, run) = room();
        Journal::new(&run, 1).append(stopped(12));
        let text = std::fs::read_to_string(run.journal()).unwrap();
        assert!(text.contains(r#""says":"stopped in step 12 after saving: a test""#), "{text}");
    }

    #[test]
    fn a_journal_that_cannot_be_written_ends_nothing() {
        Journal::new(&RunDirectory::new("/nonexistent"), 1).append(stopped(1));
        assert_eq!(Journal::last_attempt(&RunDirectory::new("/nonexistent")).unwrap(), 0);
    }

    #[test]
    fn no_attempt_has_the_number_of_one_that_finished_even_if_the_journal_is_lost() {
        let (_room, run) = room();
        let record = Finished {
            run_id: "r".into(),
            attempt: 5,
            step: 1,
            time: 1.0,
            state_hash: 1,
            wall_seconds: 1.0,
            at: Timestamp::UNIX_EPOCH,
        };
        record.write(&run).unwrap();
        assert_eq!(Journal::last_attempt(&run).unwrap(), 5);
        Journal::new(&run, 7).append(stopped(1));
        assert_eq!(Journal::last_attempt(&run).unwrap(), 7);
    }

    #[test]
    fn a_journal_that_is_there_and_cannot_be_read_is_an_error() {
        let (_room, run) = room();
        std::fs::create_dir(run.journal()).unwrap();
        assert_eq!(Journal::last_attempt(&run).unwrap_err().kind(), Kind::Io);
    }
}
