//! How a simulation begins: laid out over the ranks, with its state from where it was saved last, or from time 0.

use std::time::{Duration, Instant as WallInstant};

use super::checksums::Checksums;
use super::chronicle::{Beginning, Chronicle, Monitor};
use super::clock::{Clock, Instant};
use super::domain::Domain;
use super::driver::{MOST_AT_ONCE, Simulation, part_done};
use super::farewell::Farewell;
use super::heading::before;
use super::interval::Interval;
use super::layout::{Layout, Memory};
use super::local::Local;
use super::outputs::Outputs;
use super::program::Program;
use super::run::Run;
use super::{initial, restart};
use crate::checkpoint::{self, Writer};
use crate::comm::Communicator;
use crate::config::{self, Case};
use crate::error::{Error, Kind, Result};
use crate::field::Record;
use crate::grid::Partition;
use crate::rundir::{Entry, Event, Phase, Tally};

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
        // One rank has the costs of all blocks, and only until the curve is cut; the others are told where.
        let cut = || layout.partition(comm.size(), found.costs(&layout).as_deref());
        let cut = comm.vote(comm.is_root().then(cut).transpose())?;
        let partition: Partition = comm.broadcast(0, cut)?;
        // A node-local checkpoint has two buffers more: its own copy, and its partner's.
        let copies = if case.checkpoint.local.is_some() { 3 } else { 1 };
        let own = layout.bytes_of(&partition, comm.rank());
        let staged = layout.staging_bytes_of(&partition, comm.rank());
        let mut most = [(own + copies * staged) as f64];
        comm.max_f64(&mut most)?;
        let on_node = most[0] as u64 * comm.node()?.size as u64;
        comm.vote(run.heartbeat.injected_error().and(layout.check_memory(on_node, Memory::of_this_node())))?;

        let beginning = Beginning {
            title: case.title.clone(),
            cells: case.cells.clone(),
            block: layout.tiling.shape().to_vec(),
            blocks: layout.tiling.len(),
            ranks: comm.size(),
            threads: case.run.threads,
            spare_ranks: partition.spare_ranks().collect(),
            bytes: own,
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
        let mut checkpoints = Writer::new(checkpoint::Settings {
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
        let slowest: Option<Duration> = comm.broadcast(0, comm.is_root().then(|| slowest_save(&past)))?;
        let interval = Interval::new(case.checkpoint.interval, Tally::of(&past));
        let farewell = Farewell::new(layout.checkpoint_bytes(), slowest);
        let mut checksums = Checksums::new(&case.guard, domain.state.patches().len(), comm.meter());
        checksums.take(&domain.pool, &domain.state, clock.now().step);
        let at_once = at_once(comm, &program, &case, &chronicle)?;
        let (done, over) = (part_done(&clock, &progress), clock.is_over() || progress.finished);
        // One at the end alone can wait for its memory.
        if case.checkpoint.every != Some(config::Schedule::Never) && !over {
            checkpoints.make_room(staged as usize / size_of::<<P::State as Record>::Scalar>());
        }
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
            at_once,
            pace: Duration::ZERO,
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
}

/// How many steps are done at once: one, if each is looked at.
///
/// # Collective
fn at_once<P: Program<N>, const N: usize>(
    comm: &Communicator,
    program: &P,
    case: &Case,
    chronicle: &Chronicle<'_>,
) -> Result<usize> {
    let mut looks = [u64::from(case.guard.checksums != config::Checksums::None || chronicle.run().heartbeat.injects())];
    comm.sum_u64_wrapping(&mut looks)?;
    Ok(if looks[0] > 0 { 1 } else { program.at_once().clamp(1, MOST_AT_ONCE) })
}

/// The longest that a checkpoint of this run took before.
fn slowest_save(past: &[Entry]) -> Option<Duration> {
    let took = |entry: &Entry| match entry.event {
        Event::CheckpointCommitted { seconds, .. } => Duration::try_from_secs_f64(seconds).ok(),
        _ => None,
    };
    past.iter().filter_map(took).max()
}

/// A name for a new run: the time of its start and enough noise to tell two starts in one instant apart.
fn new_run_id() -> String {
    let now = jiff::Timestamp::now();
    let noise = crate::grid::random::mix(now.as_nanosecond() as u64 ^ u64::from(std::process::id()).rotate_left(32));
    format!("{}-{:08x}", now.strftime("%Y%m%dT%H%M%SZ"), noise as u32)
}
