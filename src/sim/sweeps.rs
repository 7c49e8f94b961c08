//! The sweeps of some stages over a patch: which cells, in which order, and what must be in the ghosts before they are read.

use std::time::Instant;

use rayon::prelude::*;

use super::guard::{Guard, Seen};
use super::integrator::Stage;
use super::physics::{Pass, Physics, ScalarOf};
use super::walk::{Walk, clip, tiles, with_ghosts};
use crate::error::Error;
use crate::field::{Component, Old, Patch, Record, Rows};
use crate::grid::{Boundaries, Cell, Grid, Parts, Region};
use crate::halo::{fill_boundaries_of, wrap_rows};

/// What is known of one of the rank's patches.
pub(super) struct Own<const N: usize> {
    /// The sides along each axis on which it needs a message.
    pub waits: [[bool; 2]; N],
    /// Whether its rows go once round a periodic domain.
    pub wraps: bool,
    /// Its blocks, by their places among the rank's own.
    pub blocks: Vec<(usize, Region<N>)>,
    /// For each of them the time that the present step took so far, s; where it is not measured, nothing.
    pub spent: Vec<f64>,
    /// What is wrong with the first result that is not sound, of the steps done together.
    pub fault: Option<Fault<N>>,
}

impl<const N: usize> Own<N> {
    /// Whether some of it is swept when messages have come, and not before.
    pub fn has_to_wait(&self) -> bool {
        self.waits.as_flattened().contains(&true)
    }
}

/// A cell of a patch that is not sound after a step.
pub(super) struct Fault<const N: usize> {
    pub step: u64,
    cell: Cell<N>,
    pub error: Error,
}

impl<const N: usize> Fault<N> {
    /// By step, then in memory order.
    fn is_before(&self, other: &Self) -> bool {
        let place = |fault: &Self| (fault.step, fault.cell.0.into_iter().rev());
        let ((step, cell), (other_step, other_cell)) = (place(self), place(other));
        step.cmp(&other_step).then_with(|| cell.cmp(other_cell)).is_lt()
    }
}

/// Which of a patch's cells are swept: those that need no message still under way, those that do, or all.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Ready,
    Waiting,
    All,
}

/// Runs each item on the pool and combines what is seen.
pub(super) fn run<I: IndexedParallelIterator>(
    pool: &rayon::ThreadPool,
    items: I,
    each: impl Fn(I::Item) -> Seen + Sync + Send,
) -> Seen {
    pool.install(|| items.with_max_len(1).map(each).reduce(|| Seen::NOTHING, Seen::and))
}

/// A stage of a step, with the numbers of that.
pub(super) struct Sweep {
    pub stage: Stage,
    pub reach: usize,
    /// How many ghosts beside the interior it computes.
    pub depth: usize,
    /// The time at the step's start, and the step's length.
    pub when: [f64; 2],
    /// The step that its result is of.
    pub step: u64,
    /// Whether it is the last of its step.
    pub last: bool,
    /// Whether each block's time is taken.
    pub measures: bool,
}

/// How sweeps go through a patch and memory; the bits are the same.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    /// The bytes of a cache that the sweeps should stay in while they go through a patch together; without it they go one after
    /// the other.
    pub cache: Option<usize>,
    /// Whether what is written stays in the caches; otherwise it goes past them, where the patch allows it.
    pub stays: bool,
}

/// Sweeps that go through patches together.
pub(super) struct Work<'a, P: Physics<N>, const N: usize> {
    pub physics: &'a P,
    pub grid: &'a Grid<N>,
    pub boundaries: &'a Boundaries<N>,
    pub components: &'a [Component],
    pub sweeps: &'a [Sweep],
    pub part: Part,
    pub asks_timescale: bool,
    pub way: Way,
    /// Shows, now and then, that it moves.
    pub tick: &'a (dyn Fn() + Sync),
}

impl<P: Physics<N>, const N: usize> Work<'_, P, N> {
    /// The work on one patch, given all its buffers.
    pub fn of(&self, own: &mut Own<N>, buffers: &mut [&mut Patch<ScalarOf<P, N>, N>], width: usize) -> Seen {
        let waits = own.has_to_wait();
        if matches!(self.part, Part::Waiting) && !waits {
            return Seen::NOTHING;
        }
        let interior = buffers[0].interior();
        let (first, reach) = (&self.sweeps[0], self.sweeps.iter().map(|sweep| sweep.reach).max().unwrap_or(0));
        let (turns, sides) = (own.wraps && P::BY_ROWS, own.waits);
        let regions = |sweep: usize| {
            let mut asked = clip(&interior.grow(self.sweeps[sweep].depth as i64), self.grid);
            if turns {
                (asked.lower[0], asked.upper[0]) = (interior.lower[0], interior.upper[0]);
            }
            let core = || core(&asked, &interior, &sides, first.reach + sweep * reach);
            match self.part {
                Part::Waiting => asked.without(&core()),
                Part::Ready if waits => Parts::one(core()),
                _ => Parts::one(asked),
            }
        };
        let mut seen = Seen::NOTHING;
        if let Some(cache) = self.way.cache.filter(|_| self.sweeps.len() > 1) {
            let extent = interior.grow(first.depth as i64).extent();
            let buffers_used = self.sweeps.len().min(buffers.len());
            let row = extent[0] * buffers_used * P::State::COMPONENTS * size_of::<ScalarOf<P, N>>();
            let rows = if N > 1 { extent[1] } else { 1 };
            let walk = Walk::new::<N>(self.sweeps.len(), reach, row, rows, cache);
            walk.each(regions, |number, region, fresh| {
                let sweep = &self.sweeps[number];
                (self.tick)();
                let goes_on = fresh.lower[N - 1] > region.lower[N - 1];
                let rows = Rows { round: turns, goes_on, stays: true };
                seen = seen.and(self.sweep(sweep, buffers, region, Some(fresh), rows, &mut own.fault));
            });
            return seen;
        }
        for (number, sweep) in self.sweeps.iter().enumerate() {
            if number > 0 {
                (self.tick)();
            }
            let source = &mut *buffers[sweep.stage.source];
            if turns && sweep.measures {
                wrap_rows(source, &interior.grow((sweep.depth + sweep.reach) as i64), sweep.reach);
            } else if own.wraps && !turns && matches!(self.part, Part::Ready) {
                wrap_rows(source, &interior, width);
            }
            for region in regions(number).filter(|region| !region.is_empty()) {
                let rows = Rows { round: turns && !sweep.measures, goes_on: false, stays: self.way.stays };
                if sweep.measures {
                    for ((_, block), spent) in own.blocks.iter().zip(&mut own.spent) {
                        let region = with_ghosts(block, &interior, sweep.depth).intersect(&region);
                        let start = Instant::now();
                        seen = seen.and(self.sweep(sweep, buffers, &region, None, rows, &mut own.fault));
                        *spent += start.elapsed().as_secs_f64();
                    }
                    continue;
                }
                for tile in tiles(region, self.physics.tile(sweep.stage.order, region.extent())) {
                    seen = seen.and(self.sweep(sweep, buffers, &tile, None, rows, &mut own.fault));
                }
            }
        }
        seen
    }

    /// Sweeps a region, and notes what is not sound; of what it reads, the part that is `fresh` lacks the
    /// ghosts beyond the domain's faces.
    fn sweep(
        &self,
        sweep: &Sweep,
        buffers: &mut [&mut Patch<ScalarOf<P, N>, N>],
        region: &Region<N>,
        fresh: Option<&Region<N>>,
        rows: Rows,
        fault: &mut Option<Fault<N>>,
    ) -> Seen {
        // What follows from a state that is not sound is nobody's to see, nor for a model to compute with.
        if region.is_empty() || fault.as_ref().is_some_and(|fault| fault.step < sweep.step) {
            return Seen::NOTHING;
        }
        let (Stage { source, old, out, .. }, grid) = (sweep.stage, self.grid);
        if sweep.reach > 0 {
            let read = fresh.copied().unwrap_or_else(|| region.grow(sweep.reach as i64));
            fill_boundaries_of(self.boundaries, grid, self.components, buffers[source], &read);
        }
        let mut guard = Guard::new(self.physics, grid, self.asks_timescale);
        let disjoint = "a stage does not write what it reads";
        let mut go = |source: &mut Patch<_, N>, old: Old<'_, _, N>, out: &mut Patch<_, N>| {
            let pass = Pass::new(&sweep.stage, grid, sweep.when, rows, old);
            if pass.by == 0.0 {
                pass.combine(source, out, region);
            } else {
                self.physics.sweep(&pass, source, out, region, sweep.last.then_some(&mut guard));
            }
        };
        if old == source || old == out {
            let [source, to] = buffers.get_disjoint_mut([source, out]).expect(disjoint);
            go(source, if old == out { Old::InPlace } else { Old::Source }, to);
        } else {
            let [source, old, to] = buffers.get_disjoint_mut([source, old, out]).expect(disjoint);
            go(source, Old::Separate(old), to);
        }
        let seen = guard.seen();
        if !seen.sound {
            // In a ghost it is another's to tell.
            let patch = &*buffers[out];
            let found = guard.explain(patch, &region.intersect(&patch.interior()), grid);
            let found = found.map(|(cell, error)| Fault { step: sweep.step, cell, error });
            *fault = [fault.take(), found].into_iter().flatten().reduce(|a, b| if b.is_before(&a) { b } else { a });
        }
        seen
    }
}

/// The cells that are asked for of a patch, without those nearer than so far to a side on which it waits for messages: on the
/// other sides, sweeps after the first need the ghosts that the ones before them compute.
fn core<const N: usize>(asked: &Region<N>, interior: &Region<N>, waits: &[[bool; 2]; N], reach: usize) -> Region<N> {
    let side = |asked: i64, waits: bool, inner: i64| if waits { inner } else { asked };
    let reach = reach as i64;
    Region::new(
        std::array::from_fn(|a| side(asked.lower[a], waits[a][0], interior.lower[a] + reach)),
        std::array::from_fn(|a| side(asked.upper[a], waits[a][1], interior.upper[a] - reach)),
    )
}

#[cfg(test)]
mod tests {
    use super::super::integrator::{self, Stages};
    use super::super::physics::Pointwise;
    use super::*;
    use crate::config::Integrator;
    use crate::field::{Role, Stencil};
    use crate::grid::{Axis, Boundary, Vector};
    use crate::sim::Model;

    crate::record! {
        /// A number, and the part of a vector along y.
        struct Pair: f64 {
            /// A number.
            a: f64 = "1",
            /// A part of a vector.
            b: f64 = "1",
        }
    }

    /// A rate that is no mirror image of itself, reads all corners, and depends on time and place.
    #[derive(serde::Deserialize)]
    struct Crooked<const REACH: usize>;

    impl<const REACH: usize, const N: usize> Model<N> for Crooked<REACH> {
        type State = Pair;
        const REACH: usize = REACH;

        fn initial(&self, x: Vector<N>) -> Pair {
            let phase: f64 = x.0.iter().enumerate().map(|(a, x)| (a as f64 + 1.3) * x).sum();
            Pair { a: (3.0 * phase).sin(), b: (5.0 * phase).cos() }
        }

        fn rate(&self, u: Stencil<'_, Pair, N>, time: f64) -> Pair {
            let (far, mut sum) = (REACH as isize, u.here().scaled(-0.5 - time));
            let corner = Axis::<N>::all().map(|a| far * a).reduce(|sum, a| sum + a).unwrap();
            for (i, offset) in Axis::<N>::all().flat_map(|a| [far * a, -far * a]).chain([corner, -corner]).enumerate() {
                let near = u.at(offset).scaled(0.07 + 0.01 * i as f64);
                sum = sum.sum_with(Pair { a: near.a - near.b * u.position()[0], b: near.b + near.a * near.a });
            }
            sum
        }
    }

    /// A patch that is the whole of a domain, with all its ghosts.
    struct Bench<const N: usize> {
        grid: Grid<N>,
        boundaries: Boundaries<N>,
        components: Vec<Component>,
        state: Patch<f64, N>,
        wraps: bool,
    }

    impl<const N: usize> Bench<N> {
        fn new(cells: [usize; N], periodic: [bool; N], boundary: &Boundary, width: usize) -> Self {
            let grid = Grid::new(cells, Vector::ZERO, Vector([1.0; N]), periodic).unwrap();
            let mut state = Patch::new(grid.region(), width, 2);
            for cell in state.memory().cells() {
                let image = Cell(std::array::from_fn(|a| cell.0[a].rem_euclid(cells[a] as i64)));
                let inside = (0..N).all(|a| periodic[a] || image.0[a] == cell.0[a]);
                let value = Model::<N>::initial(&Crooked::<1>, grid.centre(image));
                state.set(cell, if inside { value } else { Pair { a: f64::NAN, b: f64::NAN } });
            }
            let mut components = Pair::components();
            components[1].role = Role::VectorAlong(1 % N);
            Bench { grid, boundaries: Boundaries::all(boundary.clone()), components, state, wraps: periodic[0] }
        }

        /// Sets the ghosts beyond the sides that wait, to what is there or to nothing of use.
        fn set_ghosts_that_wait(&self, patch: &mut Patch<f64, N>, waits: &[[bool; 2]; N], right: bool) {
            let (interior, memory) = (self.state.interior(), self.state.memory());
            let waiting = |cell: &Cell<N>| {
                (0..N).any(|a| {
                    waits[a][0] && cell.0[a] < interior.lower[a] || waits[a][1] && cell.0[a] >= interior.upper[a]
                })
            };
            for cell in memory.cells().filter(waiting) {
                let nothing = Pair { a: f64::NAN, b: f64::NAN };
                patch.set(cell, if right { self.state.get(cell) } else { nothing });
            }
        }

        /// The interior after some steps, if so many sweeps go together in so large a cache.
        fn after<const REACH: usize>(
            &self,
            integrator: Integrator,
            steps: usize,
            together: usize,
            cache: Option<usize>,
            waits: [[bool; 2]; N],
        ) -> Vec<[u64; 2]> {
            let physics = Pointwise(Crooked::<REACH>);
            let Stages { stages, buffers, result } = integrator::stages(integrator);
            let width = (self.state.interior().lower[0] - self.state.memory().lower[0]) as usize;
            let mut buffers = vec![self.state.clone(); buffers];
            let (mut at, mut valid): ([usize; 4], _) = ([0, 1, 2, 3], [width; 4]);
            let mut sweeps = Vec::new();
            for step in 0..steps as u64 {
                for stage in stages {
                    let [source, old, out] = [stage.source, stage.old, stage.out].map(|buffer| at[buffer]);
                    let reach = if stage.rate == 0.0 { 0 } else { REACH };
                    let kept = if old == source { usize::MAX } else { valid[old] };
                    let depth = (valid[source] - reach).min(kept);
                    valid[out] = depth;
                    let stage = Stage { source, old, out, ..*stage };
                    let when = [0.01 * step as f64, 0.01];
                    sweeps.push(Sweep { stage, reach, depth, when, step: step + 1, last: false, measures: false });
                }
                at.swap(0, result);
            }
            let mut own = Own { waits, wraps: self.wraps, blocks: Vec::new(), spent: Vec::new(), fault: None };
            for (number, sweeps) in sweeps.chunks(together).enumerate() {
                for part in [Part::Ready, Part::Waiting] {
                    // The first exchange: what a message brings is not there before.
                    if number == 0 {
                        let brings = matches!(part, Part::Waiting);
                        self.set_ghosts_that_wait(&mut buffers[0], &waits, brings);
                    }
                    let work = Work {
                        physics: &physics,
                        grid: &self.grid,
                        boundaries: &self.boundaries,
                        components: &self.components,
                        sweeps,
                        part,
                        asks_timescale: false,
                        way: Way { cache, stays: number % 2 == 0 },
                        tick: &|| (),
                    };
                    work.of(&mut own, &mut buffers.iter_mut().collect::<Vec<_>>(), width);
                }
            }
            let bits = |cell| {
                let Pair { a, b } = buffers[at[0]].get(cell);
                [a.to_bits(), b.to_bits()]
            };
            self.grid.region().cells().map(bits).collect()
        }

        /// Whether sweeps that go together give the bits of sweeps that go one after the other.
        fn agrees<const REACH: usize>(&self, integrator: Integrator, steps: usize) {
            let nowhere = [[false; 2]; N];
            let expected = self.after::<REACH>(integrator, steps, 1, None, nowhere);
            assert!(expected.iter().flatten().all(|&bits| f64::from_bits(bits).is_finite()), "{integrator:?}");
            for (together, cache) in [
                (2, Some(0)),
                (3, Some(20_000)),
                (100, Some(0)),
                (100, Some(50_000)),
                (100, Some(1 << 20)),
                (100, None),
            ] {
                for mut waits in [nowhere, [[true; 2]; N], std::array::from_fn(|a| [a + 1 == N, false])] {
                    // Rows that go round wait for nobody at their ends.
                    waits[0] = waits[0].map(|waits| waits && !self.wraps);
                    let found = self.after::<REACH>(integrator, steps, together, cache, waits);
                    let differs = found.iter().zip(&expected).position(|(found, expected)| found != expected);
                    assert_eq!(
                        differs, None,
                        "{integrator:?}, {steps} steps, {together} together, {cache:?}, {waits:?}"
                    );
                }
            }
        }
    }

    const ALL: [(Integrator, usize, usize); 4] = [
        (Integrator::ForwardEuler, 5, 5),
        (Integrator::SspRk2, 2, 4),
        (Integrator::SspRk3, 2, 6),
        (Integrator::Rk4, 1, 4),
    ];

    #[test]
    fn sweeps_that_go_together_give_the_bits_of_sweeps_one_after_the_other() {
        let fixed = Boundary::FixedValue(vec![0.3, -0.2]);
        for (integrator, steps, rates) in ALL {
            for boundary in [&fixed, &Boundary::Reflecting, &Boundary::Outflow] {
                for periodic in [true, false] {
                    let bench = |width| Bench::new([37], [periodic], boundary, width);
                    bench(rates).agrees::<1>(integrator, steps);
                    bench(2 * rates).agrees::<2>(integrator, steps);
                    for other in [true, false] {
                        Bench::new([23, 41], [periodic, other], boundary, rates).agrees::<1>(integrator, steps);
                        Bench::new([17, 49, 14], [periodic, other, !other], boundary, rates)
                            .agrees::<1>(integrator, steps);
                    }
                }
            }
        }
        Bench::new([18, 70, 21], [true, false, true], &fixed, 10).agrees::<2>(Integrator::ForwardEuler, 5);
    }

    #[test]
    fn of_sweeps_that_go_together_the_first_unsound_step_is_told_with_its_cell() {
        let mut bench = Bench::new([16, 40, 12], [true; 3], &Boundary::Outflow, 4);
        let physics = Pointwise(Crooked::<1>);
        // The one overflows in the first step, on the line between two strips; the other later, in a strip that is swept before.
        bench.state.set(Cell([3, 29, 5]), Pair { a: 1e200, b: 0.0 });
        bench.state.set(Cell([9, 4, 4]), Pair { a: 1e100, b: 0.0 });
        let mut buffers = [bench.state.clone(), bench.state.clone()];
        let stage = integrator::stages(Integrator::ForwardEuler).stages[0];
        let sweeps: Vec<_> = (0..4)
            .map(|i: usize| Sweep {
                stage: Stage { source: i % 2, old: i % 2, out: (i + 1) % 2, ..stage },
                reach: 1,
                depth: 3 - i,
                when: [0.0, 0.01],
                step: 8 + i as u64,
                last: true,
                measures: false,
            })
            .collect();
        let mut own = Own { waits: [[false; 2]; 3], wraps: true, blocks: Vec::new(), spent: Vec::new(), fault: None };
        let Bench { grid, boundaries, components, .. } = &bench;
        let work = Work {
            physics: &physics,
            grid,
            boundaries,
            components,
            sweeps: &sweeps,
            part: Part::All,
            asks_timescale: false,
            way: Way { cache: Some(0), stays: false },
            tick: &|| (),
        };
        assert!(!work.of(&mut own, &mut buffers.iter_mut().collect::<Vec<_>>(), 4).sound);
        let Fault { step, error, .. } = own.fault.unwrap();
        let text = error.to_string();
        assert!(step == 8 && text.contains("field b is inf") && text.contains("in cell [2, 28, 4]"), "{step}: {text}");
    }
}
