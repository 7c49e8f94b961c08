//! The physics of one cell: what a user writes.

use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::field::{Component, Record, Stencil};
use crate::grid::Vector;

/// A model: ∂u/∂t = rate(u), cell by cell, in `N` dimensions.
///
/// The model is read from the `[model]` table of the case file by its `Deserialize`; put
/// `#[serde(deny_unknown_fields)]` on it, so that a misspelt key is an error. Mark its functions `#[inline(always)]`: the
/// compiler then turns them into one vectorised loop over a row of cells.
///
/// For integer states the rate is the change per unit of time in arithmetic modulo the type's range, and the case must
/// ask for forward Euler with a step of 1: this makes cellular automata exact.
///
/// # Example
/// ```
/// use steadfast::prelude::*;
///
/// #[derive(Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Decay {
///     /// Decay constant λ, 1/s.
///     constant: f64,
/// }
///
/// impl<const N: usize> Model<N> for Decay {
///     type State = f64;
///     const REACH: usize = 0;
///
///     fn initial(&self, _x: Vector<N>) -> f64 {
///         1.0
///     }
///
///     #[inline(always)]
///     fn rate(&self, u: Stencil<'_, f64, N>, _time: f64) -> f64 {
///         -self.constant * u.here()
///     }
/// }
/// ```
pub trait Model<const N: usize>: DeserializeOwned + Send + Sync + 'static {
    /// What a cell holds.
    type State: Record;

    /// How far `rate` reads, in cells along each axis.
    const REACH: usize;

    /// The names and units of the state's components; those of the record unless the model knows better.
    fn components() -> Vec<Component> {
        Self::State::components()
    }

    /// Whether the model's parameters make sense together; asked once, before anything runs.
    ///
    /// # Errors
    /// An [`Error::case`](crate::Error::case) that names the key, its value and the rule.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The state at time 0 in the cell whose centre is `x`.
    fn initial(&self, x: Vector<N>) -> Self::State;

    /// The rate of change ∂u/∂t in one cell at a time.
    ///
    /// It must be a function of its arguments alone: it is computed on whichever rank has the cell, and more than once
    /// where several sweeps share an exchange or a row ends.
    fn rate(&self, u: Stencil<'_, Self::State, N>, time: f64) -> Self::State;

    /// The longest stable step for a cell with this state and these edges, in units of time, at a CFL number of 1.
    ///
    /// The step is the CFL number of the case times the smallest timescale of all cells. Without it, the case must fix
    /// the step.
    #[inline(always)]
    fn timescale(&self, _u: Self::State, _spacing: Vector<N>) -> f64 {
        f64::INFINITY
    }

    /// Whether a finite state makes sense, as a positive density does; a run stops at the first that does not.
    #[inline(always)]
    fn admissible(&self, _u: Self::State) -> bool {
        true
    }
}
