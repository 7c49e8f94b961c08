//! What was seen of an attempt, once its last process was gone.

use std::collections::BTreeSet;
use std::fmt;

use crate::error::Error;

/// How the processes of an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// The launcher ended with this code.
    Exited(i32),
    /// The launcher was killed by this signal.
    Killed(i32),
    /// A rank or a node died, hung, or stayed silent, and the others were ended; the sentence names it.
    Rank(String),
    /// The ranks did not save within the grace time, and were ended.
    Overdue,
    /// Somebody wanted the end at once.
    AtOnce,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Exited(101) => f.write_str("a rank panicked, and took the others with it"),
            // By the shells' convention, which Open MPI follows for a rank that a signal killed.
            End::Exited(code @ 129..=192) => write!(f, "the launcher ended with code {code} (signal {})", code - 128),
            End::Exited(code) => write!(f, "the launcher ended with code {code}"),
            End::Killed(signal) => write!(f, "the launcher was killed by signal {signal}"),
            End::Rank(sentence) => f.write_str(sentence),
            End::Overdue => f.write_str("the ranks did not save within the grace time and were ended"),
            End::AtOnce => f.write_str("ended at once, as asked"),
        }
    }
}

/// Where the ranks began to compute in an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// They did not get so far.
    Never,
    /// From the initial state.
    Fresh,
    /// From the checkpoint of this step.
    From(u64),
}

/// Somebody asked the run to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Who or what, as a sentence.
    pub reason: String,
    /// Whether the run is to be left alone then; otherwise it goes on as soon as it can.
    pub for_good: bool,
}

impl Asked {
    /// Somebody has put a stop request into the run directory.
    pub(super) fn by_a_person() -> Asked {
        Asked { reason: "a stop request in the run directory".into(), for_good: true }
    }
}

/// What was seen of one attempt, after its last process was gone.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// How it ended.
    pub end: End,
    /// Where it began.
    pub start: Start,
    /// The furthest step seen.
    pub step: u64,
    /// Whether the run is finished, by its completion record.
    pub finished: bool,
    /// The steps of the checkpoints that the run directory holds.
    pub checkpoints: BTreeSet<u64>,
    /// The error that the ranks agreed on, if they told one.
    pub error: Option<Error>,
    /// Why the ranks stopped after saving, if they say that they did.
    pub saved: Option<String>,
    /// Who asked for a stop, if anybody did.
    pub stop_asked: Option<Asked>,
    /// Whether any rank showed itself: if none did, it is the launcher's trouble.
    pub shown: bool,
    /// The host and the process of rank 0, which holds the lease of the attempt.
    pub rank_0: Option<(String, u32)>,
    /// The node of the rank that died, hung, or met a flipped bit, if there is more than one node.
    pub faulty: Option<String>,
    /// The nodes all of whose ranks fell silent before those of others did.
    pub silent: BTreeSet<String>,
}

impl Observation {
    /// Whether the ranks have done something that a start from the beginning would do away with; `before` are the
    /// checkpoints that were there before the attempt. The ranks' word for it may be lost, so any trace will do.
    pub fn has_begun(&self, before: &BTreeSet<u64>) -> bool {
        self.start != Start::Never || self.step > 0 || !self.checkpoints.is_subset(before)
    }

    /// Whether a step was done: whoever gets so far has a good case.
    pub(super) fn has_stepped(&self) -> bool {
        self.step > if let Start::From(step) = self.start { step } else { 0 }
    }

    pub(super) fn newest_checkpoint(&self) -> Option<u64> {
        self.checkpoints.last().copied()
    }
}

#[cfg(test)]
impl Observation {
    /// An attempt that was killed before it did anything.
    pub(super) fn in_test() -> Observation {
        Observation {
            end: End::Exited(137),
            start: Start::Never,
            step: 0,
            finished: false,
            checkpoints: BTreeSet::new(),
            error: None,
            saved: None,
            stop_asked: None,
            shown: true,
            rank_0: None,
            faulty: None,
            silent: BTreeSet::new(),
        }
    }
}
