//! How a checkpoint is read without MPI: whole fields, parts of them, and whether every block is sound.

use std::ops::Range;
use std::path::Path;

use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn, Slice};

use super::header::Header;
use super::open::Opened;
use crate::error::{Error, Kind, Result};
use crate::field::{Scalar, ScalarKind};
use crate::grid::random::mix;

/// A checkpoint opened for reading by a single process.
///
/// Whatever it gives has been checked: the seal when it is opened, a block's checksum whenever the block is read.
#[derive(Debug)]
pub struct Reader {
    opened: Opened,
}

/// What a verification looked at, and what it found.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The number of blocks, each component counted.
    pub blocks: usize,
    /// The bytes of all blocks.
    pub bytes: u64,
    /// The blocks that are damaged.
    pub faults: Vec<Fault>,
}

/// A damaged block.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// The field that it belongs to.
    pub field: String,
    /// Its number in the file.
    pub block: usize,
    /// Its cells along x, y, z.
    pub cells: Vec<Range<usize>>,
    /// What was found.
    pub error: Error,
}

/// Calls a generic function with the type that a [`ScalarKind`] names.
macro_rules! with_scalar {
    ($kind:expr, $function:ident($($argument:expr),*)) => {
        match $kind {
            ScalarKind::F64 => $function::<f64>($($argument),*),
            ScalarKind::F32 => $function::<f32>($($argument),*),
            ScalarKind::I64 => $function::<i64>($($argument),*),
            ScalarKind::I32 => $function::<i32>($($argument),*),
            ScalarKind::U8 => $function::<u8>($($argument),*),
        }
    };
}

impl Reader {
    /// Opens a checkpoint and checks everything but its blocks.
    ///
    /// # Errors
    /// If it cannot be read, is no checkpoint, or anything but its blocks is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Opened::open(path.as_ref()).map(|opened| Reader { opened })
    }

    /// What the checkpoint says about itself.
    pub fn header(&self) -> &Header {
        &self.opened.header
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.opened.path
    }

    /// The length of the file in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.opened.layout.length
    }

    /// The measured costs of the blocks, in the order of the file.
    pub fn costs(&self) -> &[f64] {
        &self.opened.costs
    }

    /// The checksums of a component's blocks, in the order of the file.
    ///
    /// # Panics
    /// If there is no such component.
    pub fn checksums(&self, component: usize) -> &[u64] {
        let layout = &self.opened.layout;
        &self.opened.checksums[layout.entry(component, 0)..layout.entry(component + 1, 0)]
    }

    /// The number of a component.
    ///
    /// # Errors
    /// If no component has this name.
    pub fn component(&self, name: &str) -> Result<usize> {
        let components = &self.header().components;
        components.iter().position(|component| component.name == name).ok_or_else(|| {
            let names: Vec<_> = components.iter().map(|component| component.name.as_str()).collect();
            Error::case(format!("the checkpoint has no field {name:?}"))
                .hint(format!("its fields are {}", names.join(", ")))
                .at_path(self.path())
        })
    }

    /// All cells of the grid, as [`Reader::values`] takes them.
    pub fn all_cells(&self) -> Vec<Range<usize>> {
        self.header().cells.iter().map(|&n| 0..n).collect()
    }

    /// The cells of each block along x, y, z, in the order of the file: for going through a large field by parts.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = Vec<Range<usize>>> + '_ {
        (0..self.header().blocks()).map(|chunk| self.header().chunk_cells(chunk))
    }

    /// The values of one component in a box of cells, given along x, y, z, as an array `[z, y, x]`.
    ///
    /// Integers become the nearest `f64`. Only the blocks that share cells with the box are read.
    ///
    /// # Errors
    /// If a block is damaged or cannot be read.
    ///
    /// # Panics
    /// If there is no such component, or a cell of the box lies outside of the grid.
    pub fn values(&self, component: usize, cells: &[Range<usize>]) -> Result<ArrayD<f64>> {
        fn as_f64<T: Scalar>(opened: &Opened, component: usize, cells: &[Range<usize>]) -> Result<ArrayD<f64>> {
            gather::<T, f64>(opened, component, cells, T::to_f64)
        }
        with_scalar!(self.header().scalar, as_f64(&self.opened, component, cells))
    }

    /// As [`Reader::values`], but the numbers' bits with zeros above them, so that nothing is rounded.
    ///
    /// # Errors
    /// As [`Reader::values`].
    ///
    /// # Panics
    /// As [`Reader::values`].
    pub fn bits(&self, component: usize, cells: &[Range<usize>]) -> Result<ArrayD<u64>> {
        fn as_bits<T: Scalar>(opened: &Opened, component: usize, cells: &[Range<usize>]) -> Result<ArrayD<u64>> {
            gather::<T, u64>(opened, component, cells, T::to_bits64)
        }
        with_scalar!(self.header().scalar, as_bits(&self.opened, component, cells))
    }

    /// The values of one component in the plane across an axis (0 is x) at a cell index; the array has an axis less.
    ///
    /// # Errors
    /// As [`Reader::values`].
    ///
    /// # Panics
    /// As [`Reader::values`].
    pub fn plane(&self, component: usize, axis: usize, index: usize) -> Result<ArrayD<f64>> {
        let mut cells = self.all_cells();
        cells[axis] = index..index + 1;
        let array_axis = cells.len() - 1 - axis;
        Ok(self.values(component, &cells)?.index_axis_move(Axis(array_axis), 0))
    }

    /// Reads every block and compares it with its checksum; a damaged block is no error but a fault in the report.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn verify(&self) -> Result<Report> {
        let layout = &self.opened.layout;
        let mut faults = Vec::new();
        let mut bytes = vec![0; layout.chunk_bytes as usize];
        for component in 0..layout.fields.len() {
            for chunk in 0..layout.chunks as usize {
                match self.opened.read_chunk(component, chunk, &mut bytes) {
                    Err(error) if error.kind() == Kind::Checkpoint => faults.push(Fault {
                        field: self.header().components[component].name.clone(),
                        block: chunk,
                        cells: self.header().chunk_cells(chunk),
                        error,
                    }),
                    other => other?,
                }
            }
        }
        Ok(Report { blocks: layout.entries(), bytes: layout.data_bytes(), faults })
    }

    /// The fingerprint of the state: what [`Field::fingerprint`](crate::field::Field::fingerprint) adds up to over all ranks,
    /// and that of what they hold alike.
    ///
    /// # Errors
    /// If a block is damaged or cannot be read.
    pub fn fingerprint(&self) -> Result<u64> {
        let header = self.header();
        let mut sum = header.shared_fingerprint();
        for component in 0..header.components.len() {
            let salt = mix(component as u64);
            for cells in self.blocks() {
                let bits = self.bits(component, &cells)?;
                let rows = bits.as_slice().expect("a new array is contiguous").chunks(cells[0].len());
                for (row, bits) in rows.enumerate() {
                    let first = self.place_of_row(&cells, row);
                    for (place, bits) in (first..).zip(bits) {
                        sum = sum.wrapping_add(mix(mix(salt ^ place) ^ bits));
                    }
                }
            }
        }
        Ok(sum)
    }

    /// The place in the whole array of the first cell of a row of a box, counted x fastest.
    fn place_of_row(&self, cells: &[Range<usize>], row: usize) -> u64 {
        let (mut place, mut rest, mut stride) = (cells[0].start, row, self.header().cells[0]);
        for (range, &count) in cells.iter().zip(&self.header().cells).skip(1) {
            place += (range.start + rest % range.len()) * stride;
            rest /= range.len();
            stride *= count;
        }
        place as u64
    }
}

/// Reads the blocks that share cells with a box and collects what of them lies in it.
fn gather<T: Scalar, U: Clone + Default>(
    opened: &Opened,
    component: usize,
    cells: &[Range<usize>],
    convert: impl Fn(T) -> U,
) -> Result<ArrayD<U>> {
    let header = &opened.header;
    let inside = cells.iter().zip(&header.cells).all(|(range, &n)| range.start <= range.end && range.end <= n);
    assert!(cells.len() == header.dimension() && inside, "cells {cells:?} are not in the grid of {:?}", header.cells);
    let lengths: Vec<usize> = cells.iter().rev().map(Range::len).collect();
    let mut out = ArrayD::<U>::default(IxDyn(&lengths));
    if out.is_empty() {
        return Ok(out);
    }
    let chunk_shape: Vec<usize> = header.block.iter().rev().copied().collect();
    let mut numbers = vec![T::default(); chunk_shape.iter().product()];
    for chunk in chunks_overlapping(header, cells) {
        opened.read_chunk(component, chunk, bytemuck::cast_slice_mut(&mut numbers))?;
        let of_block = header.chunk_cells(chunk);
        let block = ArrayViewD::from_shape(IxDyn(&chunk_shape), &numbers).expect("the buffer has a chunk's numbers");
        // What lies in both, seen from the block and seen from the box.
        let common = |a: usize| of_block[a].start.max(cells[a].start)..of_block[a].end.min(cells[a].end);
        let axis_of = |array_axis: usize| header.dimension() - 1 - array_axis;
        let seen_from = |range: Range<usize>, origin: usize| Slice::from(range.start - origin..range.end - origin);
        let part = block.slice_each_axis(|d| {
            let a = axis_of(d.axis.index());
            seen_from(common(a), of_block[a].start)
        });
        let mut target = out.slice_each_axis_mut(|d| {
            let a = axis_of(d.axis.index());
            seen_from(common(a), cells[a].start)
        });
        target.zip_mut_with(&part, |to, from| *to = convert(*from));
    }
    Ok(out)
}

/// The stored blocks that share cells with a box.
fn chunks_overlapping(header: &Header, cells: &[Range<usize>]) -> Vec<usize> {
    let mut chunks = vec![0];
    for (a, range) in cells.iter().enumerate().rev() {
        let (size, count) = (header.block[a], header.cells[a].div_ceil(header.block[a]));
        let blocks = range.start / size..=(range.end - 1) / size;
        chunks = chunks.into_iter().flat_map(|chunk| blocks.clone().map(move |block| chunk * count + block)).collect();
    }
    chunks
}
