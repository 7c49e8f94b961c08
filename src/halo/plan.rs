//! Which regions travel from whom to whom in an exchange.

use std::collections::{BTreeMap, BTreeSet};

use crate::grid::{BlockId, GhostPiece, Offset, Partition, Region, Tiling};

/// All that one rank sends, receives and copies to fill its ghosts: pure data.
///
/// Both ends of a message make its list of pieces by themselves, and get the same one: the pieces of the receiver's blocks
/// along the curve, each block's in the order of [`Tiling::ghost_pieces`].
#[derive(Debug, Clone, PartialEq)]
pub struct Plan<const N: usize> {
    blocks: Vec<BlockId>,
    width: usize,
    sends: Vec<Message<N>>,
    receives: Vec<Message<N>>,
    copies: Vec<Copy<N>>,
    waits: Vec<bool>,
}

/// What one rank tells another in an exchange.
#[derive(Debug, Clone, PartialEq)]
pub struct Message<const N: usize> {
    /// The other rank.
    pub rank: usize,
    /// The pieces in the order in which they lie in the message.
    pub pieces: Vec<Piece<N>>,
}

impl<const N: usize> Message<N> {
    /// The number of cells in the message.
    pub fn cells(&self) -> usize {
        self.pieces.iter().map(|piece| piece.region.volume()).sum()
    }
}

/// A part of a message: cells of one of the rank's own blocks.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece<const N: usize> {
    /// The block's place among the rank's own.
    pub block: usize,
    /// The cells: interior ones if they are sent, ghosts if they are received.
    pub region: Region<N>,
}

/// Ghosts whose values lie in a block of the same rank.
#[derive(Debug, Clone, PartialEq)]
pub struct Copy<const N: usize> {
    /// The place among the rank's own blocks of the one that has the values.
    pub from: usize,
    /// The place of the one that has the ghosts.
    pub to: usize,
    /// The ghosts.
    pub region: Region<N>,
    /// The way from a ghost to the cell that has its value; not zero only across a periodic boundary.
    pub shift: Offset<N>,
}

impl<const N: usize> Plan<N> {
    /// The plan of one rank for ghosts `width` cells deep.
    pub fn new(tiling: &Tiling<N>, partition: &Partition, rank: usize, width: usize) -> Self {
        let own = partition.range(rank);
        let mut copies = Vec::new();
        let mut receives = BTreeMap::<usize, Vec<Piece<N>>>::new();
        let mut waits = vec![false; own.len()];
        let mut around = BTreeSet::new();
        for (to, id) in partition.blocks(rank).enumerate() {
            for GhostPiece { region, source, shift } in tiling.ghost_pieces(id, width) {
                if own.contains(&source.index()) {
                    copies.push(Copy { from: source.index() - own.start, to, region, shift });
                } else {
                    receives.entry(partition.owner(source)).or_default().push(Piece { block: to, region });
                    waits[to] = true;
                    around.insert(source);
                }
            }
        }
        // All ghosts are equally deep, so the blocks that I need are the blocks that need me.
        let mut sends = BTreeMap::<usize, Vec<Piece<N>>>::new();
        for id in around {
            let pieces = tiling.ghost_pieces(id, width).into_iter().filter(|piece| own.contains(&piece.source.index()));
            let message = sends.entry(partition.owner(id)).or_default();
            message.extend(pieces.map(|GhostPiece { region, source, shift }| Piece {
                block: source.index() - own.start,
                region: region.shift(shift),
            }));
        }
        let messages = |by_rank: BTreeMap<usize, Vec<Piece<N>>>| {
            by_rank.into_iter().map(|(rank, pieces)| Message { rank, pieces }).collect()
        };
        Plan {
            blocks: partition.blocks(rank).collect(),
            width,
            sends: messages(sends),
            receives: messages(receives),
            copies,
            waits,
        }
    }

    /// The rank's own blocks along the curve.
    pub fn blocks(&self) -> &[BlockId] {
        &self.blocks
    }

    /// How deep the ghosts are, in cells.
    pub fn width(&self) -> usize {
        self.width
    }

    /// What the rank sends: at most one message a rank, in the order of the ranks.
    pub fn sends(&self) -> &[Message<N>] {
        &self.sends
    }

    /// What the rank receives: at most one message a rank, in the order of the ranks.
    pub fn receives(&self) -> &[Message<N>] {
        &self.receives
    }

    /// What the rank copies from block to block.
    pub fn copies(&self) -> &[Copy<N>] {
        &self.copies
    }

    /// Whether any ghost of the rank's block at this place comes from another rank.
    pub fn waits(&self, block: usize) -> bool {
        self.waits[block]
    }

    /// The number of cells that the rank sends in one exchange.
    pub fn cells_sent(&self) -> usize {
        self.sends.iter().map(Message::cells).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Field;
    use crate::grid::{Cell, Grid, Vector};
    use crate::halo::exchange::{copy_within_rank, pack, unpack};
    use proptest::prelude::*;

    /// The sum of coordinates that no other cell of the small domains here has, and more than 0.
    fn code<const N: usize>(cell: Cell<N>) -> i64 {
        (0..N).rev().fold(1, |code, a| code * 1000 + cell.0[a])
    }

    /// Plays all ranks in this process: packs, delivers and unpacks, and looks at every ghost.
    fn check_all_ranks<const N: usize>(
        cells: [usize; N],
        shape: [usize; N],
        periodic: [bool; N],
        costs: &[u8],
        ranks: usize,
        width: usize,
    ) {
        let grid = Grid::new(cells, Vector::ZERO, Vector([1.0; N]), periodic).unwrap();
        let tiling = Tiling::new(grid, shape).unwrap();
        let costs: Vec<f64> = (0..tiling.len()).map(|i| f64::from(costs[i % costs.len()])).collect();
        let partition = Partition::by_cost(&costs, ranks);
        let plans: Vec<_> = (0..ranks).map(|rank| Plan::new(&tiling, &partition, rank, width)).collect();
        let mut fields: Vec<_> =
            (0..ranks).map(|rank| Field::<i64, N>::new(&tiling, &partition, rank, width, 2)).collect();
        for block in fields.iter_mut().flat_map(|field| field.blocks_mut()) {
            for cell in block.interior().cells() {
                let (at, plane) = (block.position(cell), block.plane());
                block.data_mut()[at] = code(cell);
                block.data_mut()[at + plane] = -code(cell);
            }
        }
        let mut messages = BTreeMap::new();
        for (rank, plan) in plans.iter().enumerate() {
            assert!(plan.sends().is_sorted_by(|a, b| a.rank < b.rank), "one message a neighbour, in order");
            assert!(plan.receives().is_sorted_by(|a, b| a.rank < b.rank), "one message a neighbour, in order");
            for message in plan.sends() {
                assert_ne!(message.rank, rank, "a rank sends itself nothing");
                let mut buffer = vec![0; 2 * message.cells()];
                pack(message, fields[rank].blocks(), &mut buffer);
                messages.insert((rank, message.rank), buffer);
            }
        }
        for (rank, plan) in plans.iter().enumerate() {
            let mut written = BTreeMap::<_, usize>::new();
            for piece in plan.receives().iter().flat_map(|message| &message.pieces) {
                assert!(plan.waits(piece.block));
                piece.region.cells().for_each(|cell| *written.entry((piece.block, cell)).or_default() += 1);
            }
            for copy in plan.copies() {
                copy.region.cells().for_each(|cell| *written.entry((copy.to, cell)).or_default() += 1);
            }
            assert!(written.values().all(|&times| times == 1), "no ghost is written twice");

            copy_within_rank(plan.copies(), fields[rank].blocks_mut());
            for message in plan.receives() {
                let buffer = messages.remove(&(message.rank, rank)).expect("what is awaited has been sent");
                assert_eq!(buffer.len(), 2 * message.cells(), "both ends know the same length");
                unpack(message, fields[rank].blocks_mut(), &buffer);
            }
            for (place, block) in fields[rank].blocks().iter().enumerate() {
                for cell in block.memory().cells() {
                    let inside = (0..N).all(|a| periodic[a] || (0..cells[a] as i64).contains(&cell.0[a]));
                    let wrapped = Cell::<N>(std::array::from_fn(|a| cell.0[a].rem_euclid(cells[a] as i64)));
                    let expected = if inside { code(wrapped) } else { 0 };
                    let at = block.position(cell);
                    assert_eq!(block.data()[at], expected, "rank {rank}, block {place}, cell {cell:?}");
                    assert_eq!(
                        block.data()[at + block.plane()],
                        -expected,
                        "rank {rank}, block {place}, cell {cell:?}"
                    );
                    let ghost = !block.interior().contains(cell);
                    assert_eq!(written.contains_key(&(place, cell)), ghost && inside, "cell {cell:?}");
                }
            }
        }
        assert!(messages.is_empty(), "what is sent is awaited");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn every_ghost_gets_its_cell_once_in_one_dimension(
            n in 1usize..40, b in 1usize..12, p: bool, costs in prop::collection::vec(1u8..9, 1..8),
            ranks in 1usize..9, width in 0usize..14,
        ) {
            check_all_ranks([n], [b], [p], &costs, ranks, width);
        }

        #[test]
        fn every_ghost_gets_its_cell_once_in_two_dimensions(
            n in prop::array::uniform2(1usize..13), b in prop::array::uniform2(1usize..6), p: [bool; 2],
            costs in prop::collection::vec(1u8..9, 1..8), ranks in 1usize..9, width in 0usize..6,
        ) {
            check_all_ranks(n, b, p, &costs, ranks, width);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn every_ghost_gets_its_cell_once_in_three_dimensions(
            n in prop::array::uniform3(1usize..7), b in prop::array::uniform3(1usize..5), p: [bool; 3],
            costs in prop::collection::vec(1u8..9, 1..8), ranks in 1usize..9, width in 0usize..4,
        ) {
            check_all_ranks(n, b, p, &costs, ranks, width);
        }
    }

    #[test]
    fn a_spare_rank_has_an_empty_plan() {
        let grid = Grid::new([4, 4], Vector::ZERO, Vector([1.0; 2]), [true; 2]).unwrap();
        let tiling = Tiling::new(grid, [4, 2]).unwrap();
        let partition = Partition::by_cost(&[1.0; 2], 3);
        let plan = Plan::new(&tiling, &partition, 2, 1);
        assert!(plan.sends().is_empty() && plan.receives().is_empty() && plan.copies().is_empty());
        assert_eq!(plan.cells_sent(), 0);
    }
}
