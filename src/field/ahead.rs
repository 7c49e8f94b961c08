//! What a sweep asks for before it is used, since memory takes its time.

use super::stencil::Bounds;
use crate::grid::Cell;

/// How many cells ahead of its use the farthest layer is asked for (of 1024 to 4096, measured). The processor follows rows
/// by itself, but not from one layer to the next: without this, a sweep over memory took 1.7 times as long (measured). It
/// is asked for line by line as the cells are computed: a row at once is more than a core can wait for, and took 1.4 times
/// as long.
pub(super) const AHEAD: usize = 2048;

/// The same for what is written, where it is not written past the caches: a line is read before it is changed.
pub(super) const WRITTEN_AHEAD: usize = 256;

/// How far from a row lies what is asked for while it is computed: in the farthest layer that the next ones read, and beyond the
/// last row of that in the one after it. Reckoned once, since a division for each row is felt.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    within: isize,
    beyond: isize,
    /// The first row, along y, beyond the last of its layer.
    from: i64,
}

impl Ahead {
    /// For the rows of a sweep.
    pub fn of<const N: usize>(bounds: &Bounds<N>) -> Self {
        let Bounds { region, source, reach, .. } = bounds;
        let (rows, length) = (region.extent()[N.min(2) - 1] as i64, region.extent()[0]);
        let on = AHEAD.div_ceil(length.max(1)) as i64;
        if N < 3 || on >= rows || region.is_empty() {
            return Ahead { within: AHEAD as isize, beyond: AHEAD as isize, from: i64::MAX };
        }
        let stride = source.stride.map(|stride| stride as isize);
        let away = |rows: i64, layers: usize| rows as isize * stride[1] + layers as isize * stride[2];
        Ahead { within: away(on, *reach), beyond: away(on - rows, reach + 1), from: region.upper[1] - on }
    }

    /// The same for the row from a cell on.
    #[inline(always)]
    pub fn of_row<const N: usize>(&self, row: Cell<N>) -> isize {
        if N < 3 || row.0[1] < self.from { self.within } else { self.beyond }
    }
}
