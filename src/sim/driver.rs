//! The loop that a run is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant as WallInstant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::checksums::Checksums;
use super::chronicle::{Beginning, Chronicle, Monitor};
use super::clock::{Clock, Instant};
use super::domain::Domain;
use super::farewell::Farewell;
use super::interval::Interval;
use super::layout::{Layout, Memory};
use super::local::Local;
use super::outputs::Outputs;
use super::program::{Activity, Program, Progress, Step};
use super::pulse::Pulse;
use super::run::{Outcome, Run};
use super::{initial, restart, spoil};
use crate::checkpoint::{self, Header, Outcome as Written, Writer};
use crate::comm::Communicator;
use crate::config::{self, Case, Schedule};
use crate::error::{Error, Kind, Result};
use crate::field::Record;
use crate::rundir::{Entry, Event, Phase, Tally};

/// A simulation on all ranks: a program, its data, and everything that drives it.
pub struct Simulation<'a, P: Program<N>, const N: usize> {
    comm: &'a Communicator,
    case: Case,
    run_id: String,
    program: P,
    domain: Domain<P::State, N>,
    shared: P::Shared,
    progress: Progress,
    /// What the last step failed with on this rank.
    failure: Option<Error>,
    /// The first bit that was seen to have flipped on this rank, in a message or in memory.
    corruption: Option<Error>,
    checksums: Checksums,
    clock: Clock,
    checkpoints: Writer<<P::State as Record>::Scalar>,
    pending_checkpoint: Option<Instant>,
    last_checkpoint: Option<Instant>,
    /// What all ranks together counted as worth a checkpoint when the last one was begun, or at first.
    saved_news: Option<u64>,
    checkpoint_clock: WallInstant,
    interval: Interval,
    farewell: Farewell,
    local: Local,
    outputs: Outputs<<P::State as Record>::Scalar>,
    chronicle: Chronicle<'a>,
}

impl<'a, P: Program<N>, const N: usize> Simulation<'a, P, N> {
    /// Lays the case out over all ranks and sets the state: from the newest good checkpoint of the run directory, or
    /// else at time 0. A thread can have one simulation in its life: it becomes one of the threads that sweep.
    ///
    /// # Collective
    /// All ranks must call it with the same case.
    ///
    /// # Errors
    /// If the case cannot be laid out, memory is short, or there are checkpoints and none is good.
    pub fn new(
        comm: &'a Communicator,
        case: Case,
        mut program: P,
        run: Run,
        monitor: &'a mut dyn Monitor,
    ) -> Result<Self> {
        run.heartbeat.phase(Phase::Reading);
        let layout = Layout::<N>::new(&case, &program)?;
        let mut found = restart::find::<P, N>(comm, &case, &run)?;
        let partition = layout.partition(comm.size(), found.costs(&layout).as_deref())?;
        let bytes = (0..comm.size()).map(|rank| layout.bytes_of(&partition, rank)).max().unwrap_or(0);
        let on_node = bytes * comm.node()?.size as u64;
        comm.vote(run.heartbeat.injected_error().and(layout.check_memory(on_node, Memory::of_this_node())))?;

        let beginning = Beginning {
            title: case.title.clone(),
            cells: case.cells.clone(),
            block: layout.tiling.shape().to_vec(),
            blocks: layout.tiling.len(),
            ranks: comm.size(),
            threads: case.run.threads,
            spare_ranks: partition.spare_ranks().collect(),
            bytes: layout.bytes_of(&partition, comm.rank()),
            directory: run.directory.clone(),
            resumed_from: None,
        };
        let mut domain = Domain::new(comm, &case, &layout, partition)?;
        comm.vote(program.prepare(&domain, &run.case_directory))?;
        let mut chronicle = Chronicle::new(run, &case, comm, monitor);

        let schedules = case.outputs.iter().map(|output| output.every).chain(case.checkpoint.every);
        let mut clock = Clock::new(&case.time, schedules);
        let resumed = restart::restore(&found, &case, &mut domain, &mut chronicle)?;
        let on_stable_storage = resumed.as_ref().is_some_and(|resumed| resumed.is_shared);
        let kept = resumed.as_ref().map_or(&[][..], |resumed| &resumed.kept);
        let local = Local::new(comm, &case, chronicle.run(), found.on_nodes.take(), kept)?;
        let (resumed_from, run_id, shared) = match resumed.map(|resumed| resumed.header) {
            Some(header) => {
                let now = Instant { step: header.step, time: header.time };
                clock.set(before(&header).unwrap_or(now), now);
                let shared = restart::shared_of::<P, N>(&header).map_err(|cause| {
                    Error::new(Kind::Checkpoint, format!("what the ranks held alike cannot be read: {cause}"))
                })?;
                (Some(now), header.run_id, shared)
            }
            None => {
                let shared = comm.vote(program.begin(&mut domain))?;
                if let Some(from) = &case.initial {
                    initial::from_file(&mut domain, from, &chronicle.run().case_directory)?;
                    program.settle(&mut domain);
                }
                restart::discard(comm, chronicle.run())?;
                (None, comm.broadcast(0, comm.is_root().then(new_run_id))?, shared)
            }
        };
        comm.vote(program.ready(&domain, &shared))?;
        let progress = program.progress(&domain, &shared);
        let directory = &chronicle.run().directory;
        let outputs = Outputs::new(comm, &case, chronicle.run(), &layout.components, clock.now())?;
        let checkpoints = Writer::new(checkpoint::Settings {
            directory: directory.checkpoint_directory(),
            keep: case.checkpoint.keep,
            verify: match case.checkpoint.verify {
                config::Verify::All => checkpoint::Verify::All,
                config::Verify::Sample => checkpoint::Verify::Sample,
                config::Verify::None => checkpoint::Verify::None,
            },
            threads: case.run.threads,
            fence: chronicle.run().fence(),
            tick: Some(chronicle.run().heartbeat.ticker()),
        });
        let past = chronicle.past();
        let interval = Interval::new(case.checkpoint.interval, Tally::of(&past));
        let farewell = Farewell::new(layout.checkpoint_bytes(), slowest_save(&past));
        let mut checksums = Checksums::new(&case.guard, domain.state.blocks().len());
        checksums.take(&domain.pool, &domain.state, clock.now().step);
        let (done, over) = (part_done(&clock, &progress), clock.is_over() || progress.finished);
        let began = chronicle.started(&run_id, &Beginning { resumed_from, ..beginning }, done, over);
        comm.vote(began)?;
        Ok(Simulation {
            comm,
            case,
            run_id,
            program,
            domain,
            shared,
            progress,
            failure: None,
            corruption: None,
            checksums,
            clock,
            checkpoints,
            pending_checkpoint: None,
            last_checkpoint: resumed_from.filter(|_| on_stable_storage),
            saved_news: None,
            checkpoint_clock: WallInstant::now(),
            interval,
            farewell,
            local,
            outputs,
            chronicle,
        })
    }

    /// Runs to the end, or until somebody asks for a stop.
    ///
    /// # Collective
    /// All ranks must call it; all get the same outcome or the same error.
    ///
    /// # Errors
    /// The first error of any rank, on all ranks. The last good checkpoint stays.
    pub fn run(mut self) -> Result<Outcome> {
        let outcome = self.steps();
        if let Err(error) = &outcome {
            // The supervisor must know before anything else takes its time.
            self.chronicle.failed(self.clock.now(), error);
            if error.kind() != Kind::Mpi {
                // All ranks are here: what was begun while the state was sound is worth finishing.
                self.finish_writing()?;
            }
        }
        outcome
    }

    fn steps(&mut self) -> Result<Outcome> {
        loop {
            let agreed = self.agree()?;
            self.publish(&agreed)?;
            self.checkpoint_if_due(&agreed)?;
            let next = if agreed.finished { None } else { self.clock.next_step(agreed.timescale)? };
            let Some(dt) = next else { return self.finish() };
            if agreed.stop {
                return self.interrupt();
            }
            let begun = WallInstant::now();
            self.advance(dt);
            self.farewell.stepped(begun.elapsed());
        }
    }

    /// The one all-reduce of a step: soundness, timescale, wishes to stop, and how far the writers are.
    fn agree(&mut self) -> Result<Pulse> {
        self.chronicle.phase(Phase::Reduce);
        self.failure = self.failure.take().or(self.chronicle.run().heartbeat.injected_error().err());
        let Progress { timescale, sound, finished, news, .. } = self.progress;
        let mut pulse =
            Pulse {
                timescale,
                fault: !sound || self.failure.is_some() || self.corruption.is_some(),
                finished,
                news,
                stop: self.chronicle.run().stops.asked(self.chronicle.elapsed(), |limit| {
                    self.farewell.before(limit, self.checkpoints.is_pending())
                }),
                checkpoint: self.checkpoints.report(),
                output: self.outputs.report(),
                local: self.local.report()?,
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
            self.comm.vote(fault.map_or(Ok(()), |fault| Err(fault.in_step(step))))?;
            let unexplained = "a rank says that its state is not sound, but finds no cell that is wrong";
            return Err(Error::new(Kind::State, unexplained)
                .in_step(step)
                .hint("memory may be failing: run the same command again, on another node if you can; or else a program's progress and explain do not fit each other"));
        }
        if agreed.checkpoint.min(agreed.output) < 0.0 {
            // Giving it up waits for a writer that may sit in a slow system call.
            self.chronicle.phase(Phase::Checkpoint);
        }
        let written = self.checkpoints.advance(self.comm, agreed.checkpoint)?;
        self.note(written)?;
        self.outputs.advance(self.comm, agreed.output)?;
        self.note_lost_output();
        self.local.advance(self.comm, agreed.local, &mut self.chronicle)?;
        Ok(agreed)
    }

    /// One step of the program.
    fn advance(&mut self, dt: f64) {
        let Simulation { program, domain, shared, chronicle, checksums, .. } = self;
        let heartbeat = &chronicle.run().heartbeat;
        let show = |activity| {
            heartbeat.phase(match activity {
                Activity::Exchange => Phase::Exchange,
                Activity::Sweep => Phase::Sweep,
                Activity::Reduce => Phase::Reduce,
            });
        };
        let Instant { step: number, time } = self.clock.now();
        show(Activity::Sweep);
        spoil::before_step(heartbeat, domain, number);
        // What it finds waits for the next agreement: the other ranks step, and this one owes them its part.
        let flipped = checksums.compare(&domain.pool, &domain.state).err();
        match program.step(domain, shared, &Step { number, time, dt, show: &show }) {
            Ok(()) => self.progress = program.progress(domain, shared),
            // The others may wait for a message that never comes.
            Err(error) if error.kind() == Kind::Mpi => {
                log::error!("{}", error.on_rank(self.comm.rank()).in_step(number));
                self.comm.abort(1)
            }
            Err(error) => self.failure = Some(error),
        }
        self.corruption = flipped.or(self.domain.exchange.take_fault());
        self.clock.advance(dt);
        self.checksums.take(&self.domain.pool, &self.domain.state, self.clock.now().step);
        self.chronicle.stepped(self.clock.now(), dt, part_done(&self.clock, &self.progress));
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

    fn checkpoint_wall_due(&self) -> bool {
        let interval = match self.case.checkpoint.every {
            None => self.interval.now(self.chronicle.elapsed()),
            Some(Schedule::Wall(interval)) => interval,
            Some(_) => return false,
        };
        // What wall time asks for can wait for a slow disk; what steps or times ask for cannot.
        self.checkpoint_clock.elapsed() >= interval && !self.checkpoints.is_pending()
    }

    /// Begins a checkpoint if one is due; the sweeps go on while it is written.
    fn checkpoint_if_due(&mut self, agreed: &Pulse) -> Result<()> {
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
        Ok(())
    }

    /// Sees that the memory of all ranks is as the last step left it, where that is under checksums.
    fn compare_memory(&self) -> Result<()> {
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
    fn finish_writing(&mut self) -> Result<()> {
        self.chronicle.phase(Phase::Checkpoint);
        let written = self.checkpoints.finish(self.comm)?;
        self.note(written)?;
        self.outputs.finish(self.comm)?;
        self.note_lost_output();
        Ok(())
    }

    /// Writes the last state and waits until it is on stable storage; a state that is there already is left alone.
    fn save(&mut self) -> Result<()> {
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
        let reason = self.chronicle.run().stops.reason();
        self.chronicle.interrupted(at, &reason);
        self.local.discard(self.comm)?;
        Ok(Outcome::Interrupted { at })
    }

    /// Keeps the books on a checkpoint that was committed or discarded; a run that lost its directory to another must end.
    fn note(&mut self, written: Option<Written>) -> Result<()> {
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
        }
        match written {
            Written::Discarded { error, .. } if error.kind() == Kind::Run => Err(error),
            _ => Ok(()),
        }
    }

    fn note_lost_output(&mut self) {
        if let Some((step, error)) = self.outputs.take_lost() {
            self.chronicle.lost_output(step, &error);
        }
    }

    /// What the next file says about itself; an error of one rank is that of all.
    fn header(&self) -> Result<Header> {
        self.comm.vote(self.own_header())
    }

    fn own_header(&self) -> Result<Header> {
        self.chronicle.run().heartbeat.injected_error()?;
        let Instant { step, time } = self.clock.now();
        let grid = self.domain.grid();
        let mut replicated = BTreeMap::from([(BEFORE.into(), serde_json::json!(self.clock.before()))]);
        let shared = written(&self.shared)?;
        if !shared.is_null() {
            replicated.insert(Header::SHARED.into(), shared);
        }
        Ok(Header {
            program: self.chronicle.run().program.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            run_id: self.run_id.clone(),
            epoch: self.chronicle.run().epoch,
            step,
            time,
            cells: grid.cells().to_vec(),
            lower: grid.lower().0.to_vec(),
            upper: grid.upper().0.to_vec(),
            periodic: grid.periodic().to_vec(),
            block: self.domain.tiling.shape().to_vec(),
            components: self.domain.components.clone(),
            scalar: P::State::kind(),
            case: self.case.canonical(),
            physics: self.case.physics(),
            replicated,
        })
    }
}

/// What all ranks hold alike, as a checkpoint has it; whatever is read back from that is the same to the last bit.
fn written<T: Serialize + DeserializeOwned>(shared: &T) -> Result<serde_json::Value> {
    // As JSON, maps are in the order of their keys; but only the length of the other form tells that a number was lost.
    let forms = |shared: &T| {
        let packed = rmp_serde::to_vec(shared).ok()?;
        Some((serde_json::to_value(shared).ok()?, packed.len()))
    };
    let now = forms(shared);
    let again = now.as_ref().and_then(|(value, _)| forms(&T::deserialize(value).ok()?));
    match (now, again) {
        (Some(now), Some(again)) if now == again => Ok(now.0),
        _ => Err(Error::new(Kind::State, "what all ranks hold alike would not be the same after a restart")
            .hint("its numbers must be finite, and its Serialize and Deserialize must fit each other")),
    }
}

/// The longest that a checkpoint of this run took before.
fn slowest_save(past: &[Entry]) -> Option<Duration> {
    let took = |entry: &Entry| match entry.event {
        Event::CheckpointCommitted { seconds, .. } => Duration::try_from_secs_f64(seconds).ok(),
        _ => None,
    };
    past.iter().filter_map(took).max()
}

/// The part of the run that is done, by the clock or by the program's own account.
fn part_done(clock: &Clock, progress: &Progress) -> f64 {
    progress.done.unwrap_or(0.0).max(clock.progress())
}

/// The key under which a checkpoint has the instant before its own.
const BEFORE: &str = "before";

fn before(header: &Header) -> Option<Instant> {
    serde_json::from_value(header.replicated.get(BEFORE)?.clone()).ok()
}

/// A name for a new run: the time of its start and enough noise to tell two starts in one instant apart.
fn new_run_id() -> String {
    let now = jiff::Timestamp::now();
    let noise = crate::grid::random::mix(now.as_nanosecond() as u64 ^ u64::from(std::process::id()).rotate_left(32));
    format!("{}-{:08x}", now.strftime("%Y%m%dT%H%M%SZ"), noise as u32)
}
