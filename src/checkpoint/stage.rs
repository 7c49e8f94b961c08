//! The copy that the sweeps wait for: a rank's blocks as they will stand in the file, with their checksums.

use super::checksum::BlockDigest;
use super::header::Header;
use crate::field::{Field, Patch, Scalar};
use crate::grid::{BlockId, Region, Tiling};
use crate::sys::pages::Pages;

/// The blocks of one rank as they will stand in the file; the memory is used again for each checkpoint.
#[derive(Debug, Default)]
pub(super) struct Staging<T> {
    /// The chunks in the order of the file.
    pub chunks: Vec<usize>,
    /// Their numbers, component after component, chunk after chunk.
    pub numbers: Pages<T>,
    /// Their checksums in the same order.
    pub checksums: Vec<u64>,
}

impl<T: Scalar> Staging<T> {
    /// Copies the interiors of all blocks and computes the checksums from the memory copied from, in one pass.
    pub fn fill<const N: usize>(&mut self, header: &Header, tiling: &Tiling<N>, field: &Field<T, N>, threads: usize) {
        let blocks = in_order_of_file(tiling, field);
        let size: usize = tiling.shape().iter().product();
        let count = blocks.len() * field.components();
        self.chunks.clear();
        self.chunks.extend(blocks.iter().map(|block| block.chunk));
        self.numbers.make_room(count * size);
        self.checksums.resize(count, 0);
        copy_blocks(header, tiling, &blocks, threads, &mut self.numbers, &mut self.checksums);
    }
}

/// A block of a rank: its place in a file, its cells, and the patch that has them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed<'f, T, const N: usize> {
    pub chunk: usize,
    pub id: BlockId,
    cells: Region<N>,
    patch: &'f Patch<T, N>,
}

/// The blocks of a rank as they follow each other in a file.
pub(crate) fn in_order_of_file<'f, T: Scalar, const N: usize>(
    tiling: &Tiling<N>,
    field: &'f Field<T, N>,
) -> Vec<Placed<'f, T, N>> {
    let patch = |id| &field.patches()[field.place_of(id)];
    let placed = |id| Placed { chunk: tiling.chunk(id), id, cells: tiling.region(id), patch: patch(id) };
    let mut blocks: Vec<_> = field.blocks().map(placed).collect();
    blocks.sort_unstable_by_key(|block| block.chunk);
    blocks
}

/// Copies the interiors of blocks, component after component, and computes their checksums from the memory copied from.
///
/// The work is shared by `threads` threads. Cells of a chunk beyond the upper boundary become zero.
pub(crate) fn copy_blocks<T: Scalar, const N: usize>(
    header: &Header,
    tiling: &Tiling<N>,
    blocks: &[Placed<'_, T, N>],
    threads: usize,
    numbers: &mut [T],
    checksums: &mut [u64],
) {
    let (shape, count) = (tiling.shape(), checksums.len());
    let size: usize = shape.iter().product();
    if count == 0 {
        return;
    }
    let share = count.div_ceil(threads.max(1));
    let work = |first: usize, numbers: &mut [T], checksums: &mut [u64]| {
        for (i, (target, checksum)) in numbers.chunks_mut(size).zip(checksums).enumerate() {
            let (component, block) = ((first + i) / blocks.len(), &blocks[(first + i) % blocks.len()]);
            let mut digest = BlockDigest::new(header, component, block.chunk);
            copy_block(block, component, shape, target, &mut digest);
            *checksum = digest.finish();
        }
    };
    let mut shares = numbers.chunks_mut(share * size).zip(checksums.chunks_mut(share)).enumerate();
    let own = shares.next();
    std::thread::scope(|scope| {
        for (i, (numbers, checksums)) in shares {
            scope.spawn(move || work(i * share, numbers, checksums));
        }
        if let Some((_, (numbers, checksums))) = own {
            work(0, numbers, checksums);
        }
    });
}

/// Copies one component of a block into a chunk of the given shape, row by row; each row is summed where it comes from.
fn copy_block<T: Scalar, const N: usize>(
    block: &Placed<'_, T, N>,
    component: usize,
    shape: [usize; N],
    target: &mut [T],
    digest: &mut BlockDigest,
) {
    let Placed { cells, patch, .. } = block;
    let (extent, length) = (cells.extent(), shape[0]);
    let source = &patch.data()[component * patch.plane()..][..patch.plane()];
    let mut rows = patch.rows(cells);
    let places = Region::new([0; N], shape.map(|n| n as i64)).rows();
    for (place, target) in places.zip(target.chunks_exact_mut(length)) {
        let inside = (1..N).all(|a| (place.0[a] as usize) < extent[a]);
        let filled = if inside { extent[0] } else { 0 };
        if let Some(row) = inside.then(|| rows.next()).flatten() {
            digest.update(bytemuck::cast_slice(&source[row.clone()]));
            target[..filled].copy_from_slice(&source[row]);
        }
        if filled < length {
            target[filled..].fill(T::default());
            digest.update(bytemuck::cast_slice(&target[filled..]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::checksum::of_block;
    use super::super::header::tests::header;
    use super::*;
    use crate::grid::{Cell, Partition};

    #[test]
    fn chunks_come_in_the_order_of_the_file_and_their_checksums_fit_for_any_threads() {
        let header = header(&[7, 5], &[3, 2], i32::KIND, 2);
        let tiling = header.tiling::<2>().unwrap();
        let partition = Partition::by_cost(&[1.0; 9], 2);
        for rank in 0..2 {
            let mut field = Field::<i32, 2>::new(&tiling, &partition, rank, 2, 2);
            for patch in field.patches_mut() {
                patch.data_mut().fill(-7);
                let (plane, cells) = (patch.plane(), patch.interior().cells());
                for cell in cells {
                    let at = patch.position(cell);
                    patch.data_mut()[at] = (cell.0[0] + 10 * cell.0[1]) as i32;
                    patch.data_mut()[at + plane] = -1;
                }
            }
            for threads in [1, 2, 3, 100] {
                let mut staging = Staging { chunks: vec![9; 4], numbers: Pages::zeroed(1000), checksums: vec![9; 1] };
                staging.fill(&header, &tiling, &field, threads);
                assert!(staging.chunks.is_sorted());
                let places = (0..2).flat_map(|component| staging.chunks.iter().map(move |&chunk| (component, chunk)));
                for (i, (component, chunk)) in places.enumerate() {
                    let numbers = &staging.numbers[6 * i..][..6];
                    assert_eq!(
                        staging.checksums[i],
                        of_block(&header, component, chunk, bytemuck::cast_slice(numbers))
                    );
                    let region = tiling.region(tiling.block_of_chunk(chunk));
                    for (at, number) in Region::new([0, 0], [3, 2]).cells().zip(numbers) {
                        let cell = Cell([region.lower[0] + at.0[0], region.lower[1] + at.0[1]]);
                        let value = if component == 0 { (cell.0[0] + 10 * cell.0[1]) as i32 } else { -1 };
                        assert_eq!(*number, if region.contains(cell) { value } else { 0 });
                    }
                }
            }
        }
    }

    #[test]
    fn a_rank_without_blocks_stages_nothing() {
        let header = header(&[4], &[4], u8::KIND, 1);
        let tiling = header.tiling::<1>().unwrap();
        let field = Field::<u8, 1>::new(&tiling, &Partition::by_cost(&[1.0], 2), 1, 1, 1);
        let mut staging = Staging::default();
        staging.fill(&header, &tiling, &field, 4);
        assert!(staging.chunks.is_empty() && staging.numbers.is_empty() && staging.checksums.is_empty());
    }
}
