//! The loop that a run is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant as WallInstant;

use super::chronicle::{Beginning, Chronicle, Monitor};
use super::clock::{Clock, Instant};
use super::evolution::{Activity, Evolution, ScalarOf, Setting};
use super::guard::Seen;
use super::layout::{Layout, Memory};
use super::outputs::Outputs;
use super::pulse::Pulse;
use super::stops::Stops;
use super::{Model, initial, integrator, restart};
use crate::checkpoint::{self, Fence, Header, Outcome as Written, Writer};
use crate::comm::Communicator;
use crate::config::{self, Case, Schedule, StepSize};
use crate::error::{Error, Kind, Result};
use crate::field::Record;
use crate::halo::{Backend, Exchange, Plan};
use crate::rundir::{Heartbeat, Lease, Orders, Phase, RunDirectory};

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
}

impl Run {
    /// Keeps a run that lost its directory to another from committing.
    pub(super) fn fence(&self) -> Option<Fence> {
        let lease = self.lease.clone()?;
        Some(Arc::new(move || lease.check()))
    }
}

/// What to do with the checkpoints that a run directory already has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Go on from the newest good one.
    Continue,
    /// Start over and discard them.
    Fresh,
}

/// A simulation on all ranks: the state and everything that drives it.
pub struct Simulation<'a, M: Model<N>, const N: usize> {
    comm: &'a Communicator,
    case: Case,
    run_id: String,
    evolution: Evolution<M, N>,
    clock: Clock,
    seen: Seen,
    checkpoints: Writer<ScalarOf<M, N>>,
    pending_checkpoint: Option<Instant>,
    last_checkpoint: Option<Instant>,
    checkpoint_clock: WallInstant,
    outputs: Outputs<ScalarOf<M, N>>,
    chronicle: Chronicle<'a>,
}

impl<'a, M: Model<N>, const N: usize> Simulation<'a, M, N> {
    /// Lays the case out over all ranks and sets the state: from the newest good checkpoint of the run directory, or
    /// else at time 0. A thread can have one simulation in its life: it becomes one of the threads that sweep.
    ///
    /// # Collective
    /// All ranks must call it with the same case.
    ///
    /// # Errors
    /// If the case cannot be laid out, memory is short, or there are checkpoints and none is good.
    pub fn new(comm: &'a Communicator, case: Case, model: M, run: Run, monitor: &'a mut dyn Monitor) -> Result<Self> {
        run.heartbeat.phase(Phase::Reading);
        let layout = Layout::<N>::new::<M>(&case)?;
        let found = restart::find::<M, N>(comm, &case, &run)?;
        let partition = layout.partition(comm.size(), found.costs(&layout).as_deref())?;
        let bytes = (0..comm.size()).map(|rank| layout.bytes_of(&partition, rank)).max().unwrap_or(0);
        let on_node = bytes * comm.node()?.size as u64;
        comm.vote(layout.check_memory(on_node, Memory::of_this_node()))?;

        let setting = Setting {
            model,
            tiling: layout.tiling.clone(),
            boundaries: case.boundaries::<N>(),
            components: layout.components.clone(),
            asks_timescale: matches!(case.time.step, StepSize::Cfl(_)),
        };
        let plan = Plan::new(&layout.tiling, &partition, comm.rank(), layout.width);
        let backend = match case.run.exchange {
            config::Exchange::Neighbourhood => Backend::Neighbourhood,
            config::Exchange::PointToPoint => Backend::PointToPoint,
        };
        let exchange = Exchange::new(comm, plan, layout.components.len(), backend)?;
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
        let stages = integrator::stages(case.time.integrator);
        let evolution =
            Evolution::new(setting, partition, comm.rank(), stages, exchange, layout.width, case.run.threads);
        let mut evolution = comm.vote(evolution)?;
        evolution.prove_exchange(comm)?;
        let mut chronicle = Chronicle::new(run, &case, comm, monitor);

        let schedules = case.outputs.iter().map(|output| output.every).chain([case.checkpoint.every]);
        let mut clock = Clock::new(&case.time, schedules);
        let (resumed_from, run_id) = match restart::restore(comm, &found, &mut evolution, &mut chronicle)? {
            Some(header) => {
                let now = Instant { step: header.step, time: header.time };
                clock.set(before(&header).unwrap_or(now), now);
                (Some(now), header.run_id)
            }
            None => {
                initial::from_model(&mut evolution);
                if let Some(from) = &case.initial {
                    initial::from_file(&mut evolution, from, &chronicle.run().case_directory, comm)?;
                }
                restart::discard(comm, chronicle.run())?;
                (None, comm.broadcast(0, (comm.rank() == 0).then(new_run_id))?)
            }
        };
        let seen = evolution.look();
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
        let began =
            chronicle.started(&run_id, &Beginning { resumed_from, ..beginning }, clock.progress(), clock.is_over());
        comm.vote(began)?;
        Ok(Simulation {
            comm,
            case,
            run_id,
            evolution,
            clock,
            seen,
            checkpoints,
            pending_checkpoint: None,
            last_checkpoint: resumed_from,
            checkpoint_clock: WallInstant::now(),
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
            let Some(dt) = self.clock.next_step(agreed.timescale)? else { return self.finish() };
            if agreed.stop {
                return self.interrupt();
            }
            self.advance(dt);
        }
    }

    /// The one all-reduce of a step: soundness, timescale, wishes to stop, and how far the writers are.
    fn agree(&mut self) -> Result<Pulse> {
        self.chronicle.phase(Phase::Reduce);
        let mut pulse = Pulse {
            timescale: self.seen.timescale,
            fault: !self.seen.sound,
            stop: self.chronicle.run().stops.asked(self.chronicle.elapsed()),
            checkpoint: self.checkpoints.report(),
            output: self.outputs.report(),
            ..Pulse::QUIET
        };
        if self.comm.rank() == 0 {
            pulse.wall_due = self.outputs.wall_due() << 1 | u32::from(self.checkpoint_wall_due());
        }
        let agreed = pulse.agree(self.comm)?;
        if agreed.fault {
            let step = self.clock.now().step;
            let fault = self.evolution.explain().map(|fault| fault.in_step(step));
            self.comm.vote(fault.map_or(Ok(()), Err))?;
            return Err(Error::new(
                Kind::State,
                "the state was not sound when it was computed, but now it is: memory may be failing",
            )
            .in_step(step)
            .hint("run the same command again, on another node if you can"));
        }
        if agreed.checkpoint.min(agreed.output) < 0.0 {
            // Giving it up waits for a writer that may sit in a slow system call.
            self.chronicle.phase(Phase::Checkpoint);
        }
        let written = self.checkpoints.advance(self.comm, agreed.checkpoint)?;
        self.note(written)?;
        self.outputs.advance(self.comm, agreed.output)?;
        self.note_lost_output();
        Ok(agreed)
    }

    /// One step of the state.
    fn advance(&mut self, dt: f64) {
        let chronicle = &self.chronicle;
        let phase = |activity| {
            chronicle.phase(match activity {
                Activity::Exchange => Phase::Exchange,
                Activity::Sweep => Phase::Sweep,
            });
        };
        match self.evolution.advance(self.clock.now().time, dt, &phase) {
            Ok(seen) => self.seen = seen,
            // Nothing but MPI fails here, and then the others may wait for a message that never comes.
            Err(error) => {
                log::error!("{}", error.on_rank(self.comm.rank()).in_step(self.clock.now().step));
                self.comm.abort(1)
            }
        }
        self.clock.advance(dt);
        self.chronicle.stepped(self.clock.now(), dt, self.clock.progress());
    }

    /// Writes the outputs that are due.
    fn publish(&mut self, agreed: &Pulse) -> Result<()> {
        let due = self.outputs.due(&self.clock, agreed.wall_due >> 1);
        if due.any() {
            self.chronicle.phase(Phase::Output);
            let header = self.header();
            self.outputs.write(self.comm, due, self.clock.now(), &header, &self.evolution)?;
        }
        Ok(())
    }

    fn checkpoint_wall_due(&self) -> bool {
        matches!(self.case.checkpoint.every, Schedule::Wall(interval) if self.checkpoint_clock.elapsed() >= interval)
    }

    /// Begins a checkpoint if one is due; the sweeps go on while it is written.
    fn checkpoint_if_due(&mut self, agreed: &Pulse) -> Result<()> {
        let due = self.clock.is_due(&self.case.checkpoint.every) || agreed.wall_due & 1 == 1;
        let saved = self.last_checkpoint == Some(self.clock.now());
        if due && !saved && !self.clock.is_over() {
            self.begin_checkpoint()?;
        }
        Ok(())
    }

    fn begin_checkpoint(&mut self) -> Result<()> {
        self.chronicle.phase(Phase::Checkpoint);
        // One at a time: staging memory stays bounded, however slow the disk is.
        let written = self.checkpoints.finish(self.comm)?;
        self.note(written)?;
        // What came before a checkpoint must not be missing after a restart from it.
        self.outputs.finish_before(self.comm, self.clock.now().step)?;
        let Setting { tiling, .. } = &self.evolution.setting;
        let (header, costs) = (self.header(), self.evolution.costs());
        self.checkpoints.begin(self.comm, header, tiling, &self.evolution.partition, self.evolution.state(), &costs)?;
        self.pending_checkpoint = Some(self.clock.now());
        self.checkpoint_clock = WallInstant::now();
        Ok(())
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
        let mut hash = [self.evolution.state().fingerprint(&self.evolution.setting.tiling)];
        self.comm.sum_u64_wrapping(&mut hash)?;
        let at = self.clock.now();
        let recorded = self.chronicle.finished(&self.run_id, at, hash[0]);
        self.comm.vote(recorded)?;
        Ok(Outcome::Finished { at, hash: hash[0] })
    }

    fn interrupt(&mut self) -> Result<Outcome> {
        self.save()?;
        self.chronicle.phase(Phase::Finishing);
        let at = self.clock.now();
        let reason = self.chronicle.run().stops.reason(self.chronicle.elapsed());
        self.chronicle.interrupted(at, &reason);
        Ok(Outcome::Interrupted { at })
    }

    /// Keeps the books on a checkpoint that was committed or discarded; a run that lost its directory to another must end.
    fn note(&mut self, written: Option<Written>) -> Result<()> {
        let Some(written) = written else { return Ok(()) };
        let at = self.pending_checkpoint.take().expect("what was written was begun");
        if let Written::Committed { .. } = &written {
            self.last_checkpoint = Some(at);
        }
        self.chronicle.wrote(&written, at.time);
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

    fn header(&self) -> Header {
        let Instant { step, time } = self.clock.now();
        let grid = self.evolution.setting.grid();
        Header {
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
            block: self.evolution.setting.tiling.shape().to_vec(),
            components: self.evolution.setting.components.clone(),
            scalar: M::State::kind(),
            case: self.case.canonical(),
            physics: self.case.physics(),
            replicated: BTreeMap::from([(BEFORE.into(), serde_json::json!(self.clock.before()))]),
        }
    }
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
