//! In which order the cells of a patch are swept, so that what one sweep leaves in a cache the next ones find there.
//!
//! One sweep goes tile by tile. Several, each over what the one before it has left, go through a patch together, in strips
//! along y and in slabs along the last axis; each sweep keeps a reach behind the one before it on both:
//!
//! ```text
//!    z ↑   sweep 1 ███████████████ ─→      What sweep 2 reads lies within its reach behind the front of sweep 1; and what
//!          sweep 2 █████████████             sweep 2 overwrites no cell of sweep 1 will read again. So two buffers do
//!          sweep 3 ███████████                for any number of sweeps, and nothing is computed twice.
//!                  ──────────────→ y
//! ```

use crate::grid::{Grid, Parts, Region};

/// How several sweeps go through a patch together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Walk {
    /// How many sweeps there are.
    pub sweeps: usize,
    /// The farthest that one of them reads, in cells.
    pub reach: usize,
    /// The most rows of a strip.
    pub rows: usize,
    /// The most layers of a slab.
    pub layers: usize,
}

impl Walk {
    /// The walk whose strips and slabs stay in `cache` bytes while `sweeps` go over them.
    ///
    /// `row` is the size in bytes of the longest row in all buffers that are read and written.
    pub fn new<const N: usize>(sweeps: usize, reach: usize, row: usize, rows: usize, cache: usize) -> Self {
        // What a sweep reads, what all keep behind, what is written and what is asked for ahead.
        let layers = (sweeps + 1) * reach + 2;
        let fewest = 4 * sweeps * reach;
        let strip = if N > 2 { (cache / (row * layers).max(1)).max(fewest).max(1) } else { rows.max(1) };
        let layer = row * if N > 2 { strip.min(rows) } else { 1 };
        // A line is one row, whose ends may belong together.
        let layers = if N > 1 { (SLAB / layer.max(1)).max(1) } else { usize::MAX };
        Walk { sweeps, reach, rows: strip, layers }
    }

    /// Visits each part of the regions that the sweeps ask for: which sweep, the region, and what it reads that the same sweep
    /// has not read in the slab before it. Each cell is visited once by each sweep, and where the regions are within reach of
    /// what the sweep before covers, in an order that two buffers are enough for.
    pub fn each<const N: usize>(
        &self,
        regions: impl Fn(usize) -> Parts<N>,
        mut visit: impl FnMut(usize, &Region<N>, &Region<N>),
    ) {
        let Some(hull) = regions(0).chain(regions(self.sweeps - 1)).reduce(|a, b| a.hull(&b)) else { return };
        let (last, reach) = (N - 1, self.reach as i64);
        let strips = if N > 2 { hull.extent()[1].div_ceil(self.rows) } else { 1 };
        let slabs = hull.extent()[last].div_ceil(self.layers);
        for strip in 0..strips {
            for slab in 0..slabs {
                for sweep in 0..self.sweeps {
                    let behind = sweep as i64 * reach;
                    let cut = |region: &mut Region<N>, axis: usize, (place, count, size): (usize, usize, usize)| {
                        let at = |place: usize| hull.lower[axis] + (place * size) as i64 - behind;
                        if place > 0 {
                            region.lower[axis] = region.lower[axis].max(at(place));
                        }
                        if place + 1 < count {
                            region.upper[axis] = region.upper[axis].min(at(place + 1));
                        }
                    };
                    for mut part in regions(sweep) {
                        if N > 2 {
                            cut(&mut part, 1, (strip, strips, self.rows));
                        }
                        let mut region = part;
                        cut(&mut region, last, (slab, slabs, self.layers));
                        if region.is_empty() {
                            continue;
                        }
                        let mut fresh = region.grow(reach);
                        if region.lower[last] > part.lower[last] {
                            fresh.lower[last] = region.lower[last] + reach;
                        }
                        visit(sweep, &region, &fresh);
                    }
                }
            }
        }
    }
}

/// How large a slab should be, in bytes: so small that it stays in a core's cache, so large that beginning it costs little.
const SLAB: usize = 1 << 16;

/// A region in tiles of at most so many cells along x and, if it has layers, along y; as equal as can be.
pub(super) fn tiles<const N: usize>(region: Region<N>, most: [usize; 2]) -> impl Iterator<Item = Region<N>> {
    let extent = region.extent();
    let count = |a: usize| if a + 1 < N.max(2) { extent[a].div_ceil(most[a].max(1)) } else { 1 };
    let [columns, strips] = [0, 1].map(count);
    (0..strips * columns).map(move |tile| {
        let mut part = region;
        for (a, place, count) in [(0, tile % columns, columns), (1, tile / columns, strips)] {
            if count > 1 {
                part.lower[a] = region.lower[a] + (place * extent[a] / count) as i64;
                part.upper[a] = region.lower[a] + ((place + 1) * extent[a] / count) as i64;
            }
        }
        part
    })
}

/// A block and, at the faces of its patch, the ghosts up to a depth.
pub(super) fn with_ghosts<const N: usize>(block: &Region<N>, patch: &Region<N>, depth: usize) -> Region<N> {
    let reach = |own: i64, face: i64, out: i64| if own == face { own + out } else { own };
    Region::new(
        std::array::from_fn(|a| reach(block.lower[a], patch.lower[a], -(depth as i64))),
        std::array::from_fn(|a| reach(block.upper[a], patch.upper[a], depth as i64)),
    )
}

/// A region without the cells beyond the domain's faces, which boundaries fill and no sweep computes.
pub(super) fn clip<const N: usize>(region: &Region<N>, grid: &Grid<N>) -> Region<N> {
    let (domain, periodic) = (grid.region(), grid.periodic());
    let keep = |a: usize, own: i64, limit: i64| if periodic[a] { own } else { limit };
    Region::new(
        std::array::from_fn(|a| region.lower[a].max(keep(a, region.lower[a], domain.lower[a]))),
        std::array::from_fn(|a| region.upper[a].min(keep(a, region.upper[a], domain.upper[a]))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::Cell;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// Plays the sweeps on two buffers that hold for each cell the number of the sweep that it is of.
    fn play<const N: usize>(extent: [usize; N], depth: usize, walk: Walk, shrinks: bool) {
        let interior = Region::new([0; N], extent.map(|n| n as i64));
        let (reach, sweeps) = (walk.reach as i64, walk.sweeps);
        let region = |sweep: usize| interior.grow(depth as i64 - if shrinks { (sweep as i64 + 1) * reach } else { 0 });
        let all = interior.grow(depth as i64 + reach);
        let mut buffers: [HashMap<Cell<N>, usize>; 2] = [all.cells().map(|cell| (cell, 0)).collect(), HashMap::new()];
        let mut seen = HashMap::new();
        walk.each(
            |sweep| Parts::one(region(sweep)),
            |sweep, part, fresh| {
                for cell in fresh.cells() {
                    assert!(seen.insert((sweep, cell, part.lower[1.min(N - 1)] * i64::from(N > 2)), ()).is_none());
                }
                for cell in part.cells() {
                    for near in Region::new(cell.0, cell.0.map(|i| i + 1)).grow(reach).cells() {
                        let beyond = !shrinks && !region(sweep).contains(near);
                        let held = buffers[sweep % 2].get(&near).copied();
                        assert!(beyond || held == Some(sweep), "sweep {sweep} of {cell:?} reads {near:?}: {held:?}");
                    }
                }
                for cell in part.cells() {
                    assert_ne!(buffers[(sweep + 1) % 2].insert(cell, sweep + 1), Some(sweep + 1), "{cell:?} twice");
                }
            },
        );
        for cell in region(sweeps - 1).cells() {
            assert_eq!(buffers[sweeps % 2][&cell], sweeps, "{cell:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn each_sweep_finds_what_the_one_before_it_left_and_two_buffers_are_enough(
            extent in prop::array::uniform3(1usize..9), reach in 1usize..3, sweeps in 1usize..5,
            rows in 1usize..7, layers in 1usize..5, shrinks: bool,
        ) {
            let walk = Walk { sweeps, reach, rows, layers };
            let depth = if shrinks { reach * sweeps } else { 0 };
            play(extent, depth, walk, shrinks);
            play([extent[0], extent[1]], depth, walk, shrinks);
            play([extent[0]], depth, walk, shrinks);
        }
    }

    #[test]
    fn strips_and_slabs_fit_the_cache_but_are_no_thinner_than_what_they_share() {
        let walk = Walk::new::<3>(4, 1, 2 * 2048, 256, 1 << 20);
        assert_eq!((walk.rows, walk.layers), (36, 1));
        assert_eq!(
            Walk::new::<3>(4, 2, 1 << 20, 256, 1 << 20).rows,
            32,
            "strips share 4 sweeps of reach 2 on either side"
        );
        let plane = Walk::new::<2>(4, 1, 2 * 1024, 64, 1 << 20);
        assert_eq!((plane.rows, plane.layers), (64, 32), "rows of a plane are its layers");
    }
}
