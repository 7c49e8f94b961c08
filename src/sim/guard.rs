//! Watches each new state while it is in the cache: is it sound, and how long may the next step be?

use std::marker::PhantomData;

use super::physics::Physics;
use crate::error::{Error, Kind};
use crate::field::{Block, Component, Observe, Record};
use crate::grid::{Cell, Grid, Vector};

/// What the guard saw in some cells: combined, it speaks for all of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Seen {
    /// The smallest timescale.
    pub timescale: f64,
    /// Whether every state is finite and admissible, and every timescale positive.
    pub sound: bool,
}

impl Seen {
    /// What is seen in no cell at all.
    pub const NOTHING: Seen = Seen { timescale: f64::INFINITY, sound: true };

    /// What is seen in the cells of both.
    pub fn and(self, other: Seen) -> Seen {
        Seen { timescale: self.timescale.min(other.timescale), sound: self.sound && other.sound }
    }
}

/// Observes the rows that the last stage of a step writes.
pub struct Guard<'a, P, const N: usize> {
    physics: &'a P,
    spacing: Vector<N>,
    asks_timescale: bool,
    seen: Seen,
    dimension: PhantomData<[(); N]>,
}

/// The lanes over which a row's minimum is taken side by side, so that the loop vectorises.
const LANES: usize = 8;

impl<'a, P: Physics<N>, const N: usize> Guard<'a, P, N> {
    /// A guard for some physics; it computes timescales only if the step depends on them.
    pub(super) fn new(physics: &'a P, grid: &Grid<N>, asks_timescale: bool) -> Self {
        Guard { physics, spacing: grid.spacing(), asks_timescale, seen: Seen::NOTHING, dimension: PhantomData }
    }

    /// What it has seen so far.
    pub(super) fn seen(&self) -> Seen {
        self.seen
    }

    /// Looks at all cells of a block's interior.
    pub(super) fn look(&mut self, block: &Block<<P::State as Record>::Scalar, N>) {
        let (plane, data) = (block.plane(), block.data());
        for row in block.rows(&block.interior()) {
            let get = |i: usize| P::State::load(|c| data[row.start + i + c * plane]);
            let admitted = (0..row.len()).fold(true, |admitted, i| admitted & self.admits(get(i)));
            self.row(admitted, row.len(), get);
        }
    }

    /// The first cell of a block that is not sound, as an error that names it.
    pub(super) fn explain(&self, block: &Block<<P::State as Record>::Scalar, N>, grid: &Grid<N>) -> Option<Error> {
        block.interior().cells().find_map(|cell| self.fault(block.get(cell), cell, grid))
    }

    fn fault(&self, u: P::State, cell: Cell<N>, grid: &Grid<N>) -> Option<Error> {
        let components = P::components();
        let value = describe(u, &components);
        let place = format!("in cell {:?} at {:?}", cell.0, grid.centre(cell).0);
        if let Some((c, x)) = u.first_not_finite() {
            let bad = format!("field {} is {x}", components[c].name);
            return Some(
                Error::new(Kind::State, format!("{bad} {place}; the state there is {value}"))
                    .hint("a smaller time.cfl or time.step, or a finer grid, may keep the scheme stable"),
            );
        }
        if !self.physics.admissible(u) {
            return Some(
                Error::new(Kind::State, format!("the state {value} {place} is not admissible to the model"))
                    .hint("a smaller time.cfl or time.step may keep the scheme within its limits"),
            );
        }
        let timescale = self.physics.timescale(u, self.spacing);
        (self.asks_timescale && !is_positive(timescale)).then(|| {
            Error::new(
                Kind::State,
                format!("the timescale {timescale} {place} is not positive; the state there is {value}"),
            )
        })
    }
}

impl<P: Physics<N>, const N: usize> Observe<P::State> for Guard<'_, P, N> {
    #[inline(always)]
    fn admits(&self, u: P::State) -> bool {
        u.all_finite() & self.physics.admissible(u)
    }

    #[inline(always)]
    fn looks_back(&self) -> bool {
        self.asks_timescale
    }

    #[inline(always)]
    fn row(&mut self, admitted: bool, length: usize, get: impl Fn(usize) -> P::State) {
        let mut sound = admitted;
        if self.asks_timescale {
            let mut least = [f64::INFINITY; LANES];
            let mut take = |lane: usize, i: usize| {
                let timescale = self.physics.timescale(get(i), self.spacing);
                sound &= is_positive(timescale);
                least[lane] = if timescale < least[lane] { timescale } else { least[lane] };
            };
            let whole = length - length % LANES;
            for start in (0..whole).step_by(LANES) {
                // Said once, it need not be asked for each lane.
                assert!(start + LANES <= length);
                (0..LANES).for_each(|lane| take(lane, start + lane));
            }
            (whole..length).for_each(|i| take(0, i));
            self.seen.timescale = least.into_iter().fold(self.seen.timescale, f64::min);
        }
        self.seen.sound &= sound;
    }
}

/// Whether a number is above zero; NaN is not.
#[inline(always)]
fn is_positive(x: f64) -> bool {
    x > 0.0
}

/// A record as `density = 1.0 kg/m³, energy = 2.5 J/m³`.
fn describe<S: Record>(u: S, components: &[Component]) -> String {
    let mut parts = Vec::with_capacity(S::COMPONENTS);
    u.store(|c, x| parts.push(format!("{} = {x} {}", components[c].name, components[c].unit)));
    parts.join(", ")
}
