//! One pass of a kernel over a region of a patch.

use super::ends::Source;
use super::stencil::Bounds;
use super::{Observe, Old, Patch, Record, Stencil};
use crate::grid::{Grid, Offset, Region};

/// Sets every cell of `region` in `out` to `kernel(before, u)`, where `u` reads `source` round the cell and `before` is
/// what `old` names; and shows the values to `observe` as they are computed (see [`Observe::see`]).
///
/// Rows run along x, which is contiguous, so that the compiler can vectorise the kernel; towards the end of a row it may be
/// called twice for a cell, with [`Old::InPlace`] the second time with what the first has made of it, which is thrown away.
/// The region may reach into the ghosts, as far as `source` has valid values within `reach` of it.
///
/// # Panics
/// If the region grown by `reach` leaves the patch's memory, or the buffers differ in shape.
///
/// # Example
/// ```
/// use steadfast::field::{sweep, Patch, Old};
/// use steadfast::grid::{Axis, Cell, Grid, Region, Vector};
///
/// let grid = Grid::new([8], Vector([0.0]), Vector([8.0]), [true]).unwrap();
/// let mut u = Patch::<f64, 1>::new(grid.region(), 1, 1);
/// let mut mean = u.clone();
/// for cell in u.memory().cells() {
///     u.set(cell, cell.0[0] as f64);
/// }
/// let x = Axis::new(0);
/// sweep(&grid, &u, Old::Source, &mut mean, &grid.region(), 1, |_: f64, u| 0.5 * (u.at(-x) + u.at(x)), &mut ());
/// assert_eq!(mean.get::<f64>(Cell([3])), 3.0);
/// ```
#[expect(clippy::too_many_arguments, reason = "a sweep is what these eight say, and each is of its own type")]
pub fn sweep<S: Record, const N: usize>(
    grid: &Grid<N>,
    source: &Patch<S::Scalar, N>,
    old: Old<'_, S::Scalar, N>,
    out: &mut Patch<S::Scalar, N>,
    region: &Region<N>,
    reach: usize,
    kernel: impl Fn(S, Stencil<'_, S, N>) -> S,
    observe: &mut impl Observe<S>,
) {
    each_image(grid, *region, N, Offset::ZERO, &mut |part, shift| {
        let bounds = Bounds::check::<S>(grid, source, &old, out, part, shift, reach);
        bounds.run::<S, (), _>(Source::Fixed(source.data()), &[], old, out, |before, u, _| kernel(before, u), observe);
    });
}

/// What a sweep over a patch of a run is told of its rows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rows {
    /// Whether they go once round a periodic domain: what lies beyond their ends within reach is set before it is read, in all
    /// rows of the source that the region reads.
    pub round: bool,
    /// Whether the slab just below the region has been swept: what that has read has its ends.
    pub goes_on: bool,
    /// Whether what is computed is read again soon, so that it should not be written past the caches.
    pub stays: bool,
}

/// As [`sweep`], with more to be told.
///
/// # Panics
/// As [`sweep`], and if the region has not whole rows where they go round.
#[expect(clippy::too_many_arguments, reason = "as a sweep")]
pub(crate) fn sweep_rows<S: Record, const N: usize>(
    grid: &Grid<N>,
    source: &mut Patch<S::Scalar, N>,
    rows: Rows,
    old: Old<'_, S::Scalar, N>,
    out: &mut Patch<S::Scalar, N>,
    region: &Region<N>,
    reach: usize,
    kernel: impl Fn(S, Stencil<'_, S, N>) -> S,
    observe: &mut impl Observe<S>,
) {
    let ends = |region: &Region<N>| (region.lower[0], region.upper[0]);
    assert!(!rows.round || ends(region) == ends(&source.interior()), "rows that go round are swept from end to end");
    each_image(grid, *region, N, Offset::ZERO, &mut |part, shift| {
        let bounds = Bounds::check::<S>(grid, source, &old, out, part, shift, reach).told(rows.goes_on, rows.stays);
        let source = if rows.round { Source::Round(source.data_mut()) } else { Source::Fixed(source.data()) };
        bounds.run::<S, (), _>(source, &[], old, out, |before, u, _| kernel(before, u), observe);
    });
}

/// Sets every cell of `region` in `out` to `kernel(u, k)`, where `u` reads `source` round the cell and `k` reads `beside`:
/// coefficients, say, that lie in a field of their own.
///
/// In all else it is as [`sweep`].
///
/// # Panics
/// If the region grown by `reach` leaves the patch's memory, or the buffers differ in shape.
///
/// # Example
/// ```
/// use steadfast::field::{sweep_beside, Patch, Stencil};
/// use steadfast::grid::{Axis, Cell, Grid, Region, Vector};
///
/// let grid = Grid::new([8], Vector([0.0]), Vector([8.0]), [true]).unwrap();
/// let mut u = Patch::<f64, 1>::new(grid.region(), 1, 1);
/// let (mut conductivity, mut flux) = (u.clone(), u.clone());
/// for cell in u.memory().cells() {
///     u.set(cell, cell.0[0] as f64);
///     conductivity.set(cell, 2.0);
/// }
/// let x = Axis::new(0);
/// let kernel = |u: Stencil<'_, f64, 1>, k: Stencil<'_, f64, 1>| k.here() * (u.here() - u.at(-x));
/// sweep_beside(&grid, &u, &conductivity, &mut flux, &grid.region(), 1, kernel);
/// assert_eq!(flux.get::<f64>(Cell([3])), 2.0);
/// ```
pub fn sweep_beside<S: Record, C: Record<Scalar = S::Scalar>, const N: usize>(
    grid: &Grid<N>,
    source: &Patch<S::Scalar, N>,
    beside: &Patch<C::Scalar, N>,
    out: &mut Patch<S::Scalar, N>,
    region: &Region<N>,
    reach: usize,
    kernel: impl Fn(Stencil<'_, S, N>, Stencil<'_, C, N>) -> S,
) {
    assert_eq!(beside.memory(), source.memory(), "what lies beside a sweep differs in shape");
    each_image(grid, *region, N, Offset::ZERO, &mut |part, shift| {
        let bounds = Bounds::check::<S>(grid, source, &Old::Source, out, part, shift, reach);
        bounds.run::<S, C, _>(
            Source::Fixed(source.data()),
            beside.data(),
            Old::Source,
            out,
            |_, u, k| kernel(u, k),
            &mut (),
        );
    });
}

/// Cuts a region at the faces of the grid's periodic axes below `axes`, and gives each part with the way from its cells to
/// those that they are images of. A region within the grid is one part.
fn each_image<const N: usize>(
    grid: &Grid<N>,
    region: Region<N>,
    axes: usize,
    shift: Offset<N>,
    visit: &mut impl FnMut(&Region<N>, Offset<N>),
) {
    if region.is_empty() {
        return;
    }
    let Some(a) = axes.checked_sub(1) else { return visit(&region, shift) };
    if !grid.periodic()[a] {
        return each_image(grid, region, a, shift, visit);
    }
    let cells = grid.cells()[a] as i64;
    let mut part = region;
    while part.lower[a] < region.upper[a] {
        let image = part.lower[a].div_euclid(cells);
        part.upper[a] = region.upper[a].min((image + 1) * cells);
        let mut to = shift;
        to.0[a] = (-image * cells) as isize;
        each_image(grid, part, a, to, visit);
        part.lower[a] = part.upper[a];
    }
}

#[cfg(test)]
mod tests {
    use super::super::LANES;
    use super::*;
    use crate::grid::{Axis, Cell, Vector};

    crate::record! {
        /// Two numbers.
        struct Two: f64 {
            /// First.
            a: f64 = "1",
            /// Second.
            b: f64 = "1",
        }
    }

    fn numbered() -> (Grid<3>, Patch<f64, 3>) {
        let grid = Grid::new([6, 5, 4], Vector::ZERO, Vector([6.0, 10.0, 16.0]), [false; 3]).unwrap();
        let mut patch = Patch::new(grid.region(), 2, 2);
        for cell in patch.memory().cells() {
            let [x, y, z] = cell.0.map(|i| i as f64);
            patch.set(cell, Two { a: x + 100.0 * y + 10_000.0 * z, b: -x });
        }
        (grid, patch)
    }

    #[test]
    fn a_stencil_reads_the_cells_that_its_offsets_name() {
        let (grid, source) = numbered();
        let [x, y, z] = [0, 1, 2].map(Axis::<3>::new);
        let mut out = source.clone();
        let region = grid.region().grow(1);
        sweep(
            &grid,
            &source,
            Old::Source,
            &mut out,
            &region,
            1,
            |before: Two, u| Two { a: u.at(x - y).a + u.at(-z).a - before.a, b: u.here().b + u.at(x + y + z).b },
            &mut (),
        );
        for cell in region.cells() {
            let read = |offset: Offset<3>| source.get::<Two>(cell + offset);
            let expected = Two {
                a: read(x - y).a + read(-z).a - read(Offset::ZERO).a,
                b: read(Offset::ZERO).b + read(x + y + z).b,
            };
            assert_eq!(out.get::<Two>(cell), expected);
        }
        assert_eq!(
            out.get::<Two>(Cell([-2, -2, -2])),
            source.get::<Two>(Cell([-2, -2, -2])),
            "outside of the region nothing is written"
        );
    }

    #[test]
    fn positions_and_spacings_are_the_grids() {
        let (grid, source) = numbered();
        let mut out = source.clone();
        let y = Axis::<3>::new(1);
        sweep(
            &grid,
            &source,
            Old::Source,
            &mut out,
            &grid.region(),
            0,
            |_: Two, u| Two { a: u.position()[1], b: u.spacing(y) },
            &mut (),
        );
        let cell = Cell([5, 3, 1]);
        assert_eq!(out.get::<Two>(cell), Two { a: grid.centre(cell)[1], b: 2.0 });
    }

    #[test]
    fn a_ghost_beyond_a_periodic_boundary_has_the_place_of_its_image() {
        let grid = Grid::new([6, 5], Vector::ZERO, Vector([6.0, 5.0]), [true, false]).unwrap();
        let mut patch = Patch::<f64, 2>::new(grid.region(), 2, 1);
        let source = patch.clone();
        let region = Region::new([-2, 0], [8, 5]);
        sweep(
            &grid,
            &source,
            Old::Source,
            &mut patch,
            &region,
            0,
            |_: f64, u| u.position()[0] + 10.0 * u.cell().0[0] as f64,
            &mut (),
        );
        for cell in region.cells() {
            let x = cell.0[0].rem_euclid(6) as f64;
            assert_eq!(patch.get::<f64>(cell), x + 0.5 + 10.0 * x, "{cell:?}");
        }
    }

    #[test]
    #[should_panic(expected = "beyond any patch")]
    fn a_reach_that_overflows_is_refused() {
        let (grid, source) = numbered();
        let mut out = source.clone();
        sweep(&grid, &source, Old::Source, &mut out, &grid.region(), usize::MAX, |before: Two, _| before, &mut ());
    }

    #[test]
    fn the_value_before_comes_from_where_it_was_asked_for() {
        let (grid, source) = numbered();
        let mut third = source.clone();
        third.data_mut().fill(7.0);
        let cell = Cell([1, 1, 1]);
        for (old, expected) in
            [(Old::Source, source.get::<Two>(cell).a), (Old::Separate(&third), 7.0), (Old::InPlace, 3.0)]
        {
            let mut out = source.clone();
            out.data_mut().fill(3.0);
            sweep(&grid, &source, old, &mut out, &grid.region(), 1, |before: Two, _| before, &mut ());
            assert_eq!(out.get::<Two>(cell).a, expected);
        }
    }

    #[test]
    fn rows_of_any_length_and_memory_of_any_size_give_the_bits_of_a_plain_loop() {
        let [x, y, z] = [0, 1, 2].map(Axis::<3>::new);
        let mean = |low: f64, high: f64, here: f64| (low - 2.0 * here + high) * 0.1;
        for cells in [1, 3, 15, 16, 17, 31, 32, 47, 64, 130] {
            let grid = Grid::new([cells, 3, 4], Vector::ZERO, Vector([1.0; 3]), [false; 3]).unwrap();
            let mut source = Patch::<f64, 3>::new(grid.region(), 2, 1);
            for cell in source.memory().cells() {
                let [i, j, k] = cell.0.map(|i| i as f64);
                source.set(cell, (0.37 * i + 1.7 * j + 0.11 * k * i).sin());
            }
            for (streamed, growth) in [(false, 0), (true, 0), (true, 1), (false, 1)] {
                for old in [Old::Source, Old::InPlace, Old::Separate(&source)] {
                    let mut out = if streamed { source.clone().streamed() } else { source.clone() };
                    let before = out.clone();
                    let region = grid.region().grow(growth);
                    let kernel = |before: f64, u: Stencil<'_, f64, 3>| {
                        before + mean(u.at(-x), u.at(x), u.here()) + mean(u.at(-y), u.at(y), u.here()) * u.at(z)
                    };
                    sweep(&grid, &source, old, &mut out, &region, 1, kernel, &mut ());
                    for cell in source.memory().cells() {
                        let read = |offset: Offset<3>| source.get::<f64>(cell + offset);
                        let here = before.get::<f64>(cell);
                        let expected = if region.contains(cell) {
                            let along = |a: Axis<3>| mean(read(-a), read(a.into()), read(Offset::ZERO));
                            here + along(x) + along(y) * read(z.into())
                        } else {
                            here
                        };
                        assert_eq!(out.get::<f64>(cell).to_bits(), expected.to_bits(), "{cells} cells, {cell:?}");
                    }
                }
            }
        }
    }

    /// The source has numbers within its rows, and nothing of use beyond them.
    const ROUND: Rows = Rows { round: true, goes_on: false, stays: false };

    fn sweeps_round<const N: usize>(cells: [usize; N], reach: usize) {
        let grid = Grid::new(cells, Vector::ZERO, Vector([1.0; N]), [true; N]).unwrap();
        let mut source = Patch::<f64, N>::new(grid.region(), reach, 2);
        let wave =
            |cell: Cell<N>| (0..N).map(|a| cell.0[a].rem_euclid(cells[a] as i64) as f64 * 0.37).sum::<f64>().sin();
        for cell in source.memory().cells() {
            let a = if (0..cells[0] as i64).contains(&cell.0[0]) { wave(cell) } else { f64::NAN };
            source.set(cell, Two { a, b: -a });
        }
        let mut ready = source.clone();
        for cell in source.memory().cells() {
            ready.set(cell, Two { a: wave(cell), b: -wave(cell) });
        }
        let far = reach as isize;
        let kernel = move |before: Two, u: Stencil<'_, Two, N>| {
            let all: Offset<N> = Axis::all().map(|a| far * a).fold(Offset::ZERO, |sum, a| sum + a);
            let mut sum = before;
            for offset in [all, far * Axis::new(0), -far * Axis::new(0), -far * Axis::new(N - 1)] {
                sum = sum.sum_with(u.at(offset).scaled(0.1));
            }
            sum
        };
        let (mut expected, mut out) = (source.clone(), source.clone());
        sweep(&grid, &ready, Old::Source, &mut expected, &grid.region(), reach, kernel, &mut ());
        sweep_rows(&grid, &mut source, ROUND, Old::Source, &mut out, &grid.region(), reach, kernel, &mut ());
        for cell in grid.region().cells() {
            let both = [out.get::<Two>(cell), expected.get::<Two>(cell)].map(|two| [two.a.to_bits(), two.b.to_bits()]);
            assert_eq!(both[0], both[1], "{cells:?}, reach {reach}, {cell:?}");
        }
    }

    #[test]
    fn rows_that_go_round_have_their_ends_set_before_they_are_read() {
        for reach in [1, 2, 3] {
            for nx in [3, 16, 37, 300] {
                sweeps_round([nx], reach);
                sweeps_round([nx, 9], reach);
                sweeps_round([nx, 7, 5], reach);
            }
        }
        sweeps_round([2100, 3, 3], 1);
    }

    #[test]
    #[should_panic(expected = "from end to end")]
    fn a_part_of_a_row_does_not_go_round() {
        let (grid, mut source) = numbered();
        let mut out = source.clone();
        let part = Region::new([1, 0, 0], [6, 5, 4]);
        sweep_rows(&grid, &mut source, ROUND, Old::Source, &mut out, &part, 1, |before: Two, _| before, &mut ());
    }

    #[test]
    fn an_observer_sees_each_value_that_is_computed_and_no_other() {
        #[derive(Clone)]
        struct Seen(Vec<f64>);
        impl Observe<Two> for Seen {
            fn see(&mut self, length: usize, get: impl Fn(usize) -> Two) {
                assert!((1..=LANES).contains(&length));
                self.0.extend((0..length).map(|i| get(i).a));
            }
        }
        for cells in [3, 16, 37, 64] {
            let grid = Grid::new([cells, 3, 4], Vector::ZERO, Vector([1.0; 3]), [false; 3]).unwrap();
            let mut source = Patch::<f64, 3>::new(grid.region(), 1, 2);
            for cell in source.memory().cells() {
                source.set(cell, Two { a: (cell.0[0] + 100 * cell.0[1] + 10_000 * cell.0[2]) as f64, b: 0.0 });
            }
            for old in [Old::Source, Old::InPlace, Old::Separate(&source)] {
                let (mut out, mut seen) = (source.clone(), Seen(Vec::new()));
                let step = |before: Two, _: Stencil<'_, Two, 3>| before.scaled(2.0);
                sweep(&grid, &source, old, &mut out, &grid.region(), 1, step, &mut seen);
                seen.0.sort_unstable_by(f64::total_cmp);
                if matches!(old, Old::InPlace) {
                    assert_eq!(seen.0.len(), grid.volume(), "each once");
                }
                seen.0.dedup();
                let mut expected: Vec<f64> =
                    grid.region().cells().map(|cell| 2.0 * source.get::<Two>(cell).a).collect();
                expected.sort_unstable_by(f64::total_cmp);
                assert_eq!(seen.0, expected);
            }
        }
    }

    #[test]
    fn coefficients_are_read_beside_the_source() {
        let (grid, beside) = numbered();
        let mut source = Patch::<f64, 3>::new(grid.region(), 2, 1);
        for cell in source.memory().cells() {
            source.set(cell, (cell.0[1] * cell.0[2]) as f64);
        }
        let mut out = source.clone();
        let [x, y, _] = [0, 1, 2].map(Axis::<3>::new);
        let kernel = |u: Stencil<'_, f64, 3>, k: Stencil<'_, Two, 3>| u.at(y) * k.at(-x).a + k.here().b;
        sweep_beside(&grid, &source, &beside, &mut out, &grid.region(), 1, kernel);
        for cell in grid.region().cells() {
            let read = |offset: Offset<3>| beside.get::<Two>(cell + offset);
            let expected = source.get::<f64>(cell + Offset::from(y)) * read(-x).a + read(Offset::ZERO).b;
            assert_eq!(out.get::<f64>(cell), expected);
        }
    }

    #[test]
    #[should_panic(expected = "beside a sweep differs in shape")]
    fn coefficients_of_another_shape_are_refused() {
        let (grid, beside) = numbered();
        let source = Patch::<f64, 3>::new(grid.region(), 2, 1);
        let mut out = source.clone();
        let kernel = |u: Stencil<'_, f64, 3>, _: Stencil<'_, f64, 3>| u.here();
        sweep_beside(&grid, &source, &beside, &mut out, &grid.region(), 1, kernel);
    }

    #[test]
    #[should_panic(expected = "farther than its REACH")]
    fn reading_farther_than_the_reach_is_refused() {
        let (grid, source) = numbered();
        let mut out = source.clone();
        let x = Axis::<3>::new(0);
        sweep(&grid, &source, Old::Source, &mut out, &grid.region(), 1, |_: Two, u| u.at(2 * x), &mut ());
    }

    #[test]
    #[should_panic(expected = "leaves the patch's memory")]
    fn a_patch_at_the_end_of_all_numbers_is_not_read_beyond() {
        let grid = Grid::new([8], Vector([0.0]), Vector([1.0]), [false]).unwrap();
        let source = Patch::<f64, 1>::new(Region::new([i64::MIN], [i64::MIN + 8]), 0, 1);
        let (mut out, x) = (source.clone(), Axis::<1>::new(0));
        sweep(&grid, &source, Old::Source, &mut out, &source.interior(), 1, |_: f64, u| u.at(-x), &mut ());
    }

    #[test]
    #[should_panic(expected = "leaves the patch's memory")]
    fn a_region_too_near_to_the_end_of_the_memory_is_refused() {
        let (grid, source) = numbered();
        let mut out = source.clone();
        sweep(&grid, &source, Old::Source, &mut out, &grid.region().grow(2), 1, |before: Two, _| before, &mut ());
    }
}
