//! How all ranks take a node-local checkpoint: a copy that the sweeps wait for, and then everything beside them.
//!
//! ```text
//!            begin                      report … in every round                       advance
//!   rank     copy, checksum │ own piece to its file; to the partner ──►   │  all ranks settled: Saved, or Failed
//!   partner                 │ ◄── the wards' pieces; these to files       │  the oldest save goes
//! ```

use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::folder::Folder;
use super::keeper::{Keeper, Written};
use super::nodes::Nodes;
use super::piece::{self, Head, Plan};
use crate::checkpoint::Header;
use crate::comm::Communicator;
use crate::error::{Error, Kind, Result};
use crate::field::{Field, Scalar};
use crate::grid::random::mix;
use crate::grid::{Partition, Tiling};
use crate::sys::mpi::{self, Parcels};

/// Where node-local checkpoints go, and how they are treated.
#[derive(Clone)]
pub struct Settings {
    /// The folder of this run on this node.
    pub folder: Folder,
    /// How many saves are kept, beside the one that is being taken.
    pub keep: usize,
    /// How many threads share the copy on each rank.
    pub threads: usize,
    /// The attempt.
    pub attempt: u32,
    /// Called for each part that is written, as a sign that it moves.
    pub tick: Arc<dyn Fn() + Send + Sync>,
}

/// How a node-local checkpoint ended; the same on all ranks.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Every rank has its own piece and those of its wards.
    Saved {
        /// The number of steps done when it was taken.
        step: u64,
        /// What it cost the slowest rank: how long its sweeps stood, and the processor time of its thread.
        cost: Duration,
        /// How long it took from the first to the last.
        duration: Duration,
    },
    /// Something failed on a rank; the saves before it stay.
    Failed {
        /// The number of steps done when it was taken.
        step: u64,
        /// What failed, and where.
        error: Error,
    },
}

/// Takes node-local checkpoints, one at a time.
pub struct Level {
    settings: Settings,
    nodes: Nodes,
    partner: Option<usize>,
    wards: Vec<usize>,
    communicator: Rc<mpi::Communicator>,
    keeper: Keeper,
    /// What the numbers of this attempt's saves are drawn from.
    seed: u64,
    saves: u64,
    pending: Option<Pending>,
    /// The files of the saves that count, the oldest first.
    held: VecDeque<Vec<PathBuf>>,
    /// Buffers to be used again: new ones cost the system a page fault for every four kibibytes.
    spare: Vec<Vec<u64>>,
}

/// A save between its begin and its end, on this rank.
struct Pending {
    step: u64,
    own: Arc<Vec<u64>>,
    /// What is on its way, and which file each of the incoming goes to.
    parcels: Option<Parcels>,
    copies: Vec<PathBuf>,
    files: Vec<PathBuf>,
    unwritten: usize,
    failure: Option<Error>,
    cost: Duration,
    started: Instant,
}

/// What ranks report of a pending save; all are settled when the minimum is one of the last two.
const UNSETTLED: f64 = 0.0;
const FAILED: f64 = 1.0;
const SAVED: f64 = 2.0;

/// Words that a buffer has to spare, as heads grow by a digit now and then.
const SLACK: usize = 512;

impl Level {
    /// A level with nothing to do yet; `held` has the files, on this node, of the saves before, the oldest first.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If MPI fails or the system has no thread left.
    pub fn new(
        communicator: &Communicator,
        settings: Settings,
        nodes: Nodes,
        held: VecDeque<Vec<PathBuf>>,
    ) -> Result<Self> {
        let rank = communicator.rank();
        let noise = mix(Timestamp::now().as_nanosecond() as u64 ^ u64::from(std::process::id()).rotate_left(40));
        let seed = communicator.broadcast(0, communicator.is_root().then_some(noise))?;
        let keeper = communicator.vote(Keeper::start(settings.folder.clone(), settings.tick.clone()))?;
        Ok(Level {
            partner: nodes.partner(rank),
            wards: nodes.wards(rank),
            communicator: Rc::new(communicator.inner().duplicate()?),
            settings,
            nodes,
            keeper,
            seed,
            saves: 0,
            pending: None,
            held,
            spare: Vec::new(),
        })
    }

    /// The nodes of the run.
    pub fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// Whether a save is being taken; the same on all ranks.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Takes a save: copies the field; all else then goes on beside the sweeps.
    ///
    /// `costs` has the cost of each block of this rank.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If one is pending already, the field is not that of the partition, or MPI fails.
    pub fn begin<T: Scalar, const N: usize>(
        &mut self,
        communicator: &Communicator,
        header: Header,
        (tiling, partition): (&Tiling<N>, &Partition),
        field: &Field<T, N>,
        costs: &[f64],
    ) -> Result<()> {
        let started = Instant::now();
        let rank = communicator.rank();
        let own = partition.range(rank).len();
        let fits = !self.is_pending() && field.blocks().len() == own && costs.len() == own;
        let misfit = || Error::new(Kind::Internal, "a node-local checkpoint does not fit the field, or comes too soon");
        communicator.vote(fits.then_some(()).ok_or_else(misfit))?;
        let (step, save) = (header.step, mix(self.seed ^ mix(self.saves)));
        self.saves += 1;
        let head = Head { save, attempt: self.settings.attempt, nodes: self.nodes.names().to_vec(), header };
        let mut head_json = Vec::new();
        if communicator.is_root() {
            head_json = serde_json::to_vec(&head).expect("a head holds nothing that JSON cannot");
        }
        // One rank's words for all, so that no two pieces can differ in a byte.
        communicator.broadcast_bytes(0, &mut head_json)?;
        let header = &head.header;
        let mut words = self.buffer(Plan::new(&head_json, header, own).words());
        let node = self.nodes.of_rank(rank);
        piece::fill(&mut words, (&head_json, header), node, (tiling, field, self.settings.threads), costs);
        let words = Arc::new(words);

        let folder = &self.settings.folder;
        let file = folder.piece(step, save, rank);
        let copies: Vec<_> = self.wards.iter().map(|&ward| folder.piece(step, save, ward)).collect();
        self.keeper.write(file.clone(), words.clone());
        let incoming: Vec<_> = (self.wards.clone().into_iter())
            .map(|ward| (ward, self.buffer(Plan::new(&head_json, header, partition.range(ward).len()).words())))
            .collect();
        let outgoing: Vec<_> = self.partner.map(|partner| (partner, words.clone())).into_iter().collect();
        let travels = !outgoing.is_empty() || !incoming.is_empty();
        let parcels = travels.then(|| Parcels::start(&self.communicator, outgoing, incoming)).transpose()?;
        self.pending = Some(Pending {
            step,
            own: words,
            parcels,
            unwritten: 1 + copies.len(),
            files: [vec![file], copies.clone()].concat(),
            copies,
            failure: None,
            cost: started.elapsed(),
            started,
        });
        Ok(())
    }

    /// How far this rank is; helps what is on its way. The driver takes the minimum over all ranks and passes it to
    /// [`Level::advance`].
    ///
    /// # Errors
    /// If MPI fails.
    pub fn report(&mut self) -> Result<f64> {
        let Some(pending) = &mut self.pending else { return Ok(f64::INFINITY) };
        let started = Instant::now();
        if let Some(parcels) = &mut pending.parcels
            && parcels.have_arrived()?
        {
            let arrived = pending.parcels.take().map_or(Ok(Vec::new()), Parcels::receive)?;
            for (path, words) in pending.copies.drain(..).zip(arrived) {
                self.keeper.write(path, Arc::new(words));
            }
        }
        while pending.unwritten > 0 {
            match self.keeper.answer() {
                Ok(Some(written)) => pending.note(written, &mut self.spare),
                Ok(None) => break,
                Err(error) => (pending.unwritten, pending.failure) = (0, Some(error)),
            }
        }
        pending.cost += started.elapsed();
        Ok(match (&pending.parcels, pending.unwritten, &pending.failure) {
            (Some(_), _, _) | (None, 1.., _) => UNSETTLED,
            (None, 0, Some(_)) => FAILED,
            (None, 0, None) => SAVED,
        })
    }

    /// Ends the save when all ranks are settled, and tells how; `agreed` is the minimum of all ranks' reports.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If MPI fails. A save that fails is no error but an outcome.
    pub fn advance(&mut self, communicator: &Communicator, agreed: f64) -> Result<Option<Outcome>> {
        if agreed == UNSETTLED {
            return Ok(None);
        }
        let Some(pending) = self.pending.take() else { return Ok(None) };
        let Pending { step, own, files, failure, cost, started, .. } = pending;
        self.spare.extend(Arc::into_inner(own));
        if agreed == FAILED {
            self.keeper.remove(files);
            let Err(error) = communicator.vote(failure.map_or(Ok(()), Err)) else {
                return Err(Error::new(Kind::Internal, "a node-local checkpoint failed, but on no rank"));
            };
            return Ok(Some(Outcome::Failed { step, error: error.in_step(step) }));
        }
        self.held.push_back(files);
        while self.held.len() > self.settings.keep {
            self.keeper.remove(self.held.pop_front().unwrap_or_default());
        }
        let mut cost = [cost.as_secs_f64()];
        communicator.max_f64(&mut cost)?;
        Ok(Some(Outcome::Saved { step, cost: Duration::from_secs_f64(cost[0]), duration: started.elapsed() }))
    }

    /// Waits until the pending save, if there is one, has ended, and tells how.
    ///
    /// # Collective
    ///
    /// # Errors
    /// As [`Level::advance`].
    pub fn finish(&mut self, communicator: &Communicator) -> Result<Option<Outcome>> {
        while self.is_pending() {
            let mut agreed = [self.report()?];
            communicator.min_f64(&mut agreed)?;
            if let Some(outcome) = self.advance(communicator, agreed[0])? {
                return Ok(Some(outcome));
            }
        }
        Ok(None)
    }

    /// Gives up the pending save, so that no piece of it can become part of a restart.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If MPI fails.
    pub fn give_up(&mut self) -> Result<()> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        pending.parcels.map_or(Ok(Vec::new()), Parcels::receive)?;
        self.keeper.remove(pending.files);
        Ok(())
    }

    /// Ends the level and removes all its saves, for a run whose state is safe elsewhere.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If MPI fails; what cannot be removed is only logged.
    pub fn discard(self, communicator: &Communicator) -> Result<()> {
        let (folder, first) = (self.settings.folder.clone(), self.nodes.is_first(communicator.rank()));
        drop(self);
        // Nobody writes any more.
        communicator.barrier()?;
        if first && let Err(error) = folder.sweep(&[]) {
            log::warn!("{error}");
        }
        Ok(())
    }

    /// A buffer of so many words, used before if there is one; what it holds does not matter.
    fn buffer(&mut self, words: usize) -> Vec<u64> {
        let fitting = self.spare.iter().enumerate().filter(|(_, spare)| spare.capacity() >= words);
        let known = fitting.min_by_key(|(_, spare)| spare.capacity()).map(|(place, _)| place);
        let mut buffer = known.map_or_else(|| vec![0; words + SLACK], |place| self.spare.swap_remove(place));
        buffer.resize(words, 0);
        buffer
    }
}

impl Pending {
    fn note(&mut self, written: Written, spare: &mut Vec<Vec<u64>>) {
        // Else it is of a save that was given up.
        if self.files.contains(&written.path) {
            self.unwritten -= 1;
            self.cost += written.effort;
            if let Err(error) = written.result {
                self.failure.get_or_insert(error);
            }
        }
        spare.extend(Arc::into_inner(written.words));
    }
}
