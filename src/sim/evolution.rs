//! One step of the state: stages, each an exchange if one is due, and a sweep that combines.
//!
//! Each buffer knows how deep its ghosts are valid. A sweep with reach r over a source that is valid to depth d leaves a
//! result that is valid to depth d − r; when that would be negative, the source is exchanged first. So with ghosts
//! `s · REACH` wide there are s sweeps to an exchange, whatever the integrator, and the decision is the same on all
//! ranks. What a cell is computed from never changes: neither do the bits.

use std::time::Instant;

use rayon::prelude::*;

use super::domain::Domain;
use super::guard::{Guard, Seen};
use super::integrator::{self, Stage, Stages};
use super::physics::{Order, Pass, Physics, ScalarOf};
use super::program::{Activity, Needs, Program, Progress, Step, Traffic};
use crate::config::{Case, StepSize};
use crate::error::{Error, Result};
use crate::field::{Block, Component, Field, Old, Record};
use crate::grid::{Axis, BlockId, Grid, Partition, Parts, Region, Side, Tiling, Vector};
use crate::halo::fill_boundaries;

/// The program that advances a state in time by an explicit integrator.
pub struct Evolution<P: Physics<N>, const N: usize> {
    physics: P,
    stages: Stages,
    needs: Needs,
    /// Whether the step depends on the physics' timescale.
    asks_timescale: bool,
    /// Buffer 0 is the state, which lives in the domain between steps.
    buffers: Vec<Field<ScalarOf<P, N>, N>>,
    valid: Vec<usize>,
    cores: Vec<Cores<N>>,
    /// For each block the time that the present step took so far, s.
    spent: Vec<f64>,
    /// What the guard saw of the newest state.
    seen: Option<Seen>,
}

/// The cells of a block that need no message under way, for rates of either order; `None` if the block waits for none.
struct Cores<const N: usize> {
    full: Option<Region<N>>,
    first: Option<Region<N>>,
}

impl<P: Physics<N>, const N: usize> Evolution<P, N> {
    /// The evolution that a case asks for.
    ///
    /// # Panics
    /// If the case was checked for a program with steps of its own, and so has no integrator.
    pub fn new(physics: P, case: &Case) -> Self {
        let integrator = case.time.integrator.expect("a case with a rate of change has an integrator");
        let stages = integrator::stages(integrator);
        let reach = physics.reach(Order::Full).max(physics.reach(Order::First));
        Evolution {
            physics,
            stages,
            needs: Needs { reach, sweeps: case.run.sweeps_per_exchange, buffers: stages.buffers },
            asks_timescale: matches!(case.time.step, StepSize::Cfl(_)),
            buffers: Vec::new(),
            valid: Vec::new(),
            cores: Vec::new(),
            spent: Vec::new(),
            seen: None,
        }
    }

    /// One stage: the exchange if it is due, overlapped by the sweep of what does not wait for it; then the rest.
    fn stage(&mut self, domain: &mut Domain<P::State, N>, stage: &Stage, step: &Step<'_>, last: bool) -> Result<Seen> {
        let reach = if stage.rate == 0.0 { 0 } else { self.physics.reach(stage.order) };
        let exchanges = self.valid[stage.source] < reach;
        if exchanges {
            step.show(Activity::Exchange);
            domain.exchange.start(&mut self.buffers[stage.source])?;
            self.valid[stage.source] = self.buffers[stage.source].width();
        }
        let kept = if stage.old == stage.source { usize::MAX } else { self.valid[stage.old] };
        let depth = (self.valid[stage.source] - reach).min(kept);
        let work = Work { stage, reach, depth, when: [step.time, step.dt], last };
        step.show(Activity::Sweep);
        let mut seen = self.sweep_blocks(domain, &work, if exchanges { Part::Ready } else { Part::All });
        if exchanges {
            step.show(Activity::Exchange);
            domain.exchange.finish(&mut self.buffers[stage.source])?;
            step.show(Activity::Sweep);
            seen = seen.and(self.sweep_blocks(domain, &work, Part::Waiting));
        }
        self.valid[stage.out] = depth;
        Ok(seen)
    }

    /// Sweeps a part of the cells that the stage asks for, block by block.
    fn sweep_blocks(&mut self, domain: &Domain<P::State, N>, work: &Work<'_>, part: Part) -> Seen {
        let Stage { source, old, out, order, .. } = *work.stage;
        let Evolution { physics, asks_timescale, buffers, cores, spent, .. } = self;
        let Domain { tiling, boundaries, components, pool, .. } = domain;
        let (physics, grid) = (&*physics, tiling.grid());
        let each =
            |cores: &Cores<N>, spent: &mut f64, source: &mut Block<_, N>, old: Old<'_, _, N>, out: &mut Block<_, N>| {
                let core = if order == Order::Full { &cores.full } else { &cores.first };
                let asked = clip(&source.interior().grow(work.depth as i64), grid);
                let regions = match (part, core) {
                    (Part::Waiting, None) => return Seen::NOTHING,
                    (Part::Waiting, Some(core)) => asked.without(core),
                    (Part::Ready, Some(core)) => Parts::one(*core),
                    (Part::Ready, None) | (Part::All, _) => Parts::one(asked),
                };
                let start = Instant::now();
                fill_boundaries(boundaries, grid, components, source, work.depth + work.reach);
                let pass = Pass::new(work.stage, grid, work.when, source, old);
                let mut guard = Guard::new(physics, grid, *asks_timescale);
                for region in regions {
                    if pass.by == 0.0 {
                        pass.combine(out, &region);
                    } else {
                        physics.sweep(&pass, out, &region, work.last.then_some(&mut guard));
                    }
                }
                *spent += start.elapsed().as_secs_f64();
                guard.seen()
            };
        let blocks = cores.par_iter().zip(spent.par_iter_mut());
        if old == source || old == out {
            let kept = if old == source { Old::Source } else { Old::InPlace };
            let [source, out] = buffers.get_disjoint_mut([source, out]).expect("a stage does not write what it reads");
            let work = blocks.zip(source.blocks_mut().par_iter_mut().zip(out.blocks_mut().par_iter_mut()));
            run(pool, work, |((cores, spent), (source, out))| each(cores, spent, source, kept, out))
        } else {
            let [source, old, out] =
                buffers.get_disjoint_mut([source, old, out]).expect("a stage does not write what it reads");
            let work = blocks.zip(
                source.blocks_mut().par_iter_mut().zip(old.blocks().par_iter()).zip(out.blocks_mut().par_iter_mut()),
            );
            run(pool, work, |((cores, spent), ((source, old), out))| {
                each(cores, spent, source, Old::Separate(old), out)
            })
        }
    }

    /// All stages of a step, on the buffers alone.
    fn all_stages(&mut self, domain: &mut Domain<P::State, N>, step: &Step<'_>) -> Result<()> {
        let Stages { stages, result, .. } = self.stages;
        self.spent.fill(0.0);
        for (i, stage) in stages.iter().enumerate() {
            let last = i + 1 == stages.len();
            let seen = self.stage(domain, stage, step, last)?;
            self.seen = last.then_some(seen);
        }
        self.buffers.swap(0, result);
        self.valid.swap(0, result);
        Ok(())
    }

    fn guard(&self, grid: &Grid<N>) -> Guard<'_, P, N> {
        Guard::new(&self.physics, grid, self.asks_timescale)
    }
}

impl<P: Physics<N>, const N: usize> Program<N> for Evolution<P, N> {
    type State = P::State;
    type Shared = ();

    fn components() -> Vec<Component> {
        P::components()
    }

    fn derived() -> Vec<Component> {
        P::derived()
    }

    fn check(&self) -> Result<()> {
        self.physics.check()
    }

    fn needs(&self) -> Needs {
        self.needs
    }

    fn traffic(&self) -> Option<Traffic> {
        Some(self.stages.traffic())
    }

    fn prepare(&mut self, domain: &Domain<P::State, N>, _directory: &std::path::Path) -> Result<()> {
        let Domain { tiling, partition, comm, .. } = domain;
        let core = |id, order| core(tiling, partition, id, comm.rank(), self.needs.width(), self.physics.reach(order));
        self.cores = partition
            .blocks(comm.rank())
            .map(|id| Cores { full: core(id, Order::Full), first: core(id, Order::First) })
            .collect();
        // The state moves in and out; an empty field keeps its place.
        let empty = Field::new(tiling, &Partition::by_cost(&[], 1), 0, 0, 0);
        // One at a time: for a moment too many, they would not fit where they do.
        self.buffers = std::iter::once(empty).chain((1..self.stages.buffers).map(|_| domain.state().clone())).collect();
        self.valid = vec![0; self.stages.buffers];
        self.spent = vec![0.0; self.cores.len()];
        Ok(())
    }

    fn begin(&mut self, domain: &mut Domain<P::State, N>) -> Result<()> {
        domain.set_each(|_, x: Vector<N>| self.physics.initial(x));
        Ok(())
    }

    fn settle(&mut self, domain: &mut Domain<P::State, N>) {
        domain.for_each_block(|block| {
            for cell in block.interior().cells() {
                block.set(cell, self.physics.settle(block.get(cell)));
            }
        });
    }

    fn step(&mut self, domain: &mut Domain<P::State, N>, _shared: &mut (), step: &Step<'_>) -> Result<()> {
        std::mem::swap(&mut self.buffers[0], &mut domain.state);
        let done = self.all_stages(domain, step);
        std::mem::swap(&mut self.buffers[0], &mut domain.state);
        for (block, &spent) in self.spent.iter().enumerate() {
            domain.record_cost(block, spent);
        }
        done
    }

    fn progress(&self, domain: &Domain<P::State, N>, _shared: &()) -> Progress {
        let look = |block: &Block<_, N>| {
            let mut guard = self.guard(domain.grid());
            guard.look(block);
            guard.seen()
        };
        let all = || domain.state().blocks().iter().map(look).fold(Seen::NOTHING, Seen::and);
        let Seen { timescale, sound } = self.seen.unwrap_or_else(all);
        Progress { timescale, sound, ..Progress::GOING_ON }
    }

    fn explain(&self, domain: &Domain<P::State, N>) -> Option<Error> {
        domain.state().blocks().iter().find_map(|block| self.guard(domain.grid()).explain(block, domain.grid()))
    }

    fn derive(&self, state: P::State, put: impl FnMut(usize, <P::State as Record>::Scalar)) {
        self.physics.derive(state, put);
    }
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
    /// The time at the step's start, and the step's length.
    when: [f64; 2],
    last: bool,
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
