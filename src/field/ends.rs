//! The ends of rows that go once round a periodic domain: what lies beyond one end of a row is what lies within the other. A
//! sweep sets them as it goes.

use super::Scalar;
use super::ahead::AHEAD;
use super::stencil::Bounds;
use crate::grid::{Cell, Region};

/// The numbers that stencils read.
pub(super) enum Source<'a, T> {
    /// As they are.
    Fixed(&'a [T]),
    /// In rows that go once round a periodic domain, and whose ends are set before they are read: while the rows come to the
    /// cache for it, so that a sweep does not wait for their ends first (measured: a sixth of it).
    Round(&'a mut [T]),
}

impl<T> Source<'_, T> {
    /// How many numbers there are.
    pub fn len(&self) -> usize {
        match self {
            Source::Fixed(data) => data.len(),
            Source::Round(data) => data.len(),
        }
    }
}

impl<const N: usize> Bounds<N> {
    /// The same for a region that goes on from one below it, or whose values are not to be written past the caches.
    pub(super) fn told(mut self, goes_on: bool, stays: bool) -> Self {
        self.goes_on = goes_on;
        self.streams &= !stays;
        self
    }

    /// How many rows of such a length have their ends set at once, a power of two: of those that were asked for, half have come.
    pub(super) fn rows_at_once(length: usize) -> i64 {
        let fit = (AHEAD / length.max(1) / 2).max(1);
        1 << fit.ilog2()
    }

    /// Sets the ends of the rows that the row from `first` on and some after it read and none before it has read, if the rows
    /// come y before z.
    ///
    /// It is called for each row, and does something for one of a few: so that the call costs less, and the rows have come to
    /// the cache, for which they were asked.
    #[inline(always)]
    pub(super) fn turn<T: Scalar>(&self, data: &mut [T], components: usize, first: Cell<N>) {
        if N == 1 || (first.0[1] - self.region.lower[1]) & (self.group - 1) == 0 {
            self.turn_some(data, components, first);
        }
    }

    #[inline(never)]
    fn turn_some<T: Scalar>(&self, data: &mut [T], components: usize, first: Cell<N>) {
        let Bounds { region, reach, source, group, .. } = self;
        let (length, far) = (region.extent()[0], *reach as i64);
        let mut turn = |rows: &Region<N>| {
            let (extent, first) = (rows.extent(), source.position(Cell(rows.lower)));
            let [along_y, along_z] = [1, 2].map(|a| if a < N { (extent[a], source.stride[a]) } else { (1, 0) });
            let places = (0..along_z.0).flat_map(|z| (0..along_y.0).map(move |y| y * along_y.1 + z * along_z.1));
            for place in places {
                for component in 0..components {
                    let at = first + place + component * source.plane;
                    let row = &mut data[at - reach..][..length + 2 * reach];
                    if *reach == 1 {
                        (row[0], row[length + 1]) = (row[length], row[1]);
                    } else {
                        for i in 0..*reach {
                            (row[i], row[length + reach + i]) = (row[length + i], row[reach + i]);
                        }
                    }
                }
            }
        };
        let mut rows = *region;
        if N > 2 {
            let z = first.0[2];
            if first.0[1..] == region.lower[1..] && !self.goes_on {
                rows = rows.grow(far);
                (rows.lower[0], rows.upper[0], rows.upper[2]) = (region.lower[0], region.upper[0], z + far);
                turn(&rows);
            }
            (rows.lower[2], rows.upper[2]) = (z + far, z + far + 1);
        }
        if N > 1 {
            let y = first.0[1];
            let begins = y == region.lower[1] && (N > 2 || !self.goes_on);
            let begin = if begins { y - far } else { y + far };
            (rows.lower[1], rows.upper[1]) = (begin, (y + group).min(region.upper[1]) + far);
        }
        turn(&rows);
    }
}
