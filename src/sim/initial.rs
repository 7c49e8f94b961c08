//! One component of the state at time 0 from a dataset of an HDF5 file.

use std::path::Path;

use ndarray::{ArrayD, IxDyn};

use super::domain::Domain;
use super::samples::{self, Samples};
use crate::config::{InitialFile, Interpolation};
use crate::error::Result;
use crate::field::{Record, Scalar};
use crate::grid::{Cell, Grid};

/// Overwrites one component with a dataset that is stretched over the domain.
///
/// The dataset's numbers count as values at the centres of equal cells that cover the domain; row 0 is at the lower end.
/// Between centres they are interpolated (multi-)linearly, or the nearest is taken; beyond the outermost centres the
/// outermost values hold.
///
/// A relative path starts at the directory of the case file.
///
/// # Collective
/// Rank 0 reads the file and sends the numbers to all.
pub(super) fn from_file<S: Record, const N: usize>(
    domain: &mut Domain<S, N>,
    from: &InitialFile,
    case_directory: &Path,
) -> Result<()> {
    let comm = domain.comm().clone();
    let read = || samples::read(&case_directory.join(&from.file), &from.dataset, N).map(Some);
    let read = if comm.rank() == 0 { read() } else { Ok(None) };
    let samples: Samples = comm.broadcast(0, comm.vote(read)?)?;
    let data = ArrayD::from_shape_vec(IxDyn(&samples.shape), samples.values).expect("the shape is that of the values");
    let grid = *domain.grid();
    domain.for_each_patch(|patch| {
        for cell in patch.interior().cells() {
            let value = from.scale * sample(&data, &grid, cell, from.interpolation) + from.offset;
            let position = patch.position(cell) + from.component * patch.plane();
            patch.data_mut()[position] = S::Scalar::from_f64(value);
        }
    });
    Ok(())
}

/// The dataset's value at a cell's centre.
fn sample<const N: usize>(data: &ArrayD<f64>, grid: &Grid<N>, cell: Cell<N>, interpolation: Interpolation) -> f64 {
    // Along each axis: the two neighbouring samples and the weight of the upper one.
    let neighbours: [(usize, usize, f64); N] = std::array::from_fn(|a| {
        let count = data.shape()[N - 1 - a];
        let at = (cell.0[a] as f64 + 0.5) / grid.cells()[a] as f64 * count as f64 - 0.5;
        let at = match interpolation {
            Interpolation::Linear => at.clamp(0.0, (count - 1) as f64),
            Interpolation::Nearest => at.round().clamp(0.0, (count - 1) as f64),
        };
        let low = at.floor() as usize;
        (low, (low + 1).min(count - 1), at - at.floor())
    });
    let mut value = 0.0;
    for corner in 0..1usize << N {
        let mut weight = 1.0;
        let mut index = [0; N];
        for a in 0..N {
            let (low, high, upper) = neighbours[a];
            let take_high = corner >> a & 1 == 1;
            weight *= if take_high { upper } else { 1.0 - upper };
            index[N - 1 - a] = if take_high { high } else { low };
        }
        if weight > 0.0 {
            value += weight * data[IxDyn(&index)];
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::Vector;

    fn grid(cells: [usize; 2]) -> Grid<2> {
        Grid::new(cells, Vector::ZERO, Vector([1.0; 2]), [false; 2]).unwrap()
    }

    #[test]
    fn a_dataset_of_the_grids_own_shape_is_taken_as_it_is() {
        let data = ArrayD::from_shape_fn(IxDyn(&[3, 4]), |i| (10 * i[0] + i[1]) as f64);
        for interpolation in [Interpolation::Linear, Interpolation::Nearest] {
            for cell in grid([4, 3]).region().cells() {
                assert_eq!(sample(&data, &grid([4, 3]), cell, interpolation), (10 * cell.0[1] + cell.0[0]) as f64);
            }
        }
    }

    #[test]
    fn a_linear_function_is_reproduced_between_the_centres() {
        let data = ArrayD::from_shape_fn(IxDyn(&[8, 8]), |i| 3.0 * i[0] as f64 - i[1] as f64);
        for cell in grid([16, 32]).region().cells().filter(|c| (2..14).contains(&c.0[0]) && (4..28).contains(&c.0[1])) {
            let [x, y] = [(cell.0[0] as f64 + 0.5) / 2.0 - 0.5, (cell.0[1] as f64 + 0.5) / 4.0 - 0.5];
            assert!((sample(&data, &grid([16, 32]), cell, Interpolation::Linear) - (3.0 * y - x)).abs() < 1e-12);
        }
    }

    #[test]
    fn a_refined_nearest_neighbour_repeats_values() {
        let data = ArrayD::from_shape_fn(IxDyn(&[1, 2]), |i| i[1] as f64);
        let row: Vec<_> = (0..6).map(|i| sample(&data, &grid([6, 1]), Cell([i, 0]), Interpolation::Nearest)).collect();
        assert_eq!(row, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    }
}
