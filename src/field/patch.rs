//! A patch's memory with its ghosts, and all memory of a rank.

use ndarray::{ArrayViewD, ArrayViewMutD, IxDyn, ShapeBuilder, Slice, StrideShape};

use super::{Record, Scalar};
use crate::grid::{BlockId, Cell, Partition, Patches, Region, Tiling};
use crate::sys::cache::{LINE, shared_cache};
use crate::sys::pages::prefer_huge_pages;

/// The memory of one patch, a box of blocks: a plane a component, each `[z, y, x]` with `width` ghosts on every side.
///
/// Where it costs little, rows are so far apart that the interior of each begins with a cache line: a line that a sweep
/// writes whole need not be read before.
#[derive(Debug)]
pub struct Patch<T, const N: usize> {
    interior: Region<N>,
    memory: Region<N>,
    stride: [usize; N],
    components: usize,
    /// Whether sweeps may write past the caches, since what they write may not be read before it would have left them.
    is_streamed: bool,
    /// The numbers, from `lead` on.
    store: Vec<T>,
    lead: usize,
}

/// Rows may be longer by this part of themselves, so that each begins with a cache line.
const PADDING: usize = 8;

/// How far apart neighbours along x, y and z lie in the memory of a patch, and its components.
fn stride_and_plane<const N: usize>(memory: &Region<N>, scalar_bytes: usize) -> ([usize; N], usize) {
    let extent = memory.extent();
    let padded = extent[0].next_multiple_of(LINE / scalar_bytes);
    let mut stride = [1; N];
    for a in 1..N {
        let pays = a == 1 && (padded - extent[0]) * PADDING <= extent[0];
        stride[a] = if pays { padded } else { stride[a - 1] * extent[a - 1] };
    }
    (stride, stride[N - 1] * extent[N - 1])
}

/// The bytes that one component of a patch takes up whose ghosts end where `memory` does.
pub(crate) fn plane_bytes<const N: usize>(memory: &Region<N>, scalar_bytes: usize) -> usize {
    stride_and_plane(memory, scalar_bytes).1 * scalar_bytes
}

impl<T: Scalar, const N: usize> Patch<T, N> {
    /// Zeroed memory for a patch whose interior is `interior`.
    pub fn new(interior: Region<N>, width: usize, components: usize) -> Self {
        let memory = interior.grow(width as i64);
        let (stride, volume) = stride_and_plane(&memory, size_of::<T>());
        Patch { interior, memory, stride, components, is_streamed: false, store: Vec::new(), lead: 0 }
            .with_memory(volume * components)
    }

    /// The same patch with zeroed memory.
    fn with_memory(mut self, length: usize) -> Self {
        let line = LINE / size_of::<T>();
        // What is zeroed here is not touched: its pages will lie where the threads are that write them.
        self.store = vec![T::default(); length + line];
        prefer_huge_pages(&mut self.store);
        let width = (self.interior.lower[0] - self.memory.lower[0]) as usize;
        let first = self.store.as_ptr().addr() / size_of::<T>() + width;
        self.lead = first.next_multiple_of(line) - first;
        self
    }

    /// The cells that the patch owns.
    pub fn interior(&self) -> Region<N> {
        self.interior
    }

    /// The cells that it has memory for: the interior and the ghosts.
    pub fn memory(&self) -> Region<N> {
        self.memory
    }

    /// The number of components.
    pub fn components(&self) -> usize {
        self.components
    }

    /// The distance in memory between cells that are neighbours along x, y, z.
    pub fn stride(&self) -> [usize; N] {
        self.stride
    }

    /// The distance in memory between two components of a cell.
    pub fn plane(&self) -> usize {
        self.stride[N - 1] * self.memory.extent()[N - 1]
    }

    /// The same patch, over which sweeps may write past the caches.
    pub(super) fn streamed(mut self) -> Self {
        self.is_streamed = true;
        self
    }

    /// Whether sweeps may write past the caches.
    pub(crate) fn is_streamed(&self) -> bool {
        self.is_streamed
    }

    /// Whether the rows of a region are whole cache lines, and so are `lanes` numbers. If some of what a sweep writes went past
    /// the caches and some did not, the one would wait for the other: that took four times as long (measured).
    pub(super) fn is_in_lines(&self, region: &Region<N>, lanes: usize) -> bool {
        let line = LINE / size_of::<T>();
        let first = self.data().as_ptr().addr() / size_of::<T>() + self.position(Cell(region.lower));
        let apart = [self.plane()].into_iter().chain(self.stride.into_iter().skip(1));
        lanes.is_multiple_of(line)
            && region.extent()[0].is_multiple_of(line)
            && first.is_multiple_of(line)
            && apart.into_iter().all(|far| far.is_multiple_of(line))
    }

    /// The position of a cell's first component in the memory.
    ///
    /// # Panics
    /// If the patch has no memory for the cell.
    #[inline]
    pub fn position(&self, cell: Cell<N>) -> usize {
        assert!(self.memory.contains(cell), "cell {cell:?} is outside of the patch's memory {:?}", self.memory);
        (0..N).map(|a| (cell.0[a] - self.memory.lower[a]) as usize * self.stride[a]).sum()
    }

    /// All numbers, component after component; what lies between rows belongs to no cell.
    pub fn data(&self) -> &[T] {
        &self.store[self.lead..][..self.plane() * self.components]
    }

    /// All numbers, component after component, to be changed.
    pub fn data_mut(&mut self) -> &mut [T] {
        let length = self.plane() * self.components;
        &mut self.store[self.lead..][..length]
    }

    /// One component with its ghosts as an array `[z, y, x]`.
    pub fn array(&self, component: usize) -> ArrayViewD<'_, T> {
        let plane = &self.data()[component * self.plane()..][..self.plane()];
        ArrayViewD::from_shape(self.shape(), plane).expect("a plane has a place for each of its cells")
    }

    /// One component's interior as an array `[z, y, x]`.
    pub fn interior_array(&self, component: usize) -> ArrayViewD<'_, T> {
        let (inner, mut view) = (self.inner(), self.array(component));
        for (axis, slice) in inner.into_iter().enumerate() {
            view.slice_axis_inplace(ndarray::Axis(axis), slice);
        }
        view
    }

    /// One component's interior as an array `[z, y, x]`, to be changed.
    pub fn interior_array_mut(&mut self, component: usize) -> ArrayViewMutD<'_, T> {
        let (inner, shape, volume) = (self.inner(), self.shape(), self.plane());
        let plane = &mut self.data_mut()[component * volume..][..volume];
        let mut view = ArrayViewMutD::from_shape(shape, plane).expect("a plane has a place for each of its cells");
        for (axis, slice) in inner.into_iter().enumerate() {
            view.slice_axis_inplace(ndarray::Axis(axis), slice);
        }
        view
    }

    /// The rows along x of a region, as ranges of positions in one component's plane.
    ///
    /// # Panics
    /// If the patch has no memory for the region.
    pub fn rows(&self, region: &Region<N>) -> impl Iterator<Item = std::ops::Range<usize>> + use<T, N> {
        assert!(self.memory.encloses(region), "region {region:?} is outside of the patch's memory {:?}", self.memory);
        let (lower, stride, length) = (self.memory.lower, self.stride, region.extent()[0]);
        region.rows().map(move |row| {
            let start: usize = (0..N).map(|a| (row.0[a] - lower[a]) as usize * stride[a]).sum();
            start..start + length
        })
    }

    /// What a cell holds.
    ///
    /// # Panics
    /// If the patch has no memory for the cell.
    pub fn get<S: Record<Scalar = T>>(&self, cell: Cell<N>) -> S {
        let (at, plane, data) = (self.position(cell), self.plane(), self.data());
        S::load(|c| data[at + c * plane])
    }

    /// Sets what a cell holds.
    ///
    /// # Panics
    /// If the patch has no memory for the cell.
    pub fn set<S: Record<Scalar = T>>(&mut self, cell: Cell<N>, value: S) {
        let (at, plane) = (self.position(cell), self.plane());
        let data = self.data_mut();
        value.store(|c, x| data[at + c * plane] = x);
    }

    /// How the cells of a component lie in its plane, along z, y, x.
    fn shape(&self) -> StrideShape<IxDyn> {
        let reversed = |of: [usize; N]| of.into_iter().rev().collect::<Vec<_>>();
        IxDyn(&reversed(self.memory.extent())).strides(IxDyn(&reversed(self.stride)))
    }

    /// The interior within the memory, along z, y, x.
    fn inner(&self) -> [Slice; N] {
        let extent = self.interior.extent();
        std::array::from_fn(|axis| {
            let a = N - 1 - axis;
            let start = (self.interior.lower[a] - self.memory.lower[a]) as isize;
            Slice::new(start, Some(start + extent[a] as isize), 1)
        })
    }
}

impl<T: Scalar, const N: usize> Clone for Patch<T, N> {
    fn clone(&self) -> Self {
        let Patch { interior, memory, stride, components, is_streamed, .. } = *self;
        // Another memory begins elsewhere within a cache line.
        let mut copy = Patch { interior, memory, stride, components, is_streamed, store: Vec::new(), lead: 0 }
            .with_memory(self.data().len());
        copy.data_mut().copy_from_slice(self.data());
        copy
    }
}

/// The cells of one rank, in patches that all have ghosts of the same width.
#[derive(Debug)]
pub struct Field<T, const N: usize> {
    patches: Vec<Patch<T, N>>,
    places: Patches<N>,
    width: usize,
    components: usize,
}

impl<T: Scalar, const N: usize> Clone for Field<T, N> {
    fn clone(&self) -> Self {
        Field { patches: self.patches.clone(), places: self.places.clone(), ..*self }
    }
}

impl<T: Scalar, const N: usize> Field<T, N> {
    /// Zeroed memory for one rank.
    pub fn new(tiling: &Tiling<N>, partition: &Partition, rank: usize, width: usize, components: usize) -> Self {
        let places = Patches::new(tiling, partition, rank);
        let patches = places.regions().iter().map(|&region| Patch::new(region, width, components)).collect();
        let mut field = Field { patches, places, width, components };
        // What a sweep reads and what it writes fill the caches together. Past the caches, a sweep over 256³ cells took 0.7 of
        // the time (measured).
        let room = partition.threads() * shared_cache() / 2;
        if field.bytes() >= room {
            field.patches = field.patches.into_iter().map(Patch::streamed).collect();
        }
        field
    }

    /// The patches; none on a spare rank.
    pub fn patches(&self) -> &[Patch<T, N>] {
        &self.patches
    }

    /// The patches, to be changed.
    pub fn patches_mut(&mut self) -> &mut [Patch<T, N>] {
        &mut self.patches
    }

    /// The blocks along the curve whose cells are here; none on a spare rank.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = BlockId> + use<T, N> {
        self.places.blocks()
    }

    /// The place of the patch that has a block.
    ///
    /// # Panics
    /// If the block is not here.
    pub fn place_of(&self, id: BlockId) -> usize {
        self.places.of(id)
    }

    /// How many ghosts there are on every side of a patch.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The number of components of a cell.
    pub fn components(&self) -> usize {
        self.components
    }

    /// The number of cells that the rank owns.
    pub fn volume(&self) -> usize {
        self.patches.iter().map(|patch| patch.interior().volume()).sum()
    }

    /// The bytes that the patches take up, ghosts included.
    pub fn bytes(&self) -> usize {
        self.patches.iter().map(|patch| std::mem::size_of_val(patch.data())).sum()
    }

    /// A fingerprint of the interiors: the sum, modulo 2^64, of a hash of each number and its place in the domain.
    ///
    /// The sum over all ranks is the same for any patches and ranks, and differs if any bit of the state differs.
    pub fn fingerprint(&self, tiling: &Tiling<N>) -> u64 {
        let mut sum = 0u64;
        for patch in &self.patches {
            let (interior, plane, data) = (patch.interior(), patch.plane(), patch.data());
            for (row, range) in interior.rows().zip(patch.rows(&interior)) {
                let first = tiling.grid().number(row) as u64;
                for component in 0..self.components {
                    let salt = crate::grid::random::mix(component as u64);
                    let values = &data[component * plane..][range.clone()];
                    for (i, value) in values.iter().enumerate() {
                        let place = crate::grid::random::mix(salt ^ (first + i as u64));
                        sum = sum.wrapping_add(crate::grid::random::mix(place ^ value.to_bits64()));
                    }
                }
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::{Grid, Vector};

    fn field(shape: [usize; 2], ranks: usize, rank: usize) -> (Tiling<2>, Field<f64, 2>) {
        let grid = Grid::new([7, 5], Vector::ZERO, Vector([1.0; 2]), [true; 2]).unwrap();
        let tiling = Tiling::new(grid, shape).unwrap();
        let partition = Partition::by_cost(&vec![1.0; tiling.len()], ranks);
        let mut field = Field::new(&tiling, &partition, rank, 2, 1);
        for patch in field.patches_mut() {
            for cell in patch.interior().cells() {
                patch.set(cell, (cell.0[0] + 100 * cell.0[1]) as f64);
            }
        }
        (tiling, field)
    }

    #[test]
    fn arrays_are_indexed_z_y_x() {
        let (_, field) = field([7, 5], 1, 0);
        let patch = &field.patches()[0];
        assert_eq!(patch.array(0).shape(), [9, 11]);
        assert_eq!(patch.interior_array(0).shape(), [5, 7]);
        assert_eq!(patch.interior_array(0)[[4, 6]], 406.0);
        assert_eq!(patch.array(0)[[2, 3]], 1.0);
        assert_eq!(patch.get::<f64>(Cell([3, 2])), 203.0);
    }

    #[test]
    fn a_patch_without_ghosts_is_all_interior() {
        let mut patch = Patch::<f64, 2>::new(Region::new([2, 1], [5, 3]), 0, 1);
        patch.interior_array_mut(0).fill(1.0);
        assert_eq!(patch.interior_array(0).shape(), [2, 3]);
        assert_eq!(patch.data(), [1.0; 6]);
    }

    #[test]
    fn rows_are_contiguous_in_memory() {
        let (_, field) = field([7, 5], 1, 0);
        let patch = &field.patches()[0];
        let rows: Vec<_> = patch.rows(&Region::new([1, 1], [3, 3])).map(|r| patch.data()[r].to_vec()).collect();
        assert_eq!(rows, [[101.0, 102.0], [201.0, 202.0]]);
    }

    #[test]
    fn the_fingerprint_is_the_same_for_any_blocks_and_ranks() {
        let (tiling, whole) = field([7, 5], 1, 0);
        let expected = whole.fingerprint(&tiling);
        for shape in [[2, 2], [7, 1], [3, 4]] {
            for ranks in 1..5 {
                let parts = (0..ranks).map(|rank| {
                    let (tiling, part) = field(shape, ranks, rank);
                    part.fingerprint(&tiling)
                });
                assert_eq!(parts.fold(0, u64::wrapping_add), expected);
            }
        }
    }

    #[test]
    fn the_fingerprint_notices_one_bit_and_a_swap() {
        let (tiling, mut field) = field([7, 5], 1, 0);
        let expected = field.fingerprint(&tiling);
        let patch = &mut field.patches_mut()[0];
        let (a, b) = (patch.get::<f64>(Cell([0, 0])), patch.get::<f64>(Cell([1, 0])));
        patch.set(Cell([0, 0]), b);
        patch.set(Cell([1, 0]), a);
        assert_ne!(field.fingerprint(&tiling), expected);
        let patch = &mut field.patches_mut()[0];
        patch.set(Cell([0, 0]), -a);
        patch.set(Cell([1, 0]), b);
        assert_ne!(field.fingerprint(&tiling), expected, "0 and -0 differ in a bit");
    }
}
