//! What an evolution in time is made of: a state, and how one sweep of a stage is computed.

use super::Model;
use super::guard::Guard;
use super::integrator::Stage;
use crate::error::Result;
use crate::field::{Component, Observe, Old, Patch, Record, Rows, Stencil, sweep, sweep_rows};
use crate::grid::{Grid, Region, Vector};
use crate::sys::cache::core_cache;

/// The number type of a state.
pub(super) type ScalarOf<P, const N: usize> = <<P as Physics<N>>::State as Record>::Scalar;

/// How the state changes with time, whoever wrote it and in whatever form.
///
/// There are two of them: [`Pointwise`] for a [`Model`], [`FiniteVolume`](super::FiniteVolume) for a
/// [`ConservationLaw`](crate::scheme::ConservationLaw).
pub trait Physics<const N: usize>: Send + Sync + 'static {
    /// What a cell holds.
    type State: Record;

    /// Whether a sweep goes row by row: it costs no more in parts than at once, and where rows go once round a periodic
    /// domain, it sets their ends itself before it reads them.
    const BY_ROWS: bool;

    /// The names and units of the state's components.
    fn components() -> Vec<Component>;

    /// The names and units of what can be computed from the state for outputs.
    fn derived() -> Vec<Component> {
        Vec::new()
    }

    /// Whether the parameters make sense together.
    ///
    /// # Errors
    /// An [`Error::case`](crate::Error::case) that names the key, its value and the rule.
    fn check(&self) -> Result<()>;

    /// How far the rate reads in a stage of the given order, in cells along each axis.
    fn reach(&self, order: Order) -> usize;

    /// The most cells along x and along y of a tile of a region of this extent that is swept at a time: so few that what a
    /// sweep reads again from one layer to the next stays in a core's cache.
    fn tile(&self, order: Order, extent: [usize; N]) -> [usize; 2];

    /// The state at time 0 in the cell whose centre is `x`.
    fn initial(&self, x: Vector<N>) -> Self::State;

    /// The state at time 0 that follows once one of its components has come from a dataset.
    fn settle(&self, u: Self::State) -> Self::State {
        u
    }

    /// The longest stable step for a cell, at a CFL number of 1.
    fn timescale(&self, u: Self::State, spacing: Vector<N>) -> f64;

    /// Whether a finite state makes sense.
    fn admissible(&self, u: Self::State) -> bool;

    /// Gives the derived components of one cell to `put`, in their order.
    fn derive(&self, _u: Self::State, _put: impl FnMut(usize, <Self::State as Record>::Scalar)) {}

    /// Sets `out = keep·old + take·u + by·rate(u)` in the cells of a region, where u is the source, and shows each row
    /// to the guard if there is one.
    fn sweep(
        &self,
        pass: &Pass<'_, Self::State, N>,
        source: &mut Patch<<Self::State as Record>::Scalar, N>,
        out: &mut Patch<<Self::State as Record>::Scalar, N>,
        region: &Region<N>,
        guard: Option<&mut Guard<'_, Self, N>>,
    ) where
        Self: Sized;
}

/// How accurate the rate of a stage has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As accurate as the scheme is.
    Full,
    /// A predictor: first order will do, if the scheme has it.
    First,
}

impl Order {
    /// Both of them, in the order of their numbers.
    pub const ALL: [Order; 2] = [Order::Full, Order::First];
}

/// One sweep over a patch: what it reads, and the numbers of the stage.
#[derive(Debug, Clone, Copy)]
pub struct Pass<'a, S: Record, const N: usize> {
    /// The geometry.
    pub grid: &'a Grid<N>,
    /// Whether the rows of the source go round and lack their ends, and whether what is computed is read again soon.
    pub(crate) rows: Rows,
    /// What is kept a part of.
    pub old: Old<'a, S::Scalar, N>,
    /// The part of `old` that is kept.
    pub keep: f64,
    /// The part of the source that is taken besides.
    pub take: f64,
    /// The weight of the rate: the length of the step times that of the stage; 0 means that no rate is computed.
    pub by: f64,
    /// The time at which the rate is taken.
    pub time: f64,
    /// How accurate the rate has to be.
    pub order: Order,
}

impl<'a, S: Record, const N: usize> Pass<'a, S, N> {
    /// The pass of a stage in a step of length `dt` from `time` on.
    pub(super) fn new(
        stage: &Stage,
        grid: &'a Grid<N>,
        [time, dt]: [f64; 2],
        rows: Rows,
        old: Old<'a, S::Scalar, N>,
    ) -> Self {
        let Stage { keep, take, rate, when, order, .. } = *stage;
        Pass { grid, rows, old, keep, take, by: dt * rate, time: time + when * dt, order }
    }

    /// Sets `out` where no rate is asked for.
    pub(super) fn combine(&self, source: &Patch<S::Scalar, N>, out: &mut Patch<S::Scalar, N>, region: &Region<N>) {
        let Pass { keep, take, .. } = *self;
        let combine = |before: S, u: Stencil<'_, S, N>| before.scaled(keep).sum_with(u.here().scaled(take));
        sweep(self.grid, source, self.old, out, region, 0, combine, &mut ());
    }
}

/// A model, whose rate is computed cell by cell.
#[derive(Debug)]
pub struct Pointwise<M>(pub M);

impl<M: Model<N>, const N: usize> Physics<N> for Pointwise<M> {
    type State = M::State;
    const BY_ROWS: bool = true;

    fn components() -> Vec<Component> {
        M::components()
    }

    fn check(&self) -> Result<()> {
        self.0.check()
    }

    fn reach(&self, _order: Order) -> usize {
        M::REACH
    }

    fn tile(&self, _order: Order, extent: [usize; N]) -> [usize; 2] {
        // The layers that a row reads, the one that is asked for ahead, and the one that is written.
        let layers = 2 * M::REACH + 3;
        let row = extent[0] * layers * M::State::COMPONENTS * size_of::<ScalarOf<Self, N>>();
        [usize::MAX, core_cache() / 4 * 3 / row.max(1)]
    }

    fn initial(&self, x: Vector<N>) -> M::State {
        self.0.initial(x)
    }

    #[inline(always)]
    fn timescale(&self, u: M::State, spacing: Vector<N>) -> f64 {
        self.0.timescale(u, spacing)
    }

    #[inline(always)]
    fn admissible(&self, u: M::State) -> bool {
        self.0.admissible(u)
    }

    fn sweep(
        &self,
        pass: &Pass<'_, M::State, N>,
        source: &mut Patch<<M::State as Record>::Scalar, N>,
        out: &mut Patch<<M::State as Record>::Scalar, N>,
        region: &Region<N>,
        guard: Option<&mut Guard<'_, Self, N>>,
    ) {
        match guard {
            Some(guard) => self.sweep_and_show(pass, source, out, region, guard),
            None => self.sweep_and_show(pass, source, out, region, &mut ()),
        }
    }
}

impl<M> Pointwise<M> {
    fn sweep_and_show<const N: usize>(
        &self,
        pass: &Pass<'_, M::State, N>,
        source: &mut Patch<<M::State as Record>::Scalar, N>,
        out: &mut Patch<<M::State as Record>::Scalar, N>,
        region: &Region<N>,
        observe: &mut impl Observe<M::State>,
    ) where
        M: Model<N>,
    {
        let Pass { grid, rows, old, keep, take, by, time, .. } = *pass;
        let model = &self.0;
        // The closures differ in what they compute, not how: the plain step u + dt·f is the one that has to be fastest.
        if keep == 1.0 && take == 0.0 {
            let step =
                move |before: M::State, u: Stencil<'_, M::State, N>| before.sum_with(model.rate(u, time).scaled(by));
            sweep_rows(grid, source, rows, old, out, region, M::REACH, step, observe);
        } else {
            let mix = move |before: M::State, u: Stencil<'_, M::State, N>| {
                before.scaled(keep).sum_with(u.here().scaled(take)).sum_with(model.rate(u, time).scaled(by))
            };
            sweep_rows(grid, source, rows, old, out, region, M::REACH, mix, observe);
        }
    }
}
