//! What a linear operator does to one cell.

use serde::{Deserialize, Serialize};

use crate::field::{Patch, Record, Stencil};
use crate::grid::Grid;

/// A linear operator A on fields of one number a cell: symmetric and positive definite.
///
/// # Example
/// One implicit step of heat conduction, (1 − dt ∇·k∇) u = u before, with the conductivity k at the low face of each cell:
/// ```
/// use steadfast::prelude::*;
/// use steadfast::solve::Operator;
///
/// steadfast::record! { struct Faces<N>: f64 { k: Vector<N> = "m²/s" } }
///
/// struct Implicit {
///     dt: f64,
/// }
///
/// impl<const N: usize> Operator<N> for Implicit {
///     type Coefficients = Faces<N>;
///
///     #[inline(always)]
///     fn apply(&self, u: Stencil<'_, f64, N>, faces: Stencil<'_, Faces<N>, N>) -> f64 {
///         let outflow = |a: Axis<N>| {
///             let (low, high) = (faces.here().k[a], faces.at(a).k[a]);
///             (low * (u.here() - u.at(-a)) + high * (u.here() - u.at(a))) * u.spacing(a).powi(-2)
///         };
///         u.here() + self.dt * Axis::all().map(outflow).sum::<f64>()
///     }
///
///     #[inline(always)]
///     fn diagonal(&self, faces: Stencil<'_, Faces<N>, N>) -> f64 {
///         let both = |a: Axis<N>| (faces.here().k[a] + faces.at(a).k[a]) * faces.spacing(a).powi(-2);
///         1.0 + self.dt * Axis::all().map(both).sum::<f64>()
///     }
/// }
/// ```
pub trait Operator<const N: usize> {
    /// What a cell holds besides the unknown: densities, conductivities of faces; `()` if nothing.
    type Coefficients: Record<Scalar = f64>;

    /// How far [`apply`](Self::apply) and [`diagonal`](Self::diagonal) read.
    const REACH: usize = 1;

    /// The value of A u in a cell.
    fn apply(&self, u: Stencil<'_, f64, N>, k: Stencil<'_, Self::Coefficients, N>) -> f64;

    /// The factor of the cell's own value in [`apply`](Self::apply): the diagonal entry of A, for [`Preconditioner::Jacobi`].
    fn diagonal(&self, k: Stencil<'_, Self::Coefficients, N>) -> f64;

    /// Sets the ghosts of u beyond the outer faces of the domain; by default they stay 0.
    ///
    /// What it sets must be linear in u: the homogeneous form of a boundary. What a boundary adds belongs in b. With a face
    /// coefficient of 0 on outer faces the ghosts do not matter, and nothing flows through.
    fn fill_outside(&self, grid: &Grid<N>, u: &mut Patch<f64, N>) {
        let _ = (grid, u);
    }
}

/// The matrix M in whose stead of A each iteration solves z = M⁻¹ r: the nearer to A, the fewer iterations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preconditioner {
    /// None: M = 1.
    None,
    /// The diagonal of A. It undoes what cells of different density or size do to the condition of A.
    #[default]
    Jacobi,
}
