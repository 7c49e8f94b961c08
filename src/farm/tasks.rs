//! What a user of the farm writes: how a task is done, and how much it takes.

use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::field::Record;
use crate::grid::{Cell, Vector};

/// Independent tasks, each of which has an outcome: every cell of the case's grid is one.
///
/// The grid is the space of the tasks' parameters. For a plane of two parameters its lower and upper corners are their
/// ranges, and a task is given the centre of its cell; for a list of anything it has one axis, and a task is given its
/// number. Outcomes are fields on this grid, so that they can be plotted and read as such. Whatever is common to all tasks is read from the
/// `[model]` table of the case file.
///
/// # Example
/// ```no_run
/// use steadfast::prelude::*;
///
/// /// How many steps a number needs to reach 1 by Collatz' rule.
/// #[derive(Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Collatz {}
///
/// impl Tasks<1> for Collatz {
///     type Outcome = f64;
///
///     fn cost(&self, cell: Cell<1>, _: Vector<1>) -> f64 {
///         (cell.0[0] as f64 + 1.0).log2() // an estimate: it decides which come first
///     }
///
///     fn run(&self, cell: Cell<1>, _: Vector<1>) -> Result<f64> {
///         let next = |n: &i64| (*n > 1).then(|| if n % 2 == 0 { n / 2 } else { 3 * n + 1 });
///         Ok(std::iter::successors(Some(cell.0[0] + 1), next).count() as f64 - 1.0)
///     }
/// }
///
/// fn main() -> ExitCode {
///     steadfast::main_program::<Farm<Collatz, 1>, 1>()
/// }
/// ```
pub trait Tasks<const N: usize>: DeserializeOwned + Send + Sync + 'static {
    /// What comes of a task: a number or a record of several.
    type Outcome: Record<Scalar = f64>;

    /// Whether the parameters make sense together; asked once, before anything runs.
    ///
    /// # Errors
    /// An [`Error::case`](crate::Error::case) that names the key, its value and the rule.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// How long a task will take, as an estimate in any unit: of equal priority the longest are done first, so that none of
    /// them is left alone at the end (Graham 1969, doi:10.1137/0117039).
    fn cost(&self, _cell: Cell<N>, _x: Vector<N>) -> f64 {
        1.0
    }

    /// How urgent a task is: those of higher priority are done first.
    fn priority(&self, _cell: Cell<N>, _x: Vector<N>) -> i32 {
        0
    }

    /// Does the task of the cell whose centre is `x`; the outcome must be a function of these and the parameters alone.
    ///
    /// # Errors
    /// What keeps the task from being done; it ends the run, and outcomes that are saved stay.
    fn run(&self, cell: Cell<N>, x: Vector<N>) -> Result<Self::Outcome>;
}
