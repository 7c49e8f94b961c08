//! The rows of a region in a patch's memory, walked without a division.

use crate::field::{Patch, Scalar};
use crate::grid::Region;
use crate::sys::cache::{LINE, prefetch};

/// How many rows ahead of its use a row is asked for: rows of a face lie far apart, and the processor follows each, but not from
/// one to the next. Without this, copies between the patches of two threads took 1.2 times as long (measured at 128³).
const ROWS_AHEAD: usize = 4;

/// Rows of so few cells are copied, and not asked for, cell by cell.
const SHORT: usize = 8;

/// A region of a patch as rows of equal length at regular distances in one component's plane.
///
/// The halo of a patch has many rows of few cells, so what a row costs besides its cells counts:
/// [`Patch::rows`] divides for each one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    start: usize,
    length: usize,
    /// How many rows there are along y and along z.
    counts: [usize; 2],
    /// How far apart they lie.
    strides: [usize; 2],
}

impl Rows {
    /// The rows of a region.
    ///
    /// # Panics
    /// If the patch has no memory for the region.
    pub fn new<T: Scalar, const N: usize>(patch: &Patch<T, N>, region: &Region<N>) -> Self {
        let (memory, extent, stride) = (patch.memory(), region.extent(), patch.stride());
        assert!(memory.encloses(region), "region {region:?} is outside of the patch's memory {memory:?}");
        let start = if region.is_empty() {
            0
        } else {
            (0..N).map(|a| (region.lower[a] - memory.lower[a]) as usize * stride[a]).sum()
        };
        let across = |a: usize| if a < N { (extent[a], stride[a]) } else { (1, 0) };
        let ((ny, sy), (nz, sz)) = (across(1), across(2));
        Rows { start, length: extent[0], counts: [ny, nz], strides: [sy, sz] }
    }

    /// Copies the rows of a plane into a buffer that has a place for each of their cells.
    pub fn gather<T: Scalar>(self, plane: &[T], into: &mut [T]) {
        self.walk(|length, at, place| copy_row(&mut into[place..place + length], &plane[at..at + length]));
    }

    /// Copies such a buffer to the rows of a plane.
    pub fn scatter<T: Scalar>(self, from: &[T], plane: &mut [T]) {
        self.walk(|length, at, place| copy_row(&mut plane[at..at + length], &from[place..place + length]));
    }

    /// Copies the rows of one plane to these of another. Rows for messages are not asked for: it was no gain (measured).
    pub fn copy<T: Scalar>(self, to: &mut [T], cells: Self, from: &[T]) {
        let line = LINE / size_of::<T>();
        let (read, written) = (cells.ahead(), self.ahead());
        let each = |length: usize, to: &mut [T]| {
            self.each_pair(cells, |ghost, cell| {
                if length > SHORT {
                    for i in (0..length).step_by(line) {
                        prefetch(from, cell.wrapping_add(read + i));
                        prefetch(&*to, ghost.wrapping_add(written + i));
                    }
                }
                copy_row(&mut to[ghost..ghost + length], &from[cell..cell + length]);
            });
        };
        match self.length {
            1 => each(1, to),
            2 => each(2, to),
            length => each(length, to),
        }
    }

    /// Visits each row, y before z: its length, its first position, and how many cells there are before it. The few lengths
    /// that faces across the rows have are constants to the visitor, so that a row costs hardly more than its cells.
    #[inline(always)]
    fn walk(self, mut visit: impl FnMut(usize, usize, usize)) {
        let mut place = 0;
        let mut each = |length: usize| {
            self.each(|at| {
                visit(length, at, place);
                place += length;
            });
        };
        match self.length {
            1 => each(1),
            2 => each(2),
            3 => each(3),
            4 => each(4),
            length => each(length),
        }
    }

    /// Visits the first position of each row, y before z.
    #[inline(always)]
    pub fn each(self, mut visit: impl FnMut(usize)) {
        self.each_pair(self, |start, _| visit(start));
    }

    /// Visits the first positions of each row and of the same row of a region of the same extent.
    #[inline(always)]
    pub fn each_pair(self, other: Self, mut visit: impl FnMut(usize, usize)) {
        let [ny, nz] = if self.length == 0 { [0, 0] } else { self.counts };
        let at = |rows: &Self, y: usize, z: usize| rows.start + y * rows.strides[0] + z * rows.strides[1];
        for z in 0..nz {
            for y in 0..ny {
                visit(at(&self, y, z), at(&other, y, z));
            }
        }
    }

    /// How far it is to the row that is asked for while one is visited.
    fn ahead(self) -> usize {
        let [along_y, along_z] = self.strides;
        ROWS_AHEAD * if self.counts[0] > 1 { along_y } else { along_z }
    }

    /// The number of cells in a row.
    #[inline]
    pub fn length(self) -> usize {
        self.length
    }
}

/// Copies a row; a call to copy memory would cost more than the few cells of most rows.
#[inline(always)]
pub(super) fn copy_row<T: Scalar>(to: &mut [T], from: &[T]) {
    if to.len() > SHORT {
        to.copy_from_slice(from);
    } else {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_those_of_the_patch() {
        let patch = Patch::<f32, 3>::new(Region::new([2, 3, 4], [7, 6, 6]), 2, 1);
        for region in
            [Region::new([0, 1, 2], [9, 8, 8]), Region::new([6, 2, 4], [7, 7, 5]), Region::new([3, 3, 3], [3, 5, 5])]
        {
            let rows = Rows::new(&patch, &region);
            let mut found = Vec::new();
            rows.each(|start| found.push(start..start + rows.length()));
            assert_eq!(found, patch.rows(&region).collect::<Vec<_>>());
        }
        let line = Patch::<u8, 1>::new(Region::new([0], [5]), 1, 1);
        Rows::new(&line, &Region::new([2], [4])).each(|start| assert_eq!(start, 3));
    }
}
