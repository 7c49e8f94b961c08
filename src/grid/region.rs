//! Cells, and boxes of cells.

use super::{Axis, Offset, Side};

/// The global coordinates of a cell, in the order x, y, z; negative or beyond the grid outside of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell<const N: usize>(pub [i64; N]);

impl<const N: usize> std::ops::Add<Offset<N>> for Cell<N> {
    type Output = Self;
    #[inline]
    fn add(self, offset: Offset<N>) -> Self {
        Cell(std::array::from_fn(|a| self.0[a] + offset.0[a] as i64))
    }
}

impl<const N: usize> std::ops::Sub<Offset<N>> for Cell<N> {
    type Output = Self;
    #[inline]
    fn sub(self, offset: Offset<N>) -> Self {
        self + -offset
    }
}

/// A box of cells: along each axis from `lower`, included, to `upper`, excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Region<const N: usize> {
    /// The first cell along each axis.
    pub lower: [i64; N],
    /// One past the last cell along each axis.
    pub upper: [i64; N],
}

impl<const N: usize> Region<N> {
    /// The region from `lower`, included, to `upper`, excluded.
    pub const fn new(lower: [i64; N], upper: [i64; N]) -> Self {
        Region { lower, upper }
    }

    /// The number of cells along each axis; 0 where the region is empty.
    pub fn extent(&self) -> [usize; N] {
        std::array::from_fn(|a| (self.upper[a] - self.lower[a]).max(0) as usize)
    }

    /// The number of cells.
    pub fn volume(&self) -> usize {
        self.extent().into_iter().product()
    }

    /// Whether there is no cell in it.
    pub fn is_empty(&self) -> bool {
        (0..N).any(|a| self.lower[a] >= self.upper[a])
    }

    /// The region that is `width` cells larger on every side, or smaller if `width` is negative.
    #[must_use]
    pub fn grow(&self, width: i64) -> Self {
        Region { lower: self.lower.map(|x| x - width), upper: self.upper.map(|x| x + width) }
    }

    /// The region grown by `width` on one side only, or shrunk if `width` is negative.
    #[must_use]
    pub fn grow_side(mut self, axis: Axis<N>, side: Side, width: i64) -> Self {
        match side {
            Side::Low => self.lower[axis.index()] -= width,
            Side::High => self.upper[axis.index()] += width,
        }
        self
    }

    /// The cells in both regions.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        Region {
            lower: std::array::from_fn(|a| self.lower[a].max(other.lower[a])),
            upper: std::array::from_fn(|a| self.upper[a].min(other.upper[a])),
        }
    }

    /// The smallest region that has the cells of both.
    #[must_use]
    pub fn hull(&self, other: &Self) -> Self {
        Region {
            lower: std::array::from_fn(|a| self.lower[a].min(other.lower[a])),
            upper: std::array::from_fn(|a| self.upper[a].max(other.upper[a])),
        }
    }

    /// The region moved by an offset.
    #[must_use]
    pub fn shift(&self, offset: Offset<N>) -> Self {
        Region {
            lower: std::array::from_fn(|a| self.lower[a] + offset.0[a] as i64),
            upper: std::array::from_fn(|a| self.upper[a] + offset.0[a] as i64),
        }
    }

    /// Whether a cell lies in it.
    pub fn contains(&self, cell: Cell<N>) -> bool {
        (0..N).all(|a| (self.lower[a]..self.upper[a]).contains(&cell.0[a]))
    }

    /// Whether all cells of another region lie in it; an empty one always does.
    pub fn encloses(&self, other: &Self) -> bool {
        other.is_empty() || (0..N).all(|a| self.lower[a] <= other.lower[a] && other.upper[a] <= self.upper[a])
    }

    /// This region without the cells of `hole`, as regions that do not overlap: slabs along the last axis first, so that
    /// the rows of most cells stay whole.
    pub fn without(&self, hole: &Self) -> Parts<N> {
        let hole = self.intersect(hole);
        if hole.is_empty() {
            return Parts::one(*self);
        }
        let mut parts = Parts([None; 6]);
        let mut rest = *self;
        for a in (0..N).rev() {
            let (mut low, mut high) = (rest, rest);
            low.upper[a] = hole.lower[a];
            high.lower[a] = hole.upper[a];
            parts.0[2 * a] = (!low.is_empty()).then_some(low);
            parts.0[2 * a + 1] = (!high.is_empty()).then_some(high);
            (rest.lower[a], rest.upper[a]) = (hole.lower[a], hole.upper[a]);
        }
        parts
    }

    /// The region cut across its last axis into slabs of at most so many cells, or of a single layer; as equal as can be.
    pub fn slabs(&self, most: usize) -> impl Iterator<Item = Self> + use<N> {
        let (whole, last) = (*self, N - 1);
        let layers = whole.extent()[last];
        let count = whole.volume().div_ceil(most.max(1)).min(layers);
        (0..count).map(move |slab| {
            let at = |slab: usize| whole.lower[last] + (slab * layers / count) as i64;
            let mut part = whole;
            (part.lower[last], part.upper[last]) = (at(slab), at(slab + 1));
            part
        })
    }

    /// The first cell of each row along x, rows in memory order (y faster than z).
    pub fn rows(&self) -> impl Iterator<Item = Cell<N>> + use<N> {
        let (lower, extent) = (self.lower, self.extent());
        let count = if self.is_empty() { 0 } else { extent[1..].iter().product() };
        (0..count).map(move |row| {
            let mut rest = row;
            let mut cell = lower;
            for a in 1..N {
                cell[a] += (rest % extent[a]) as i64;
                rest /= extent[a];
            }
            Cell(cell)
        })
    }

    /// All cells in memory order: x fastest.
    pub fn cells(&self) -> impl Iterator<Item = Cell<N>> + use<N> {
        let length = self.extent()[0] as i64;
        self.rows().flat_map(move |row| {
            (0..length).map(move |i| {
                let mut cell = row;
                cell.0[0] += i;
                cell
            })
        })
    }
}

/// A few regions that do not overlap, without memory of their own on the heap.
#[derive(Debug, Clone)]
pub struct Parts<const N: usize>([Option<Region<N>>; 6]);

impl<const N: usize> Parts<N> {
    /// A single region.
    pub fn one(region: Region<N>) -> Self {
        let mut parts = [None; 6];
        parts[0] = Some(region);
        Parts(parts)
    }
}

impl<const N: usize> Iterator for Parts<N> {
    type Item = Region<N>;

    fn next(&mut self) -> Option<Region<N>> {
        self.0.iter_mut().find_map(Option::take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_come_in_memory_order_with_x_fastest() {
        let cells: Vec<_> = Region::new([0, 5], [2, 7]).cells().map(|c| c.0).collect();
        assert_eq!(cells, [[0, 5], [1, 5], [0, 6], [1, 6]]);
    }

    #[test]
    fn an_empty_region_has_no_rows() {
        assert_eq!(Region::new([0, 0, 3], [4, 4, 3]).rows().count(), 0);
        assert_eq!(Region::new([2], [1]).volume(), 0);
    }

    #[test]
    fn slabs_cover_a_region_once_and_are_no_larger_than_asked() {
        let whole = Region::new([-1, 2, 3], [4, 5, 10]);
        for (most, count) in [(usize::MAX, 1), (105, 1), (104, 2), (45, 3), (15, 7), (1, 7), (0, 7)] {
            let slabs: Vec<_> = whole.slabs(most).collect();
            assert_eq!(slabs.len(), count, "{most}");
            assert!(slabs.iter().all(|slab| slab.volume() <= most.max(15)));
            assert_eq!(slabs.iter().map(Region::volume).sum::<usize>(), whole.volume());
            assert!(slabs.windows(2).all(|pair| pair[0].upper[2] == pair[1].lower[2]));
        }
        assert_eq!(Region::new([0, 0], [0, 5]).slabs(3).count(), 0);
    }

    #[test]
    fn a_region_without_a_hole_covers_the_rest_exactly_once() {
        let whole = Region::new([0, 0, 0], [4, 5, 6]);
        for hole in [
            Region::new([1, 1, 1], [3, 4, 6]),
            Region::new([-2, 2, 0], [9, 3, 1]),
            Region::new([9, 9, 9], [10, 10, 10]),
        ] {
            let slabs: Vec<_> = whole.without(&hole).collect();
            for cell in whole.cells() {
                let covered = slabs.iter().filter(|slab| slab.contains(cell)).count();
                assert_eq!(covered, usize::from(!hole.contains(cell)), "cell {cell:?}");
            }
        }
    }
}
