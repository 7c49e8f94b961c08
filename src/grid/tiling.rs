//! The grid cut into equal blocks along a space-filling curve, and who borders on whom.

use super::curve::Curve;
use super::{Axis, Cell, Grid, Offset, Region};
use crate::error::{Error, Result};

/// A block's place on the space-filling curve; blocks that are near on the curve are near in space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub u32);

impl BlockId {
    /// The place on the curve as an index.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A block's address: its refinement level (always 0 so far) and its coordinates among the blocks of that level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockKey<const N: usize> {
    /// The refinement level; 0 is the coarsest.
    pub level: u8,
    /// The block's coordinates among the blocks of its level, in the order x, y, z.
    pub coordinates: [u32; N],
}

/// A part of the ghosts round a box of blocks that lies in one block: another, or across a periodic boundary one of the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GhostPiece<const N: usize> {
    /// The ghost cells, in the coordinates of the box that they belong to (they may lie beyond a periodic boundary).
    pub region: Region<N>,
    /// The block whose interior has their values.
    pub source: BlockId,
    /// The way from a ghost to the cell that has its value; not zero only across a periodic boundary.
    pub shift: Offset<N>,
}

/// The most blocks that a grid may be cut into: sixteen for each of a million ranks. Beyond it, the tables of one checkpoint
/// and the costs, which rank 0 has of all blocks, outweigh its cells.
const MOST_BLOCKS: usize = 1 << 24;

/// A grid cut into blocks of equal shape; the last block along an axis may be smaller.
///
/// # Memory
/// The same few words for any number of blocks: what lies where is computed.
#[derive(Debug, Clone)]
pub struct Tiling<const N: usize> {
    grid: Grid<N>,
    shape: [usize; N],
    counts: [usize; N],
    curve: Curve<N>,
}

impl<const N: usize> Tiling<N> {
    /// Cuts the grid into blocks of the given shape (cells along x, y, z).
    ///
    /// # Errors
    /// If the shape has a zero, or there would be more blocks than can be managed.
    pub fn new(grid: Grid<N>, shape: [usize; N]) -> Result<Self> {
        let cells = grid.cells();
        if shape.contains(&0) {
            return Err(Error::case(format!("a block of {shape:?} cells has none; each extent must be at least 1"))
                .hint("leave grid.block out to get a good shape"));
        }
        let shape: [usize; N] = std::array::from_fn(|a| shape[a].min(cells[a]));
        let counts: [usize; N] = std::array::from_fn(|a| cells[a].div_ceil(shape[a]));
        let total = counts.iter().try_fold(1usize, |product, &n| product.checked_mul(n)).unwrap_or(usize::MAX);
        if total > MOST_BLOCKS {
            return Err(Error::case(format!("blocks of {shape:?} cells cut the grid of {cells:?} into {total} blocks; at most {MOST_BLOCKS} can be managed"))
                .hint(format!("use blocks of {:?} cells, the default for this grid", Self::default_shape(&grid))));
        }
        let curve = Curve::new(counts.map(|n| n as u32));
        Ok(Tiling { grid, shape, counts, curve })
    }

    /// A good block shape for a grid: a function of the grid alone, never of the number of ranks.
    ///
    /// Blocks of about 64 KiB to 2 MiB of f64: small enough that there are enough of them to share out and to place
    /// by what each costs, large enough that a file has few. In memory they lie together (see [`Patches`](super::Patches)).
    pub fn default_shape(grid: &Grid<N>) -> [usize; N] {
        let target: &[usize] = match N {
            1 => &[16384],
            2 => &[512, 128],
            _ => &[128, 32, 32],
        };
        let smallest: &[usize] = match N {
            1 => &[256],
            2 => &[32, 16],
            _ => &[16, 8, 8],
        };
        let cells = grid.cells();
        let mut shape: [usize; N] = std::array::from_fn(|a| target[a].min(cells[a]));
        let blocks = |shape: &[usize; N]| (0..N).map(|a| cells[a].div_ceil(shape[a])).product::<usize>();
        while blocks(&shape) < 64 {
            let candidate =
                (0..N).filter(|&a| shape[a] >= 2 * smallest[a]).max_by_key(|&a| (shape[a] / smallest[a], a));
            let Some(a) = candidate else { break };
            shape[a] = shape[a].div_ceil(2);
        }
        // As many blocks as that shape gives, but as equal as can be.
        std::array::from_fn(|a| cells[a].div_ceil(cells[a].div_ceil(shape[a])))
    }

    /// The grid that is cut.
    pub fn grid(&self) -> &Grid<N> {
        &self.grid
    }

    /// The cells along x, y, z of every block that no upper boundary cuts short.
    pub fn shape(&self) -> [usize; N] {
        self.shape
    }

    /// The number of blocks along x, y, z.
    pub fn counts(&self) -> [usize; N] {
        self.counts
    }

    /// The number of all blocks.
    pub fn len(&self) -> usize {
        self.curve.len() as usize
    }

    /// Whether there are no blocks; never, since no grid is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All blocks along the curve.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = BlockId> + use<N> {
        (0..self.curve.len()).map(BlockId)
    }

    /// The address of a block.
    pub fn key(&self, id: BlockId) -> BlockKey<N> {
        BlockKey { level: 0, coordinates: self.curve.block(id.0) }
    }

    /// The cells of a block, without ghosts.
    pub fn region(&self, id: BlockId) -> Region<N> {
        let block = self.curve.block(id.0).map(i64::from);
        self.cells_of(&Region::new(block, block.map(|b| b + 1)))
    }

    /// The cells of a box of blocks.
    pub(super) fn cells_of(&self, blocks: &Region<N>) -> Region<N> {
        let cells = |blocks: [i64; N]| std::array::from_fn(|a| blocks[a] * self.shape[a] as i64);
        Region::new(cells(blocks.lower), cells(blocks.upper)).intersect(&self.grid.region())
    }

    /// The block that has a cell.
    ///
    /// # Panics
    /// If the cell is not in the grid.
    pub fn block_at(&self, cell: Cell<N>) -> BlockId {
        assert!(self.grid.region().contains(cell), "cell {cell:?} is not in a grid of {:?}", self.grid.cells());
        self.id_at(std::array::from_fn(|a| (cell.0[a] as usize / self.shape[a]) as u32))
    }

    /// The block's place in a file: chunks are counted row by row, x fastest.
    pub fn chunk(&self, id: BlockId) -> usize {
        let block = self.curve.block(id.0);
        (0..N).rev().fold(0, |chunk, a| chunk * self.counts[a] + block[a] as usize)
    }

    /// The block at a place in a file.
    pub fn block_of_chunk(&self, chunk: usize) -> BlockId {
        let mut rest = chunk;
        self.id_at(std::array::from_fn(|a| {
            let coordinate = rest % self.counts[a];
            rest /= self.counts[a];
            coordinate as u32
        }))
    }

    /// The blocks that share cells with a region of the grid; cells outside the grid count for nothing.
    pub fn blocks_overlapping(&self, region: &Region<N>) -> Vec<BlockId> {
        let region = region.intersect(&self.grid.region());
        if region.is_empty() {
            return Vec::new();
        }
        let first = std::array::from_fn(|a| region.lower[a] / self.shape[a] as i64);
        let past = std::array::from_fn(|a| (region.upper[a] - 1) / self.shape[a] as i64 + 1);
        Region::new(first, past).cells().map(|block| self.id_at(block.0.map(|b| b as u32))).collect()
    }

    /// The ghosts round a box of blocks, `width` cells deep on every side, cut into pieces that each lie in one block.
    ///
    /// Ghosts beyond a boundary that is not periodic are in no piece. The pieces do not overlap; their order is fixed.
    pub fn ghost_pieces(&self, interior: &Region<N>, width: usize) -> Vec<GhostPiece<N>> {
        let spans: [Vec<Span>; N] =
            std::array::from_fn(|a| self.spans(Axis::new(a), interior.lower[a], interior.upper[a], width as i64));
        let choices = Region::new([0; N], std::array::from_fn(|a| spans[a].len() as i64));
        let pieces = choices.cells().filter_map(|choice| {
            let span: [Span; N] = std::array::from_fn(|a| spans[a][choice.0[a] as usize]);
            let region = Region::new(span.map(|s| s.lower), span.map(|s| s.upper));
            (!interior.encloses(&region)).then(|| {
                let source = self.id_at(span.map(|s| s.block));
                GhostPiece { region, source, shift: Offset(span.map(|s| s.shift)) }
            })
        });
        pieces.collect()
    }

    /// The stretch from `width` cells below `lower` to `width` above `upper`, cut at block faces and wrapped round.
    fn spans(&self, axis: Axis<N>, lower: i64, upper: i64, width: i64) -> Vec<Span> {
        let (cells, shape) = (self.grid.cells()[axis.index()] as i64, self.shape[axis.index()] as i64);
        let mut spans = Vec::new();
        let mut at = lower - width;
        while at < upper + width {
            let image = at.div_euclid(cells);
            let inside = at - image * cells;
            let block = inside / shape;
            let length = ((block + 1) * shape).min(cells) - inside;
            let mut end = (at + length).min(upper + width);
            if at < lower {
                end = end.min(lower);
            } else if at < upper {
                end = end.min(upper);
            }
            if image == 0 || self.grid.periodic()[axis.index()] {
                spans.push(Span { lower: at, upper: end, block: block as u32, shift: (-image * cells) as isize });
            }
            at = end;
        }
        spans
    }

    /// The block at these coordinates among all blocks.
    pub(super) fn id_at(&self, coordinates: [u32; N]) -> BlockId {
        BlockId(self.curve.place(coordinates))
    }
}

/// A stretch of cells along one axis that lies in one block.
#[derive(Clone, Copy)]
struct Span {
    lower: i64,
    upper: i64,
    block: u32,
    shift: isize,
}

#[cfg(test)]
mod tests {
    use super::super::{Partition, Patches, Vector};
    use super::*;
    use proptest::prelude::*;

    fn tiling<const N: usize>(cells: [usize; N], shape: [usize; N], periodic: [bool; N]) -> Tiling<N> {
        Tiling::new(Grid::new(cells, Vector::ZERO, Vector([1.0; N]), periodic).unwrap(), shape).unwrap()
    }

    /// Every ghost within the domain, or beyond a periodic boundary, is in exactly one piece, whose source has its value.
    fn check_pieces<const N: usize>(tiling: &Tiling<N>, width: usize) {
        let cells = tiling.grid().cells();
        let partition = Partition::even(tiling.len(), 2);
        let patches = (0..2).flat_map(|rank| Patches::new(tiling, &partition, rank).regions().to_vec());
        for interior in tiling.ids().map(|id| tiling.region(id)).chain(patches) {
            let pieces = tiling.ghost_pieces(&interior, width);
            for ghost in interior.grow(width as i64).cells().filter(|&cell| !interior.contains(cell)) {
                let here: Vec<_> = pieces.iter().filter(|piece| piece.region.contains(ghost)).collect();
                let reachable =
                    (0..N).all(|a| tiling.grid().periodic()[a] || (0..cells[a] as i64).contains(&ghost.0[a]));
                assert_eq!(here.len(), usize::from(reachable), "ghost {ghost:?} of {interior:?}");
                if let [piece] = here[..] {
                    let wrapped = Cell(std::array::from_fn(|a| ghost.0[a].rem_euclid(cells[a] as i64)));
                    assert_eq!(ghost + piece.shift, wrapped);
                    assert!(tiling.region(piece.source).contains(wrapped));
                }
            }
            let volume: usize = pieces.iter().map(|piece| piece.region.volume()).sum();
            assert!(volume + interior.volume() <= interior.grow(width as i64).volume());
        }
    }

    proptest! {
        #[test]
        fn ghost_pieces_cover_every_ghost_once_in_one_dimension(n in 1usize..40, b in 1usize..12, w in 0usize..9, p: bool) {
            check_pieces(&tiling([n], [b], [p]), w);
        }

        #[test]
        fn ghost_pieces_cover_every_ghost_once_in_two_dimensions(n in prop::array::uniform2(1usize..14), b in prop::array::uniform2(1usize..6), w in 0usize..4, p: [bool; 2]) {
            check_pieces(&tiling(n, b, p), w);
        }

        #[test]
        fn ghost_pieces_cover_every_ghost_once_in_three_dimensions(n in prop::array::uniform3(1usize..7), b in prop::array::uniform3(1usize..4), w in 0usize..3, p: [bool; 3]) {
            check_pieces(&tiling(n, b, p), w);
        }

        #[test]
        fn blocks_tile_the_grid_exactly_once(n in prop::array::uniform3(1usize..12), b in prop::array::uniform3(1usize..6)) {
            let tiling = tiling(n, b, [false; 3]);
            let volume: usize = tiling.ids().map(|id| tiling.region(id).volume()).sum();
            prop_assert_eq!(volume, tiling.grid().volume());
            for id in tiling.ids() {
                prop_assert_eq!(tiling.block_of_chunk(tiling.chunk(id)), id);
                prop_assert_eq!(tiling.blocks_overlapping(&tiling.region(id)), vec![id]);
            }
        }

        #[test]
        fn the_default_shape_is_legal_and_gives_a_sane_number_of_blocks(n in prop::array::uniform3(1usize..2000)) {
            let grid = Grid::new(n, Vector::ZERO, Vector([1.0; 3]), [false; 3]).unwrap();
            let shape = Tiling::default_shape(&grid);
            prop_assert!((0..3).all(|a| (1..=n[a]).contains(&shape[a])));
            prop_assert!(shape.iter().product::<usize>() <= 128 * 32 * 32);
        }
    }

    #[test]
    fn neighbours_on_the_curve_of_a_square_of_blocks_share_a_face() {
        let tiling = tiling([64, 64], [8, 8], [false; 2]);
        let keys: Vec<_> = tiling.ids().map(|id| tiling.key(id).coordinates).collect();
        for pair in keys.windows(2) {
            let distance: u32 = (0..2).map(|a| pair[0][a].abs_diff(pair[1][a])).sum();
            assert_eq!(distance, 1);
        }
    }

    #[test]
    fn too_many_blocks_are_refused_with_a_better_shape() {
        let grid = Grid::new([1000; 3], Vector::ZERO, Vector([1.0; 3]), [false; 3]).unwrap();
        let error = Tiling::new(grid, [1, 1, 1]).unwrap_err().to_string();
        assert!(error.contains("1000000000 blocks") && error.contains("hint: use blocks of"), "{error}");
    }
}
