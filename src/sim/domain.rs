//! A program's data on this rank: its patches, who has the others, and how ranks meet.

use rayon::prelude::*;

use super::layout::Layout;
use crate::comm::Communicator;
use crate::config::{self, Case};
use crate::error::{Error, Kind, Result};
use crate::field::{Component, Field, Patch, Record, Scalar};
use crate::grid::{Boundaries, Cell, Grid, Partition, Tiling, Vector};
use crate::halo::{Backend, Exchange, Plan, check_exchange, fill_boundaries};

/// The partitioned data of a program, as one rank sees it.
pub struct Domain<S: Record, const N: usize> {
    pub(super) comm: Communicator,
    pub(super) tiling: Tiling<N>,
    pub(super) partition: Partition,
    pub(super) boundaries: Boundaries<N>,
    pub(super) components: Vec<Component>,
    pub(super) state: Field<S::Scalar, N>,
    pub(super) exchange: Exchange<S::Scalar, N>,
    pub(super) pool: rayon::ThreadPool,
    /// For each block the shortest time that a step of it took so far, s: what disturbs a measurement only adds to it.
    costs: Vec<f64>,
}

impl<S: Record, const N: usize> Domain<S, N> {
    /// Zeroed data for the blocks of this rank.
    ///
    /// # Collective
    /// All ranks must call it.
    pub(super) fn new(comm: &Communicator, case: &Case, layout: &Layout<N>, partition: Partition) -> Result<Self> {
        let Layout { tiling, width, components, .. } = layout;
        let plan = Plan::new(tiling, &partition, comm.rank(), *width);
        let backend = match case.run.exchange {
            config::Exchange::SharedMemory => Backend::SharedMemory,
            config::Exchange::Neighbourhood => Backend::Neighbourhood,
            config::Exchange::PointToPoint => Backend::PointToPoint,
        };
        let prepare = if case.guard.checksums.of_messages() { Exchange::guarded } else { Exchange::new };
        let exchange = prepare(comm, plan, components.len(), backend)?;
        let threads = case.run.threads;
        // The calling thread is one of the pool's, so that one thread means no other and no hand-over.
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .use_current_thread()
            .thread_name(|i| format!("sweep-{i}"))
            .build()
            .map_err(|cause| Error::new(Kind::Run, format!("cannot start run.threads = {threads} threads: {cause}")));
        let state = Field::new(tiling, &partition, comm.rank(), *width, S::COMPONENTS);
        let mut domain = Domain {
            comm: comm.clone(),
            tiling: tiling.clone(),
            boundaries: case.boundaries::<N>(),
            components: components.clone(),
            costs: vec![f64::INFINITY; state.blocks().len()],
            state,
            partition,
            exchange,
            pool: comm.vote(pool)?,
        };
        check_exchange(comm, &domain.tiling, &mut domain.exchange, &mut domain.state)?;
        domain.state.patches_mut().iter_mut().for_each(|patch| patch.data_mut().fill(S::Scalar::default()));
        Ok(domain)
    }

    /// The ranks.
    pub fn comm(&self) -> &Communicator {
        &self.comm
    }

    /// The grid whose cells hold the data.
    pub fn grid(&self) -> &Grid<N> {
        self.tiling.grid()
    }

    /// The blocks that the grid is cut into.
    pub fn tiling(&self) -> &Tiling<N> {
        &self.tiling
    }

    /// Who has which block.
    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// The data of this rank.
    pub fn state(&self) -> &Field<S::Scalar, N> {
        &self.state
    }

    /// The data of this rank, to be changed.
    pub fn state_mut(&mut self) -> &mut Field<S::Scalar, N> {
        &mut self.state
    }

    /// The rank that has a cell.
    ///
    /// # Panics
    /// If the cell is not in the grid.
    pub fn owner(&self, cell: Cell<N>) -> usize {
        self.partition.owner(self.tiling.block_at(cell))
    }

    /// What a cell of this rank holds.
    ///
    /// # Panics
    /// If the cell is another rank's.
    pub fn get(&self, cell: Cell<N>) -> S {
        self.state.patches()[self.place(cell)].get(cell)
    }

    /// Sets what a cell of this rank holds.
    ///
    /// # Panics
    /// If the cell is another rank's.
    pub fn set(&mut self, cell: Cell<N>, value: S) {
        let place = self.place(cell);
        self.state.patches_mut()[place].set(cell, value);
    }

    /// Which of this rank's patches has a cell.
    fn place(&self, cell: Cell<N>) -> usize {
        let (id, own) = (self.tiling.block_at(cell), self.partition.range(self.comm.rank()));
        assert!(own.contains(&id.index()), "cell {cell:?} is not of rank {}", self.comm.rank());
        self.state.place_of(id)
    }

    /// How many threads this rank has.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Sets each cell of this rank to a function of its global coordinates and its centre.
    pub fn set_each(&mut self, value: impl Fn(Cell<N>, Vector<N>) -> S + Send + Sync) {
        let grid = *self.grid();
        self.for_each_patch(|patch| {
            for cell in patch.interior().cells() {
                patch.set(cell, value(cell, grid.centre(cell)));
            }
        });
    }

    /// Calls a function for each patch of this rank, on all its threads.
    pub fn for_each_patch(&mut self, each: impl Fn(&mut Patch<S::Scalar, N>) + Send + Sync) {
        let Domain { pool, state, .. } = self;
        pool.install(|| state.patches_mut().par_iter_mut().for_each(each));
    }

    /// Fills the ghosts: from the neighbours, and beyond the domain by the boundaries of the case.
    ///
    /// # Collective
    /// All ranks must call it.
    ///
    /// # Errors
    /// If MPI fails.
    pub fn fill_ghosts(&mut self) -> Result<()> {
        let Domain { exchange, state, boundaries, tiling, components, .. } = self;
        exchange.start(state)?;
        exchange.finish(state)?;
        let width = state.width();
        for patch in state.patches_mut() {
            fill_boundaries(boundaries, tiling.grid(), components, patch, width);
        }
        Ok(())
    }

    /// Whether every number of this rank is finite.
    pub fn is_finite(&self) -> bool {
        let finite =
            |patch: &Patch<S::Scalar, N>| patch.interior().cells().all(|cell| patch.get::<S>(cell).all_finite());
        S::Scalar::IS_INTEGER || self.state.patches().iter().all(finite)
    }

    /// The first number of this rank that is not finite, as an error that names it.
    pub fn explain_not_finite(&self, components: &[Component]) -> Option<Error> {
        self.state.patches().iter().find_map(|patch| {
            patch.interior().cells().find_map(|cell| {
                let (c, x) = patch.get::<S>(cell).first_not_finite()?;
                Some(Error::new(Kind::State, format!("field {} is {x} in cell {:?}", components[c].name, cell.0)))
            })
        })
    }

    /// Tells what a step of one of this rank's blocks took, s: work is shared out by it at the next start.
    pub fn record_cost(&mut self, block: usize, seconds: f64) {
        self.costs[block] = self.costs[block].min(seconds);
    }

    /// The measured cost of a step of each block of this rank, s; the mean of the known ones where none is known yet.
    pub fn costs(&self) -> Vec<f64> {
        let known = || self.costs.iter().copied().filter(|cost| cost.is_finite());
        let mean = known().sum::<f64>() / known().count().max(1) as f64;
        self.costs.iter().map(|&cost| if cost.is_finite() { cost } else { mean }).collect()
    }
}
