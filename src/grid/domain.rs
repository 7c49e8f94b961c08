//! The domain and its division into cells.

use super::{Axis, Cell, Region, Vector};
use crate::error::{Error, Result};

/// A box in space, divided into equal cells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid<const N: usize> {
    cells: [usize; N],
    lower: Vector<N>,
    upper: Vector<N>,
    periodic: [bool; N],
}

impl<const N: usize> Grid<N> {
    /// The box from `lower` to `upper`, divided into `cells` along x, y, z, closed to a ring along the `periodic` axes.
    ///
    /// # Errors
    /// If an axis has no cells, a length that is not positive and finite, or more cells than can be counted.
    pub fn new(cells: [usize; N], lower: Vector<N>, upper: Vector<N>, periodic: [bool; N]) -> Result<Self> {
        for a in Axis::<N>::all() {
            let (count, from, to) = (cells[a.index()], lower[a], upper[a]);
            if count == 0 {
                return Err(Error::case(format!("the grid has 0 cells along {}; it needs at least 1", a.name())));
            }
            if !(from.is_finite() && to.is_finite() && from < to) {
                return Err(Error::case(format!(
                    "the grid reaches from {from} to {to} along {}; lower must be below upper, both finite",
                    a.name()
                ))
                .hint("set grid.lower and grid.upper"));
            }
        }
        let total = cells.iter().try_fold(1u64, |product, &n| product.checked_mul(n as u64));
        if total.is_none_or(|total| total > 1 << 48) {
            return Err(
                Error::case(format!("a grid of {cells:?} cells is more than 2^48 cells")).hint("use fewer cells")
            );
        }
        Ok(Grid { cells, lower, upper, periodic })
    }

    /// The number of cells along x, y, z.
    pub fn cells(&self) -> [usize; N] {
        self.cells
    }

    /// The number of all cells.
    pub fn volume(&self) -> usize {
        self.cells.into_iter().product()
    }

    /// All cells of the grid.
    pub fn region(&self) -> Region<N> {
        Region::new([0; N], self.cells.map(|n| n as i64))
    }

    /// The number of a cell of the grid, counted from 0 row by row, x fastest.
    #[inline]
    pub fn number(&self, cell: Cell<N>) -> usize {
        (0..N).rev().fold(0, |number, a| number * self.cells[a] + cell.0[a] as usize)
    }

    /// The cell with a number.
    pub fn cell(&self, number: usize) -> Cell<N> {
        let mut rest = number;
        Cell(std::array::from_fn(|a| {
            let at = rest % self.cells[a];
            rest /= self.cells[a];
            at as i64
        }))
    }

    /// The lower corner of the domain.
    pub fn lower(&self) -> Vector<N> {
        self.lower
    }

    /// The upper corner of the domain.
    pub fn upper(&self) -> Vector<N> {
        self.upper
    }

    /// Along which axes the domain is closed to a ring.
    pub fn periodic(&self) -> [bool; N] {
        self.periodic
    }

    /// The lengths of a cell's edges.
    pub fn spacing(&self) -> Vector<N> {
        Vector::from_fn(|a| (self.upper[a] - self.lower[a]) / self.cells[a.index()] as f64)
    }

    /// The position of a cell's centre.
    #[inline]
    pub fn centre(&self, cell: Cell<N>) -> Vector<N> {
        let spacing = self.spacing();
        Vector::from_fn(|a| self.lower[a] + (cell.0[a.index()] as f64 + 0.5) * spacing[a])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_centre_is_half_a_cell_inside() {
        let grid = Grid::new([4, 2], Vector([0.0, -1.0]), Vector([2.0, 1.0]), [false; 2]).unwrap();
        assert_eq!(grid.spacing(), Vector([0.5, 1.0]));
        assert_eq!(grid.centre(Cell([0, 0])), Vector([0.25, -0.5]));
        assert_eq!(grid.centre(Cell([3, 1])), Vector([1.75, 0.5]));
    }

    #[test]
    fn cells_are_numbered_in_their_order_and_found_again() {
        let grid = Grid::new([4, 3, 5], Vector::ZERO, Vector([1.0; 3]), [false; 3]).unwrap();
        for (number, cell) in grid.region().cells().enumerate() {
            assert_eq!((grid.number(cell), grid.cell(number)), (number, cell));
        }
    }

    #[test]
    fn a_grid_without_cells_or_with_a_negative_length_is_refused() {
        assert!(
            Grid::new([4, 0], Vector([0.0; 2]), Vector([1.0; 2]), [false; 2])
                .unwrap_err()
                .message()
                .contains("along y")
        );
        assert!(Grid::new([4], Vector([1.0]), Vector([0.0]), [false]).is_err());
        assert!(Grid::new([4], Vector([0.0]), Vector([f64::NAN]), [false]).is_err());
        assert!(Grid::new([1 << 20; 3], Vector([0.0; 3]), Vector([1.0; 3]), [false; 3]).is_err());
    }
}
