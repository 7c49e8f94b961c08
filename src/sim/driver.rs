//! The loop that a run is.

use std::time::{Duration, Instant as WallInstant};

use super::checksums::Checksums;
use super::chronicle::Chronicle;
use super::clock::{Clock, Instant};
use super::domain::Domain;
use super::farewell::Farewell;
use super::interval::Interval;
use super::local::Local;
use super::outputs::Outputs;
use super::program::{Activity, Program, Progress, Step};
use super::pulse::Pulse;
use super::run::Outcome;
use super::spoil;
use crate::checkpoint::Writer;
use crate::comm::Communicator;
use crate::config::{Case, Checkpoint};
use crate::error::{Error, Kind, Result};
use crate::field::Record;
use crate::rundir::{Part, Phase};

/// The longest that steps done at once should take: so late at most a stop is heard.
const LONGEST_ROUND: Duration = Duration::from_secs(2);

/// The most steps that are done at once.
pub(super) const MOST_AT_ONCE: usize = 16;

/// A simulation on all ranks: a program, its data, and everything that drives it.
pub struct Simulation<'a, P: Program<N>, const N: usize> {
    pub(super) comm: &'a Communicator,
    pub(super) case: Case,
    pub(super) run_id: String,
    pub(super) program: P,
    pub(super) domain: Domain<P::State, N>,
    pub(super) shared: P::Shared,
    pub(super) progress: Progress,
    /// What the last step failed with on this rank.
    pub(super) failure: Option<Error>,
    /// The first bit that was seen to have flipped on this rank, in a message or in memory.
    pub(super) corruption: Option<Error>,
    pub(super) checksums: Checksums,
    /// How many steps may be done before anybody looks at the state.
    pub(super) at_once: usize,
    /// How long each step took in the last round.
    pub(super) pace: Duration,
    pub(super) clock: Clock,
    pub(super) checkpoints: Writer<<P::State as Record>::Scalar>,
    pub(super) pending_checkpoint: Option<Instant>,
    pub(super) last_checkpoint: Option<Instant>,
    /// What all ranks together counted as worth a checkpoint when the last one was begun, or at first.
    pub(super) saved_news: Option<u64>,
    pub(super) checkpoint_clock: WallInstant,
    pub(super) interval: Interval,
    pub(super) farewell: Farewell,
    pub(super) local: Local,
    pub(super) outputs: Outputs<<P::State as Record>::Scalar>,
    pub(super) chronicle: Chronicle<'a>,
}

impl<'a, P: Program<N>, const N: usize> Simulation<'a, P, N> {
    /// Runs to the end, or until somebody asks for a stop.
    ///
    /// # Collective
    /// All ranks must call it; all get the same outcome or the same error.
    ///
    /// # Errors
    /// The first error of any rank, on all ranks. The last good checkpoint stays.
    pub fn run(mut self) -> Result<Outcome> {
        let first = self.clock.now().step;
        let outcome = self.steps();
        match &outcome {
            Ok(outcome) => self.account(outcome, first)?,
            Err(error) => {
                // The supervisor must know before anything else takes its time.
                self.chronicle.failed(self.clock.now(), error);
                if error.kind() != Kind::Mpi {
                    // All ranks are here: what was begun while the state was sound is worth finishing.
                    self.finish_writing()?;
                }
            }
        }
        outcome
    }

    fn steps(&mut self) -> Result<Outcome> {
        self.tell_what_is_next();
        loop {
            let begun = WallInstant::now();
            let agreed = self.agree()?;
            self.publish(&agreed)?;
            self.checkpoint_if_due(&agreed)?;
            let next = if agreed.finished { None } else { self.clock.next_step(agreed.timescale)? };
            let Some(dt) = next else { return self.finish() };
            if agreed.stop {
                return self.interrupt();
            }
            let most = self.most_at_once(&agreed);
            let before = self.clock.now().step;
            self.advance(dt, most);
            let done = (self.clock.now().step - before) as u32;
            self.pace = begun.elapsed() / done;
            self.farewell.stepped(begun.elapsed());
        }
    }

    /// How long before a limit of wall time it is time to save.
    fn time_to_save(&self, limit: Duration) -> Duration {
        self.farewell.before(limit, self.checkpoints.is_pending() || self.outputs.is_pending())
    }

    /// The one all-reduce of a round: soundness, timescale, wishes to stop, and how far the writers are.
    fn agree(&mut self) -> Result<Pulse> {
        self.chronicle.phase(Phase::Reduce);
        self.failure = self.failure.take().or(self.chronicle.run().heartbeat.injected_error().err());
        let Progress { timescale, sound, finished, news, .. } = self.progress;
        let mut pulse = Pulse {
            timescale,
            fault: !sound || self.failure.is_some() || self.corruption.is_some(),
            finished,
            news,
            stop: self.chronicle.run().stops.asked(self.chronicle.elapsed(), |limit| self.time_to_save(limit)),
            checkpoint: self.checkpoints.report(),
            output: self.outputs.report(),
            local: self.local.report()?,
            pace: self.pace.as_secs_f64(),
            ..Pulse::QUIET
        };
        if self.comm.rank() == 0 {
            pulse.wall_due = self.outputs.wall_due() << 1 | u32::from(self.checkpoint_wall_due());
            pulse.local_due = self.local.wall_due();
        }
        let agreed = pulse.agree(self.comm)?;
        if agreed.fault {
            let step = self.clock.now().step;
            // Whatever else is wrong may be what a flipped bit led to.
            self.comm.vote(self.corruption.take().map_or(Ok(()), |error| Err(error.in_step(step))))?;
            let fault = self.failure.take().or_else(|| self.program.explain(&self.domain));
            let fault = fault.map(|fault| fault.in_step(step));
            // Of steps done at once the first that went wrong tells: the others follow from it.
            let step_of = |fault: &Error| fault.step().map_or(i64::MAX, |step| step as i64);
            let mut first = [fault.as_ref().map_or(i64::MAX, step_of)];
            self.comm.min_i64(&mut first)?;
            let fault = fault.filter(|fault| step_of(fault) == first[0]);
            self.comm.vote(fault.map_or(Ok(()), Err))?;
            let unexplained = "a rank says that its state is not sound, but finds no cell that is wrong";
            return Err(Error::new(Kind::State, unexplained)
                .in_step(step)
                .hint("memory may be failing: run the same command again, on another node if you can; or else a program's progress and explain do not fit each other"));
        }
        if agreed.checkpoint.min(agreed.output) < 0.0 {
            // Giving it up waits for a writer that may sit in a slow system call.
            self.chronicle.phase(Phase::Checkpoint);
        }
        let meter = self.comm.meter();
        let saving = self.checkpoints.is_pending().then(|| meter.aside(Part::Checkpoints));
        let written = self.checkpoints.advance(self.comm, agreed.checkpoint)?;
        drop(saving);
        self.note(written)?;
        let writing = self.outputs.is_pending().then(|| meter.aside(Part::Output));
        self.outputs.advance(self.comm, agreed.output)?;
        drop(writing);
        self.note_lost_output();
        self.local.advance(self.comm, agreed.local, &mut self.chronicle)?;
        Ok(agreed)
    }

    /// Steps of the program: one of this length, and more if nothing is due before they are done.
    fn advance(&mut self, dt: f64, most: usize) {
        let number = self.clock.now().step;
        let (ahead, count) = self.look_ahead(dt, most);
        let Simulation { comm, program, domain, shared, chronicle, checksums, .. } = self;
        let meter = comm.meter();
        let heartbeat = &chronicle.run().heartbeat;
        let show = |activity| {
            heartbeat.phase(match activity {
                Activity::Exchange => Phase::Exchange,
                Activity::Sweep => Phase::Sweep,
                Activity::Reduce => Phase::Reduce,
            });
        };
        meter.enter(Part::Sweeps);
        show(Activity::Sweep);
        spoil::before_step(heartbeat, domain, number);
        // What it finds waits for the next agreement: the other ranks step, and this one owes them its part.
        let flipped = checksums.compare(&domain.pool, &domain.state).err();
        let tick = || heartbeat.progress();
        let steps =
            ahead.map(|(Instant { step: number, time }, dt)| Step { number, time, dt, show: &show, tick: &tick });
        match program.steps(domain, shared, &steps[..count]) {
            Ok(()) => self.progress = program.progress(domain, shared),
            // The others may wait for a message that never comes.
            Err(error) if error.kind() == Kind::Mpi => {
                log::error!("{}", error.on_rank(self.comm.rank()).in_step(number));
                self.comm.abort(1)
            }
            Err(error) => self.failure = Some(error),
        }
        self.corruption = flipped.or(self.domain.exchange.take_fault());
        self.checksums.take(&self.domain.pool, &self.domain.state, self.clock.now().step);
        meter.enter(Part::Rest);
        self.chronicle.stepped(self.clock.now(), ahead[count - 1].1, part_done(&self.clock, &self.progress));
    }

    /// How many steps may be done before the ranks agree again, as all of them reckon: one while something is written, which
    /// gets on at each agreement, or before it is known how long a step takes; and so few that nobody waits long to be heard.
    fn most_at_once(&self, agreed: &Pulse) -> usize {
        let writes = agreed.checkpoint.min(agreed.output).min(agreed.local).is_finite();
        let fit = (LONGEST_ROUND.as_secs_f64() / agreed.pace) as usize;
        if writes || agreed.pace == 0.0 { 1 } else { fit.clamp(1, self.at_once) }
    }

    /// Moves the clock on by a step of this length, and by those after it that can be done at once: their starts, lengths, and
    /// number. Steps of a fixed length alone follow without a look at the state.
    fn look_ahead(&mut self, dt: f64, most: usize) -> ([(Instant, f64); MOST_AT_ONCE], usize) {
        let mut ahead = [(self.clock.now(), dt); MOST_AT_ONCE];
        let (mut count, mut next) = (0, Some(dt));
        while let Some(dt) = next {
            ahead[count] = (self.clock.now(), dt);
            self.clock.advance(dt);
            count += 1;
            // Why there is no next step, the loop finds out when it asks for it.
            let goes_on = count < most && !self.is_due();
            next = if goes_on { self.clock.next_step(f64::INFINITY).unwrap_or(None) } else { None };
        }
        (ahead, count)
    }

    /// Whether something is due by the clock.
    fn is_due(&self) -> bool {
        let Checkpoint { every, local, .. } = &self.case.checkpoint;
        let schedules = every.iter().chain(local.iter().map(|local| &local.every));
        self.clock.is_over()
            || self.outputs.due(&self.clock, false, 0).any()
            || schedules.into_iter().any(|schedule| self.clock.is_due(schedule))
    }

    /// Writes the outputs that are due.
    fn publish(&mut self, agreed: &Pulse) -> Result<()> {
        let over = self.clock.is_over() || agreed.finished;
        let due = self.outputs.due(&self.clock, over, agreed.wall_due >> 1);
        if due.any() {
            self.chronicle.phase(Phase::Output);
            self.compare_memory()?;
            let header = self.header()?;
            self.outputs.write(due, self.clock.now(), &header, &self.program, &self.domain)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Outcome> {
        self.save()?;
        self.chronicle.phase(Phase::Finishing);
        let mut hash = [self.domain.state.fingerprint(&self.domain.tiling)];
        self.compare_memory()?;
        self.comm.sum_u64_wrapping(&mut hash)?;
        hash[0] = hash[0].wrapping_add(self.header()?.shared_fingerprint());
        let at = self.clock.now();
        let recorded = self.chronicle.finished(&self.run_id, at, hash[0]);
        self.comm.vote(recorded)?;
        self.local.discard(self.comm)?;
        Ok(Outcome::Finished { at, hash: hash[0] })
    }

    fn interrupt(&mut self) -> Result<Outcome> {
        self.save()?;
        self.chronicle.phase(Phase::Finishing);
        let at = self.clock.now();
        let reason = self.chronicle.run().stops.reason(self.chronicle.elapsed(), |limit| self.time_to_save(limit));
        self.chronicle.interrupted(at, &reason);
        self.local.discard(self.comm)?;
        Ok(Outcome::Interrupted { at })
    }

    pub(super) fn note_lost_output(&mut self) {
        if let Some((step, error)) = self.outputs.take_lost() {
            self.chronicle.lost_output(step, &error);
        }
    }
}

/// The part of the run that is done, by the clock or by the program's own account.
pub(super) fn part_done(clock: &Clock, progress: &Progress) -> f64 {
    progress.done.unwrap_or(0.0).max(clock.progress())
}
