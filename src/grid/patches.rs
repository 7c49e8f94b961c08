//! A rank's blocks put together to a few boxes.

use super::{BlockId, Partition, Region, Tiling};

/// The patches of one rank: boxes of blocks that lie side by side, which together are all of its blocks.
///
/// Blocks are what work is cut into: small, and many. In memory they would be a burden, since each has ghosts of its own
/// and rows of its own length. A patch has them once round all of its blocks: nothing is copied between these, and rows are
/// as long as the patch. Which patches there are follows from the tiling and the partition, so that a rank knows those of
/// its neighbours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patches<const N: usize> {
    regions: Vec<Region<N>>,
    first: BlockId,
    /// For each block along the curve, the place of its patch.
    of_block: Vec<u32>,
}

impl<const N: usize> Patches<N> {
    /// The patches of a rank, in the order of their first blocks along the curve.
    pub fn new(tiling: &Tiling<N>, partition: &Partition, rank: usize) -> Self {
        let own = partition.range(rank);
        let mut boxes: Vec<_> = partition.blocks(rank).map(|id| unit(tiling.key(id).coordinates)).collect();
        for axis in 0..N {
            boxes = merged(boxes, axis);
        }
        // Where layers cannot be shared out evenly, there are more pieces, so that a thread that gets a small one gets another.
        let pieces = match (partition.threads(), boxes.as_slice()) {
            (1, _) => 1,
            (threads, [whole]) if whole.extent()[N - 1].is_multiple_of(threads) => threads,
            (threads, _) => 4 * threads,
        };
        let most = own.len().div_ceil(pieces).max(1);
        let boxes: Vec<_> = boxes.into_iter().flat_map(|whole| cut(whole, most, N - 1)).collect();
        let ids = |blocks: &Region<N>| -> Vec<_> {
            blocks.cells().map(|at| tiling.id_at(at.0.map(|b| b as u32)).index() - own.start).collect()
        };
        let mut patches: Vec<_> = boxes.iter().map(|blocks| (ids(blocks), tiling.cells_of(blocks))).collect();
        patches.sort_unstable_by_key(|(ids, _)| ids.iter().copied().min());
        let mut of_block = vec![0; own.len()];
        for (place, (ids, _)) in patches.iter().enumerate() {
            ids.iter().for_each(|&id| of_block[id] = place as u32);
        }
        let first = BlockId(own.start as u32);
        Patches { regions: patches.into_iter().map(|(_, region)| region).collect(), first, of_block }
    }

    /// The cells of each patch.
    pub fn regions(&self) -> &[Region<N>] {
        &self.regions
    }

    /// The rank's blocks along the curve.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = BlockId> + use<N> {
        let first = self.first.0;
        (first..first + self.of_block.len() as u32).map(BlockId)
    }

    /// The place of the patch that has a block.
    ///
    /// # Panics
    /// If the block is not of this rank.
    pub fn of(&self, id: BlockId) -> usize {
        assert!(id >= self.first, "block {} is another rank's", id.0);
        self.of_block[id.index() - self.first.index()] as usize
    }
}

/// A box of one block.
fn unit<const N: usize>(coordinates: [u32; N]) -> Region<N> {
    Region::new(coordinates.map(i64::from), coordinates.map(|at| i64::from(at) + 1))
}

/// Puts boxes together that touch along an axis and are alike along the others.
fn merged<const N: usize>(mut boxes: Vec<Region<N>>, axis: usize) -> Vec<Region<N>> {
    let across = |part: &Region<N>| {
        let [mut lower, mut upper] = [part.lower, part.upper];
        (lower[axis], upper[axis]) = (0, 0);
        (lower, upper)
    };
    boxes.sort_unstable_by_key(|part| (across(part), part.lower[axis]));
    let mut all: Vec<Region<N>> = Vec::with_capacity(boxes.len());
    for part in boxes {
        match all.last_mut() {
            Some(last) if across(last) == across(&part) && last.upper[axis] == part.lower[axis] => {
                last.upper[axis] = part.upper[axis];
            }
            _ => all.push(part),
        }
    }
    all
}

/// Cuts a box into boxes of at most so many blocks, as equal as can be: across the last axes first, so that rows stay long.
fn cut<const N: usize>(whole: Region<N>, most: usize, axis: usize) -> Vec<Region<N>> {
    let (pieces, extent) = (whole.volume().div_ceil(most), whole.extent()[axis]);
    if pieces <= 1 {
        return vec![whole];
    }
    let count = pieces.min(extent);
    let at = |piece: usize| whole.lower[axis] + (piece * extent / count) as i64;
    let parts = (0..count).map(|piece| {
        let mut part = whole;
        (part.lower[axis], part.upper[axis]) = (at(piece), at(piece + 1));
        part
    });
    if axis == 0 { parts.collect() } else { parts.flat_map(|part| cut(part, most, axis - 1)).collect() }
}

#[cfg(test)]
mod tests {
    use super::super::{Grid, Vector};
    use super::*;
    use proptest::prelude::*;

    fn check<const N: usize>(cells: [usize; N], shape: [usize; N], costs: &[u8], ranks: usize, threads: usize) {
        let tiling = Tiling::new(Grid::new(cells, Vector::ZERO, Vector([1.0; N]), [false; N]).unwrap(), shape).unwrap();
        let costs: Vec<f64> = (0..tiling.len()).map(|i| f64::from(costs[i % costs.len()])).collect();
        let partition = Partition::by_cost(&costs, ranks).for_threads(threads);
        for rank in 0..ranks {
            let patches = Patches::new(&tiling, &partition, rank);
            assert!(patches.blocks().eq(partition.blocks(rank)));
            for id in patches.blocks() {
                let holders = patches.regions().iter().filter(|patch| !patch.intersect(&tiling.region(id)).is_empty());
                assert_eq!(holders.count(), 1, "a block is in one patch alone");
                assert!(patches.regions()[patches.of(id)].encloses(&tiling.region(id)));
            }
            let own: usize = partition.blocks(rank).map(|id| tiling.region(id).volume()).sum();
            assert_eq!(patches.regions().iter().map(Region::volume).sum::<usize>(), own, "and nothing else");
            let first = patches.blocks().map(|id| patches.of(id)).fold(vec![], |mut seen, place| {
                if !seen.contains(&place) {
                    seen.push(place);
                }
                seen
            });
            assert!(first.is_sorted(), "patches follow the curve");
        }
    }

    proptest! {
        #[test]
        fn patches_are_a_ranks_blocks_each_once(
            n in prop::array::uniform3(1usize..9), b in prop::array::uniform3(1usize..4),
            costs in prop::collection::vec(1u8..9, 1..8), ranks in 1usize..9, threads in 1usize..5,
        ) {
            check(n, b, &costs, ranks, threads);
            check([n[0], n[1]], [b[0], b[1]], &costs, ranks, threads);
            check([n[0]], [b[0]], &costs, ranks, threads);
        }
    }

    #[test]
    fn a_rank_alone_has_one_patch_and_threads_have_equal_shares() {
        let grid = Grid::new([64; 3], Vector::ZERO, Vector([1.0; 3]), [true; 3]).unwrap();
        let tiling = Tiling::new(grid, [16, 8, 8]).unwrap();
        let patches = |threads| {
            let partition = Partition::even(tiling.len(), 1).for_threads(threads);
            Patches::new(&tiling, &partition, 0).regions().to_vec()
        };
        assert_eq!(patches(1), [grid.region()]);
        let shares = patches(2);
        assert_eq!(shares.len(), 2);
        assert!(shares.iter().all(|share| share.extent() == [64, 64, 32]), "{shares:?}");
        assert_eq!(patches(tiling.len()).len(), tiling.len(), "no share is less than a block");
        for threads in 2..=16 {
            // The largest pieces first, each to the thread that has the least.
            let mut pieces: Vec<usize> = patches(threads).iter().map(Region::volume).collect();
            pieces.sort_unstable();
            let mut loads = vec![0; threads];
            for piece in pieces.into_iter().rev() {
                *loads.iter_mut().min().expect("there is a thread") += piece;
            }
            let mean = grid.volume() as f64 / threads as f64;
            let worst = *loads.iter().max().expect("there is a thread") as f64 / mean;
            assert!(worst < 1.25, "{threads} threads: {worst} of the mean");
        }
    }
}
