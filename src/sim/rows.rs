//! The rows of a table, one for each cell of a line: what learning and mining start from.

use std::path::Path;

use ndarray::{Array2, s};

use super::domain::Domain;
use crate::error::{Error, Kind, Result};
use crate::field::Record;
use crate::grid::Cell;

impl<S: Record> Domain<S, 1> {
    /// The cells of this rank, which lie next to each other on a line.
    pub fn own_cells(&self) -> std::ops::Range<i64> {
        let interiors = || self.state().patches().iter().map(|patch| patch.interior());
        let (first, past) = (interiors().map(|own| own.lower[0]).min(), interiors().map(|own| own.upper[0]).max());
        first.zip(past).map_or(0..0, |(first, past)| first..past)
    }

    /// Sets what each cell of this rank holds, in their order.
    ///
    /// # Panics
    /// If there are fewer values than cells.
    pub fn set_own(&mut self, values: impl IntoIterator<Item = S>) {
        let mut values = values.into_iter();
        for cell in self.own_cells() {
            self.set(Cell([cell]), values.next().expect("there is a value for each cell"));
        }
    }

    /// The rows of an HDF5 dataset that belong to this rank's cells, as `[cell, column]`, finite all of them; a dataset with
    /// one axis has one column.
    ///
    /// Each rank reads its own rows; the dataset must have as many as the grid has cells.
    ///
    /// # Errors
    /// On this rank alone, if the dataset is not there, has another number of rows, or a number that is not finite: a
    /// program's `prepare`, which may return it, is voted on.
    pub fn read_rows(&self, path: &Path, dataset: &str) -> Result<Array2<f64>> {
        let fail = |what: String| Error::new(Kind::Case, what).at_path(path);
        if !path.is_file() {
            return Err(fail("a file with rows does not exist or is no file".into())
                .hint("relative paths start at the case file's directory"));
        }
        let file = hdf5::File::open(path).map_err(|cause| fail(format!("cannot open as HDF5: {cause}")))?;
        let found = file.dataset(dataset).map_err(|_| {
            let names = file.member_names().unwrap_or_default().join(", ");
            fail(format!("the dataset {dataset:?} is not in the file")).hint(format!("it has: {names}"))
        })?;
        let (shape, cells) = (found.shape(), self.grid().volume());
        if !matches!(shape[..], [rows] | [rows, _] if rows == cells) {
            return Err(fail(format!("grid.cells = [{cells}], but the dataset {dataset:?} has the shape {shape:?}"))
                .hint("the grid needs a cell for each row"));
        }
        let own = self.own_cells();
        let (own, columns) = (own.start as usize..own.end as usize, shape.get(1).copied().unwrap_or(1));
        let read = match shape.len() {
            1 => found.read_slice_1d::<f64, _>(own.clone()).map(|rows| rows.into_raw_vec_and_offset().0),
            _ => found.read_slice_2d::<f64, _>(s![own.clone(), ..]).map(|rows| rows.into_raw_vec_and_offset().0),
        };
        let values = read.map_err(|cause| fail(format!("cannot read the dataset {dataset:?}: {cause}")))?;
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let row = own.start + at / columns.max(1);
            return Err(fail(format!("row {row} of the dataset {dataset:?} has {}; it must be finite", values[at])));
        }
        Ok(Array2::from_shape_vec((own.len(), columns), values).expect("the shape is that of the values"))
    }
}
