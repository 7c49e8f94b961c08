//! Which regions travel from whom to whom in an exchange.

use std::collections::{BTreeMap, BTreeSet};

use crate::grid::{Offset, Partition, Patches, Region, Tiling};

/// All that one rank sends, receives and copies to fill its ghosts: pure data.
///
/// Both ends of a message make its list of pieces by themselves, and get the same one: the pieces of the receiver's patches
/// in their order, each patch's by the sender's patches in theirs.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan<const N: usize> {
    patches: Vec<Region<N>>,
    width: usize,
    sends: Vec<Message<N>>,
    receives: Vec<Message<N>>,
    copies: Vec<Copy<N>>,
    wraps: Vec<bool>,
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

/// A part of a message: cells of one of the rank's own patches.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece<const N: usize> {
    /// The patch's place among the rank's own.
    pub patch: usize,
    /// The cells: interior ones if they are sent, ghosts if they are received.
    pub region: Region<N>,
}

/// Ghosts whose values lie in a patch of the same rank.
#[derive(Debug, Clone, PartialEq)]
pub struct Copy<const N: usize> {
    /// The place among the rank's own patches of the one that has the values.
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
        let around = ranks_around(tiling, partition, rank, width);
        let near: BTreeMap<_, _> =
            around.iter().chain([&rank]).map(|&near| (near, Patches::new(tiling, partition, near))).collect();
        let own = &near[&rank];
        let mut copies = Vec::new();
        let mut receives = BTreeMap::<usize, Vec<Piece<N>>>::new();
        let mut waits = vec![false; own.regions().len()];
        let mut wraps = waits.clone();
        for (to, interior) in own.regions().iter().enumerate() {
            for Ghosts { rank: from, patch, region, shift } in ghosts(tiling, partition, &near, interior, width) {
                if from == rank && patch == to && is_wrap(tiling, interior, shift, width) {
                    wraps[to] = true;
                } else if from == rank {
                    copies.push(Copy { from: patch, to, region, shift });
                } else {
                    receives.entry(from).or_default().push(Piece { patch: to, region });
                    waits[to] = true;
                }
            }
        }
        // All ghosts are equally deep, so the ranks that I need are the ranks that need me.
        let sends = around.iter().map(|&to| {
            let pieces = near[&to].regions().iter().flat_map(|interior| {
                let all = ghosts(tiling, partition, &BTreeMap::from([(rank, own)]), interior, width);
                all.into_iter().map(|Ghosts { patch, region, shift, .. }| Piece { patch, region: region.shift(shift) })
            });
            Message { rank: to, pieces: pieces.collect() }
        });
        Plan {
            patches: own.regions().to_vec(),
            width,
            sends: sends.collect(),
            receives: receives.into_iter().map(|(rank, pieces)| Message { rank, pieces }).collect(),
            copies,
            wraps,
            waits,
        }
    }

    /// The interiors of the rank's own patches.
    pub fn patches(&self) -> &[Region<N>] {
        &self.patches
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

    /// What the rank copies from patch to patch, and within a patch, but for rows that [wrap](Self::wraps).
    pub fn copies(&self) -> &[Copy<N>] {
        &self.copies
    }

    /// Whether the rows of the rank's patch at this place go once round a periodic domain: then the ghosts at the ends of
    /// each of its interior's rows have their values in the same row.
    pub fn wraps(&self, patch: usize) -> bool {
        self.wraps[patch]
    }

    /// Whether any ghost of the rank's patch at this place comes from another rank.
    pub fn waits(&self, patch: usize) -> bool {
        self.waits[patch]
    }

    /// The number of cells that the rank sends in one exchange.
    pub fn cells_sent(&self) -> usize {
        self.sends.iter().map(Message::cells).sum()
    }
}

/// Whether a shift leads from the end of a patch's rows to their other end.
fn is_wrap<const N: usize>(tiling: &Tiling<N>, interior: &Region<N>, shift: Offset<N>, width: usize) -> bool {
    let cells = tiling.grid().cells()[0];
    interior.extent()[0] == cells
        && width <= cells
        && shift.0[0].unsigned_abs() == cells
        && shift.0[1..].iter().all(|&along| along == 0)
}

/// Ghosts of a patch whose values lie in one patch of some rank.
struct Ghosts<const N: usize> {
    rank: usize,
    patch: usize,
    region: Region<N>,
    shift: Offset<N>,
}

/// The ghosts round a patch that have their values in patches of the given ranks, by rank, patch and shift.
///
/// The blocks of a patch form a box, and so do those ghosts: what is beyond one face of one box is no corner.
fn ghosts<const N: usize>(
    tiling: &Tiling<N>,
    partition: &Partition,
    of: &BTreeMap<usize, impl std::borrow::Borrow<Patches<N>>>,
    interior: &Region<N>,
    width: usize,
) -> Vec<Ghosts<N>> {
    let mut boxes = BTreeMap::<(usize, usize, [isize; N]), Region<N>>::new();
    for piece in tiling.ghost_pieces(interior, width) {
        let rank = partition.owner(piece.source);
        let Some(patches) = of.get(&rank) else { continue };
        let key = (rank, patches.borrow().of(piece.source), piece.shift.0);
        boxes.entry(key).and_modify(|whole| *whole = whole.hull(&piece.region)).or_insert(piece.region);
    }
    let ghosts =
        boxes.into_iter().map(|((rank, patch, shift), region)| Ghosts { rank, patch, region, shift: Offset(shift) });
    ghosts.collect()
}

/// The other ranks that have cells within `width` of a rank's own.
fn ranks_around<const N: usize>(
    tiling: &Tiling<N>,
    partition: &Partition,
    rank: usize,
    width: usize,
) -> BTreeSet<usize> {
    let own = Patches::new(tiling, partition, rank);
    let pieces = own.regions().iter().flat_map(|interior| tiling.ghost_pieces(interior, width));
    pieces.map(|piece| partition.owner(piece.source)).filter(|&owner| owner != rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Field;
    use crate::grid::{Cell, Grid, Vector};
    use crate::halo::exchange::copy_within_rank;
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
        [ranks, threads]: [usize; 2],
        width: usize,
    ) {
        let grid = Grid::new(cells, Vector::ZERO, Vector([1.0; N]), periodic).unwrap();
        let tiling = Tiling::new(grid, shape).unwrap();
        let costs: Vec<f64> = (0..tiling.len()).map(|i| f64::from(costs[i % costs.len()])).collect();
        let partition = Partition::by_cost(&costs, ranks).for_threads(threads);
        let plans: Vec<_> = (0..ranks).map(|rank| Plan::new(&tiling, &partition, rank, width)).collect();
        let mut fields: Vec<_> =
            (0..ranks).map(|rank| Field::<i64, N>::new(&tiling, &partition, rank, width, 2)).collect();
        for patch in fields.iter_mut().flat_map(|field| field.patches_mut()) {
            for cell in patch.interior().cells() {
                let (at, plane) = (patch.position(cell), patch.plane());
                patch.data_mut()[at] = code(cell);
                patch.data_mut()[at + plane] = -code(cell);
            }
        }
        let mut messages = BTreeMap::new();
        for (rank, plan) in plans.iter().enumerate() {
            assert!(plan.sends().is_sorted_by(|a, b| a.rank < b.rank), "one message a neighbour, in order");
            assert!(plan.receives().is_sorted_by(|a, b| a.rank < b.rank), "one message a neighbour, in order");
            for message in plan.sends() {
                assert_ne!(message.rank, rank, "a rank sends itself nothing");
                let mut buffer = vec![0; 2 * message.cells()];
                message.pack(fields[rank].patches(), &mut buffer);
                messages.insert((rank, message.rank), buffer);
            }
        }
        for (rank, plan) in plans.iter().enumerate() {
            let mut written = BTreeMap::<_, usize>::new();
            for piece in plan.receives().iter().flat_map(|message| &message.pieces) {
                assert!(plan.waits(piece.patch));
                piece.region.cells().for_each(|cell| *written.entry((piece.patch, cell)).or_default() += 1);
            }
            for copy in plan.copies() {
                copy.region.cells().for_each(|cell| *written.entry((copy.to, cell)).or_default() += 1);
            }
            for (to, interior) in plan.patches().iter().enumerate().filter(|(to, _)| plan.wraps(*to)) {
                let mut ends = *interior;
                (ends.lower[0], ends.upper[0]) = (interior.lower[0] - width as i64, interior.upper[0] + width as i64);
                for cell in ends.cells().filter(|&cell| !interior.contains(cell)) {
                    *written.entry((to, cell)).or_default() += 1;
                }
            }
            assert!(written.values().all(|&times| times == 1), "no ghost is written twice");

            copy_within_rank(plan, fields[rank].patches_mut());
            for message in plan.receives() {
                let buffer = messages.remove(&(message.rank, rank)).expect("what is awaited has been sent");
                assert_eq!(buffer.len(), 2 * message.cells(), "both ends know the same length");
                message.unpack(fields[rank].patches_mut(), &buffer);
            }
            for (place, patch) in fields[rank].patches().iter().enumerate() {
                for cell in patch.memory().cells() {
                    let inside = (0..N).all(|a| periodic[a] || (0..cells[a] as i64).contains(&cell.0[a]));
                    let wrapped = Cell::<N>(std::array::from_fn(|a| cell.0[a].rem_euclid(cells[a] as i64)));
                    let expected = if inside { code(wrapped) } else { 0 };
                    let at = patch.position(cell);
                    assert_eq!(patch.data()[at], expected, "rank {rank}, patch {place}, cell {cell:?}");
                    assert_eq!(
                        patch.data()[at + patch.plane()],
                        -expected,
                        "rank {rank}, patch {place}, cell {cell:?}"
                    );
                    let ghost = !patch.interior().contains(cell);
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
            ranks in prop::array::uniform2(1usize..9), width in 0usize..14,
        ) {
            check_all_ranks([n], [b], [p], &costs, ranks, width);
        }

        #[test]
        fn every_ghost_gets_its_cell_once_in_two_dimensions(
            n in prop::array::uniform2(1usize..13), b in prop::array::uniform2(1usize..6), p: [bool; 2],
            costs in prop::collection::vec(1u8..9, 1..8), ranks in prop::array::uniform2(1usize..9), width in 0usize..6,
        ) {
            check_all_ranks(n, b, p, &costs, ranks, width);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn every_ghost_gets_its_cell_once_in_three_dimensions(
            n in prop::array::uniform3(1usize..7), b in prop::array::uniform3(1usize..5), p: [bool; 3],
            costs in prop::collection::vec(1u8..9, 1..8), ranks in prop::array::uniform2(1usize..9), width in 0usize..4,
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
