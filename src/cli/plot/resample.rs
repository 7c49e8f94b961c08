//! The values of a picture's pixels from the values of cells.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};

/// The mean over each of `rows` × `columns` equal rectangles that cover the same area as the cells.
///
/// Where there are more cells than pixels each pixel is the mean of its cells, weighted by area, so that nothing flickers
/// and no cell is passed over; where there are fewer the cells show as rectangles. A value that is not finite is not
/// averaged away: it spoils each pixel that it touches.
pub fn mean_by_area(values: ArrayView2<'_, f64>, rows: usize, columns: usize) -> Array2<f64> {
    let narrow = along(values, columns, Axis(1));
    along(narrow.view(), rows, Axis(0))
}

/// The smallest and the largest value in each of `columns` equal stretches of a line of cells.
pub fn envelope(values: ArrayView1<'_, f64>, columns: usize) -> Vec<(f64, f64)> {
    let cells = values.len();
    let stretch = |i: usize| {
        let first = i * cells / columns;
        let past = ((i + 1) * cells).div_ceil(columns).clamp(first + 1, cells);
        let start = (f64::INFINITY, f64::NEG_INFINITY);
        values.slice(ndarray::s![first..past]).iter().fold(start, |(low, high), &x| (low.min(x), high.max(x)))
    };
    (0..columns).map(stretch).collect()
}

fn along(values: ArrayView2<'_, f64>, pixels: usize, axis: Axis) -> Array2<f64> {
    let cells = values.len_of(axis);
    if cells == pixels {
        return values.to_owned();
    }
    let mut shape = values.raw_dim();
    shape[axis.index()] = pixels;
    let mut result = Array2::zeros(shape);
    let per_pixel = cells as f64 / pixels as f64;
    for (i, mut out) in result.axis_iter_mut(axis).enumerate() {
        let (from, to) = (i as f64 * per_pixel, ((i + 1) as f64 * per_pixel).min(cells as f64));
        let mut sum = Array1::<f64>::zeros(out.len());
        for cell in from as usize..(to.ceil() as usize).min(cells) {
            let overlap = to.min((cell + 1) as f64) - from.max(cell as f64);
            if overlap > 1e-9 {
                sum.scaled_add(overlap / per_pixel, &values.index_axis(axis, cell));
            }
        }
        out.assign(&sum);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn fewer_pixels_than_cells_show_means() {
        let values = array![[1.0, 3.0, 5.0], [3.0, 5.0, 7.0]];
        assert_eq!(mean_by_area(values.view(), 1, 1), array![[4.0]]);
        approx::assert_relative_eq!(mean_by_area(values.view(), 2, 2)[[0, 0]], (1.0 + 0.5 * 3.0) / 1.5);
    }

    #[test]
    fn more_pixels_than_cells_show_the_cells() {
        let values = array![[1.0, 2.0]];
        assert_eq!(mean_by_area(values.view(), 2, 4), array![[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]);
    }

    #[test]
    fn the_mean_of_all_pixels_is_the_mean_of_all_cells() {
        let values = Array2::from_shape_fn((17, 23), |(i, j)| ((i * 31 + j * 17) % 13) as f64);
        for (rows, columns) in [(5, 7), (17, 3), (40, 23), (1, 100)] {
            let mean = mean_by_area(values.view(), rows, columns).mean().unwrap();
            approx::assert_relative_eq!(mean, values.mean().unwrap(), max_relative = 1e-12);
        }
    }

    #[test]
    fn a_value_that_is_not_finite_is_not_averaged_away() {
        let values = array![[1.0, f64::NAN, 1.0, 1.0]];
        let pixels = mean_by_area(values.view(), 1, 2);
        assert!(pixels[[0, 0]].is_nan());
        assert_eq!(pixels[[0, 1]], 1.0);
    }

    #[test]
    fn the_envelope_keeps_every_peak() {
        let mut values = Array1::zeros(1000);
        values[437] = 5.0;
        let bounds = envelope(values.view(), 30);
        assert_eq!(bounds.iter().map(|b| b.1).fold(0.0, f64::max), 5.0);
        assert_eq!(envelope(array![1.0, 2.0].view(), 4), [(1.0, 1.0), (1.0, 1.0), (2.0, 2.0), (2.0, 2.0)]);
    }
}
