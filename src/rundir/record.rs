//! What one rank tells those who watch it: a line of fixed size in the heartbeats file, at offset rank × size.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::directory::RunDirectory;

/// The size of one rank's line, in bytes, with the line feed.
pub(super) const RECORD_BYTES: usize = 256;

/// A host name longer than this is cut, so that every record fits its line.
const HOST_BYTES: usize = 64;

/// What a rank is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Phase {
    /// Before the first step: MPI starts, the case is read, blocks are laid out.
    Starting,
    /// Reads a checkpoint or an initial state.
    Reading,
    /// Computes cells.
    Sweep,
    /// Sends and waits for halos.
    Exchange,
    /// Waits for a value that all ranks agree on.
    Reduce,
    /// Copies, waits for, or commits a checkpoint.
    Checkpoint,
    /// Writes output.
    Output,
    /// Past the last step: records the end, closes files, leaves MPI.
    Finishing,
    /// Has left in good order, or with an error that it told.
    Ended,
}

impl Phase {
    const ALL: [Phase; 9] = [
        Phase::Starting,
        Phase::Reading,
        Phase::Sweep,
        Phase::Exchange,
        Phase::Reduce,
        Phase::Checkpoint,
        Phase::Output,
        Phase::Finishing,
        Phase::Ended,
    ];

    /// Whether a rank in this phase may be waiting for another one.
    pub fn waits(self) -> bool {
        matches!(self, Phase::Exchange | Phase::Reduce)
    }

    /// Whether a rank that goes away in this phase does so in good order.
    pub fn may_leave(self) -> bool {
        matches!(self, Phase::Finishing | Phase::Ended)
    }

    pub(super) fn from_number(number: u8) -> Phase {
        *Phase::ALL.get(usize::from(number)).unwrap_or(&Phase::Ended)
    }
}

impl FromStr for Phase {
    type Err = String;

    fn from_str(text: &str) -> Result<Phase, String> {
        let named = Phase::ALL.into_iter().find(|phase| phase.to_string() == text);
        named.ok_or_else(|| format!("\"{text}\" is no phase"))
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Starting => "starting",
            Phase::Reading => "reading",
            Phase::Sweep => "sweep",
            Phase::Exchange => "exchange",
            Phase::Reduce => "reduce",
            Phase::Checkpoint => "checkpoint",
            Phase::Output => "output",
            Phase::Finishing => "finishing",
            Phase::Ended => "ended",
        })
    }
}

/// One rank's line: who it is, where it stands, and that it lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatRecord {
    /// The rank.
    pub rank: usize,
    /// The attempt that it belongs to; a line of an earlier one says nothing about now.
    pub attempt: u32,
    /// Its process on its host.
    pub pid: u32,
    /// Its host.
    pub host: String,
    /// The step that it is in.
    pub step: u64,
    /// What it is doing.
    pub phase: Phase,
    /// Counts every sign of progress: it stands still while the rank waits or hangs.
    pub progress: u64,
    /// Counts the beats: it stands still when the process does.
    pub beat: u64,
}

impl HeartbeatRecord {
    /// Writes the record to its place.
    pub(super) fn write(&self, file: &File) -> io::Result<()> {
        let mut host = self.host.as_str();
        if host.len() > HOST_BYTES {
            let end = (0..=HOST_BYTES).rev().find(|&end| host.is_char_boundary(end)).unwrap_or(0);
            host = &host[..end];
        }
        let mut line = serde_json::to_vec(&HeartbeatRecord { host: host.to_owned(), ..self.clone() })?;
        line.resize(RECORD_BYTES - 1, b' ');
        line.push(b'\n');
        file.write_all_at(&line, (self.rank * RECORD_BYTES) as u64)
    }

    /// Reads the records of `attempt` in `run`; a rank that has not written yet, or is just writing, is missing.
    pub fn read_all(run: &RunDirectory, attempt: u32) -> io::Result<Vec<HeartbeatRecord>> {
        let bytes = match std::fs::read(run.heartbeats()) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            bytes => bytes?,
        };
        let records = bytes.chunks(RECORD_BYTES).enumerate().filter_map(|(rank, line)| {
            let record: HeartbeatRecord = serde_json::from_slice(line).ok()?;
            (record.rank == rank && record.attempt == attempt).then_some(record)
        });
        Ok(records.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn largest() -> HeartbeatRecord {
        HeartbeatRecord {
            rank: 9_999_999,
            attempt: u32::MAX,
            pid: u32::MAX,
            host: "h".repeat(HOST_BYTES),
            step: u64::MAX,
            phase: Phase::Checkpoint,
            progress: u64::MAX,
            beat: u64::MAX,
        }
    }

    #[test]
    fn the_largest_record_fits_its_line() {
        assert!(serde_json::to_vec(&largest()).unwrap().len() < RECORD_BYTES);
    }

    #[test]
    fn records_lie_at_their_ranks_and_lines_of_other_attempts_are_passed_over() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        assert_eq!(HeartbeatRecord::read_all(&run, 2).unwrap(), []);
        let file = File::create(run.heartbeats()).unwrap();
        let record = |rank, attempt| HeartbeatRecord { rank, attempt, ..largest() };
        for (rank, attempt) in [(5, 2), (3, 1), (0, 2)] {
            record(rank, attempt).write(&file).unwrap();
        }
        assert_eq!(HeartbeatRecord::read_all(&run, 2).unwrap(), [record(0, 2), record(5, 2)]);
    }

    #[test]
    fn a_long_host_name_is_cut_and_not_the_record() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        let file = File::create(run.heartbeats()).unwrap();
        HeartbeatRecord { rank: 0, host: "ü".repeat(200), ..largest() }.write(&file).unwrap();
        assert_eq!(HeartbeatRecord::read_all(&run, u32::MAX).unwrap()[0].host, "ü".repeat(32));
    }

    #[test]
    fn a_phase_has_one_name_and_one_number() {
        for (number, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!(phase as usize, number);
            assert_eq!(Phase::from_number(phase as u8), phase);
            assert_eq!(phase.to_string().parse(), Ok(phase));
            assert_eq!(serde_json::to_string(&phase).unwrap(), format!("\"{phase}\""));
        }
    }
}
