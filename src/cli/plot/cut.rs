//! Which part of a checkpoint is shown: a plane of a body, a whole plane, or a line.

use std::ops::Range;

use ndarray::{Array1, Array2, Axis, Ix1, Ix2};

use super::colours::Spread;
use super::picture::Side;
use crate::checkpoint::{Header, Reader};
use crate::error::{Error, Result};

/// The names of the axes of space.
pub const AXES: [&str; 3] = ["x", "y", "z"];

/// Where a cut goes through the axis that it is across.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Place {
    /// Half way.
    Middle,
    /// Through the cell of this index.
    Index(usize),
    /// Through the cell that holds this coordinate.
    Position(f64),
}

/// A part of the grid that can be shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Cut {
    /// The axis that it is across, and the cell's index; none if the whole grid is shown.
    pub across: Option<(usize, usize)>,
    /// The axes that it shows: level first, then upright if there are two.
    pub along: Vec<usize>,
}

/// The values in a cut.
pub enum Values {
    /// Along a line.
    Line(Array1<f64>),
    /// In a plane, `[upright axis, level axis]`.
    Plane(Array2<f64>),
}

impl Cut {
    /// Chooses the part to show: in three dimensions a plane across an axis (z unless told otherwise), in two
    /// dimensions everything, or a line across an axis if one is named, in one dimension everything.
    ///
    /// # Errors
    /// If the grid has no such axis, or the place lies outside of it.
    pub fn new(header: &Header, axis: Option<usize>, place: Place) -> Result<Self> {
        let dimension = header.dimension();
        let names = AXES[..dimension].join(", ");
        let axis = match (dimension, axis) {
            (3, axis) => Some(axis.unwrap_or(2)),
            (2, axis) => axis,
            (_, None) => None,
            (_, Some(_)) => {
                return Err(Error::case("a line of cells has no plane or line across it to show")
                    .hint("leave --axis out: the whole line is shown"));
            }
        };
        let Some(axis) = axis else {
            return match place {
                Place::Middle => Ok(Cut { across: None, along: (0..dimension).collect() }),
                _ => Err(Error::case("--at and --position say where to cut, but nothing is cut")
                    .hint(format!("name the axis to cut across: --axis, one of {names}"))),
            };
        };
        if axis >= dimension {
            return Err(Error::case(format!("the grid has no axis {}", AXES[axis])).hint(format!("it has {names}")));
        }
        let index = index(header, axis, place)?;
        Ok(Cut { across: Some((axis, index)), along: (0..dimension).filter(|&a| a != axis).collect() })
    }

    /// Reads one component's values in the cut, and nothing else.
    ///
    /// # Errors
    /// If a block that it goes through is damaged or cannot be read.
    pub fn read(&self, reader: &Reader, component: usize) -> Result<Values> {
        let mut cells: Vec<Range<usize>> = reader.all_cells();
        let mut values = match self.across {
            None => reader.values(component, &cells)?,
            Some((axis, index)) => {
                cells[axis] = index..index + 1;
                // Array axes run z, y, x.
                reader.values(component, &cells)?.index_axis_move(Axis(cells.len() - 1 - axis), 0)
            }
        };
        // −0 and 0 look the same.
        values.mapv_inplace(|x| x + 0.0);
        let shape = "a cut has as many axes as it shows";
        Ok(match self.along.len() {
            1 => Values::Line(values.into_dimensionality::<Ix1>().expect(shape)),
            _ => Values::Plane(values.into_dimensionality::<Ix2>().expect(shape)),
        })
    }

    /// One of the axes that it shows.
    pub fn side(&self, header: &Header, which: usize) -> Side {
        let axis = self.along[which];
        let (lower, upper) = (header.lower[axis], header.upper[axis]);
        Side { label: AXES[axis].to_owned(), lower, upper, spread: Spread::Linear }
    }
}

/// The coordinate of a cell's centre along an axis.
pub fn centre(header: &Header, axis: usize, index: usize) -> f64 {
    let part = (index as f64 + 0.5) / header.cells[axis] as f64;
    header.lower[axis] + part * (header.upper[axis] - header.lower[axis])
}

fn index(header: &Header, axis: usize, place: Place) -> Result<usize> {
    let (cells, lower, upper) = (header.cells[axis], header.lower[axis], header.upper[axis]);
    let name = AXES[axis];
    match place {
        Place::Middle => Ok(cells / 2),
        Place::Index(index) if index < cells => Ok(index),
        Place::Index(index) => Err(Error::case(format!("there is no cell {index} along {name}"))
            .hint(format!("its cells are 0 to {}", cells - 1))),
        Place::Position(x) if (lower..=upper).contains(&x) => {
            Ok((((x - lower) / (upper - lower) * cells as f64) as usize).min(cells - 1))
        }
        Place::Position(x) => Err(Error::case(format!("{name} = {x} lies outside of the grid"))
            .hint(format!("the grid reaches from {lower} to {upper}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample::checkpoint;

    fn reader(cells: &[usize]) -> (tempfile::TempDir, Reader) {
        let room = tempfile::tempdir().unwrap();
        let reader = Reader::open(checkpoint(room.path(), "a", cells)).unwrap();
        (room, reader)
    }

    #[test]
    fn a_body_is_cut_across_z_in_the_middle_unless_told_otherwise() {
        let (_room, reader) = reader(&[4, 5, 6]);
        let header = reader.header();
        let cut = Cut::new(header, None, Place::Middle).unwrap();
        assert_eq!(cut, Cut { across: Some((2, 3)), along: vec![0, 1] });
        let Values::Plane(values) = cut.read(&reader, 0).unwrap() else { panic!("a plane is expected") };
        assert_eq!(values.dim(), (5, 4));
        assert_eq!(values[[2, 1]], 321.0, "the cell x = 1, y = 2, z = 3");
        let cut = Cut::new(header, Some(0), Place::Index(1)).unwrap();
        let Values::Plane(values) = cut.read(&reader, 0).unwrap() else { panic!("a plane is expected") };
        assert_eq!((values.dim(), values[[3, 2]]), ((6, 5), 321.0));
    }

    #[test]
    fn a_plane_is_shown_whole_or_cut_to_a_line() {
        let (_room, reader) = reader(&[4, 5]);
        let whole = Cut::new(reader.header(), None, Place::Middle).unwrap();
        assert!(matches!(whole.read(&reader, 0).unwrap(), Values::Plane(values) if values.dim() == (5, 4)));
        let line = Cut::new(reader.header(), Some(1), Place::Index(2)).unwrap();
        assert!(
            matches!(line.read(&reader, 0).unwrap(), Values::Line(values) if values.to_vec() == [20.0, 21.0, 22.0, 23.0])
        );
    }

    #[test]
    fn a_position_finds_its_cell() {
        let (_room, reader) = reader(&[4, 5]);
        let cut = |x| Cut::new(reader.header(), Some(0), Place::Position(x)).map(|cut| cut.across);
        assert_eq!(cut(0.0).unwrap(), Some((0, 0)));
        assert_eq!(cut(0.3).unwrap(), Some((0, 1)));
        assert_eq!(cut(1.0).unwrap(), Some((0, 3)));
        assert_eq!(cut(1.1).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn impossible_cuts_are_refused_with_what_can_be() {
        let (_room, reader) = reader(&[4]);
        assert!(Cut::new(reader.header(), Some(0), Place::Middle).is_err());
        assert!(Cut::new(reader.header(), None, Place::Index(1)).is_err());
        let (_room, reader) = self::reader(&[4, 5]);
        let error = Cut::new(reader.header(), Some(2), Place::Middle).unwrap_err().to_string();
        assert!(error.contains("no axis z") && error.contains("x, y"), "{error}");
        assert!(Cut::new(reader.header(), Some(0), Place::Index(4)).unwrap_err().to_string().contains("0 to 3"));
    }
}
