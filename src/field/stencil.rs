//! One cell and its neighbours, as a kernel sees them; and the loop over cells that makes unchecked reads sound.
//!
//! This is the one file outside `sys/` with `unsafe` code. The proof is short, and every part of it is in this file:
//!
//! 1. [`run_rows`] and [`run_cells`] are only called through [`Bounds::check`] and [`Bounds::run`], which assert that the
//!    region, grown by `reach`, lies in the memory region of the source, that the region lies in that of the other
//!    buffers, and that each buffer has a place for every cell of its own memory region.
//! 2. So for each cell of the region and each offset of at most `reach` along every axis, the position
//!    `at + Σ offset·stride + component·plane` lies in the buffer, if `component < COMPONENTS`.
//! 3. [`Stencil::at`] asserts that the offset is at most `reach`; `read` and `load` ask for no other components. Offset
//!    and reach are constants after inlining, so the assertion costs nothing, and without a bounds check the row
//!    vectorises (measured: 3–4 times faster).
//! 4. A row of at least [`LANES`] cells is computed so many at a time, from its first cell on and at last up to its end:
//!    all of them are cells of the region.
//! 5. Where rows go round, the source is written between rows, by safe code ([`super::ends`]); no stencil outlives the row
//!    that it is of.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::ahead::{Ahead, WRITTEN_AHEAD};
use super::ends::Source;
use super::{Observe, Patch, Record, Scalar};
use crate::grid::{Axis, Cell, Grid, Offset, Region, Vector};
use crate::sys::cache::{LINE, finish_streams, prefetch, stream};

/// Where a kernel reads: one cell and those round it, up to the model's reach.
///
/// It has a pointer and no index, since a vector of neighbouring indices is what the compiler would else compute for each
/// read (measured: a sweep in the cache took 1.3 times as long).
#[derive(Debug)]
pub struct Stencil<'a, S: Record, const N: usize> {
    here: *const S::Scalar,
    shape: Shape<N>,
    reach: usize,
    cell: Cell<N>,
    lower: [f64; N],
    spacing: [f64; N],
    life: PhantomData<&'a [S::Scalar]>,
}

impl<S: Record, const N: usize> Clone for Stencil<'_, S, N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Record, const N: usize> Copy for Stencil<'_, S, N> {}

impl<'a, S: Record, const N: usize> Stencil<'a, S, N> {
    /// The stencil of the cell at a place in the data.
    #[inline(always)]
    fn new(
        data: &'a [S::Scalar],
        at: usize,
        (shape, reach): (Shape<N>, usize),
        cell: Cell<N>,
        (lower, spacing): ([f64; N], [f64; N]),
    ) -> Self {
        Stencil { here: data.as_ptr().wrapping_add(at), shape, reach, cell, lower, spacing, life: PhantomData }
    }

    /// What this cell holds.
    #[inline(always)]
    pub fn here(&self) -> S {
        self.read(0)
    }

    /// What the cell at an offset from this one holds: `u.at(x)`, `u.at(-x)`, `u.at(x + y)`, `u.at(2 * x)`.
    ///
    /// # Panics
    /// If the offset is larger than the model's reach along any axis.
    #[inline(always)]
    pub fn at(&self, offset: impl Into<Offset<N>>) -> S {
        let Offset(offset) = offset.into();
        let mut away = 0isize;
        #[expect(clippy::needless_range_loop, reason = "plain indices become constants in every read")]
        for a in 0..N {
            assert!(offset[a].unsigned_abs() <= self.reach, "a kernel reads farther than its REACH");
            away = away.wrapping_add(offset[a].wrapping_mul(self.shape.stride[a] as isize));
        }
        self.read(away)
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
    fn read(&self, away: isize) -> S {
        S::load(|component| {
            assert!(component < S::COMPONENTS, "a record loads a component that it does not have");
            // SAFETY: `away` leads to a cell within reach of one in the checked region (parts 2 and 3 of the proof above).
            unsafe { *self.here.offset(away + (component * self.shape.plane) as isize) }
        })
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
    Separate(&'a Patch<T, N>),
}

const SOURCE: u8 = 0;
const IN_PLACE: u8 = 1;
const SEPARATE: u8 = 2;

/// How the cells of a patch lie in its memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape<const N: usize> {
    lower: [i64; N],
    pub(super) stride: [usize; N],
    pub(super) plane: usize,
}

impl<const N: usize> Shape<N> {
    fn of<T: Scalar>(patch: &Patch<T, N>) -> Self {
        let Region { lower, .. } = patch.memory();
        Shape { lower, stride: patch.stride(), plane: patch.plane() }
    }

    /// The position of a cell's first component.
    #[inline(always)]
    pub(super) fn position(&self, cell: Cell<N>) -> usize {
        (0..N).map(|a| (cell.0[a] - self.lower[a]) as usize * self.stride[a]).sum()
    }
}

/// What a sweep visits, checked once against the memory that it reads and writes.
pub(super) struct Bounds<const N: usize> {
    pub(super) region: Region<N>,
    pub(super) source: Shape<N>,
    old: Shape<N>,
    out: Shape<N>,
    pub(super) reach: usize,
    /// Whether what the region just below it reads has its ends already, where rows go round.
    pub(super) goes_on: bool,
    /// How many rows have their ends set at once, there.
    pub(super) group: i64,
    /// Whether what is computed is written past the caches.
    pub(super) streams: bool,
    /// From a cell of the region to the one that it is an image of.
    shift: Offset<N>,
    lower: [f64; N],
    spacing: [f64; N],
}

/// No stencil reaches so far; below it, arithmetic on cells cannot overflow.
const FARTHEST: usize = 1 << 31;

/// How many cells are computed at a time: two vectors of AVX-512, so that one hides the other's latency. A row ends with
/// the last so many cells, some of which are computed twice; cell by cell, the odd end of a row took as long as half of a
/// row of 64 (measured).
pub const LANES: usize = 16;

/// The most components of a state that is computed so many cells at a time.
const MOST_COMPONENTS: usize = 16;

impl<const N: usize> Bounds<N> {
    /// Part 1 of the proof.
    ///
    /// # Panics
    /// If the region grown by `reach` does not lie in the memory of the source, or the region not in that of the others; if
    /// the buffers differ in their number of components.
    pub(super) fn check<S: Record>(
        grid: &Grid<N>,
        source: &Patch<S::Scalar, N>,
        old: &Old<'_, S::Scalar, N>,
        out: &Patch<S::Scalar, N>,
        region: &Region<N>,
        shift: Offset<N>,
        reach: usize,
    ) -> Self {
        assert!(reach < FARTHEST, "a reach of {reach} cells is beyond any patch");
        let memory = source.memory();
        // Not by growing the region, whose coordinates may be as large as numbers get.
        let room = |a: usize| {
            let below = region.lower[a].checked_sub(memory.lower[a]);
            let above = memory.upper[a].checked_sub(region.upper[a]);
            below.zip(above).is_some_and(|(below, above)| below.min(above) >= reach as i64)
        };
        assert!(
            region.is_empty() || (0..N).all(room),
            "a sweep over {region:?} with reach {reach} leaves the patch's memory {memory:?}"
        );
        let fits = |patch: &Patch<S::Scalar, N>| {
            patch.components() == S::COMPONENTS && patch.memory().encloses(region) && is_whole(patch)
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
            source: Shape::of(source),
            old,
            out: Shape::of(out),
            reach,
            goes_on: false,
            group: Self::rows_at_once(region.extent()[0]),
            streams: out.is_streamed() && out.is_in_lines(region, LANES),
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
        source: Source<'_, S::Scalar>,
        beside: &[C::Scalar],
        old: Old<'_, S::Scalar, N>,
        out: &mut Patch<S::Scalar, N>,
        kernel: F,
        observe: &mut impl Observe<S>,
    ) {
        let numbers = S::COMPONENTS.checked_mul(self.source.plane);
        assert_eq!(numbers, Some(source.len()), "the source of a sweep differs in shape");
        let numbers = C::COMPONENTS.checked_mul(self.source.plane);
        assert_eq!(numbers, Some(beside.len()), "what lies beside a sweep differs in shape");
        let reads = |old| Inputs { source, beside, old };
        match old {
            Old::Source if self.streams => {
                self.run_from::<S, C, SOURCE, true, _>(reads(&[]), out.data_mut(), &kernel, observe)
            }
            Old::Source => self.run_from::<S, C, SOURCE, false, _>(reads(&[]), out.data_mut(), &kernel, observe),
            Old::InPlace => self.run_from::<S, C, IN_PLACE, false, _>(reads(&[]), out.data_mut(), &kernel, observe),
            Old::Separate(old) if self.streams => {
                self.run_from::<S, C, SEPARATE, true, _>(reads(old.data()), out.data_mut(), &kernel, observe)
            }
            Old::Separate(old) => {
                self.run_from::<S, C, SEPARATE, false, _>(reads(old.data()), out.data_mut(), &kernel, observe)
            }
        }
    }

    fn run_from<
        S: Record,
        C: Record,
        const OLD: u8,
        const STREAMS: bool,
        F: Fn(S, Stencil<'_, S, N>, Stencil<'_, C, N>) -> S,
    >(
        &self,
        reads: Inputs<'_, S, C>,
        out: &mut [S::Scalar],
        kernel: &F,
        observe: &mut impl Observe<S>,
    ) {
        if self.region.extent()[0] >= LANES && S::COMPONENTS <= MOST_COMPONENTS {
            run_rows::<S, C, N, OLD, STREAMS, _, _>(self, reads, out, kernel, observe);
        } else {
            run_cells::<S, C, N, OLD, _, _>(self, reads, out, kernel, observe);
        }
    }
}

/// What a sweep is given to read.
struct Inputs<'a, S: Record, C: Record> {
    source: Source<'a, S::Scalar>,
    beside: &'a [C::Scalar],
    old: &'a [S::Scalar],
}

impl<S: Record, C: Record> Inputs<'_, S, C> {
    /// What a row reads, its own ends set.
    #[inline(always)]
    fn of_row<const N: usize>(&mut self, bounds: &Bounds<N>, first: Cell<N>) -> Reads<'_, S, C> {
        let source = match &mut self.source {
            Source::Fixed(data) => data,
            Source::Round(data) => {
                bounds.turn(data, S::COMPONENTS, first);
                &**data
            }
        };
        Reads { source, beside: self.beside, old: self.old }
    }
}

/// What a kernel reads: the source, what lies beside, and the buffer of values before.
#[derive(Clone, Copy)]
struct Reads<'a, S: Record, C: Record> {
    source: &'a [S::Scalar],
    beside: &'a [C::Scalar],
    old: &'a [S::Scalar],
}

/// A row of a region: its first cell and the places of that in the source, in what is kept, and in what is written.
#[derive(Clone, Copy)]
struct Row<const N: usize> {
    first: Cell<N>,
    from: usize,
    kept: usize,
    to: usize,
}

impl<const N: usize> Row<N> {
    #[inline(always)]
    fn of(bounds: &Bounds<N>, first: Cell<N>) -> Self {
        let Bounds { source, old, out, .. } = bounds;
        Row { first, from: source.position(first), kept: old.position(first), to: out.position(first) }
    }

    /// What the kernel makes of cell `i` of the row.
    #[inline(always)]
    fn compute<S: Record, C: Record, const OLD: u8, F: Fn(S, Stencil<'_, S, N>, Stencil<'_, C, N>) -> S>(
        &self,
        bounds: &Bounds<N>,
        reads: Reads<'_, S, C>,
        out: &[S::Scalar],
        kernel: &F,
        i: usize,
    ) -> S {
        let Bounds { shift, lower, spacing, reach, source, old, .. } = *bounds;
        let mut cell = self.first + shift;
        cell.0[0] += i as i64;
        let u = Stencil::<S, N>::new(reads.source, self.from + i, (source, reach), cell, (lower, spacing));
        let k = Stencil::<C, N>::new(reads.beside, self.from + i, (source, reach), cell, (lower, spacing));
        let before = match OLD {
            SOURCE => u.here(),
            // SAFETY: the cell is one of the checked region, which lies in the memory of `out` and `old` (part 1).
            IN_PLACE => S::load(|c| unsafe { load(out, self.kept + i, c, old.plane, S::COMPONENTS) }),
            // SAFETY: as above.
            _ => S::load(|c| unsafe { load(reads.old, self.kept + i, c, old.plane, S::COMPONENTS) }),
        };
        kernel(before, u, k)
    }
}

/// Whether a patch has a place for each cell of its memory region, with neighbours along x next to each other.
fn is_whole<T: Scalar, const N: usize>(patch: &Patch<T, N>) -> bool {
    let (stride, extent, plane) = (patch.stride(), patch.memory().extent(), patch.plane());
    let room = |a: usize| if a + 1 < N { stride[a + 1] } else { plane };
    stride[0] == 1
        && (0..N).all(|a| stride[a].checked_mul(extent[a]).is_some_and(|taken| taken <= room(a)))
        && plane.checked_mul(patch.components()) == Some(patch.data().len())
}

/// The loop over rows of at least [`LANES`] cells, x innermost: compiled for several widths of vectors, of which the widest
/// that the processor has is taken. All give the same bits, since no product is fused with a sum. As arguments the
/// slices are known not to overlap. The kernel is called at one place only, so that the compiler is ready to put it
/// there. A store past the caches is assembly, after which the compiler reads all that lies behind references again, and
/// what no register has: where nothing `STREAMS`, a loop without it is 1.07 times as fast in the caches (measured).
#[multiversion::multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2"), dispatcher = "direct")]
#[inline(never)]
fn run_rows<
    S: Record,
    C: Record,
    const N: usize,
    const OLD: u8,
    const STREAMS: bool,
    F: Fn(S, Stencil<'_, S, N>, Stencil<'_, C, N>) -> S,
    O: Observe<S>,
>(
    bounds: &Bounds<N>,
    inputs: Inputs<'_, S, C>,
    out: &mut [S::Scalar],
    kernel: &F,
    observe: &mut O,
) {
    let mut inputs = inputs;
    // What is behind a reference must be there if the loop panics, and so would be written each time.
    let mut seen = observe.clone();
    const WIDE: bool = multiversion::target::target_cfg_f!(target_feature = "avx512f");
    let Bounds { region, source: from, out: to, .. } = *bounds;
    let length = region.extent()[0];
    let line = LINE / size_of::<S::Scalar>();
    let ahead = Ahead::of(bounds);
    each_row(&region, |first| {
        let row = Row::of(bounds, first);
        let ahead = row.from.wrapping_add_signed(ahead.of_row(first));
        let reads = inputs.of_row(bounds, first);
        // The ends of a row share a line with those of the rows beside it.
        prefetch(reads.source, ahead.wrapping_sub(line));
        let mut done = 0;
        while done < length {
            let start = done.min(length - LANES);
            for component in 0..S::COMPONENTS {
                let next = ahead.wrapping_add(start + component * from.plane);
                (0..LANES).step_by(line).for_each(|i| prefetch(reads.source, next.wrapping_add(i)));
                if !STREAMS {
                    let next = row.to + start + component * to.plane + WRITTEN_AHEAD;
                    (0..LANES).step_by(line).for_each(|i| prefetch(&*out, next.wrapping_add(i)));
                }
            }
            // Only those of components that the state has are set: of sixteen, that would cost more than all else.
            let mut values = [const { MaybeUninit::<[S::Scalar; LANES]>::uninit() }; MOST_COMPONENTS];
            values[..S::COMPONENTS].iter_mut().for_each(|lanes| _ = lanes.write([S::Scalar::default(); LANES]));
            for i in 0..LANES {
                row.compute::<S, C, OLD, F>(bounds, reads, out, kernel, start + i).store(|component, x| {
                    assert!(component < S::COMPONENTS, "a record stores a component that it does not have");
                    // SAFETY: the lanes of this component are set.
                    unsafe { values[component].assume_init_mut()[i] = x }
                });
            }
            let lanes = |component: usize| {
                assert!(component < S::COMPONENTS, "a record loads a component that it does not have");
                // SAFETY: as above.
                unsafe { values[component].assume_init_ref() }
            };
            // What is overwritten in place is computed once: the second time it is not what it was.
            let skip = if OLD == IN_PLACE { done - start } else { 0 };
            if OLD == IN_PLACE {
                seen.see(LANES - skip, |i| S::load(|c| lanes(c)[skip + i]));
            } else {
                seen.see(LANES, |i| S::load(|c| lanes(c)[i]));
            }
            for component in 0..S::COMPONENTS {
                let first = row.to + start + component * to.plane;
                let (into, values) = (&mut out[first..first + LANES], lanes(component));
                if OLD == IN_PLACE && skip > 0 {
                    into[skip..].copy_from_slice(&values[skip..]);
                // SAFETY: this version of the loop runs on a processor that has what it is compiled for.
                } else if !STREAMS || !unsafe { stream(into, values, WIDE) } {
                    into.copy_from_slice(values);
                }
            }
            done = start + LANES;
        }
    });
    *observe = seen;
    if STREAMS {
        finish_streams();
    }
}

/// The loop over rows of any length, cell by cell.
#[inline(never)]
fn run_cells<
    S: Record,
    C: Record,
    const N: usize,
    const OLD: u8,
    F: Fn(S, Stencil<'_, S, N>, Stencil<'_, C, N>) -> S,
    O: Observe<S>,
>(
    bounds: &Bounds<N>,
    inputs: Inputs<'_, S, C>,
    out: &mut [S::Scalar],
    kernel: &F,
    observe: &mut O,
) {
    let (mut inputs, length) = (inputs, bounds.region.extent()[0]);
    each_row(&bounds.region, |first| {
        let row = Row::of(bounds, first);
        let reads = inputs.of_row(bounds, first);
        for i in 0..length {
            let value = row.compute::<S, C, OLD, F>(bounds, reads, out, kernel, i);
            value.store(|component, x| {
                assert!(component < S::COMPONENTS, "a record stores a component that it does not have");
                // SAFETY: the cell is one of the checked region, which lies in the memory of `out` (part 1).
                unsafe { *out.get_unchecked_mut(row.to + i + component * bounds.out.plane) = x }
            });
            observe.see(1, |_| value);
        }
    });
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
