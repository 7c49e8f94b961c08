//! One step of the state: stages, each an exchange if one is due, and a sweep that combines.
//!
//! Each buffer knows how deep its ghosts are valid. A sweep with reach r over a source that is valid to depth d leaves a
//! result that is valid to depth d − r; when that would be negative, the source is exchanged first. So with ghosts
//! `s · REACH` wide there are s sweeps to an exchange, whatever the integrator, and the decision is the same on all
//! ranks. What a cell is computed from never changes: neither do the bits.
//!
//! A patch is swept tile by tile: rows as long as they are, and so few of them that a tile's layers stay in a core's cache
//! from one to the next. Now and then it is swept block by block instead, to learn what each block costs.

use std::time::Instant;

use rayon::prelude::*;

use super::domain::Domain;
use super::guard::{Guard, Seen};
use super::integrator::{self, Stage, Stages};
use super::physics::{Order, Pass, Physics, ScalarOf};
use super::program::{Activity, Needs, Program, Progress, Step, Traffic};
use crate::config::{Case, StepSize};
use crate::error::{Error, Result};
use crate::field::{Component, Field, Old, Patch, Record};
use crate::grid::{Axis, Grid, Partition, Parts, Region, Side, Tiling, Vector};
use crate::halo::{fill_boundaries, wrap_rows};

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
    own: Vec<Own<N>>,
    /// How many steps it has made.
    steps: u64,
    /// What the guard saw of the newest state.
    seen: Option<Seen>,
}

/// What is known of one of the rank's patches.
struct Own<const N: usize> {
    /// The cells that need no message under way, for rates of full and of first order; `None` if the patch waits for none.
    cores: [Option<Region<N>>; 2],
    /// Whether its rows go once round a periodic domain.
    wraps: bool,
    /// Its blocks, by their places among the rank's own.
    blocks: Vec<(usize, Region<N>)>,
    /// For each of them the time that the present step took so far, s; where it is not measured, nothing.
    spent: Vec<f64>,
}

/// Costs are measured in the first few steps, of which the first is slowed by pages that are touched for the first time...
const FIRST_MEASURED: u64 = 3;

/// ... and in each of so many after them: a sweep block by block takes longer.
const MEASURED_EVERY: u64 = 64;

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
            own: Vec::new(),
            steps: 0,
            seen: None,
        }
    }

    /// One stage: the exchange if it is due, overlapped by the sweep of what does not wait for it; then the rest.
    fn stage(&mut self, domain: &mut Domain<P::State, N>, stage: &Stage, step: &Step<'_>, last: bool) -> Result<Seen> {
        let reach = if stage.rate == 0.0 { 0 } else { self.physics.reach(stage.order) };
        let exchanges = self.valid[stage.source] < reach;
        if exchanges {
            step.show(Activity::Exchange);
            domain.exchange.start_but_rows(&mut self.buffers[stage.source])?;
            self.valid[stage.source] = self.buffers[stage.source].width();
        }
        let kept = if stage.old == stage.source { usize::MAX } else { self.valid[stage.old] };
        let depth = (self.valid[stage.source] - reach).min(kept);
        let work = Work { stage, reach, depth, when: [step.time, step.dt], last, measures: self.measures() };
        step.show(Activity::Sweep);
        let mut seen = self.sweep_patches(domain, &work, if exchanges { Part::Ready } else { Part::All });
        if exchanges {
            step.show(Activity::Exchange);
            domain.exchange.finish(&mut self.buffers[stage.source])?;
            step.show(Activity::Sweep);
            seen = seen.and(self.sweep_patches(domain, &work, Part::Waiting));
        }
        self.valid[stage.out] = depth;
        Ok(seen)
    }

    /// Sweeps a part of the cells that the stage asks for, patch by patch.
    fn sweep_patches(&mut self, domain: &Domain<P::State, N>, work: &Work<'_>, part: Part) -> Seen {
        let Stage { source, old, out, order, .. } = *work.stage;
        let Evolution { physics, asks_timescale, buffers, own, .. } = self;
        let Domain { tiling, boundaries, components, pool, .. } = domain;
        let (physics, grid, width) = (&*physics, tiling.grid(), self.needs.width());
        let each = |own: &mut Own<N>, source: &mut Patch<_, N>, old: Old<'_, _, N>, out: &mut Patch<_, N>| {
            let interior = source.interior();
            let asked = clip(&interior.grow(work.depth as i64), grid);
            let regions = match (part, &own.cores[order as usize]) {
                (Part::Waiting, None) => return Seen::NOTHING,
                (Part::Waiting, Some(core)) => asked.without(core),
                (Part::Ready, Some(core)) => Parts::one(*core),
                (Part::Ready, None) | (Part::All, _) => Parts::one(asked),
            };
            // Rows that go round have their ends set when they come to the cache; but what a boundary reads must be there.
            let wraps = own.wraps && !matches!(part, Part::All);
            let across = across_rows(&interior, work.depth + work.reach);
            let round = P::TURNS_ROWS && wraps && !work.measures && clip(&across, grid) == across;
            if wraps && !round && !matches!(part, Part::Waiting) {
                wrap_rows(source, &interior, width);
            }
            fill_boundaries(boundaries, grid, components, source, work.depth + work.reach);
            let mut guard = Guard::new(physics, grid, *asks_timescale);
            let pass = Pass::new(work.stage, grid, work.when, round, old);
            let mut sweep = |region: &Region<N>| {
                if pass.by == 0.0 {
                    pass.combine(source, out, region);
                } else {
                    physics.sweep(&pass, source, out, region, work.last.then_some(&mut guard));
                }
            };
            for region in regions.filter(|region| !region.is_empty()) {
                if work.measures {
                    for ((_, block), spent) in own.blocks.iter().zip(&mut own.spent) {
                        let start = Instant::now();
                        sweep(&with_ghosts(block, &interior, work.depth).intersect(&region));
                        *spent += start.elapsed().as_secs_f64();
                    }
                    continue;
                }
                for tile in tiles(region, physics.tile(order, region.extent())) {
                    sweep(&tile);
                }
            }
            guard.seen()
        };
        let own = own.par_iter_mut();
        if old == source || old == out {
            let kept = if old == source { Old::Source } else { Old::InPlace };
            let [source, out] = buffers.get_disjoint_mut([source, out]).expect("a stage does not write what it reads");
            let work = own.zip(source.patches_mut().par_iter_mut().zip(out.patches_mut().par_iter_mut()));
            run(pool, work, |(own, (source, out))| each(own, source, kept, out))
        } else {
            let [source, old, out] =
                buffers.get_disjoint_mut([source, old, out]).expect("a stage does not write what it reads");
            let sources = source.patches_mut().par_iter_mut().zip(old.patches().par_iter());
            let work = own.zip(sources.zip(out.patches_mut().par_iter_mut()));
            run(pool, work, |(own, ((source, old), out))| each(own, source, Old::Separate(old), out))
        }
    }

    /// All stages of a step, on the buffers alone.
    fn all_stages(&mut self, domain: &mut Domain<P::State, N>, step: &Step<'_>) -> Result<()> {
        let Stages { stages, result, .. } = self.stages;
        self.own.iter_mut().for_each(|own| own.spent.fill(0.0));
        for (i, stage) in stages.iter().enumerate() {
            let last = i + 1 == stages.len();
            let seen = self.stage(domain, stage, step, last)?;
            self.seen = last.then_some(seen);
        }
        self.buffers.swap(0, result);
        self.valid.swap(0, result);
        Ok(())
    }

    /// Whether this step is one that tells what blocks cost.
    fn measures(&self) -> bool {
        self.steps < FIRST_MEASURED || self.steps.is_multiple_of(MEASURED_EVERY)
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
        let (width, state) = (self.needs.width(), domain.state());
        self.own = (state.patches().iter().map(Patch::interior).enumerate())
            .map(|(place, interior)| Own {
                wraps: domain.exchange.plan().wraps(place),
                cores: Order::ALL
                    .map(|order| core(tiling, partition, &interior, comm.rank(), width, self.physics.reach(order))),
                blocks: Vec::new(),
                spent: Vec::new(),
            })
            .collect();
        for (number, id) in state.blocks().enumerate() {
            self.own[state.place_of(id)].blocks.push((number, tiling.region(id)));
        }
        self.own.iter_mut().for_each(|own| own.spent = vec![0.0; own.blocks.len()]);
        // The state moves in and out; an empty field keeps its place.
        let empty = Field::new(tiling, &Partition::by_cost(&[], 1), 0, 0, 0);
        // One at a time: for a moment too many, they would not fit where they do.
        self.buffers = std::iter::once(empty).chain((1..self.stages.buffers).map(|_| domain.state().clone())).collect();
        self.valid = vec![0; self.stages.buffers];
        Ok(())
    }

    fn begin(&mut self, domain: &mut Domain<P::State, N>) -> Result<()> {
        domain.set_each(|_, x: Vector<N>| self.physics.initial(x));
        Ok(())
    }

    fn settle(&mut self, domain: &mut Domain<P::State, N>) {
        domain.for_each_patch(|patch| {
            for cell in patch.interior().cells() {
                patch.set(cell, self.physics.settle(patch.get(cell)));
            }
        });
    }

    fn step(&mut self, domain: &mut Domain<P::State, N>, _shared: &mut (), step: &Step<'_>) -> Result<()> {
        std::mem::swap(&mut self.buffers[0], &mut domain.state);
        let done = self.all_stages(domain, step);
        std::mem::swap(&mut self.buffers[0], &mut domain.state);
        if self.measures() {
            for Own { blocks, spent, .. } in &self.own {
                blocks.iter().zip(spent).for_each(|((number, _), &spent)| domain.record_cost(*number, spent));
            }
        }
        self.steps += 1;
        done
    }

    fn progress(&self, domain: &Domain<P::State, N>, _shared: &()) -> Progress {
        let look = |patch: &Patch<_, N>| {
            let mut guard = self.guard(domain.grid());
            guard.look(patch);
            guard.seen()
        };
        let all = || domain.state().patches().iter().map(look).fold(Seen::NOTHING, Seen::and);
        let Seen { timescale, sound } = self.seen.unwrap_or_else(all);
        Progress { timescale, sound, ..Progress::GOING_ON }
    }

    fn explain(&self, domain: &Domain<P::State, N>) -> Option<Error> {
        domain.state().patches().iter().find_map(|patch| self.guard(domain.grid()).explain(patch, domain.grid()))
    }

    fn derive(&self, state: P::State, put: impl FnMut(usize, <P::State as Record>::Scalar)) {
        self.physics.derive(state, put);
    }
}

/// Which of a patch's cells are swept: those that need no message still under way, those that do, or all.
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
    pool.install(|| items.with_max_len(1).map(each).reduce(|| Seen::NOTHING, Seen::and))
}

/// A stage with the numbers of this step.
struct Work<'a> {
    stage: &'a Stage,
    reach: usize,
    depth: usize,
    /// The time at the step's start, and the step's length.
    when: [f64; 2],
    last: bool,
    /// Whether each block's time is taken.
    measures: bool,
}

/// A block and, at the faces of its patch, the ghosts up to a depth.
fn with_ghosts<const N: usize>(block: &Region<N>, patch: &Region<N>, depth: usize) -> Region<N> {
    let reach = |own: i64, face: i64, out: i64| if own == face { own + out } else { own };
    Region::new(
        std::array::from_fn(|a| reach(block.lower[a], patch.lower[a], -(depth as i64))),
        std::array::from_fn(|a| reach(block.upper[a], patch.upper[a], depth as i64)),
    )
}

/// A region with the ghosts beside its rows, but none at their ends.
fn across_rows<const N: usize>(interior: &Region<N>, depth: usize) -> Region<N> {
    let mut region = interior.grow(depth as i64);
    (region.lower[0], region.upper[0]) = (interior.lower[0], interior.upper[0]);
    region
}

/// A region in tiles of at most so many cells along x and, if it has layers, along y; as equal as can be.
fn tiles<const N: usize>(region: Region<N>, most: [usize; 2]) -> impl Iterator<Item = Region<N>> {
    let extent = region.extent();
    let count = |a: usize| if a + 1 < N.max(2) { extent[a].div_ceil(most[a].max(1)) } else { 1 };
    let [columns, strips] = [0, 1].map(count);
    (0..strips * columns).map(move |tile| {
        let mut part = region;
        for (a, place, count) in [(0, tile % columns, columns), (1, tile / columns, strips)] {
            if count > 1 {
                part.lower[a] = region.lower[a] + (place * extent[a] / count) as i64;
                part.upper[a] = region.lower[a] + ((place + 1) * extent[a] / count) as i64;
            }
        }
        part
    })
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

/// The interior cells of a patch that can be computed before the messages have come; `None` if it waits for none.
///
/// Cells within reach of a ghost that another rank sends are left out. A corner's ghosts are kept at a distance along one
/// axis only, the slowest one possible, so that rows stay as long as they can.
fn core<const N: usize>(
    tiling: &Tiling<N>,
    partition: &Partition,
    interior: &Region<N>,
    rank: usize,
    width: usize,
    reach: usize,
) -> Option<Region<N>> {
    let mut waits = [[false; 2]; N];
    for piece in tiling.ghost_pieces(interior, width).iter().filter(|piece| partition.owner(piece.source) != rank) {
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
    let mut core = *interior;
    for axis in Axis::<N>::all() {
        for side in Side::BOTH {
            if waits[axis.index()][side as usize] {
                core = core.grow_side(axis, side, -(reach as i64));
            }
        }
    }
    Some(core)
}
