//! One cell and its neighbours, as a kernel sees them; and the loop over cells that makes unchecked reads sound.
//!
//! This is the one file outside `sys/` with `unsafe` code. The proof is short, and every part of it is in this file:
//!
//! 1. [`run_rows`] is only called by [`super::sweep`] and [`super::sweep_beside`] through [`Bounds::check`] and
//!    [`Bounds::run`], which assert that the region, grown by `reach`, lies in the memory region of the source, that the
//!    region lies in that of the other buffers, and that each buffer has a place for every cell of its own memory region.
//! 2. So for each cell of the region and each offset of at most `reach` along every axis, the position
//!    `at + Σ offset·stride + component·plane` lies in the buffer, if `component < COMPONENTS`.
//! 3. [`Stencil::at`] asserts that the offset is at most `reach`; `load` asks for no other components. Offset and reach
//!    are constants after inlining, so the assertion costs nothing, and without a bounds check the row vectorises
//!    (measured: 3–4 times faster).
//! 4. An observer asks for cells of the row that was just written, and asserts that they are.
#![allow(unsafe_code)]

use super::{Block, Record, Scalar};
use crate::grid::{Axis, Cell, Grid, Offset, Region, Vector};
use crate::sys::cache::{LINE, finish_streams, prefetch, stream};

/// Where a kernel reads: one cell and those round it, up to the model's reach.
#[derive(Debug)]
pub struct Stencil<'a, S: Record, const N: usize> {
    data: &'a [S::Scalar],
    at: usize,
    shape: Shape<N>,
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
            at = at.wrapping_add_signed(offset[a].wrapping_mul(self.shape.stride[a] as isize));
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
        S::load(|component| unsafe { load(self.data, at, component, self.shape.plane, S::COMPONENTS) })
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

/// Looks at values while they are still in the cache.
pub trait Observe<S: Record> {
    /// Whether a value may stay. It is asked of every value in the loop that computes it, which it must not slow down: of
    /// the ghosts that a sweep computes, too, and of some cells twice.
    fn admits(&self, value: S) -> bool;
    /// Whether it looks at the values of rows again, once they are written.
    fn looks_back(&self) -> bool;
    /// Sees a row that was just written: whether all of its values are admitted, and the `length` cells of it that are
    /// interior; `get(i)` is cell `i` of them.
    fn row(&mut self, admitted: bool, length: usize, get: impl Fn(usize) -> S);
}

impl<S: Record> Observe<S> for () {
    #[inline(always)]
    fn admits(&self, _: S) -> bool {
        true
    }

    #[inline(always)]
    fn looks_back(&self) -> bool {
        false
    }

    #[inline(always)]
    fn row(&mut self, _: bool, _: usize, _: impl Fn(usize) -> S) {}
}

/// How the cells of a block lie in its memory.
#[derive(Debug, Clone, Copy)]
struct Shape<const N: usize> {
    lower: [i64; N],
    stride: [usize; N],
    plane: usize,
}

impl<const N: usize> Shape<N> {
    fn of<T: Scalar>(block: &Block<T, N>) -> Self {
        let Region { lower, .. } = block.memory();
        Shape { lower, stride: block.stride(), plane: block.plane() }
    }

    /// The position of a cell's first component.
    #[inline(always)]
    fn position(&self, cell: Cell<N>) -> usize {
        (0..N).map(|a| (cell.0[a] - self.lower[a]) as usize * self.stride[a]).sum()
    }
}

/// What a sweep visits, checked once against the memory that it reads and writes.
pub(super) struct Bounds<const N: usize> {
    region: Region<N>,
    interior: Region<N>,
    source: Shape<N>,
    old: Shape<N>,
    out: Shape<N>,
    reach: usize,
    /// Whether what is computed is written past the caches.
    streams: bool,
    /// From a cell of the region to the one that it is an image of.
    shift: Offset<N>,
    lower: [f64; N],
    spacing: [f64; N],
}

/// No stencil reaches so far; below it, arithmetic on cells cannot overflow.
const FARTHEST: usize = 1 << 31;

/// How many cells of a state of one number are computed at a time: two vectors of AVX-512, so that one hides the other's
/// latency. A row ends with the last so many cells, some of which are computed twice; cell by cell, the odd end of a row
/// took as long as half of a row of 64 (measured).
const LANES: usize = 16;

/// How many cells ahead of its use a row of the farthest layer is asked for. The processor follows rows by itself, but not
/// from one layer to the next: without this, a sweep over memory took 1.4 times as long (measured).
const AHEAD: usize = 1024;

impl<const N: usize> Bounds<N> {
    /// Part 1 of the proof.
    ///
    /// # Panics
    /// If the region grown by `reach` does not lie in the memory of the source, or the region not in that of the others; if
    /// the buffers differ in their number of components.
    pub(super) fn check<S: Record>(
        grid: &Grid<N>,
        source: &Block<S::Scalar, N>,
        old: &Old<'_, S::Scalar, N>,
        out: &Block<S::Scalar, N>,
        region: &Region<N>,
        shift: Offset<N>,
        reach: usize,
    ) -> Self {
        assert!(reach < FARTHEST, "a reach of {reach} cells is beyond any block");
        let memory = source.memory();
        assert!(
            memory.encloses(&region.grow(reach as i64)),
            "a sweep over {region:?} with reach {reach} leaves the block's memory {memory:?}"
        );
        let fits = |block: &Block<S::Scalar, N>| {
            block.components() == S::COMPONENTS && block.memory().encloses(region) && is_whole(block)
        };
        assert!(fits(source) && fits(out), "the buffers of a sweep differ in shape");
        let old = match old {
            Old::Source => Shape::of(source),
            Old::InPlace => Shape::of(out),
            Old::Separate(old) => {
                assert!(fits(old), "the buffers of a sweep differ in shape");
                Shape::of(old)
            }
        };
        Bounds {
            region: *region,
            interior: out.interior(),
            source: Shape::of(source),
            old,
            out: Shape::of(out),
            reach,
            streams: out.is_streamed(),
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
        assert_eq!(beside.len(), C::COMPONENTS * self.source.plane, "what lies beside a sweep differs in shape");
        let (from, out) = ((source.data(), beside), out.data_mut());
        match old {
            Old::Source => run_rows::<S, C, N, SOURCE, _, _>(self, from, from.0, out, &kernel, observe),
            Old::InPlace => run_rows::<S, C, N, IN_PLACE, _, _>(self, from, from.0, out, &kernel, observe),
            Old::Separate(old) => run_rows::<S, C, N, SEPARATE, _, _>(self, from, old.data(), out, &kernel, observe),
        }
    }
}

/// Whether a block has a place for each cell of its memory region, with neighbours along x next to each other.
fn is_whole<T: Scalar, const N: usize>(block: &Block<T, N>) -> bool {
    let (stride, extent, plane) = (block.stride(), block.memory().extent(), block.plane());
    let room = |a: usize| if a + 1 < N { stride[a + 1] } else { plane };
    stride[0] == 1
        && (0..N).all(|a| stride[a].checked_mul(extent[a]).is_some_and(|taken| taken <= room(a)))
        && plane.checked_mul(block.components()) == Some(block.data().len())
}

/// The loop over rows, x innermost: compiled for several widths of vectors, of which the widest that the processor has is
/// taken. All give the same bits, since no product is fused with a sum. As arguments the slices are known not to overlap.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2"), dispatcher = "direct")]
#[inline(never)]
fn run_rows<
    S: Record,
    C: Record,
    const N: usize,
    const OLD: u8,
    F: Fn(S, Stencil<'_, S, N>, Stencil<'_, C, N>) -> S,
    O: Observe<S>,
>(
    bounds: &Bounds<N>,
    (source, beside): (&[S::Scalar], &[C::Scalar]),
    old: &[S::Scalar],
    out: &mut [S::Scalar],
    kernel: &F,
    observe: &mut O,
) {
    let Bounds { region, interior, reach, shift, lower, spacing, .. } = *bounds;
    let (from, kept, to) = (bounds.source, bounds.old, bounds.out);
    let length = region.extent()[0];
    let seen = region.intersect(&interior);
    // What the observer looks at again must not have left the caches.
    let streams = bounds.streams && S::COMPONENTS == 1 && OLD != IN_PLACE && !observe.looks_back();
    let (rows, ahead) = (region.extent()[N.min(2) - 1] as i64, AHEAD.div_ceil(length) as i64);
    each_row(&region, |row| {
        let (at, kept_at, to_at) = (from.position(row), kept.position(row), to.position(row));
        if N == 3 && reach > 0 && ahead < rows {
            // Beyond the last row of a layer, the first ones of the next.
            let (rows_on, layers_on) =
                if row.0[1] + ahead < region.upper[1] { (ahead, reach) } else { (ahead - rows, reach + 1) };
            let next =
                (at + layers_on * from.stride[2]).wrapping_add_signed(rows_on as isize * from.stride[1] as isize);
            for component in 0..S::COMPONENTS {
                for i in (0..length).step_by(LINE / size_of::<S::Scalar>()) {
                    prefetch(source, next + i + component * from.plane);
                }
            }
        }
        let compute = |out: &[S::Scalar], i: usize| {
            let mut cell = row + shift;
            cell.0[0] += i as i64;
            let u = Stencil { data: source, at: at + i, shape: from, reach, cell, lower, spacing };
            let k = Stencil { data: beside, at: at + i, shape: from, reach, cell, lower, spacing };
            let before = match OLD {
                SOURCE => u.here(),
                // SAFETY: the cell is one of the checked region, which lies in the memory of `out` and `old` (part 1).
                IN_PLACE => S::load(|c| unsafe { load(out, kept_at + i, c, kept.plane, S::COMPONENTS) }),
                // SAFETY: as above.
                _ => S::load(|c| unsafe { load(old, kept_at + i, c, kept.plane, S::COMPONENTS) }),
            };
            kernel(before, u, k)
        };
        let mut admitted = true;
        if S::COMPONENTS == 1 && OLD != IN_PLACE && length >= LANES {
            let mut start = 0;
            while start < length {
                start = start.min(length - LANES);
                let (mut values, mut all) = ([S::Scalar::default(); LANES], true);
                for (i, place) in values.iter_mut().enumerate() {
                    let value = compute(&[], start + i);
                    value.store(|_, x| *place = x);
                    all &= observe.admits(value);
                }
                admitted &= all;
                let first = to_at + start;
                let into = &mut out[first..first + LANES];
                if !streams || !stream(into, &values) {
                    into.copy_from_slice(&values);
                }
                start += LANES;
            }
        } else {
            for i in 0..length {
                let value = compute(out, i);
                value.store(|component, x| {
                    assert!(component < S::COMPONENTS, "a record stores a component that it does not have");
                    // SAFETY: as above.
                    unsafe { *out.get_unchecked_mut(to_at + i + component * to.plane) = x }
                });
                admitted &= observe.admits(value);
            }
        }
        let is_seen = (1..N).all(|a| (seen.lower[a]..seen.upper[a]).contains(&row.0[a]));
        let length = if is_seen { seen.extent()[0] } else { 0 };
        let first = to_at + (seen.lower[0] - row.0[0]).max(0) as usize;
        let written = &*out;
        observe.row(admitted, length, |i| {
            assert!(i < length, "an observer asks for a cell that is not in its row");
            // SAFETY: the cell is one of the checked region.
            S::load(|c| unsafe { load(written, first + i, c, to.plane, S::COMPONENTS) })
        });
    });
    if streams {
        finish_streams();
    }
}

/// Visits the first cell of each row of a region, y before z: without the divisions of an iterator over all of them, which
/// rows of few cells feel.
#[inline(always)]
fn each_row<const N: usize>(region: &Region<N>, mut visit: impl FnMut(Cell<N>)) {
    if region.is_empty() {
        return;
    }
    let range = |a: usize| if a < N { region.lower[a]..region.upper[a] } else { 0..1 };
    let mut row = Cell(region.lower);
    for z in range(2) {
        for y in range(1) {
            for (a, place) in row.0.iter_mut().enumerate().skip(1) {
                *place = if a == 1 { y } else { z };
            }
            visit(row);
        }
    }
}
