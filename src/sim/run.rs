//! What a run is apart from its case and its program: where it lives, who owns it, and how it ends.

use std::path::PathBuf;
use std::sync::Arc;

use super::clock::Instant;
use super::stops::Stops;
use crate::checkpoint::Fence;
use crate::error::Result;
use crate::rundir::{Heartbeat, Lease, Orders, RunDirectory};

/// How a run ended, if not with an error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// The asked time or number of steps is reached, and the last checkpoint has the result.
    Finished {
        /// Where the run ended.
        at: Instant,
        /// The fingerprint of the final state: equal if, and practically only if, every bit is.
        hash: u64,
    },
    /// Somebody asked for a stop; the state is saved, and the same command goes on from it.
    Interrupted {
        /// Where the run stopped.
        at: Instant,
    },
}

/// What a run is on this rank, apart from its case and model.
#[derive(Debug)]
pub struct Run {
    /// The program's name.
    pub program: String,
    /// Where relative paths of the case start.
    pub case_directory: PathBuf,
    /// Where it keeps what survives.
    pub directory: RunDirectory,
    /// Whether to go on or to start over.
    pub start: Start,
    /// What the supervisor wants, if there is one.
    pub orders: Orders,
    /// How often the run directory has been taken: a later owner has a higher number.
    pub epoch: u64,
    /// What makes this run the owner of its directory; only rank 0 holds it.
    pub lease: Option<Arc<Lease>>,
    /// Shows that this rank lives.
    pub heartbeat: Heartbeat,
    /// What asks this rank to stop.
    pub stops: Stops,
    /// When the memory's bandwidth is measured.
    pub bandwidth: Bandwidth,
}

impl Run {
    /// A run that goes on from what its directory has, without a supervisor and without signals: for loops of one's own and
    /// for tests. It holds no lease, so see to it that nobody else runs there.
    ///
    /// # Errors
    /// If the directory, which must exist, cannot be written to.
    pub fn unsupervised(program: &str, directory: RunDirectory, rank: usize) -> Result<Self> {
        let orders = Orders::from_environment(&directory)?;
        Ok(Run {
            program: program.into(),
            case_directory: directory.root().into(),
            heartbeat: Heartbeat::start(&directory, rank, &orders)?,
            directory,
            start: Start::Continue,
            orders,
            epoch: 1,
            lease: None,
            stops: Stops::never(),
            bandwidth: Bandwidth::AfterLongRuns,
        })
    }

    /// Keeps a run that lost its directory to another from committing.
    pub(super) fn fence(&self) -> Option<Fence> {
        let lease = self.lease.clone()?;
        Some(Arc::new(move || lease.check()))
    }
}

/// When the memory's bandwidth is measured, which takes about 0.1 s; never in an attempt that is interrupted, whose time is
/// short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bandwidth {
    /// At the end of an attempt whose steps took 10 s or longer.
    AfterLongRuns,
    /// At the end of every attempt.
    Always,
}

/// What to do with the checkpoints that a run directory already has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Go on from the newest good one.
    Continue,
    /// Start over and discard them.
    Fresh,
}
