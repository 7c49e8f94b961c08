//! The ends of rows that go once round a periodic domain: what lies beyond one end of a row is what lies within the other. A
//! sweep sets them as it goes.

use super::Scalar;
use super::stencil::{AHEAD, Bounds, each_row};
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

    /// Sets the ends of the rows that the row from `first` on and some after it read and none before it has read, if the rows
    /// come in the order of [`each_row`].
    ///
    /// It is called for each row, and does something for one of a few: so that the call costs less, and the rows have come to
    /// the cache, for which they were asked.
    #[inline(always)]
    pub(super) fn turn<T: Scalar>(&self, data: &mut [T], components: usize, first: Cell<N>) {
        let group = (AHEAD / self.region.extent()[0] / 2).max(1) as i64;
        if N == 1 || (first.0[1] - self.region.lower[1]) % group == 0 {
            self.turn_some(data, components, first, group);
        }
    }

    #[inline(never)]
    fn turn_some<T: Scalar>(&self, data: &mut [T], components: usize, first: Cell<N>, group: i64) {
        let Bounds { region, reach, source, .. } = self;
        let (length, far) = (region.extent()[0], *reach as i64);
        let mut turn = |rows: &Region<N>| {
            each_row(rows, |row| {
                for component in 0..components {
                    let at = source.position(row) + component * source.plane;
                    let row = &mut data[at - reach..at + length + reach];
                    for i in 0..*reach {
                        (row[i], row[length + reach + i]) = (row[length + i], row[reach + i]);
                    }
                }
            });
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
