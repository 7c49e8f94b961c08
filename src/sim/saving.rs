//! When and how the state is saved: the shared checkpoints, the node-local ones, and the books on both.

use std::time::{Duration, Instant as WallInstant};

use jiff::Timestamp;

use super::domain::Domain;
use super::driver::Simulation;
use super::program::Program;
use super::pulse::Pulse;
use super::spoil;
use crate::checkpoint::{Header, Outcome as Written};
use crate::config::Schedule;
use crate::error::{Error, Kind, Result};
use crate::rundir::{NextCheckpoint, Phase};

impl<P: Program<N>, const N: usize> Simulation<'_, P, N> {
    pub(super) fn checkpoint_wall_due(&self) -> bool {
        // What wall time asks for can wait for a slow disk; what steps or times ask for cannot.
        let is_over = |interval| self.checkpoint_clock.elapsed() >= interval;
        self.checkpoint_interval().is_some_and(is_over) && !self.checkpoints.is_pending()
    }

    /// The wall time from one checkpoint to the next, where wall time decides.
    fn checkpoint_interval(&self) -> Option<Duration> {
        match self.case.checkpoint.every {
            None => Some(self.interval.now(self.chronicle.elapsed())),
            Some(Schedule::Wall(interval)) => Some(interval),
            Some(_) => None,
        }
    }

    /// Tells whoever looks on when the next checkpoint is due.
    pub(super) fn tell_what_is_next(&mut self) {
        let next = match self.checkpoint_interval() {
            Some(interval) => {
                let left = interval.saturating_sub(self.checkpoint_clock.elapsed());
                Timestamp::now().checked_add(left).ok().map(NextCheckpoint::At)
            }
            None => self.case.checkpoint.every.and_then(|every| self.clock.next_due(&every)),
        };
        self.chronicle.expects(next);
    }

    /// Begins a checkpoint if one is due; the sweeps go on while it is written.
    pub(super) fn checkpoint_if_due(&mut self, agreed: &Pulse) -> Result<()> {
        let wished = agreed.news > *self.saved_news.get_or_insert(agreed.news) && !self.checkpoints.is_pending();
        let due = self.case.checkpoint.every.is_some_and(|every| self.clock.is_due(&every))
            || agreed.wall_due & 1 == 1
            || wished;
        let saved = self.last_checkpoint == Some(self.clock.now());
        if due && !saved && !self.clock.is_over() && !agreed.finished {
            self.begin_checkpoint()?;
            self.saved_news = Some(agreed.news);
        }
        self.local_checkpoint_if_due(agreed)
    }

    /// Begins a node-local checkpoint if one is due, unless this state is being saved already or it would leave a gap.
    fn local_checkpoint_if_due(&mut self, agreed: &Pulse) -> Result<()> {
        let now = self.clock.now();
        let useless = self.clock.is_over() || agreed.finished || self.outputs.is_pending_before(now.step);
        let saved = [self.last_checkpoint, self.pending_checkpoint].contains(&Some(now));
        if self.local.is_due(&self.clock, agreed.local_due) && !useless && !saved {
            self.chronicle.phase(Phase::Checkpoint);
            let header = self.header()?;
            self.compare_shared(&header)?;
            self.local.begin(header, &self.domain)?;
            // As with a shared one.
            if let Err(error) = self.compare_memory() {
                self.local.give_up()?;
                return Err(error);
            }
        }
        Ok(())
    }

    fn begin_checkpoint(&mut self) -> Result<()> {
        self.chronicle.phase(Phase::Checkpoint);
        let header = self.header()?;
        self.compare_shared(&header)?;
        // One at a time: staging memory stays bounded, however slow the disk is.
        let written = self.checkpoints.finish(self.comm)?;
        self.note(written)?;
        // What came before a checkpoint must not be missing after a restart from it.
        self.outputs.finish_before(self.comm, self.clock.now().step)?;
        let costs = self.domain.costs();
        spoil::before_checkpoint(&self.chronicle.run().heartbeat, &mut self.checkpoints, self.clock.now().step);
        let Domain { tiling, partition, state, .. } = &self.domain;
        self.checkpoints.begin(self.comm, header, tiling, partition, state, &costs)?;
        // Only now: had it been before, a bit could have flipped before it was copied.
        if let Err(error) = self.compare_memory() {
            self.checkpoints.give_up(self.comm)?;
            return Err(error);
        }
        self.pending_checkpoint = Some(self.clock.now());
        self.checkpoint_clock = WallInstant::now();
        self.tell_what_is_next();
        Ok(())
    }

    /// Sees that the memory of all ranks is as the last step left it, where that is under checksums.
    pub(super) fn compare_memory(&self) -> Result<()> {
        if !self.case.guard.checksums.of_blocks() {
            return Ok(());
        }
        self.comm.vote(self.checksums.compare(&self.domain.pool, &self.domain.state))
    }

    /// Sees that what all ranks should hold alike is alike: a checkpoint keeps rank 0's.
    fn compare_shared(&self, header: &Header) -> Result<()> {
        let hash = header.shared_fingerprint();
        let first: u64 = self.comm.broadcast(0, self.comm.is_root().then_some(hash))?;
        let alike = Error::new(Kind::Internal, "what all ranks should hold alike differs from that of rank 0")
            .in_step(self.clock.now().step)
            .hint("a program may change it only by what all ranks know: sums, minima and maxima over all of them");
        self.comm.vote(if hash == first { Ok(()) } else { Err(alike) })
    }

    /// Waits until everything that was begun is on stable storage, or has failed.
    pub(super) fn finish_writing(&mut self) -> Result<()> {
        self.chronicle.phase(Phase::Checkpoint);
        let written = self.checkpoints.finish(self.comm)?;
        self.note(written)?;
        self.outputs.finish(self.comm)?;
        self.note_lost_output();
        Ok(())
    }

    /// Writes the last state and waits until it is on stable storage; a state that is there already is left alone.
    pub(super) fn save(&mut self) -> Result<()> {
        self.finish_writing()?;
        if self.last_checkpoint == Some(self.clock.now()) {
            return Ok(());
        }
        self.begin_checkpoint()?;
        let written = self.checkpoints.finish(self.comm)?;
        self.note(written.clone())?;
        match written {
            Some(Written::Discarded { error, .. }) => {
                Err(error
                    .hint("the run is not lost: make room or mend the file system, and run the same command again"))
            }
            _ => Ok(()),
        }
    }

    /// Keeps the books on a checkpoint that was committed or discarded; a run that lost its directory to another must end.
    pub(super) fn note(&mut self, written: Option<Written>) -> Result<()> {
        let Some(written) = written else { return Ok(()) };
        let at = self.pending_checkpoint.take().expect("what was written was begun");
        if let Written::Committed { .. } = &written {
            self.last_checkpoint = Some(at);
            self.local.wake();
        }
        self.chronicle.wrote(&written, at.time);
        if let Written::Committed { stall, duration, .. } = &written {
            self.interval.measured(*stall, *duration);
            self.farewell.saved(*duration);
            self.chronicle.reckoned(&mut self.interval, self.case.checkpoint.every.is_none());
            self.tell_what_is_next();
        }
        match written {
            Written::Discarded { error, .. } if error.kind() == Kind::Run => Err(error),
            _ => Ok(()),
        }
    }
}
