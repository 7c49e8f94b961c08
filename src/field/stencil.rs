//! One cell and its neighbours, as a kernel sees them; and the loop over cells that makes unchecked reads sound.
//!
//! This is the one file outside `sys/` with `unsafe` code. The proof is short, and every part of it is in this file:
//!
//! 1. [`run_rows`] is only called by [`super::sweep`] and [`super::sweep_beside`] through [`Bounds::check`] and
//!    [`Bounds::run`], which assert that the region, grown by `reach`, lies in the memory region of the source, and that
//!    all buffers have this memory region and, for their numbers of components, this length.
//! 2. So for each cell of the region and each offset of at most `reach` along every axis, the position
//!    `at + Σ offset·stride + component·plane` lies in the buffer, if `component < COMPONENTS`.
//! 3. [`Stencil::at`] asserts that the offset is at most `reach`; `load` asks for no other components. Offset and reach
//!    are constants after inlining, so the assertion costs nothing, and without a bounds check the row vectorises
//!    (measured: 3–4 times faster).
//! 4. An observer asks for cells of the row that was just written, and asserts that they are.
#![allow(unsafe_code)]

use super::{Block, Record, Scalar};
use crate::grid::{Axis, Cell, Grid, Offset, Region, Vector};

/// Where a kernel reads: one cell and those round it, up to the model's reach.
#[derive(Debug)]
pub struct Stencil<'a, S: Record, const N: usize> {
    data: &'a [S::Scalar],
    at: usize,
    plane: usize,
    stride: [usize; N],
    reach: usize,
    cell: Cell<N>,
    lower: [f64; N],
    spacing: [f64; N],
}

impl<S: Record, const N: usize> Clone for Stencil<'_, S, N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Record, const N: usize> Copy for Stencil<'_, S, N> {}

impl<S: Record, const N: usize> Stencil<'_, S, N> {
    /// What this cell holds.
    #[inline(always)]
    pub fn here(&self) -> S {
        self.read(self.at)
    }

    /// What the cell at an offset from this one holds: `u.at(x)`, `u.at(-x)`, `u.at(x + y)`, `u.at(2 * x)`.
    ///
    /// # Panics
    /// If the offset is larger than the model's reach along any axis.
    #[inline(always)]
    pub fn at(&self, offset: impl Into<Offset<N>>) -> S {
        let Offset(offset) = offset.into();
        let mut at = self.at;
        #[expect(clippy::needless_range_loop, reason = "plain indices become constants in every read")]
        for a in 0..N {
            assert!(offset[a].unsigned_abs() <= self.reach, "a kernel reads farther than its REACH");
            at = at.wrapping_add_signed(offset[a].wrapping_mul(self.stride[a] as isize));
        }
        self.read(at)
    }

    /// The distance between cell centres along an axis.
    #[inline(always)]
    pub fn spacing(&self, axis: Axis<N>) -> f64 {
        self.spacing[axis.index()]
    }

    /// The global coordinates of this cell, always within the grid: a ghost beyond a periodic boundary has those of the
    /// cell that it is an image of.
    #[inline(always)]
    pub fn cell(&self) -> Cell<N> {
        self.cell
    }

    /// The position of this cell's centre.
    #[inline(always)]
    pub fn position(&self) -> Vector<N> {
        Vector(std::array::from_fn(|a| self.lower[a] + (self.cell.0[a] as f64 + 0.5) * self.spacing[a]))
    }

    #[inline(always)]
    fn read(&self, at: usize) -> S {
        // SAFETY: `at` belongs to a cell within reach of one in the checked region (parts 2 and 3 of the proof above).
        S::load(|component| unsafe { load(self.data, at, component, self.plane, S::COMPONENTS) })
    }
}

/// Part 3 of the proof for components: an out-of-range one is refused, and the check folds away for constants.
///
/// # Safety
/// `at + component * plane` must be below the length of `data` for every component below `components`.
#[inline(always)]
unsafe fn load<T: Scalar>(data: &[T], at: usize, component: usize, plane: usize, components: usize) -> T {
    assert!(component < components, "a record loads a component that it does not have");
    // SAFETY: the caller's promise.
    unsafe { *data.get_unchecked(at + component * plane) }
}

/// Where the value from before a stage comes from.
#[derive(Debug, Clone, Copy)]
pub enum Old<'a, T, const N: usize> {
    /// From the source of the stencil itself.
    Source,
    /// From the output, which is overwritten in place.
    InPlace,
    /// From a third buffer.
    Separate(&'a Block<T, N>),
}

const SOURCE: u8 = 0;
const IN_PLACE: u8 = 1;
const SEPARATE: u8 = 2;

/// Looks at rows while they are still in the cache.
pub trait Observe<S: Record> {
    /// Sees the `length` cells of a row that was just written, all of them interior; `get(i)` is cell `i` of it.
    fn row(&mut self, length: usize, get: impl Fn(usize) -> S);
}

impl<S: Record> Observe<S> for () {
    #[inline(always)]
    fn row(&mut self, _: usize, _: impl Fn(usize) -> S) {}
}

/// What a sweep visits, checked once against the memory that it reads and writes.
pub(super) struct Bounds<const N: usize> {
    region: Region<N>,
    interior: Region<N>,
    memory: Region<N>,
    stride: [usize; N],
    plane: usize,
    reach: usize,
    /// From a cell of the region to the one that it is an image of.
    shift: Offset<N>,
    lower: [f64; N],
    spacing: [f64; N],
}

/// No stencil reaches so far; below it, arithmetic on cells cannot overflow.
const FARTHEST: usize = 1 << 31;

impl<const N: usize> Bounds<N> {
    /// Part 1 of the proof.
    ///
    /// # Panics
    /// If the region grown by `reach` does not lie in the memory, or the buffers differ in shape.
    pub(super) fn check<S: Record>(
        grid: &Grid<N>,
        source: &Block<S::Scalar, N>,
        old: &Old<'_, S::Scalar, N>,
        out: &Block<S::Scalar, N>,
        region: &Region<N>,
        shift: Offset<N>,
        reach: usize,
    ) -> Self {
        let memory = source.memory();
        assert!(reach < FARTHEST, "a reach of {reach} cells is beyond any block");
        assert!(
            memory.encloses(&region.grow(reach as i64)),
            "a sweep over {region:?} with reach {reach} leaves the block's memory {memory:?}"
        );
        let alike = |block: &Block<S::Scalar, N>| block.memory() == memory && block.components() == S::COMPONENTS;
        assert!(alike(source) && alike(out), "the buffers of a sweep differ in shape");
        if let Old::Separate(old) = old {
            assert!(alike(old), "the buffers of a sweep differ in shape");
        }
        Bounds {
            region: *region,
            interior: source.interior(),
            memory,
            stride: source.stride(),
            plane: source.plane(),
            reach,
            shift,
            lower: grid.lower().0,
            spacing: grid.spacing().0,
        }
    }

    /// Runs the kernel over all rows; see [`super::sweep`] and, for what lies beside, [`super::sweep_beside`].
    ///
    /// # Panics
    /// If `beside` has not one plane like those of the source for each component of `C`.
    pub(super) fn run<S: Record, C: Record, F: Fn(S, Stencil<'_, S, N>, Stencil<'_, C, N>) -> S>(
        &self,
        source: &Block<S::Scalar, N>,
        beside: &[C::Scalar],
        old: Old<'_, S::Scalar, N>,
        out: &mut Block<S::Scalar, N>,
        kernel: F,
        observe: &mut impl Observe<S>,
    ) {
        assert_eq!(beside.len(), C::COMPONENTS * self.plane, "what lies beside a sweep differs in shape");
        let (from, out) = ((source.data(), beside), out.data_mut());
        match old {
            Old::Source => run_rows::<S, C, N, SOURCE, _>(self, from, from.0, out, kernel, observe),
            Old::InPlace => run_rows::<S, C, N, IN_PLACE, _>(self, from, from.0, out, kernel, observe),
            Old::Separate(old) => run_rows::<S, C, N, SEPARATE, _>(self, from, old.data(), out, kernel, observe),
        }
    }
}

/// The loop over rows, x innermost. Not inlined: as arguments the slices are known not to overlap.
#[inline(never)]
fn run_rows<
    S: Record,
    C: Record,
    const N: usize,
    const OLD: u8,
    F: Fn(S, Stencil<'_, S, N>, Stencil<'_, C, N>) -> S,
>(
    bounds: &Bounds<N>,
    (source, beside): (&[S::Scalar], &[C::Scalar]),
    old: &[S::Scalar],
    out: &mut [S::Scalar],
    kernel: F,
    observe: &mut impl Observe<S>,
) {
    let Bounds { region, interior, memory, stride, plane, reach, shift, lower, spacing } = *bounds;
    let length = region.extent()[0];
    let seen = region.intersect(&interior);
    for row in region.rows() {
        let start: usize = (0..N).map(|a| (row.0[a] - memory.lower[a]) as usize * stride[a]).sum();
        for i in 0..length {
            let at = start + i;
            let mut cell = row + shift;
            cell.0[0] += i as i64;
            let u = Stencil { data: source, at, plane, stride, reach, cell, lower, spacing };
            let k = Stencil { data: beside, at, plane, stride, reach, cell, lower, spacing };
            let before = match OLD {
                SOURCE => u.here(),
                // SAFETY: `at` is a cell of the checked region, and `out` and `old` have the shape of `source` (part 1).
                IN_PLACE => S::load(|c| unsafe { load(out, at, c, plane, S::COMPONENTS) }),
                // SAFETY: as above.
                _ => S::load(|c| unsafe { load(old, at, c, plane, S::COMPONENTS) }),
            };
            let value = kernel(before, u, k);
            value.store(|component, x| {
                assert!(component < S::COMPONENTS, "a record stores a component that it does not have");
                // SAFETY: as above.
                unsafe { *out.get_unchecked_mut(at + component * plane) = x }
            });
        }
        if (1..N).all(|a| (seen.lower[a]..seen.upper[a]).contains(&row.0[a])) {
            let first = start + (seen.lower[0] - row.0[0]) as usize;
            let written = &*out;
            let length = seen.extent()[0];
            observe.row(length, |i| {
                assert!(i < length, "an observer asks for a cell that is not in its row");
                // SAFETY: the cell is one of the checked region.
                S::load(|c| unsafe { load(written, first + i, c, plane, S::COMPONENTS) })
            });
        }
    }
}
