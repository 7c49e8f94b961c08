//! One step of the state: stages, each an exchange if one is due, and a sweep that combines.
//!
//! Each buffer knows how deep its ghosts are valid. A sweep with reach r over a source that is valid to depth d leaves a
//! result that is valid to depth d − r; when that would be negative, the source is exchanged first. So with ghosts
//! `s · REACH` wide there are s sweeps to an exchange, whatever the integrator, and the decision is the same on all
//! ranks. What a cell is computed from never changes: neither do the bits.

use std::time::Instant;

use rayon::prelude::*;

use super::Model;
use super::guard::{Guard, Seen};
use super::integrator::{Stage, Stages};
use crate::comm::Communicator;
use crate::error::{Error, Kind, Result};
use crate::field::{Block, Component, Field, Old, Record, Stencil, sweep};
use crate::grid::{Axis, BlockId, Boundaries, Grid, Partition, Parts, Region, Side, Tiling};
use crate::halo::{Exchange, check_exchange, fill_boundaries};

/// The number type of a model's state.
pub(super) type ScalarOf<M, const N: usize> = <<M as Model<N>>::State as Record>::Scalar;

/// What stays the same from step to step.
pub(super) struct Setting<M, const N: usize> {
    pub model: M,
    pub tiling: Tiling<N>,
    pub boundaries: Boundaries<N>,
    pub components: Vec<Component>,
    /// Whether the step depends on the model's timescale.
    pub asks_timescale: bool,
}

impl<M, const N: usize> Setting<M, N> {
    pub fn grid(&self) -> &Grid<N> {
        self.tiling.grid()
    }
}

/// The state on this rank, and what is needed to advance it.
pub(super) struct Evolution<M: Model<N>, const N: usize> {
    pub setting: Setting<M, N>,
    pub partition: Partition,
    buffers: Vec<Field<ScalarOf<M, N>, N>>,
    valid: Vec<usize>,
    exchange: Exchange<ScalarOf<M, N>, N>,
    cores: Vec<Option<Region<N>>>,
    stages: Stages,
    pool: rayon::ThreadPool,
    /// For each block the shortest time that a step of it took so far, s: what disturbs a measurement only adds to it.
    costs: Vec<f64>,
    /// For each block the time that the present step took so far, s.
    spent: Vec<f64>,
}

impl<M: Model<N>, const N: usize> Evolution<M, N> {
    /// Zeroed buffers for the blocks of one rank.
    pub fn new(
        setting: Setting<M, N>,
        partition: Partition,
        rank: usize,
        stages: Stages,
        exchange: Exchange<ScalarOf<M, N>, N>,
        width: usize,
        threads: usize,
    ) -> Result<Self> {
        let field = Field::new(&setting.tiling, &partition, rank, width, M::State::COMPONENTS);
        let cores =
            partition.blocks(rank).map(|id| core(&setting.tiling, &partition, id, rank, width, M::REACH)).collect();
        // The calling thread is one of the pool's, so that one thread means no other and no hand-over.
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .use_current_thread()
            .thread_name(|i| format!("sweep-{i}"))
            .build()
            .map_err(|cause| Error::new(Kind::Run, format!("cannot start run.threads = {threads} threads: {cause}")))?;
        let blocks = field.blocks().len();
        Ok(Evolution {
            setting,
            partition,
            buffers: vec![field; stages.buffers],
            valid: vec![0; stages.buffers],
            exchange,
            cores,
            stages,
            pool,
            costs: vec![f64::INFINITY; blocks],
            spent: vec![0.0; blocks],
        })
    }

    /// Proves the exchange on this machine with cells that hold their own coordinates; the state is lost.
    ///
    /// # Collective
    /// All ranks must call it.
    ///
    /// # Errors
    /// On all ranks, if a ghost on any rank is wrong.
    pub fn prove_exchange(&mut self, comm: &Communicator) -> Result<()> {
        self.valid.fill(0);
        check_exchange(comm, &self.setting.tiling, &mut self.exchange, &mut self.buffers[0])
    }

    /// The state.
    pub fn state(&self) -> &Field<ScalarOf<M, N>, N> {
        &self.buffers[0]
    }

    /// The state, to be set from outside; its ghosts count as stale afterwards.
    pub fn state_mut(&mut self) -> &mut Field<ScalarOf<M, N>, N> {
        self.valid.fill(0);
        &mut self.buffers[0]
    }

    /// Changes each block of the state; the ghosts count as stale afterwards.
    pub fn change(&mut self, each: impl Fn(&Setting<M, N>, &mut Block<ScalarOf<M, N>, N>) + Sync) {
        self.valid.fill(0);
        let Evolution { setting, buffers, pool, .. } = self;
        pool.install(|| buffers[0].blocks_mut().par_iter_mut().for_each(|block| each(setting, block)));
    }

    /// The measured cost of a step of each block of this rank, s; the mean of the known ones where none is known yet.
    pub fn costs(&self) -> Vec<f64> {
        let known = || self.costs.iter().copied().filter(|cost| cost.is_finite());
        let mean = known().sum::<f64>() / known().count().max(1) as f64;
        self.costs.iter().map(|&cost| if cost.is_finite() { cost } else { mean }).collect()
    }

    /// Looks at the whole state of this rank.
    pub fn look(&self) -> Seen {
        let look = |block: &Block<_, N>| {
            let mut guard = self.guard();
            guard.look(block);
            guard.seen()
        };
        self.buffers[0].blocks().iter().map(look).fold(Seen::NOTHING, Seen::and)
    }

    /// The first cell of this rank that is not sound, as an error that names it.
    pub fn explain(&self) -> Option<Error> {
        self.buffers[0].blocks().iter().find_map(|block| self.guard().explain(block, self.setting.grid()))
    }

    /// Advances the state by one step from `time` to `time + dt`, and tells what the guard saw of the result.
    ///
    /// # Collective
    /// All ranks must call it with the same arguments.
    pub fn advance(&mut self, time: f64, dt: f64, phase: &impl Fn(Activity)) -> Result<Seen> {
        let Stages { stages, result, .. } = self.stages;
        self.spent.fill(0.0);
        let mut seen = Seen::NOTHING;
        for (i, stage) in stages.iter().enumerate() {
            let last = i + 1 == stages.len();
            seen = self.stage(stage, time, dt, last, phase)?;
        }
        self.buffers.swap(0, result);
        self.valid.swap(0, result);
        for (cost, &spent) in self.costs.iter_mut().zip(&self.spent) {
            *cost = cost.min(spent);
        }
        Ok(seen)
    }

    /// One stage: the exchange if it is due, overlapped by the sweep of what does not wait for it; then the rest.
    fn stage(&mut self, stage: &Stage, time: f64, dt: f64, last: bool, phase: &impl Fn(Activity)) -> Result<Seen> {
        let reach = if stage.rate == 0.0 { 0 } else { M::REACH };
        let exchanges = self.valid[stage.source] < reach;
        if exchanges {
            phase(Activity::Exchange);
            self.exchange.start(&mut self.buffers[stage.source])?;
            self.valid[stage.source] = self.buffers[stage.source].width();
        }
        let kept = if stage.old == stage.source { usize::MAX } else { self.valid[stage.old] };
        let depth = (self.valid[stage.source] - reach).min(kept);
        let work = Work { stage, reach, depth, time: time + stage.when * dt, dt, last };
        phase(Activity::Sweep);
        let mut seen = self.sweep_blocks(&work, if exchanges { Part::Ready } else { Part::All });
        if exchanges {
            phase(Activity::Exchange);
            self.exchange.finish(&mut self.buffers[stage.source])?;
            phase(Activity::Sweep);
            seen = seen.and(self.sweep_blocks(&work, Part::Waiting));
        }
        self.valid[stage.out] = depth;
        Ok(seen)
    }

    /// Sweeps a part of the cells that the stage asks for, block by block.
    fn sweep_blocks(&mut self, work: &Work<'_>, part: Part) -> Seen {
        let Stage { source, old, out, .. } = *work.stage;
        let Evolution { setting, buffers, cores, pool, spent, .. } = self;
        let setting = &*setting;
        let each = |core: &Option<Region<N>>,
                    spent: &mut f64,
                    source: &mut Block<_, N>,
                    old: Old<'_, _, N>,
                    out: &mut Block<_, N>| {
            let asked = clip(&source.interior().grow(work.depth as i64), setting.grid());
            let regions = match (part, core) {
                (Part::Waiting, None) => return Seen::NOTHING,
                (Part::Waiting, Some(core)) => asked.without(core),
                (Part::Ready, Some(core)) => Parts::one(*core),
                (Part::Ready, None) | (Part::All, _) => Parts::one(asked),
            };
            let start = Instant::now();
            fill_boundaries(&setting.boundaries, setting.grid(), &setting.components, source, work.depth + work.reach);
            let seen =
                regions.map(|region| work.sweep(setting, source, old, out, &region)).fold(Seen::NOTHING, Seen::and);
            *spent += start.elapsed().as_secs_f64();
            seen
        };
        let blocks = cores.par_iter().zip(spent.par_iter_mut());
        if old == source || old == out {
            let kept = if old == source { Old::Source } else { Old::InPlace };
            let [source, out] = buffers.get_disjoint_mut([source, out]).expect("a stage does not write what it reads");
            let work = blocks.zip(source.blocks_mut().par_iter_mut().zip(out.blocks_mut().par_iter_mut()));
            run(pool, work, |((core, spent), (source, out))| each(core, spent, source, kept, out))
        } else {
            let [source, old, out] =
                buffers.get_disjoint_mut([source, old, out]).expect("a stage does not write what it reads");
            let work = blocks.zip(
                source.blocks_mut().par_iter_mut().zip(old.blocks().par_iter()).zip(out.blocks_mut().par_iter_mut()),
            );
            run(pool, work, |((core, spent), ((source, old), out))| each(core, spent, source, Old::Separate(old), out))
        }
    }

    fn guard(&self) -> Guard<'_, M, N> {
        Guard::new(&self.setting.model, self.setting.grid(), self.setting.asks_timescale)
    }
}

/// What a rank is busy with inside a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Halos travel.
    Exchange,
    /// Cells are computed.
    Sweep,
}

/// Which of a block's cells are swept: those that need no message still under way, those that do, or all.
#[derive(Clone, Copy)]
enum Part {
    Ready,
    Waiting,
    All,
}

/// Runs each item on the pool and combines what is seen.
fn run<I: IndexedParallelIterator>(
    pool: &rayon::ThreadPool,
    items: I,
    each: impl Fn(I::Item) -> Seen + Sync + Send,
) -> Seen {
    pool.install(|| items.map(each).reduce(|| Seen::NOTHING, Seen::and))
}

/// A stage with the numbers of this step.
struct Work<'a> {
    stage: &'a Stage,
    reach: usize,
    depth: usize,
    time: f64,
    dt: f64,
    last: bool,
}

impl Work<'_> {
    /// Sweeps one region of one block.
    fn sweep<M: Model<N>, const N: usize>(
        &self,
        setting: &Setting<M, N>,
        source: &Block<ScalarOf<M, N>, N>,
        old: Old<'_, ScalarOf<M, N>, N>,
        out: &mut Block<ScalarOf<M, N>, N>,
        region: &Region<N>,
    ) -> Seen {
        let (grid, model, time, reach) = (setting.grid(), &setting.model, self.time, self.reach);
        let Stage { keep, take, rate, .. } = *self.stage;
        let by = self.dt * rate;
        let mut guard = Guard::new(model, grid, setting.asks_timescale);
        // The closures differ in what they compute, not how: the plain step u + dt·f is the one that has to be fastest.
        if rate == 0.0 {
            sweep(
                grid,
                source,
                old,
                out,
                region,
                reach,
                |before: M::State, u| before.scaled(keep).sum_with(u.here().scaled(take)),
                &mut (),
            );
        } else if keep == 1.0 && take == 0.0 {
            let step = |before: M::State, u: Stencil<'_, M::State, N>| before.sum_with(model.rate(u, time).scaled(by));
            if self.last {
                sweep(grid, source, old, out, region, reach, step, &mut guard);
            } else {
                sweep(grid, source, old, out, region, reach, step, &mut ());
            }
        } else {
            let mix = |before: M::State, u: Stencil<'_, M::State, N>| {
                before.scaled(keep).sum_with(u.here().scaled(take)).sum_with(model.rate(u, time).scaled(by))
            };
            if self.last {
                sweep(grid, source, old, out, region, reach, mix, &mut guard);
            } else {
                sweep(grid, source, old, out, region, reach, mix, &mut ());
            }
        }
        guard.seen()
    }
}

/// A region without the cells beyond the domain's faces, which boundaries fill and no sweep computes.
fn clip<const N: usize>(region: &Region<N>, grid: &Grid<N>) -> Region<N> {
    let (domain, periodic) = (grid.region(), grid.periodic());
    let keep = |a: usize, own: i64, limit: i64| if periodic[a] { own } else { limit };
    Region::new(
        std::array::from_fn(|a| region.lower[a].max(keep(a, region.lower[a], domain.lower[a]))),
        std::array::from_fn(|a| region.upper[a].min(keep(a, region.upper[a], domain.upper[a]))),
    )
}

/// The interior cells of a block that can be computed before the messages have come; `None` if it waits for none.
///
/// Cells within reach of a ghost that another rank sends are left out. A corner's ghosts are kept at a distance along one
/// axis only, the slowest one possible, so that rows stay as long as they can.
fn core<const N: usize>(
    tiling: &Tiling<N>,
    partition: &Partition,
    id: BlockId,
    rank: usize,
    width: usize,
    reach: usize,
) -> Option<Region<N>> {
    let interior = tiling.region(id);
    let mut waits = [[false; 2]; N];
    for piece in tiling.ghost_pieces(id, width).iter().filter(|piece| partition.owner(piece.source) != rank) {
        let beyond = |a: usize| {
            let low = piece.region.upper[a] <= interior.lower[a];
            let high = piece.region.lower[a] >= interior.upper[a];
            if low { Some(0) } else { high.then_some(1) }
        };
        let (axis, side) =
            (0..N).rev().find_map(|a| Some((a, beyond(a)?))).expect("a ghost is outside of the interior");
        waits[axis][side] = true;
    }
    if waits.as_flattened().iter().all(|&waits| !waits) {
        return None;
    }
    let mut core = interior;
    for axis in Axis::<N>::all() {
        for side in Side::BOTH {
            if waits[axis.index()][side as usize] {
                core = core.grow_side(axis, side, -(reach as i64));
            }
        }
    }
    Some(core)
}
