//! Which rank owns which block: a cut of the curve by cost.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::BlockId;

/// A cut of the space-filling curve into one stretch of blocks a rank; a rank's stretch may be empty.
///
/// # Memory
/// None to speak of where all blocks cost the same, as then the cuts follow from the numbers of blocks and ranks; else
/// 4 bytes a rank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    cuts: Cuts,
    /// How many threads share a rank's blocks.
    threads: u32,
}

/// Where the curve is cut: rank r owns the blocks from cut r, included, to cut r + 1, excluded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Cuts {
    /// The first ranks own as many blocks as the dearest rank has to, as long as one is left for each later rank.
    Even { blocks: u32, ranks: u32 },
    /// Wherever the costs ask for.
    Listed(Vec<u32>),
}

impl Partition {
    /// Cuts the curve into `ranks` stretches so that the most expensive one is as cheap as it can be.
    ///
    /// `costs` has the cost of each block along the curve, in any unit; a cost that is not positive and finite counts as
    /// the smallest positive one. The result depends on nothing but the arguments. With fewer blocks than ranks, the
    /// last ranks own none.
    ///
    /// # Panics
    /// If `ranks` is 0.
    pub fn by_cost(costs: &[f64], ranks: usize) -> Self {
        let costs = sound(costs);
        if costs.windows(2).all(|pair| pair[0] == pair[1]) {
            return Self::even(costs.len(), ranks);
        }
        assert!(ranks > 0, "a partition needs at least one rank");
        let total: f64 = costs.iter().sum();
        let dearest = costs.iter().copied().fold(0.0, f64::max);
        let (mut low, mut high) = (dearest.max(total / ranks as f64), total.max(dearest));
        if cut(&costs, ranks, low).is_some() {
            high = low;
        }
        for _ in 0..64 {
            let limit = 0.5 * (low + high);
            match cut(&costs, ranks, limit) {
                Some(_) => high = limit,
                None => low = limit,
            }
        }
        // Rounding may hide the last feasible limit: a little slack always finds one.
        let cuts = cut(&costs, ranks, high).or_else(|| cut(&costs, ranks, high * (1.0 + 1e-9) + f64::MIN_POSITIVE));
        Self::of(Cuts::Listed(cuts.expect("one stretch can always hold what all blocks cost together")))
    }

    /// The same cut for blocks that all cost the same, without a list of anything.
    ///
    /// # Panics
    /// If `ranks` is 0.
    pub fn even(blocks: usize, ranks: usize) -> Self {
        assert!(ranks > 0, "a partition needs at least one rank");
        Self::of(Cuts::Even { blocks: blocks as u32, ranks: ranks as u32 })
    }

    fn of(cuts: Cuts) -> Self {
        Partition { cuts, threads: 1 }
    }

    /// The same cut for ranks of so many threads: each rank's [`Patches`](super::Patches) become so small that the threads
    /// can share them. With more threads than blocks, each block is a patch.
    #[must_use]
    pub fn for_threads(mut self, threads: usize) -> Self {
        self.threads = u32::try_from(threads).unwrap_or(u32::MAX);
        self
    }

    /// How many threads share a rank's blocks.
    pub(crate) fn threads(&self) -> usize {
        self.threads as usize
    }

    /// The number of ranks.
    pub fn ranks(&self) -> usize {
        match &self.cuts {
            Cuts::Even { ranks, .. } => *ranks as usize,
            Cuts::Listed(cuts) => cuts.len() - 1,
        }
    }

    /// The rank that owns a block.
    pub fn owner(&self, id: BlockId) -> usize {
        match &self.cuts {
            &Cuts::Even { blocks, ranks } => {
                let single = (id.0 + ranks.min(blocks)).saturating_sub(blocks);
                (id.0 / blocks.div_ceil(ranks)).max(single) as usize
            }
            Cuts::Listed(cuts) => cuts.partition_point(|&cut| cut <= id.0) - 1,
        }
    }

    /// The first block that is no longer of the ranks before this one.
    fn cut(&self, rank: usize) -> u32 {
        match &self.cuts {
            Cuts::Listed(cuts) => cuts[rank],
            &Cuts::Even { blocks, ranks } => {
                let owners = ranks.min(blocks);
                let rank = owners.min(rank as u32);
                (rank * blocks.div_ceil(ranks)).min(blocks - (owners - rank))
            }
        }
    }

    /// The places on the curve of a rank's blocks.
    pub fn range(&self, rank: usize) -> Range<usize> {
        self.cut(rank) as usize..self.cut(rank + 1) as usize
    }

    /// The blocks of a rank along the curve.
    pub fn blocks(&self, rank: usize) -> impl ExactSizeIterator<Item = BlockId> + use<> {
        (self.cut(rank)..self.cut(rank + 1)).map(BlockId)
    }

    /// The ranks that own no block.
    pub fn spare_ranks(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.ranks()).filter(|&rank| self.range(rank).is_empty())
    }
}

/// The costs with every one that cannot be used replaced by the smallest that can.
fn sound(costs: &[f64]) -> Vec<f64> {
    let usable = |&cost: &f64| cost.is_finite() && cost > 0.0;
    let least = costs.iter().copied().filter(|cost| usable(cost)).fold(f64::INFINITY, f64::min);
    let least = if least.is_finite() { least } else { 1.0 };
    costs.iter().map(|&cost| if usable(&cost) { cost } else { least }).collect()
}

/// A cut in which no stretch costs more than `limit` and, while blocks last, none is empty; `None` if there is none.
fn cut(costs: &[f64], ranks: usize, limit: f64) -> Option<Vec<u32>> {
    let mut cuts = Vec::with_capacity(ranks + 1);
    cuts.push(0);
    let mut next = 0;
    for rank in 0..ranks {
        let later_ranks = ranks - rank - 1;
        let mut load = 0.0;
        let first = next;
        while next < costs.len() && (next == first || (load + costs[next] <= limit && costs.len() - next > later_ranks))
        {
            load += costs[next];
            next += 1;
        }
        cuts.push(next as u32);
    }
    (next == costs.len()).then_some(cuts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The smallest bottleneck of all cuts, by dynamic programming.
    fn best_bottleneck(costs: &[f64], ranks: usize) -> f64 {
        let mut best: Vec<f64> = std::iter::once(0.0)
            .chain(costs.iter().scan(0.0, |sum, c| {
                *sum += c;
                Some(*sum)
            }))
            .collect();
        let prefix = best.clone();
        for _ in 1..ranks {
            best = (0..=costs.len())
                .map(|end| (0..=end).map(|k| best[k].max(prefix[end] - prefix[k])).fold(f64::INFINITY, f64::min))
                .collect();
        }
        best[costs.len()]
    }

    proptest! {
        #[test]
        fn no_cut_is_better(costs in prop::collection::vec(1u8..50, 1..40), ranks in 1usize..10) {
            let costs: Vec<f64> = costs.into_iter().map(f64::from).collect();
            let partition = Partition::by_cost(&costs, ranks);
            let bottleneck = (0..ranks).map(|r| costs[partition.range(r)].iter().sum::<f64>()).fold(0.0, f64::max);
            prop_assert!(bottleneck <= best_bottleneck(&costs, ranks) * (1.0 + 1e-9));
            prop_assert_eq!(partition.range(ranks - 1).end, costs.len());
            prop_assert_eq!(partition.spare_ranks().count(), ranks.saturating_sub(costs.len()));
            for block in 0..costs.len() {
                let owner = partition.owner(BlockId(block as u32));
                prop_assert!(partition.range(owner).contains(&block));
            }
        }
    }

    proptest! {
        #[test]
        fn blocks_of_equal_cost_are_cut_by_formula_as_they_are_by_cost(blocks in 1usize..200, ranks in 1usize..250) {
            let even = Partition::even(blocks, ranks);
            let listed = cut(&vec![1.0; blocks], ranks, blocks.div_ceil(ranks) as f64).unwrap();
            prop_assert_eq!(even.ranks(), ranks);
            for rank in 0..ranks {
                prop_assert_eq!(even.range(rank), listed[rank] as usize..listed[rank + 1] as usize);
            }
            for id in (0..blocks).map(|block| BlockId(block as u32)) {
                prop_assert_eq!(even.owner(id), Partition::of(Cuts::Listed(listed.clone())).owner(id));
            }
            prop_assert_eq!(Partition::by_cost(&vec![0.1; blocks], ranks), even);
        }
    }

    #[test]
    fn spare_ranks_own_nothing_and_are_the_last() {
        let partition = Partition::by_cost(&[1.0; 3], 5);
        assert_eq!(partition.spare_ranks().collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn costs_that_make_no_sense_do_no_harm() {
        let partition = Partition::by_cost(&[f64::NAN, 0.0, -1.0, f64::INFINITY], 2);
        assert_eq!((partition.range(0), partition.range(1)), (0..2, 2..4));
    }
}
