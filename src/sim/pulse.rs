//! The one all-reduce before a step, or before steps that are done at once: what each rank has to say, as a minimum over all.

use crate::comm::Communicator;
use crate::error::Result;

/// How far a writer is that has nothing to write: it holds nobody up.
const NOTHING_PENDING: f64 = f64::INFINITY;

/// What a rank has to say before a step, or, after [`Pulse::agree`], all ranks together.
///
/// Minima are exact in any order, so that all ranks agree on the same bits whatever their number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pulse {
    /// The smallest timescale.
    pub timescale: f64,
    /// Whether something is wrong here.
    pub fault: bool,
    /// Whether somebody asked for a stop.
    pub stop: bool,
    /// Whether there is nothing left to do.
    pub finished: bool,
    /// A count of what is worth a checkpoint of its own.
    pub news: u64,
    /// The schedules that are due by rank 0's wall clock, one bit each.
    pub wall_due: u32,
    /// How far the pending checkpoint has come.
    pub checkpoint: f64,
    /// How far the pending output has come.
    pub output: f64,
    /// Whether a node-local checkpoint is due by rank 0's wall clock.
    pub local_due: bool,
    /// How far the pending node-local checkpoint has come.
    pub local: f64,
    /// The longest that a step took of late, s.
    pub pace: f64,
}

impl Pulse {
    /// A rank that has nothing to say.
    pub const QUIET: Pulse = Pulse {
        timescale: f64::INFINITY,
        fault: false,
        stop: false,
        finished: false,
        news: 0,
        wall_due: 0,
        checkpoint: NOTHING_PENDING,
        output: NOTHING_PENDING,
        local_due: false,
        local: NOTHING_PENDING,
        pace: 0.0,
    };

    /// What all ranks say together.
    ///
    /// # Collective
    /// All ranks must call it.
    pub fn agree(&self, comm: &Communicator) -> Result<Pulse> {
        let any = |flag: bool| -f64::from(u8::from(flag));
        let mut all = [
            self.timescale,
            any(self.fault),
            any(self.stop),
            any(self.finished),
            -(self.news as f64),
            -f64::from(self.wall_due),
            self.checkpoint,
            self.output,
            any(self.local_due),
            self.local,
            -self.pace,
        ];
        comm.min_f64(&mut all)?;
        let [timescale, fault, stop, finished, news, wall_due, checkpoint, output, local_due, local, pace] = all;
        Ok(Pulse {
            timescale,
            fault: fault < 0.0,
            stop: stop < 0.0,
            finished: finished < 0.0,
            news: -news as u64,
            wall_due: -wall_due as u32,
            checkpoint,
            output,
            local_due: local_due < 0.0,
            local,
            pace: -pace,
        })
    }
}
