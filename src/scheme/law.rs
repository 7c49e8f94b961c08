//! The physics of a conservation law: what a user writes.

use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::field::{Component, Record};
use crate::grid::{Axis, Vector};

/// A conservation law with sources: ∂u/∂t + ∇·F(u) = S(u, x, t), in `N` dimensions.
///
/// The law is read from the `[model]` table of the case file by its `Deserialize`; put `#[serde(deny_unknown_fields)]` on
/// it. Mark its functions `#[inline(always)]`, and choose between values (`if a < b { a } else { b }`) rather than between
/// computations: the compiler then turns them into vectorised loops over rows of faces.
///
/// # Example
/// Burgers' equation, ∂u/∂t + ∂(u²/2)/∂x = 0:
/// ```
/// use steadfast::prelude::*;
/// use steadfast::scheme::ConservationLaw;
///
/// #[derive(Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Burgers {}
///
/// impl ConservationLaw<1> for Burgers {
///     type State = f64;
///     type Primitive = f64;
///
///     fn initial(&self, x: Vector<1>) -> f64 {
///         x[0].sin()
///     }
///
///     #[inline(always)]
///     fn primitive(&self, u: f64) -> f64 {
///         u
///     }
///
///     #[inline(always)]
///     fn conserved(&self, w: f64) -> f64 {
///         w
///     }
///
///     #[inline(always)]
///     fn flux(&self, w: f64, _axis: Axis<1>) -> f64 {
///         0.5 * w * w
///     }
///
///     #[inline(always)]
///     fn speeds(&self, w: f64, _axis: Axis<1>) -> [f64; 2] {
///         [w, w]
///     }
/// }
/// ```
pub trait ConservationLaw<const N: usize>: DeserializeOwned + Send + Sync + 'static {
    /// The conserved variables u, which a cell holds the mean of.
    type State: Record<Scalar = f64>;

    /// The primitive variables w, whose profile inside a cell is reconstructed.
    type Primitive: Record<Scalar = f64>;

    /// Whether the law has a contact wave and defines [`contact`](Self::contact) and
    /// [`beside_contact`](Self::beside_contact); without it a case cannot ask for HLLC.
    const HAS_CONTACT: bool = false;

    /// The names and units of the state's components; those of the record unless the law knows better.
    fn components() -> Vec<Component> {
        Self::State::components()
    }

    /// Whether the law's parameters make sense together; asked once, before anything runs.
    ///
    /// # Errors
    /// An [`Error::case`](crate::Error::case) that names the key, its value and the rule.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The state at time 0 in the cell whose centre is `x`.
    fn initial(&self, x: Vector<N>) -> Self::State;

    /// The state at time 0 once one component of [`initial`](Self::initial) has given way to a dataset of the case, as when
    /// the level of a lake has to follow from a sea floor that it did not know.
    fn settle(&self, u: Self::State) -> Self::State {
        u
    }

    /// The primitive variables of a state: w(u).
    fn primitive(&self, u: Self::State) -> Self::Primitive;

    /// The state with these primitive variables: u(w), what the solvers need of it.
    fn conserved(&self, w: Self::Primitive) -> Self::State;

    /// The flux F(w) of each conserved variable along an axis.
    fn flux(&self, w: Self::Primitive, axis: Axis<N>) -> Self::State;

    /// The speeds of the slowest and the fastest signal along an axis: the least and the greatest eigenvalue of ∂F/∂u.
    fn speeds(&self, w: Self::Primitive, axis: Axis<N>) -> [f64; 2];

    /// Whether a finite state makes sense, as a positive density does.
    ///
    /// A run stops at the first cell that does not; where only the reconstructed state at a face does not, the cell's mean
    /// takes its place.
    #[inline]
    fn admissible(&self, _w: Self::Primitive) -> bool {
        true
    }

    /// The source S(u, x, t) in a cell whose centre is `x`; zero by default.
    #[inline]
    fn source(&self, _u: Self::State, _x: Vector<N>, _time: f64) -> Self::State {
        Self::State::load(|_| 0.0)
    }

    /// The slowest and the fastest signal from a face with these states on its low and its high side.
    ///
    /// By default the least and the greatest of [`speeds`](Self::speeds) on both sides (Davis 1988,
    /// doi:10.1137/0909030).
    #[inline]
    fn fan(&self, faces: [Self::Primitive; 2], axis: Axis<N>) -> [f64; 2] {
        let (low, high) = (self.speeds(faces[0], axis), self.speeds(faces[1], axis));
        [if low[0] < high[0] { low[0] } else { high[0] }, if low[1] > high[1] { low[1] } else { high[1] }]
    }

    /// The speed S* of the contact between two signals of the speeds `fan`.
    ///
    /// It should be the common velocity, to the last bit, where both states are equal.
    ///
    /// # Panics
    /// If the law has no contact.
    #[inline]
    fn contact(&self, _faces: [Self::Primitive; 2], _fan: [f64; 2], _axis: Axis<N>) -> f64 {
        unreachable!("a law that has a contact gives its speed")
    }

    /// The conserved state U*_K between the contact of speed S* and the signal of speed S_K that runs into the state w_K.
    ///
    /// It should be u(w_K), to the last bit, where the contact has the velocity of w_K.
    ///
    /// # Panics
    /// If the law has no contact.
    #[inline]
    fn beside_contact(&self, _w: Self::Primitive, _signal: f64, _contact: f64, _axis: Axis<N>) -> Self::State {
        unreachable!("a law that has a contact gives the states beside it")
    }

    /// The flux through a face as the cells on its low and on its high side see it.
    ///
    /// Both see the same by default, which is what conserves u. A law with a source that depends on a gradient, such as
    /// shallow water over a sloping bed, puts the source's share here, so that it balances the flux exactly. `cells` are
    /// the means in the two cells, `faces` the reconstructed states on the two sides of the face, and `solve` is the
    /// Riemann solver of the case.
    #[inline]
    fn face(
        &self,
        _cells: [Self::Primitive; 2],
        faces: [Self::Primitive; 2],
        _axis: Axis<N>,
        solve: impl Fn([Self::Primitive; 2]) -> Self::State,
    ) -> [Self::State; 2] {
        [solve(faces); 2]
    }

    /// The longest stable step for a cell with this state and these edges, in units of time, at a CFL number of 1: the
    /// shortest time in which a signal crosses a cell along any axis.
    #[inline]
    fn timescale(&self, u: Self::State, spacing: Vector<N>) -> f64 {
        let w = self.primitive(u);
        let crossings = |a: Axis<N>| {
            let [slowest, fastest] = self.speeds(w, a);
            let speed = if -slowest > fastest { -slowest } else { fastest };
            speed / spacing[a]
        };
        1.0 / Axis::all().map(crossings).fold(0.0, |most, next| if next > most { next } else { most })
    }

    /// The quantities that outputs can ask for by name besides the state's components, such as a pressure.
    fn derived() -> Vec<Component> {
        Vec::new()
    }

    /// Gives each derived quantity `d` of a state to `put(d, …)`, in the order of [`derived`](Self::derived).
    fn derive(&self, _u: Self::State, _put: impl FnMut(usize, f64)) {}
}
