//! Where the time of an attempt went: what the ranks leave for people and programs when they end well.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::directory::RunDirectory;
use super::replace::{Durability, replace};
use super::status::State;
use crate::error::{Error, Kind, Result};

/// What a moment of a rank's wall time is spent on; each belongs to one of them, and none is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Part {
    /// From the start of MPI to the first step: the case is read, blocks are laid out, the exchange is checked, and the
    /// state is set, read or restored.
    Start,
    /// The program's steps, apart from what they wait for: sweeps, boundaries, whatever else it computes.
    Sweeps,
    /// Of an exchange: packing, copies within the rank, unpacking, checksums of messages.
    Packing,
    /// Of an exchange: in MPI, for what neighbours send.
    Waiting,
    /// In MPI, for what all ranks agree on: the one reduction before each step, or before several done at once, and those that a program makes itself.
    Reductions,
    /// Copies for checkpoints, and waiting for them and for their commits; the writing itself goes on beside the sweeps.
    Checkpoints,
    /// The same for outputs, and the totals.
    Output,
    /// Checksums of the blocks' memory, where the case asks for them.
    Checks,
    /// What is left: the books, the hash of the final state, the completion record.
    Rest,
}

impl Part {
    /// All of them, in the order in which they are told.
    pub const ALL: [Part; 9] = [
        Part::Start,
        Part::Sweeps,
        Part::Packing,
        Part::Waiting,
        Part::Reductions,
        Part::Checkpoints,
        Part::Output,
        Part::Checks,
        Part::Rest,
    ];

    /// Whether it belongs to a program's step or to the agreement before it.
    pub fn is_of_step(self) -> bool {
        matches!(self, Part::Sweeps | Part::Packing | Part::Waiting | Part::Reductions)
    }

    /// The word for people.
    pub fn name(self) -> &'static str {
        match self {
            Part::Start => "start",
            Part::Sweeps => "sweeps",
            Part::Packing => "packing",
            Part::Waiting => "waiting",
            Part::Reductions => "reductions",
            Part::Checkpoints => "checkpoints",
            Part::Output => "output",
            Part::Checks => "checks",
            Part::Rest => "rest",
        }
    }
}

/// A number that each rank has one of.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Spread {
    /// The least of all ranks.
    pub min: f64,
    /// The mean over all ranks, those without blocks included.
    pub mean: f64,
    /// The greatest of all ranks.
    pub max: f64,
}

impl Spread {
    /// A spread of these numbers; a mean that was rounded beyond one of the others is that one.
    pub fn of(min: f64, mean: f64, max: f64) -> Self {
        Spread { min, mean: mean.max(min).min(max), max }
    }
}

/// Where the time of an attempt went, over all ranks.
///
/// An attempt that ends well, finished or stopped, replaces the record of the attempt before, unless it found nothing left to
/// do; one that fails leaves none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// The run's own name.
    pub run_id: String,
    /// The program's name.
    pub program: String,
    /// The attempt whose time it is.
    pub attempt: u32,
    /// How it ended: finished or stopped.
    pub state: State,
    /// The last step.
    pub step: u64,
    /// The simulated time after it.
    pub time: f64,
    /// When this was written.
    pub at: Timestamp,
    /// The ranks.
    pub ranks: usize,
    /// The threads of each rank.
    pub threads: usize,
    /// The steps that were done in this attempt.
    pub steps: u64,
    /// The wall time of a rank, s: the sum of its parts.
    pub wall: Spread,
    /// The parts of the wall time, s.
    pub parts: BTreeMap<Part, Spread>,
    /// The longest time of a rank in sweeps over the mean, less 1: by this part the sweeps would be shorter if all ranks
    /// had equally much to do. The others spend it waiting. None if there were no sweeps.
    pub imbalance: Option<f64>,
    /// How fast cells were computed; none for a program whose steps do not advance each cell.
    pub updates: Option<Updates>,
    /// The exchanges that a rank took part in during its steps.
    pub exchanges: Spread,
    /// The bytes that a rank sent in them.
    pub bytes_sent: Spread,
}

/// How fast cells were computed. A cell update is one cell advanced by one step, whatever the number of sweeps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Updates {
    /// The cell updates of all ranks.
    pub cells: u64,
    /// The sweeps over a cell in one step: the integrator's stages.
    pub sweeps_a_step: Option<u64>,
    /// Cell updates per second of all ranks together, from the first step to the end, with all that this time was spent on.
    pub per_second: f64,
    /// The same of each rank.
    pub per_second_of_rank: Spread,
    /// Cell updates per second of a rank while it sweeps, in the mean.
    pub per_second_of_sweeps: f64,
    /// How near the sweeps came to what memory allows; none where it is not known what they move.
    pub memory: Option<Memory>,
}

/// The sweeps as traffic between processor and memory.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// The bytes that a cell update moves if no block stays in a cache from one sweep to the next: an estimate.
    pub bytes_a_cell: u64,
    /// That many bytes for the cell updates of all ranks together, per second of sweeping.
    pub per_second: f64,
    /// What all ranks at once were measured to move per second at the end of this attempt, with one stream read and one
    /// written.
    pub limit: Option<f64>,
}

impl Memory {
    /// The part of the limit that the sweeps reach; more than 1 where blocks stay in a cache.
    pub fn share(&self) -> Option<f64> {
        self.limit.map(|limit| self.per_second / limit)
    }
}

impl Times {
    /// A part's mean over the ranks as a part of the mean wall time.
    pub fn share(&self, part: Part) -> f64 {
        self.parts.get(&part).map_or(0.0, |spent| spent.mean / self.wall.mean)
    }

    /// Replaces the record of the attempt before.
    ///
    /// # Errors
    ///
    /// An I/O error; the run is as good without.
    pub fn write(&self, run: &RunDirectory) -> Result<()> {
        let text = serde_json::to_string_pretty(self).expect("a record of times holds nothing that JSON cannot");
        let path = run.times();
        replace(&path, &(text + "\n"), Durability::Passing)
            .map_err(|cause| Error::io("write where the time went", &path, &cause))
    }

    /// Removes the record, because the run starts over.
    ///
    /// # Errors
    ///
    /// An I/O error, if it is there and cannot be removed.
    pub fn remove(run: &RunDirectory) -> Result<()> {
        let path = run.times();
        match std::fs::remove_file(&path) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|cause| Error::io("remove the old record of times", &path, &cause)),
        }
    }

    /// Reads the record; none if no attempt has ended well.
    ///
    /// # Errors
    ///
    /// An I/O error, if the file is there and cannot be read; a run error, if it is no such record.
    pub fn read(run: &RunDirectory) -> Result<Option<Times>> {
        let path = run.times();
        let text = match std::fs::read_to_string(&path) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|cause| Error::io("read where the time went", &path, &cause))?,
        };
        serde_json::from_str(&text).map(Some).map_err(|cause| {
            Error::new(Kind::Run, format!("the record of times cannot be understood: {cause}"))
                .at_path(&path)
                .hint("remove it: the next attempt writes another")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back_and_an_attempt_replaces_the_one_before() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        assert_eq!(Times::read(&run).unwrap(), None);
        let spread = Spread { min: 1.0, mean: 1.5, max: 2.0 };
        let memory = Memory { bytes_a_cell: 24, per_second: 9.6e9, limit: Some(1.2e10) };
        let first = Times {
            run_id: "r".into(),
            program: "heat".into(),
            attempt: 1,
            state: State::Stopped,
            step: 10,
            time: 0.5,
            at: Timestamp::UNIX_EPOCH,
            ranks: 2,
            threads: 1,
            steps: 10,
            wall: Spread { min: 3.0, mean: 3.0, max: 3.0 },
            parts: Part::ALL.into_iter().map(|part| (part, spread)).collect(),
            imbalance: Some(0.25),
            updates: Some(Updates {
                cells: 1000,
                sweeps_a_step: Some(1),
                per_second: 4e8,
                per_second_of_rank: spread,
                per_second_of_sweeps: 2e8,
                memory: Some(memory),
            }),
            exchanges: spread,
            bytes_sent: spread,
        };
        for attempt in [1, 2] {
            let times = Times { attempt, ..first.clone() };
            times.write(&run).unwrap();
            assert_eq!(Times::read(&run).unwrap(), Some(times));
        }
        assert_eq!((first.share(Part::Sweeps), memory.share()), (0.5, Some(0.8)));
        std::fs::write(run.times(), "{}").unwrap();
        assert!(Times::read(&run).unwrap_err().to_string().contains("times.json"));
    }

    #[test]
    fn a_part_has_one_name_and_one_place() {
        for (place, part) in Part::ALL.into_iter().enumerate() {
            assert_eq!(part as usize, place);
            assert_eq!(serde_json::to_string(&part).unwrap(), format!("\"{}\"", part.name()));
        }
    }
}
