//! Tells the world how the run is: heartbeats on every rank; journal, status and whoever watches on rank 0.

use std::rc::Rc;
use std::time::{Duration, Instant as WallInstant};

use jiff::Timestamp;

use super::clock::Instant;
use super::interval::Interval;
use super::run::Run;
use super::scribe::Scribe;
use super::times::part_of;
use crate::checkpoint::Outcome as Written;
use crate::comm::{Communicator, Meter};
use crate::config::Case;
use crate::error::{Error, Result};
use crate::nearby::{Outcome as Nearby, Restored};
use crate::rundir::{
    Checkpointing, Entry, Event, Finished, Journal, LastCheckpoint, NextCheckpoint, Phase, RunDirectory, State, Status,
    StatusBoard, Times,
};

/// Watches a run from rank 0, to show it to a person.
pub trait Monitor {
    /// The run begins, or goes on from a checkpoint.
    fn started(&mut self, beginning: &Beginning);
    /// The run has moved on; called a few times a second at most.
    fn moved(&mut self, status: &Status);
    /// Something happened that stands in the journal.
    fn happened(&mut self, event: &Event);
    /// The attempt has ended well, and this is where its time went.
    fn spent(&mut self, _times: &Times) {}
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unwatched;

impl Monitor for Unwatched {
    fn started(&mut self, _: &Beginning) {}
    fn moved(&mut self, _: &Status) {}
    fn happened(&mut self, _: &Event) {}
}

/// What is known when a run begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Beginning {
    /// What the case calls itself.
    pub title: String,
    /// The cells along x, y, z.
    pub cells: Vec<usize>,
    /// The cells of a block along x, y, z.
    pub block: Vec<usize>,
    /// The number of blocks.
    pub blocks: usize,
    /// The number of ranks.
    pub ranks: usize,
    /// The threads of each rank.
    pub threads: usize,
    /// The ranks that own no block.
    pub spare_ranks: Vec<usize>,
    /// The bytes of the fields on rank 0, all buffers and ghosts included.
    pub bytes: u64,
    /// The run directory.
    pub directory: RunDirectory,
    /// The checkpoint that the run goes on from; none for a fresh start.
    pub resumed_from: Option<Instant>,
}

/// How often a person is shown progress, and how often it is written down.
const SHOW_EVERY: Duration = Duration::from_millis(200);
const POST_EVERY: Duration = Duration::from_secs(1);

/// The voices of one rank.
pub(super) struct Chronicle<'a> {
    run: Run,
    meter: Rc<Meter>,
    start: WallInstant,
    head: Option<Head<'a>>,
}

/// What only rank 0 has.
struct Head<'a> {
    scribe: Scribe,
    status: Status,
    monitor: &'a mut dyn Monitor,
    shown: WallInstant,
    posted: WallInstant,
    /// Step and moment from which the present rate is measured.
    measured: (u64, WallInstant),
    /// Step and moment in which the loop began.
    began: (u64, WallInstant),
    /// When the last step was done.
    stepped: WallInstant,
    /// The part of the run that was done when this attempt began.
    done_before: f64,
    /// The record of a run that was finished before this attempt began.
    finished_before: Option<Finished>,
}

impl<'a> Chronicle<'a> {
    pub fn new(run: Run, case: &Case, comm: &Communicator, monitor: &'a mut dyn Monitor) -> Self {
        let now = WallInstant::now();
        let head = (comm.rank() == 0).then(|| Head {
            scribe: Scribe::new(Journal::new(&run.directory, run.orders.attempt), StatusBoard::new(&run.directory)),
            status: Status {
                run_id: String::new(),
                program: run.program.clone(),
                state: State::Running,
                step: 0,
                time: 0.0,
                end_time: Some(case.time.end),
                dt: 0.0,
                cells: case.cells.iter().map(|&n| n as u64).product(),
                ranks: comm.size(),
                threads: case.run.threads,
                rate: 0.0,
                eta: None,
                last_checkpoint: None,
                next_checkpoint: None,
                checkpointing: None,
                last_local: None,
                attempt: run.orders.attempt,
                updated: Timestamp::now(),
            },
            monitor,
            shown: now,
            posted: now,
            measured: (0, now),
            began: (0, now),
            stepped: now,
            done_before: 0.0,
            finished_before: None,
        });
        Chronicle { run, meter: Rc::clone(comm.meter()), start: now, head }
    }

    /// The run that it tells of.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The wall time since this attempt began.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// What happened to the run before, as far as rank 0 can read it; nothing on the others.
    pub fn past(&self) -> Vec<Entry> {
        let journal = self.head.as_ref().and_then(|_| Journal::read(&self.run.directory).ok());
        journal.unwrap_or_default()
    }

    /// What this rank does now, and what its time counts as.
    pub fn phase(&self, phase: Phase) {
        self.meter.enter(part_of(phase));
        self.run.heartbeat.phase(phase);
    }

    /// The state is set and the loop begins; `done` is the part of the run that is done already.
    ///
    /// A run that was finished before has nothing to begin, and keeps its completion record.
    ///
    /// # Errors
    /// If the completion record of an earlier run cannot be removed.
    pub fn started(&mut self, run_id: &str, beginning: &Beginning, done: f64, over: bool) -> Result<()> {
        let now = beginning.resumed_from.unwrap_or(Instant { step: 0, time: 0.0 });
        self.run.heartbeat.step(now.step);
        let Some(head) = &mut self.head else { return Ok(()) };
        head.finished_before = Finished::read(&self.run.directory)?
            .filter(|record| over && record.run_id == run_id && record.step == now.step);
        if head.finished_before.is_none() {
            Finished::remove(&self.run.directory)?;
            let resumed_from = beginning.resumed_from.map(|at| at.step);
            let program = self.run.program.clone();
            head.scribe.tell(Event::Started { run_id: run_id.into(), ranks: beginning.ranks, program, resumed_from });
        }
        head.monitor.started(beginning);
        head.status.run_id = run_id.into();
        head.status.last_checkpoint = beginning.resumed_from.and_then(|at| committed(&self.run.directory, at.step));
        head.done_before = done;
        head.began = (now.step, WallInstant::now());
        head.measured = head.began;
        head.update(now, 0.0, None);
        head.post();
        Ok(())
    }

    /// A step is done.
    pub fn stepped(&mut self, now: Instant, dt: f64, done: f64) {
        self.run.heartbeat.step(now.step);
        let elapsed = self.elapsed();
        let Some(head) = &mut self.head else { return };
        head.stepped = WallInstant::now();
        if head.stepped - head.shown < SHOW_EVERY {
            return;
        }
        let gained = done - head.done_before;
        let eta = (gained > 0.0).then(|| elapsed.as_secs_f64() * (1.0 - done) / gained);
        head.update(now, dt, eta);
        head.monitor.moved(&head.status);
        head.shown = WallInstant::now();
        if head.posted.elapsed() >= POST_EVERY {
            head.post();
        }
    }

    /// A checkpoint was committed or given up.
    pub fn wrote(&mut self, written: &Written, time: f64) {
        let event = match written {
            Written::Committed { step, path, bytes, stall, duration } => Event::CheckpointCommitted {
                step: *step,
                time,
                path: path.clone(),
                bytes: *bytes,
                seconds: duration.as_secs_f64(),
                stall: stall.as_secs_f64(),
            },
            Written::Discarded { step, error } => Event::CheckpointFailed { step: *step, reason: error.to_string() },
        };
        if let Some(head) = &mut self.head {
            if let Written::Committed { step, .. } = written {
                head.status.last_checkpoint = Some(LastCheckpoint { step: *step, at: Timestamp::now() });
            }
            head.tell(event);
        }
    }

    /// What saving has come to, and a newly chosen interval if there is one.
    pub fn reckoned(&mut self, interval: &mut Interval, by_measurement: bool) {
        let elapsed = self.elapsed();
        let Some(head) = &mut self.head else { return };
        head.status.checkpointing = Some(Checkpointing {
            interval: by_measurement.then(|| interval.now(elapsed).as_secs_f64()),
            committed: interval.committed(),
            stall: interval.total_cost().as_secs_f64(),
            share: interval.total_cost().as_secs_f64() / elapsed.as_secs_f64(),
        });
        if let Some(chosen) = by_measurement.then(|| interval.news(elapsed)).flatten() {
            head.tell(Event::CheckpointInterval {
                seconds: chosen.as_secs_f64(),
                stall: interval.cost().as_secs_f64(),
                between_failures: interval.between_failures(elapsed).as_secs_f64(),
            });
        }
    }

    /// When the next checkpoint is due, if one is.
    pub fn expects(&mut self, next: Option<NextCheckpoint>) {
        if let Some(head) = &mut self.head {
            head.status.next_checkpoint = next;
        }
    }

    /// A node-local checkpoint was saved or given up; the status always has the newest, the journal only what is news.
    pub fn saved_locally(&mut self, outcome: &Nearby, nodes: usize, news: bool) {
        let Some(head) = &mut self.head else { return };
        let event = match outcome {
            Nearby::Saved { step, cost, duration } => {
                head.status.last_local = Some(LastCheckpoint { step: *step, at: Timestamp::now() });
                let (seconds, cost) = (duration.as_secs_f64(), cost.as_secs_f64());
                Event::LocalSaved { step: *step, nodes, seconds, cost }
            }
            Nearby::Failed { step, error } => Event::LocalFailed { step: *step, reason: error.to_string() },
        };
        if news {
            head.tell(event);
        }
    }

    /// A node-local checkpoint was looked at for a restart and refused.
    pub fn rejected_local(&mut self, step: u64, reason: &str) {
        if let Some(head) = &mut self.head {
            head.tell(Event::LocalRejected { step, reason: reason.into() });
        }
    }

    /// The state was restored from a node-local checkpoint, in so many seconds.
    pub fn restored_locally(&mut self, step: u64, restored: Restored, seconds: f64) {
        let Restored { blocks, copies, damaged } = restored;
        if let Some(head) = &mut self.head {
            head.tell(Event::LocalRestored { step, blocks, copies, damaged, seconds });
        }
    }

    /// The fields of a step could not be written.
    pub fn lost_output(&mut self, step: u64, error: &Error) {
        if let Some(head) = &mut self.head {
            head.tell(Event::OutputFailed { step, reason: error.to_string() });
        }
    }

    /// A checkpoint was looked at for a restart and refused.
    pub fn rejected(&mut self, path: &std::path::Path, reason: &str) {
        if let Some(head) = &mut self.head {
            head.tell(Event::CheckpointRejected { path: path.into(), reason: reason.into() });
        }
    }

    /// The run is finished: writes the completion record, which alone says so.
    pub fn finished(&mut self, run_id: &str, at: Instant, hash: u64) -> Result<()> {
        let wall_seconds = self.elapsed().as_secs_f64();
        let attempt = self.run.orders.attempt;
        let Some(head) = &mut self.head else { return Ok(()) };
        if head.finished_before.as_ref().is_some_and(|record| record.state_hash == hash) {
            head.status.state = State::Finished;
            head.close();
            return Ok(());
        }
        if let Some(lease) = &self.run.lease {
            lease.check()?;
        }
        let record = Finished {
            run_id: run_id.into(),
            attempt,
            step: at.step,
            time: at.time,
            state_hash: hash,
            wall_seconds,
            at: Timestamp::now(),
        };
        record.write(&self.run.directory)?;
        head.end(State::Finished, at, Event::Finished { step: at.step, time: at.time, hash: format!("{hash:016x}") });
        Ok(())
    }

    /// The run was asked to stop, and has saved.
    pub fn interrupted(&mut self, at: Instant, reason: &str) {
        if let Some(head) = &mut self.head {
            head.end(State::Stopped, at, Event::Stopped { reason: reason.into(), step: at.step });
        }
    }

    /// Where the time of this attempt went; one that found nothing left to do leaves the record of the one before.
    pub fn spent(&mut self, times: &Times) {
        let Some(head) = &mut self.head else { return };
        // Whoever has the run by now keeps records of its own.
        let is_ours = || self.run.lease.as_ref().is_none_or(|lease| lease.check().is_ok());
        if times.steps > 0
            && is_ours()
            && let Err(error) = times.write(&self.run.directory)
        {
            log::warn!("{error}");
        }
        head.monitor.spent(times);
    }

    /// The run ends with an error.
    pub fn failed(&mut self, at: Instant, error: &Error) {
        if let Some(head) = &mut self.head {
            head.end(State::Failed, at, Event::Failed { error: error.clone() });
        }
    }
}

/// The newest checkpoint up to a step, and when it was committed.
fn committed(directory: &RunDirectory, step: u64) -> Option<LastCheckpoint> {
    let entry = directory.checkpoints().ok()?.into_iter().find(|entry| entry.step <= step)?;
    Some(LastCheckpoint { step: entry.step, at: Timestamp::try_from(entry.modified).ok()? })
}

impl Head<'_> {
    fn update(&mut self, now: Instant, dt: f64, eta: Option<f64>) {
        let (step, since) = self.measured;
        let seconds = since.elapsed().as_secs_f64();
        if now.step > step && seconds > 0.0 {
            self.status.rate = (now.step - step) as f64 * self.status.cells as f64 / seconds;
            self.measured = (now.step, WallInstant::now());
        }
        let status = &mut self.status;
        (status.step, status.time, status.dt, status.eta, status.updated) =
            (now.step, now.time, dt, eta, Timestamp::now());
    }

    fn post(&mut self) {
        self.scribe.post(&self.status);
        self.posted = WallInstant::now();
    }

    fn tell(&mut self, event: Event) {
        self.monitor.happened(&event);
        self.scribe.tell(event);
    }

    fn end(&mut self, state: State, at: Instant, event: Event) {
        self.status.state = state;
        self.update(at, self.status.dt, None);
        // What stays is the mean over this attempt's steps.
        let seconds = (self.stepped - self.began.1).as_secs_f64();
        if at.step > self.began.0 && seconds > 0.0 {
            self.status.rate = (at.step - self.began.0) as f64 * self.status.cells as f64 / seconds;
        }
        self.monitor.moved(&self.status);
        self.close();
        self.tell(event);
        self.scribe.finish();
    }

    /// Posts the last status, behind all that is still to be written.
    fn close(&mut self) {
        self.status.next_checkpoint = None;
        self.scribe.finish();
        self.post();
    }
}
