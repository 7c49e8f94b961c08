//! Watches each new state while it is in the cache: is it sound, and how long may the next step be?

use std::marker::PhantomData;

use super::physics::Physics;
use crate::error::{Error, Kind};
use crate::field::{Component, LANES, Observe, Patch, Record};
use crate::grid::{Cell, Grid, Region, Vector};

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

/// Observes the values that the last stage of a step computes.
pub struct Guard<'a, P, const N: usize> {
    physics: &'a P,
    spacing: Vector<N>,
    asks_timescale: bool,
    /// The smallest timescales, each of one of the values that are seen side by side: so the loop over them vectorises.
    least: [f64; LANES],
    /// 0 as long as all values were finite, in the same lanes: a sum, since comparing took up to a
    /// quarter of a sweep (measured).
    doubt: [f64; LANES],
    sound: bool,
    dimension: PhantomData<[(); N]>,
}

// Not derived: the physics are only referred to.
impl<P, const N: usize> Clone for Guard<'_, P, N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P, const N: usize> Copy for Guard<'_, P, N> {}

impl<'a, P: Physics<N>, const N: usize> Guard<'a, P, N> {
    /// A guard for some physics; it computes timescales only if the step depends on them.
    pub(super) fn new(physics: &'a P, grid: &Grid<N>, asks_timescale: bool) -> Self {
        let (spacing, least, doubt) = (grid.spacing(), [f64::INFINITY; LANES], [0.0; LANES]);
        Guard { physics, spacing, asks_timescale, least, doubt, sound: true, dimension: PhantomData }
    }

    /// What it has seen so far.
    pub(super) fn seen(&self) -> Seen {
        let finite = self.doubt.into_iter().all(|doubt| doubt == 0.0);
        Seen { timescale: self.least.into_iter().fold(f64::INFINITY, f64::min), sound: self.sound && finite }
    }

    /// Looks at all cells of a patch's interior.
    pub(super) fn look(&mut self, patch: &Patch<<P::State as Record>::Scalar, N>) {
        let (plane, data) = (patch.plane(), patch.data());
        for row in patch.rows(&patch.interior()) {
            for start in row.clone().step_by(LANES) {
                self.see(LANES.min(row.end - start), |i| P::State::load(|c| data[start + i + c * plane]));
            }
        }
    }

    /// The first cell of a region of a patch that is not sound, and an error that names it.
    pub(super) fn explain(
        &self,
        patch: &Patch<<P::State as Record>::Scalar, N>,
        region: &Region<N>,
        grid: &Grid<N>,
    ) -> Option<(Cell<N>, Error)> {
        region.cells().find_map(|cell| Some((cell, self.fault(patch.get(cell), cell, grid)?)))
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
    fn see(&mut self, length: usize, get: impl Fn(usize) -> P::State) {
        let (physics, spacing) = (self.physics, self.spacing);
        let mut sound = true;
        for i in 0..length {
            let u = get(i);
            self.doubt[i] += u.doubts();
            sound &= physics.admissible(u);
        }
        // A loop of its own: within the other it would be computed, and thrown away, even where nobody asks.
        if self.asks_timescale {
            for i in 0..length {
                let timescale = physics.timescale(get(i), spacing);
                sound &= is_positive(timescale);
                self.least[i] = if timescale < self.least[i] { timescale } else { self.least[i] };
            }
        }
        self.sound &= sound;
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
