//! How all ranks write one checkpoint together: three phases beside the sweeps, with an agreement after each.
//!
//! ```text
//!            begin            report, advance … in every round                   finish, or the last advance
//!   rank 0   create, stage │ write, fsync │ verify (rank r's │ seal, rename, │ Committed, or
//!   others   wait,   stage │ write, fsync │ others' blocks)  │     —         │ Discarded on all ranks
//!                          1              2                  3
//! ```
//!
//! The threads call neither MPI nor HDF5. What they did becomes known through [`Writer::report`], a number that the driver
//! carries in a reduction that it does anyway; [`Writer::advance`] acts on the minimum, so that every rank enters the next
//! phase, or gives up, in the same step.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::create::create;
use super::disk::System;
use super::header::Header;
use super::phases::{Fence, Job, Tick, Verify};
use super::save::check_describes;
use super::stage::Staging;
use super::store::Past;
use super::worker::{Order, Worker};
use crate::comm::Communicator;
use crate::error::{Error, Kind, Result};
use crate::field::{Field, Scalar};
use crate::grid::{Partition, Tiling};
use crate::rundir::{Spoil, checkpoint_name};
use crate::sys::pages::Pages;

/// Where checkpoints go and how they are treated.
#[derive(Clone)]
pub struct Settings {
    /// The directory that they are written to; it must exist.
    pub directory: PathBuf,
    /// How many are kept; never fewer than [`FEWEST_KEPT`](super::store::FEWEST_KEPT). `usize::MAX` keeps all.
    pub keep: usize,
    /// How much is read back before the commit, at least: one among any `keep` in a row is read back whole in any case, so
    /// that no old one is removed before a newer one is known to be good.
    pub verify: Verify,
    /// How many threads share the staging copy on each rank.
    pub threads: usize,
    /// Asked on rank 0 just before the commit, to keep a run that lost its lease from committing.
    pub fence: Option<Fence>,
    /// Called for each part that is written or read back; a watchdog that knows nothing else is kept quiet by it.
    pub tick: Option<Tick>,
}

/// How a checkpoint ended; the same on all ranks.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is complete, verified, on stable storage, and bears its final name.
    Committed {
        /// The number of steps done when it was taken.
        step: u64,
        /// The file.
        path: PathBuf,
        /// The length of the file.
        bytes: u64,
        /// How long the sweeps stood.
        stall: Duration,
        /// How long it took from the first to the last.
        duration: Duration,
    },
    /// Something failed on a rank; the checkpoints before it are untouched. Nothing of it is left, unless the last thing failed,
    /// to put its name on stable storage: then the file stays, complete, and may be gone after a power loss.
    Discarded {
        /// The number of steps done when it was taken.
        step: u64,
        /// What failed, and where.
        error: Error,
    },
}

/// Writes checkpoints beside the sweeps, one at a time.
///
/// # Memory
/// The staging copy of one checkpoint: the bytes of this rank's blocks, once, which are kept from the first checkpoint on, or
/// from [`make_room`](Self::make_room), for the next; while one is verified, eight mebibytes, or one block if that is larger,
/// and the checksums of the blocks of another rank; and on rank 0, until it is sealed, the checksums and costs of all blocks of
/// all ranks, and the metadata once more. A second checkpoint cannot begin before the first has ended, however slow the disk is.
pub struct Writer<T> {
    settings: Settings,
    past: Past,
    staging: Staging<T>,
    /// Memory for the first staging copy, on its way.
    room: Option<JoinHandle<Pages<T>>>,
    pending: Option<Pending<T>>,
    /// The thread of the last checkpoint, which removes what is too old by now.
    retiring: Option<Worker<T>>,
    /// The byte of which a bit flips between checksum and disk, on purpose.
    flip: Option<usize>,
}

/// A checkpoint between its begin and its end.
struct Pending<T> {
    step: u64,
    path: PathBuf,
    bytes: u64,
    phase: u8,
    verify: Verify,
    work: Work<T>,
    started: Instant,
    stall: Duration,
}

/// What is at work for a pending checkpoint on this rank.
enum Work<T> {
    /// Nothing: the file could not be created.
    Failed(Error),
    /// A thread, with what the other ranks will ask of this one.
    Running { worker: Worker<T>, job: Arc<Job>, summary: Vec<u64>, circle: Circle },
}

/// Who reads whose blocks back: ranks far away, which are on other nodes where there are several.
#[derive(Debug, Clone, Copy)]
struct Circle {
    /// Whose blocks this rank reads back, and how many they are.
    other: usize,
    blocks: usize,
    /// Who reads back those of this rank.
    reader: usize,
}

impl Circle {
    fn of(communicator: &Communicator, partition: &Partition) -> Self {
        let (rank, size) = (communicator.rank(), communicator.size());
        let far = size / 2;
        let other = (rank + far) % size;
        Circle { other, blocks: partition.range(other).len(), reader: (rank + size - far) % size }
    }
}

impl<T: Scalar> Writer<T> {
    /// A writer with nothing to do yet.
    pub fn new(settings: Settings) -> Self {
        Writer {
            settings,
            past: Past::default(),
            staging: Staging::default(),
            room: None,
            pending: None,
            retiring: None,
            flip: None,
        }
    }

    /// Takes the memory for copies of so many numbers beside the sweeps, so that they do not stand for it at the first
    /// checkpoint: pages that are touched for the first time can take longer than the copy (up to ten times, measured).
    pub fn make_room(&mut self, numbers: usize) {
        let touched = move || {
            let mut pages = Pages::zeroed(numbers);
            pages.touch();
            pages
        };
        // Without it nothing but time is lost.
        self.room = std::thread::Builder::new().name("staging".into()).spawn(touched).ok();
    }

    /// Whether a checkpoint is being written; the same on all ranks.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Has a bit of this rank's next checkpoint flip after its checksum was taken. For tests.
    pub fn flip_next(&mut self, byte: usize) {
        self.flip = Some(byte);
    }

    /// Takes a checkpoint: creates the file and copies the field; writing then goes on beside the sweeps.
    ///
    /// `costs` has the cost of each block of this rank. If the file cannot be created, the checkpoint is pending all the
    /// same, and is discarded with the reason at the next [`Writer::advance`] or [`Writer::finish`].
    ///
    /// # Collective
    ///
    /// # Errors
    /// If one is pending already, if the header does not describe the field, or if MPI fails.
    pub fn begin<const N: usize>(
        &mut self,
        communicator: &Communicator,
        header: Header,
        tiling: &Tiling<N>,
        partition: &Partition,
        field: &Field<T, N>,
        costs: &[f64],
    ) -> Result<()> {
        let started = Instant::now();
        let own = partition.blocks(communicator.rank());
        let whole = own.eq(field.blocks()) && costs.len() == field.blocks().len();
        let fits = match check_describes(&header, tiling, field) {
            Ok(()) if self.is_pending() => Err(Error::new(Kind::Internal, "a checkpoint is pending already")),
            Ok(()) if !whole => Err(Error::new(Kind::Internal, "the field has not the blocks of its rank")),
            checked => checked,
        };
        communicator.vote(fits)?;
        self.retire();

        let (step, path) = (header.step, self.settings.directory.join(checkpoint_name(header.step)));
        let mut created_here = None;
        let created = communicator.is_root().then(|| {
            let (job, created) = create(&System, path.clone(), header)?;
            created_here = Some(created);
            Ok::<Job, Error>(job)
        });
        let created = communicator.broadcast(0, created)?;
        let verify = self.past.verify(self.settings.verify, self.settings.keep);
        let (bytes, work) = match created {
            Err(error) => (0, Work::Failed(error.on_rank(0))),
            Ok(job) => {
                let mut staging = std::mem::take(&mut self.staging);
                if let Some(room) = self.room.take().and_then(|room| room.join().ok()) {
                    staging.numbers = room;
                }
                staging.fill(&job.header, tiling, field, self.settings.threads);
                if let Some(byte) = self.flip.take() {
                    Spoil::flip(bytemuck::cast_slice_mut(&mut staging.numbers), byte);
                }
                let summary = summarise(tiling, field, &staging, costs);
                let job = Arc::new(job);
                let settings = Settings { verify, ..self.settings.clone() };
                let worker = Worker::start(job.clone(), created_here, staging, settings, self.past.clone());
                let circle = Circle::of(communicator, partition);
                (job.layout.length, Work::Running { worker, job, summary, circle })
            }
        };
        let stall = started.elapsed();
        self.pending = Some(Pending { step, path, bytes, phase: 1, verify, work, started, stall });
        Ok(())
    }

    /// How far this rank is: −1 if something failed here, else the last phase done; +∞ if nothing is pending.
    ///
    /// The driver takes the minimum over all ranks and passes it to [`Writer::advance`].
    pub fn report(&self) -> f64 {
        match &self.pending {
            None => f64::INFINITY,
            Some(Pending { work: Work::Failed(_), .. }) => -1.0,
            Some(Pending { work: Work::Running { worker, .. }, .. }) => worker.phase().map_or(-1.0, f64::from),
        }
    }

    /// Goes on to the next phase if all ranks are ready for it, and tells how the checkpoint ended if it did.
    ///
    /// `agreed` is the minimum of all ranks' reports. Costs nothing while nothing changes.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If MPI fails. A checkpoint that fails is no error but an outcome.
    pub fn advance(&mut self, communicator: &Communicator, agreed: f64) -> Result<Option<Outcome>> {
        let Some(pending) = &mut self.pending else { return Ok(None) };
        if agreed < 0.0 {
            return self.discard(communicator).map(Some);
        }
        if agreed < f64::from(pending.phase) {
            return Ok(None);
        }
        if pending.phase == 3 {
            return Ok(self.complete());
        }
        if let Work::Running { worker, job, summary, circle } = &mut pending.work {
            worker.order(match pending.phase {
                1 => verification(communicator, job, summary, *circle)?,
                _ => sealing(communicator, job, std::mem::take(summary))?,
            });
        }
        pending.phase += 1;
        Ok(None)
    }

    /// Waits until the pending checkpoint, if there is one, has ended, and tells how; rank 0, which removes what is too old,
    /// waits for that as well.
    ///
    /// # Collective
    ///
    /// # Errors
    /// As [`Writer::advance`].
    pub fn finish(&mut self, communicator: &Communicator) -> Result<Option<Outcome>> {
        while let Some(pending) = &self.pending {
            if let Work::Running { worker, .. } = &pending.work {
                worker.wait_for(pending.phase);
            }
            let mut agreed = [self.report()];
            communicator.min_f64(&mut agreed)?;
            if let Some(outcome) = self.advance(communicator, agreed[0])? {
                self.retire();
                return Ok(Some(outcome));
            }
        }
        self.retire();
        Ok(None)
    }

    /// Gives the pending checkpoint up, whatever has become of it so far, and leaves nothing of it: for a state that turns
    /// out to be none worth keeping.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If MPI fails.
    pub fn give_up(&mut self, communicator: &Communicator) -> Result<()> {
        if self.is_pending() { self.discard(communicator).map(drop) } else { Ok(()) }
    }

    /// Takes back the memory of the last checkpoint, once its thread has nothing more to do.
    fn retire(&mut self) {
        if let Some(worker) = self.retiring.take() {
            self.staging = worker.end().0;
        }
    }

    fn complete(&mut self) -> Option<Outcome> {
        let Pending { step, path, bytes, verify, work, started, stall, .. } = self.pending.take()?;
        self.past.committed(step, verify);
        if let Work::Running { worker, .. } = work {
            self.retiring = Some(worker);
        }
        Some(Outcome::Committed { step, path, bytes, stall, duration: started.elapsed() })
    }

    fn discard(&mut self, communicator: &Communicator) -> Result<Outcome> {
        let pending = self.pending.take();
        let (mut step, mut own) = (0, Ok(()));
        let mut remove = None;
        if let Some(pending) = pending {
            step = pending.step;
            own = match pending.work {
                Work::Failed(error) => Err(error),
                Work::Running { worker, job, .. } => {
                    remove = communicator.is_root().then_some(job);
                    let (staging, result) = worker.end();
                    self.staging = staging;
                    result
                }
            };
        }
        let agreed = communicator.vote(own);
        if let Some(job) = remove {
            job.remove(&System);
            if job.is_named(&System) {
                self.past.doubt(step);
            }
        }
        let error = match agreed {
            Err(error) => error.in_step(step),
            Ok(()) => Error::new(Kind::Internal, "the ranks were told of a failed checkpoint, but on none it failed"),
        };
        Ok(Outcome::Discarded { step, error })
    }
}

/// What the other ranks need to know of this one's blocks: their chunks, costs and checksums.
fn summarise<T: Scalar, const N: usize>(
    tiling: &Tiling<N>,
    field: &Field<T, N>,
    staging: &Staging<T>,
    costs: &[f64],
) -> Vec<u64> {
    let mut costs: Vec<_> = field.blocks().map(|id| tiling.chunk(id)).zip(costs).collect();
    costs.sort_unstable_by_key(|(chunk, _)| *chunk);
    let chunks = staging.chunks.iter().map(|&chunk| chunk as u64);
    chunks.chain(costs.iter().map(|(_, cost)| cost.to_bits())).chain(staging.checksums.iter().copied()).collect()
}

/// Learns what this rank reads back.
fn verification(communicator: &Communicator, job: &Job, summary: &[u64], circle: Circle) -> Result<Order> {
    let components = job.layout.fields.len();
    let words = circle.blocks * (2 + components);
    let theirs = communicator.pass(summary, circle.reader, circle.other, words)?;
    let (chunks, checksums) = (&theirs[..circle.blocks], &theirs[2 * circle.blocks..]);
    Ok(Order::Verify { chunks: chunks.iter().map(|&chunk| chunk as usize).collect(), checksums: checksums.to_vec() })
}

/// Puts the ranks' summaries together on rank 0, which seals the file.
fn sealing(communicator: &Communicator, job: &Job, summary: Vec<u64>) -> Result<Order> {
    let summaries = communicator.gather_bytes(0, bytemuck::cast_slice(&summary))?;
    let order = summaries.map_or(Ok(Order::Rest), |summaries| commission(job, &summaries));
    communicator.vote(order)
}

fn commission(job: &Job, summaries: &[Vec<u8>]) -> Result<Order> {
    let layout = &job.layout;
    let components = layout.fields.len();
    let mut seen = 0;
    let mut checksums = vec![0; layout.entries()];
    let mut costs = vec![0.0; layout.chunks as usize];
    for summary in summaries {
        let words: Vec<u64> = bytemuck::pod_collect_to_vec(summary);
        let count = words.len() / (2 + components);
        let (own, rest) = words.split_at(count);
        let (own_costs, own_checksums) = rest.split_at(count);
        for (i, &chunk) in own.iter().enumerate() {
            costs[chunk as usize] = f64::from_bits(own_costs[i]);
            for component in 0..components {
                checksums[layout.entry(component, chunk as usize)] = own_checksums[component * count + i];
            }
        }
        seen += count;
    }
    if seen as u64 != layout.chunks {
        return Err(Error::new(Kind::Internal, format!("the ranks staged {seen} of {} blocks", layout.chunks)));
    }
    Ok(Order::Commit { checksums, costs })
}
