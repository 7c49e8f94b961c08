//! A conservation law and its scheme as the physics of an evolution.

use std::sync::{Mutex, PoisonError};

use super::guard::Guard;
use super::physics::{Order, Pass, Physics};
use crate::error::Result;
use crate::field::{Component, Observe, Patch, Record};
use crate::grid::{Region, Vector};
use crate::scheme::{Combine, ConservationLaw, Scheme, Scratch, sweep_law};
use crate::sys::cache::core_cache;

/// The fluxes of longer rows would not fit the first cache of a core.
const LONGEST_ROW: usize = 128;

/// A conservation law, whose rate is computed from the fluxes through the faces of the cells.
#[derive(Debug)]
pub struct FiniteVolume<L> {
    law: L,
    scheme: Scheme,
    /// One for each thread that sweeps.
    scratch: Vec<Mutex<Scratch>>,
}

impl<L> FiniteVolume<L> {
    /// A law with the scheme that a case asks for, for so many threads a rank.
    pub fn new(law: L, scheme: Scheme, threads: usize) -> Self {
        FiniteVolume { law, scheme, scratch: (0..threads).map(|_| Mutex::default()).collect() }
    }

    fn scheme(&self, order: Order) -> Scheme {
        match order {
            Order::Full => self.scheme,
            Order::First => self.scheme.first_order(),
        }
    }

    fn sweep_and_show<const N: usize>(
        &self,
        pass: &Pass<'_, L::State, N>,
        source: &mut Patch<f64, N>,
        out: &mut Patch<f64, N>,
        region: &Region<N>,
        observe: &mut impl Observe<L::State>,
    ) where
        L: ConservationLaw<N>,
    {
        let Pass { grid, old, keep, take, by, time, order, .. } = *pass;
        let thread = rayon::current_thread_index().unwrap_or(0);
        let mut scratch = self.scratch[thread].lock().unwrap_or_else(PoisonError::into_inner);
        let combine = Combine { keep, take, by, time };
        sweep_law(&self.law, &self.scheme(order), grid, source, old, out, region, &combine, &mut scratch, observe);
    }
}

impl<L: ConservationLaw<N>, const N: usize> Physics<N> for FiniteVolume<L> {
    type State = L::State;
    const BY_ROWS: bool = false;

    fn components() -> Vec<Component> {
        L::components()
    }

    fn derived() -> Vec<Component> {
        L::derived()
    }

    fn check(&self) -> Result<()> {
        self.law.check()
    }

    fn reach(&self, order: Order) -> usize {
        self.scheme(order).reach()
    }

    fn tile(&self, order: Order, extent: [usize; N]) -> [usize; 2] {
        // The ring of primitive variables, the fluxes that wait for the layer above, and the rows of a layer themselves.
        let columns = extent[0].clamp(1, LONGEST_ROW);
        let numbers = 2 * self.reach(order) * L::Primitive::COMPONENTS + 3 * L::State::COMPONENTS;
        [LONGEST_ROW, core_cache() / 2 / (columns * numbers * size_of::<f64>())]
    }

    fn initial(&self, x: Vector<N>) -> L::State {
        self.law.initial(x)
    }

    fn settle(&self, u: L::State) -> L::State {
        self.law.settle(u)
    }

    #[inline(always)]
    fn timescale(&self, u: L::State, spacing: Vector<N>) -> f64 {
        self.law.timescale(u, spacing)
    }

    #[inline(always)]
    fn admissible(&self, u: L::State) -> bool {
        self.law.admissible(self.law.primitive(u))
    }

    fn derive(&self, u: L::State, put: impl FnMut(usize, f64)) {
        self.law.derive(u, put);
    }

    fn sweep(
        &self,
        pass: &Pass<'_, L::State, N>,
        source: &mut Patch<f64, N>,
        out: &mut Patch<f64, N>,
        region: &Region<N>,
        guard: Option<&mut Guard<'_, Self, N>>,
    ) {
        match guard {
            Some(guard) => self.sweep_and_show(pass, source, out, region, guard),
            None => self.sweep_and_show(pass, source, out, region, &mut ()),
        }
    }
}
