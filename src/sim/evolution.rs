//! Steps of the state: stages, each an exchange if one is due, and a sweep that combines.
//!
//! Each buffer knows how deep its ghosts are valid. A sweep with reach r over a source that is valid to depth d leaves a
//! result that is valid to depth d − r; when that would be negative, the source is exchanged first. So with ghosts
//! `s · REACH` wide there are s sweeps to an exchange, whatever the integrator, and the decision is the same on all
//! ranks; there are fewer where sweeps that can go together would be parted by it. What a cell is computed from never
//! changes: neither do the bits.
//!
//! A patch is swept tile by tile: rows as long as they are, and so few of them that a tile's layers stay in a core's cache
//! from one to the next. The sweeps between two exchanges go through it together, of one step or of several, if nobody looks
//! at the state between them (see [`walk`](super::walk)). Now and then a sweep goes block by block instead, to learn what
//! each block costs.

use std::time::Instant;

use rayon::prelude::*;

use super::domain::Domain;
use super::guard::{Guard, Seen};
use super::integrator::{self, Stage, Stages};
use super::physics::{Order, Physics, ScalarOf};
use super::program::{Activity, Needs, Program, Progress, Step, Traffic};
use super::sweeps::{Own, Part, Sweep, Way, Work, run};
use super::trial::Trial;
use crate::config::{Case, StepSize};
use crate::error::{Error, Result};
use crate::field::{Component, Field, Patch, Record};
use crate::grid::{Grid, Partition, Region, Tiling, Vector};
use crate::sys::cache::core_cache;

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
    /// The sweeps of the steps that are being done; kept, so that nothing is allocated.
    sweeps: Vec<Sweep>,
    /// Whether sweeps that may go together should.
    chains: Trial,
    /// Whether what is written, and could be written past the caches, should stay in them.
    stores: Trial,
    /// How many steps it has made.
    steps: u64,
    /// What the guard saw of the newest state.
    seen: Option<Seen>,
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
            sweeps: Vec::new(),
            chains: Trial::default(),
            stores: Trial::default(),
            steps: 0,
            seen: None,
        }
    }

    /// How many of the next sweeps can go through the patches together, and whether their first source is exchanged before:
    /// if it has to be, or if more of them can go together then. The depths to which their results are valid are set.
    fn together(&self, sweeps: &mut [Sweep]) -> (usize, bool) {
        let (valid, whole) = (self.valid[sweeps[0].stage.source], self.needs.width());
        let without = if valid < sweeps[0].reach { 0 } else { self.chain(sweeps, valid) };
        let exchanges = without < self.chain(sweeps, whole);
        (self.chain(sweeps, if exchanges { whole } else { valid }), exchanges)
    }

    /// How many of the next sweeps can go together, if the first one's source is valid to such a depth; theirs are set.
    fn chain(&self, sweeps: &mut [Sweep], depth: usize) -> usize {
        let mut valid = [0; integrator::MOST_BUFFERS];
        valid[..self.valid.len()].copy_from_slice(&self.valid);
        valid[sweeps[0].stage.source] = depth;
        for (i, sweep) in sweeps.iter_mut().enumerate() {
            let Stage { source, old, out, .. } = sweep.stage;
            if i > 0 && (valid[source] < sweep.reach || sweep.measures || !P::BY_ROWS) {
                return i;
            }
            let kept = if old == source { usize::MAX } else { valid[old] };
            sweep.depth = (valid[source] - sweep.reach).min(kept);
            valid[out] = sweep.depth;
            if sweep.measures {
                return 1;
            }
        }
        sweeps.len()
    }

    /// Sweeps that go together: the exchange if it is due, overlapped by the sweeps of what does not wait for it; then the rest.
    fn go(
        &mut self,
        domain: &mut Domain<P::State, N>,
        sweeps: &[Sweep],
        exchanges: bool,
        step: &Step<'_>,
    ) -> Result<Seen> {
        let Sweep { stage: Stage { source, out, .. }, measures, .. } = sweeps[0];
        if exchanges {
            step.show(Activity::Exchange);
            domain.exchange.start_but_rows(&mut self.buffers[source])?;
            self.valid[source] = self.buffers[source].width();
        }
        let together = sweeps.len() > 1 && self.chains.second(sweeps.len());
        let streams = !together && self.buffers[out].patches().iter().any(Patch::is_streamed);
        let way = Way { cache: together.then(core_cache), stays: streams && self.stores.second(sweeps.len()) };
        step.show(Activity::Sweep);
        let begun = Instant::now();
        let part = if exchanges { Part::Ready } else { Part::All };
        let mut seen = self.sweep_patches(domain, sweeps, part, way, step.tick);
        let mut took = begun.elapsed();
        if exchanges {
            step.show(Activity::Exchange);
            domain.exchange.finish(&mut self.buffers[source])?;
            step.show(Activity::Sweep);
            if self.own.iter().any(Own::has_to_wait) {
                let begun = Instant::now();
                seen = seen.and(self.sweep_patches(domain, sweeps, Part::Waiting, way, step.tick));
                took += begun.elapsed();
            }
        }
        if sweeps.len() > 1 {
            self.chains.learn(together, sweeps.len(), took.as_secs_f64());
        }
        if streams && !measures {
            self.stores.learn(way.stays, sweeps.len(), took.as_secs_f64());
        }
        for sweep in sweeps {
            self.valid[sweep.stage.out] = sweep.depth;
        }
        Ok(seen)
    }

    /// Does a part of some sweeps that go together, patch by patch.
    fn sweep_patches(
        &mut self,
        domain: &Domain<P::State, N>,
        sweeps: &[Sweep],
        part: Part,
        way: Way,
        tick: &(dyn Fn() + Sync),
    ) -> Seen {
        let Evolution { physics, asks_timescale, buffers, own, .. } = self;
        let Domain { tiling, boundaries, components, pool, .. } = domain;
        let grid = tiling.grid();
        let work = Work {
            physics: &*physics,
            grid,
            boundaries,
            components,
            sweeps,
            part,
            asks_timescale: *asks_timescale,
            way,
            tick,
        };
        let (own, width) = (own.par_iter_mut(), self.needs.width());
        let [a, b, rest @ ..] = &mut buffers[..] else { unreachable!("an integrator has two buffers or more") };
        let two = (own, a.patches_mut().par_iter_mut(), b.patches_mut().par_iter_mut()).into_par_iter();
        match rest {
            [] => run(pool, two, |(own, a, b)| work.of(own, &mut [a, b], width)),
            [c] => {
                let three = two.zip(c.patches_mut().par_iter_mut());
                run(pool, three, |((own, a, b), c)| work.of(own, &mut [a, b, c], width))
            }
            [c, d, ..] => {
                let four = two.zip((c.patches_mut().par_iter_mut(), d.patches_mut().par_iter_mut()));
                run(pool, four, |((own, a, b), (c, d))| work.of(own, &mut [a, b, c, d], width))
            }
        }
    }

    /// All sweeps of some steps, on the buffers alone.
    fn all_sweeps(&mut self, domain: &mut Domain<P::State, N>, steps: &[Step<'_>]) -> Result<()> {
        let Stages { stages, result, .. } = self.stages;
        let mut sweeps = std::mem::take(&mut self.sweeps);
        sweeps.clear();
        // Where a step leaves its result, the next one finds its state.
        let mut at: [usize; integrator::MOST_BUFFERS] = std::array::from_fn(|buffer| buffer);
        for (i, step) in steps.iter().enumerate() {
            let measures = measures(self.steps + i as u64);
            for (number, stage) in stages.iter().enumerate() {
                let reach = if stage.rate == 0.0 { 0 } else { self.physics.reach(stage.order) };
                let [source, old, out] = [stage.source, stage.old, stage.out].map(|buffer| at[buffer]);
                sweeps.push(Sweep {
                    stage: Stage { source, old, out, ..*stage },
                    reach,
                    depth: 0,
                    when: [step.time, step.dt],
                    step: step.number + 1,
                    last: number + 1 == stages.len(),
                    measures,
                });
            }
            at.swap(0, result);
        }
        let (mut done, mut seen) = (0, Seen::NOTHING);
        while done < sweeps.len() {
            let (count, exchanges) = self.together(&mut sweeps[done..]);
            seen = seen.and(self.go(domain, &sweeps[done..done + count], exchanges, &steps[0])?);
            done += count;
            if let Sweep { measures: true, last: true, .. } = sweeps[done - 1] {
                for Own { blocks, spent, .. } in &mut self.own {
                    blocks.iter().zip(&*spent).for_each(|((number, _), &spent)| domain.record_cost(*number, spent));
                    spent.fill(0.0);
                }
            }
        }
        self.sweeps = sweeps;
        self.seen = Some(seen);
        self.buffers.swap(0, at[0]);
        self.valid.swap(0, at[0]);
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
        let traffic = self.stages.traffic(!self.asks_timescale);
        Some(Traffic { together: traffic.together.filter(|_| P::BY_ROWS), ..traffic })
    }

    fn tile(&self, extent: [usize; N]) -> Option<[usize; 2]> {
        Some(self.physics.tile(Order::Full, extent))
    }

    fn prepare(&mut self, domain: &Domain<P::State, N>, _directory: &std::path::Path) -> Result<()> {
        let Domain { tiling, partition, comm, .. } = domain;
        let (width, state) = (self.needs.width(), domain.state());
        self.own = (state.patches().iter().map(Patch::interior).enumerate())
            .map(|(place, interior)| Own {
                waits: waits(tiling, partition, &interior, comm.rank(), width),
                wraps: domain.exchange.plan().wraps(place),
                blocks: Vec::new(),
                spent: Vec::new(),
                fault: None,
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
        self.sweeps.reserve(self.stages.stages.len() * self.at_once());
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

    fn at_once(&self) -> usize {
        if self.asks_timescale || !P::BY_ROWS { 1 } else { (self.needs.sweeps / self.stages.rates()).max(1) }
    }

    fn step(&mut self, domain: &mut Domain<P::State, N>, shared: &mut (), step: &Step<'_>) -> Result<()> {
        self.steps(domain, shared, std::slice::from_ref(step))
    }

    fn steps(&mut self, domain: &mut Domain<P::State, N>, _shared: &mut (), steps: &[Step<'_>]) -> Result<()> {
        self.own.iter_mut().for_each(|own| own.fault = None);
        std::mem::swap(&mut self.buffers[0], &mut domain.state);
        let done = self.all_sweeps(domain, steps);
        std::mem::swap(&mut self.buffers[0], &mut domain.state);
        self.steps += steps.len() as u64;
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
        // Of several steps done together the first tells, while the state there is of the last.
        if let Some(fault) = self.own.iter().filter_map(|own| own.fault.as_ref()).min_by_key(|fault| fault.step) {
            return Some(fault.error.clone().in_step(fault.step));
        }
        let (grid, guard) = (domain.grid(), self.guard(domain.grid()));
        let first = |patch: &Patch<_, N>| guard.explain(patch, &patch.interior(), grid);
        domain.state().patches().iter().find_map(first).map(|(_, error)| error)
    }

    fn derive(&self, state: P::State, put: impl FnMut(usize, <P::State as Record>::Scalar)) {
        self.physics.derive(state, put);
    }
}

/// Whether a step is one that tells what blocks cost.
fn measures(step: u64) -> bool {
    step < FIRST_MEASURED || step.is_multiple_of(MEASURED_EVERY)
}

/// The sides along each axis on which a patch needs a message.
///
/// The ghosts of a corner count along one axis only, the slowest one possible, so that rows stay as long as they can.
fn waits<const N: usize>(
    tiling: &Tiling<N>,
    partition: &Partition,
    interior: &Region<N>,
    rank: usize,
    width: usize,
) -> [[bool; 2]; N] {
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
    waits
}

#[cfg(test)]
mod tests {
    use super::super::Model;
    use super::super::physics::Pointwise;
    use super::*;
    use crate::config::Integrator;
    use crate::field::Stencil;

    #[derive(serde::Deserialize)]
    struct Still;

    impl Model<1> for Still {
        type State = f64;
        const REACH: usize = 2;

        fn initial(&self, _x: Vector<1>) -> f64 {
            0.0
        }

        fn rate(&self, _u: Stencil<'_, f64, 1>, _time: f64) -> f64 {
            0.0
        }
    }

    /// How many of some sweeps go together, whether they are exchanged for, and how deep the last of those is valid: four
    /// sweeps an exchange of reach 2, the state valid to a depth, and a sweep that measures what blocks cost.
    fn together(sweeps: usize, valid: usize, measures: Option<usize>) -> (usize, bool, usize) {
        let stages = integrator::stages(Integrator::ForwardEuler);
        let evolution = Evolution::<_, 1> {
            physics: Pointwise(Still),
            stages,
            needs: Needs { reach: 2, sweeps: 4, buffers: stages.buffers },
            asks_timescale: false,
            buffers: Vec::new(),
            valid: vec![valid, 0],
            own: Vec::new(),
            sweeps: Vec::new(),
            chains: Trial::default(),
            stores: Trial::default(),
            steps: 0,
            seen: None,
        };
        let Stage { source, old, out, .. } = stages.stages[0];
        let mut sweeps: Vec<Sweep> = (0..sweeps)
            .map(|i| {
                let place = |buffer: usize| (buffer + i) % 2;
                let stage = Stage { source: place(source), old: place(old), out: place(out), ..stages.stages[0] };
                let measures = measures == Some(i);
                Sweep { stage, reach: 2, depth: 0, when: [0.0, 1.0], step: 1, last: true, measures }
            })
            .collect();
        let (count, exchanges) = evolution.together(&mut sweeps);
        (count, exchanges, sweeps[count - 1].depth)
    }

    #[test]
    fn sweeps_go_together_up_to_the_next_exchange_which_comes_before_them_rather_than_among_them() {
        assert_eq!(together(4, 8, None), (4, false, 0), "all ghosts are valid");
        assert_eq!(together(4, 0, None), (4, true, 0), "none is");
        assert_eq!(together(4, 6, None), (4, true, 0), "enough for three, but four can go together");
        assert_eq!(together(2, 6, None), (2, false, 2), "enough for both");
        assert_eq!(together(6, 2, None), (4, true, 0), "more than an exchange is good for");
        assert_eq!(together(1, 2, None), (1, false, 0), "one by one there is an exchange for every four");
        assert_eq!(together(4, 2, Some(1)), (1, false, 0), "one that measures goes alone, with or without an exchange");
    }
}
