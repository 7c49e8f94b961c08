//! One pass of a law and a scheme over a region of a patch.
//!
//! Layers (along the last axis) pass through a ring of primitive variables just deep enough for the scheme, so that they
//! are computed once and met again in the cache. Each face's flux is computed once: along a row all at a time; between
//! rows and between layers, what a face gives to the cells beyond it is kept until their turn.
//!
//! ```text
//!    layer k+1   ░░░░░░░░░░░░░░░          ring: layers k−r+1 … k+r
//!              ═══════▲═════════  the faces between two layers, row by row
//!    layer k     ░░░░░█──►░░░░░░          █: the row whose rate is complete as soon as these three are known
//! ```

use super::faces::{Across, fluxes};
use super::reconstruct::MOST_CELLS;
use super::scratch::{FaceStrips, FluxRow, LANES, MOST_COMPONENTS, Scratch, Strip, Strips, reserve, strip};
use super::{ConservationLaw, Scheme};
use crate::field::{Observe, Old, Patch, Record};
use crate::grid::{Axis, Cell, Grid, Region, Vector};

/// How a sweep combines: `out = keep·before + take·u + by·rate(u, time)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Combine {
    /// The part of the value before that is kept.
    pub keep: f64,
    /// The part of the source that is taken besides.
    pub take: f64,
    /// The factor of the rate, a time.
    pub by: f64,
    /// The time at which sources are taken.
    pub time: f64,
}

/// Sets every cell of `region` in `out` to `keep·before + take·u + by·rate`, where u is `source`, `rate` the law's rate of
/// change by the scheme, and `before` is what `old` names; then shows the values to `observe`.
///
/// The region may reach into the ghosts, as far as `source` has valid values within the scheme's reach along each axis.
/// Beyond a periodic face the law's source gets the position of the cell that is imaged there.
///
/// # Panics
/// If the region grown by the scheme's reach leaves the patch's memory, the buffers differ in shape, or the scheme asks for
/// HLLC of a law that has no contact.
#[expect(clippy::too_many_arguments, reason = "a sweep is what these ten say, and each is of its own type")]
pub fn sweep_law<L: ConservationLaw<N>, const N: usize>(
    law: &L,
    scheme: &Scheme,
    grid: &Grid<N>,
    source: &Patch<f64, N>,
    old: Old<'_, f64, N>,
    out: &mut Patch<f64, N>,
    region: &Region<N>,
    combine: &Combine,
    scratch: &mut Scratch,
    observe: &mut impl Observe<L::State>,
) {
    const {
        assert!(L::State::COMPONENTS <= MOST_COMPONENTS, "the state of a law has too many components");
        assert!(L::Primitive::COMPONENTS <= MOST_COMPONENTS, "the primitive variables of a law are too many");
    }
    assert!(
        L::HAS_CONTACT || scheme.riemann != super::Riemann::Hllc,
        "HLLC needs a law that has a contact, and this one has none"
    );
    let (memory, reach) = (source.memory(), scheme.reach());
    assert!(
        memory.encloses(&region.grow(reach as i64)),
        "a sweep over {region:?} with reach {reach} leaves the patch's memory {memory:?}"
    );
    let alike = |block: &Patch<f64, N>| block.memory() == memory && block.components() == L::State::COMPONENTS;
    let third = if let Old::Separate(old) = old { alike(old) } else { true };
    assert!(alike(source) && alike(out) && third, "the buffers of a sweep differ in shape");
    if region.is_empty() {
        return;
    }
    let shape = Shape::new(region, reach);
    shape.reserve::<L, N>(scratch);
    let mut pass = Pass { law, scheme, grid, source, old, out, region, combine, shape };
    pass.run(scratch, observe);
}

/// A region as rows in layers, whatever its dimension: layers along the last axis, rows along y if that is another one.
#[derive(Clone, Copy)]
struct Shape {
    /// Cells in a row.
    cells: usize,
    /// Rows in a layer.
    rows: usize,
    layers: usize,
    reach: usize,
    /// The length of a row in the scratch memory: ghosts on both sides, and room for a strip that begins at the last face.
    pitch: usize,
    /// Rows of a layer in the ring.
    ring_rows: usize,
    /// Layers of the ring.
    ring: usize,
}

impl Shape {
    fn new<const N: usize>(region: &Region<N>, reach: usize) -> Self {
        let extent = region.extent();
        let (rows, margin) = if N == 3 { (extent[1], reach) } else { (1, 0) };
        let (layers, ring) = if N > 1 { (extent[N - 1], 2 * reach) } else { (1, 1) };
        let pitch = extent[0] + 2 * reach + LANES;
        Shape { cells: extent[0], rows, layers, reach, pitch, ring_rows: rows + 2 * margin, ring }
    }

    fn reserve<L: ConservationLaw<N>, const N: usize>(&self, scratch: &mut Scratch) {
        let Scratch { primitives, along, between_rows, from_row, between_layers, from_layer, places, .. } = scratch;
        reserve(primitives, self.ring * self.ring_rows * L::Primitive::COMPONENTS * self.pitch);
        let row = L::State::COMPONENTS * self.pitch;
        for fluxes in [along, between_rows, between_layers] {
            reserve(&mut fluxes.to_low, row);
            reserve(&mut fluxes.to_high, row);
        }
        reserve(from_row, row);
        reserve(from_layer, self.rows * row);
        reserve(places, self.pitch);
    }

    /// Where a row of primitive variables lies in the ring; both count from the region's first and may be ghosts.
    fn row(&self, components: usize, row: i64, layer: i64) -> usize {
        let slot = layer.rem_euclid(self.ring as i64) as usize;
        let margin = (self.ring_rows - self.rows) / 2;
        (slot * self.ring_rows + (row + margin as i64) as usize) * components * self.pitch
    }
}

struct Pass<'a, L, const N: usize> {
    law: &'a L,
    scheme: &'a Scheme,
    grid: &'a Grid<N>,
    source: &'a Patch<f64, N>,
    old: Old<'a, f64, N>,
    out: &'a mut Patch<f64, N>,
    region: &'a Region<N>,
    combine: &'a Combine,
    shape: Shape,
}

impl<L: ConservationLaw<N>, const N: usize> Pass<'_, L, N> {
    fn run(&mut self, scratch: &mut Scratch, observe: &mut impl Observe<L::State>) {
        let Shape { cells, rows, layers, reach, pitch, .. } = self.shape;
        for (i, place) in (0..).zip(&mut scratch.places[..cells]) {
            *place = self.centre(0, self.region.lower[0] + i);
        }
        let row_length = L::State::COMPONENTS * pitch;
        let mut loaded = if N > 1 { -(reach as i64) } else { 0 };
        for k in 0..=layers as i64 {
            // What the faces between layers k − 1 and k need, or where there are none, layer k − 1.
            let needed = if N > 1 { k + reach as i64 } else { k };
            (loaded..needed).for_each(|layer| self.load_layer(layer, scratch));
            loaded = needed;
            for j in 0..rows {
                let kept = j * row_length..(j + 1) * row_length;
                if N > 1 {
                    self.between_layers(j as i64, k, scratch);
                }
                if k > 0 {
                    self.between_rows(j as i64, k - 1, scratch);
                    self.along_row(j as i64, k - 1, scratch);
                    self.finish_row(j, k - 1, scratch, observe);
                }
                if N > 1 {
                    scratch.from_layer[kept].copy_from_slice(&scratch.between_layers.to_high[..row_length]);
                }
                if N == 3 {
                    std::mem::swap(&mut scratch.from_row, &mut scratch.between_rows.to_high);
                }
            }
        }
    }

    /// Computes the primitive variables of a layer as far as the scheme reads them: no edges and corners.
    fn load_layer(&self, layer: i64, scratch: &mut Scratch) {
        let Shape { cells, rows, layers, reach, pitch, .. } = self.shape;
        let Scratch { primitives, strips, .. } = scratch;
        let is_inside = (0..layers as i64).contains(&layer);
        let margin = if N == 3 && is_inside { reach as i64 } else { 0 };
        for row in -margin..rows as i64 + margin {
            let is_whole = is_inside && (0..rows as i64).contains(&row);
            let more = if is_whole { reach } else { 0 };
            let first = self.source.position(self.cell(-(more as i64), row, layer));
            let into = self.shape.row(L::Primitive::COMPONENTS, row, layer) + reach - more;
            let length = cells + 2 * more;
            for start in (0..length).step_by(LANES) {
                let lanes = LANES.min(length - start);
                let [u, w] = &mut strips.faces;
                gather(self.source, first + start, lanes, L::State::COMPONENTS, u);
                to_primitive(self.law, u, w);
                for (c, w) in w[..L::Primitive::COMPONENTS].iter().enumerate() {
                    primitives[into + c * pitch + start..][..LANES].copy_from_slice(w);
                }
            }
        }
    }

    /// The fluxes between row `j` of the layers k − 1 and k.
    fn between_layers(&self, j: i64, k: i64, scratch: &mut Scratch) {
        let reach = self.shape.reach;
        let cell = |i: usize| self.shape.row(L::Primitive::COMPONENTS, j, k + i as i64 - reach as i64) + reach;
        if N == 2 {
            self.across::<1>(cell, self.shape.cells, scratch, |scratch| &mut scratch.between_layers);
        } else {
            self.across::<2>(cell, self.shape.cells, scratch, |scratch| &mut scratch.between_layers);
        }
    }

    /// The fluxes between the rows j and j + 1 of layer `k`; those between j − 1 and j are there already but for the first.
    fn between_rows(&self, j: i64, k: i64, scratch: &mut Scratch) {
        if N < 3 {
            return;
        }
        let reach = self.shape.reach;
        for face in if j == 0 { 0..=1 } else { j + 1..=j + 1 } {
            let cell = |i: usize| self.shape.row(L::Primitive::COMPONENTS, face + i as i64 - reach as i64, k) + reach;
            self.across::<1>(cell, self.shape.cells, scratch, |scratch| &mut scratch.between_rows);
            if face == 0 {
                std::mem::swap(&mut scratch.from_row, &mut scratch.between_rows.to_high);
            }
        }
    }

    /// The fluxes along row `j` of layer `k`, one more than it has cells.
    fn along_row(&self, j: i64, k: i64, scratch: &mut Scratch) {
        let row = self.shape.row(L::Primitive::COMPONENTS, j, k);
        self.across::<0>(|i| row + i, self.shape.cells + 1, scratch, |scratch| &mut scratch.along);
    }

    /// The fluxes along the axis number `AXIS` through some faces, between cells whose first ones lie at `cell(i)`.
    fn across<const AXIS: usize>(
        &self,
        cell: impl Fn(usize) -> usize,
        faces: usize,
        scratch: &mut Scratch,
        row: impl Fn(&mut Scratch) -> &mut FluxRow,
    ) {
        let mut cells = [0; MOST_CELLS];
        (0..2 * self.shape.reach).for_each(|i| cells[i] = cell(i));
        let mut fluxes_out = std::mem::take(row(scratch));
        let across = Across { primitives: &scratch.primitives, pitch: self.shape.pitch, cells };
        fluxes::<L, N, AXIS>(self.law, self.scheme, &across, faces, &mut scratch.strips, &mut fluxes_out);
        *row(scratch) = fluxes_out;
    }

    /// Gathers the rates of row `j` of layer `k`, combines and writes.
    fn finish_row(&mut self, j: usize, k: i64, scratch: &mut Scratch, observe: &mut impl Observe<L::State>) {
        let Shape { cells, pitch, .. } = self.shape;
        let per_length = self.grid.spacing().0.map(|h| 1.0 / h);
        let kept = &scratch.from_layer[j * L::State::COMPONENTS * pitch..];
        let Scratch { along, between_rows, from_row, between_layers, places, strips, .. } = scratch;
        let first = self.cell(0, j as i64, k);
        let position = self.source.position(first);
        let mut place: [f64; N] = std::array::from_fn(|a| self.centre(a, first.0[a]));
        for start in (0..cells).step_by(LANES) {
            let lanes = LANES.min(cells - start);
            let FaceStrips { cells: [rate, u], faces: [before, value], .. } = &mut **strips;
            for c in 0..L::State::COMPONENTS {
                let at = c * pitch + start;
                let rate = &mut rate[c];
                *rate = [0.0; LANES];
                gain(strip(&along.to_high, at), strip(&along.to_low, at + 1), per_length[0], rate);
                if N == 3 {
                    gain(strip(from_row, at), strip(&between_rows.to_low, at), per_length[1], rate);
                }
                if N > 1 {
                    gain(strip(kept, at), strip(&between_layers.to_low, at), per_length[N - 1], rate);
                }
            }
            let at = position + start;
            gather(self.source, at, lanes, L::State::COMPONENTS, u);
            place[0] = 0.0;
            add_source(self.law, u, strip(places, start), Vector(place), self.combine.time, rate);
            let before = match self.old {
                Old::Source => &*u,
                Old::InPlace => {
                    gather(self.out, at, lanes, L::State::COMPONENTS, before);
                    &*before
                }
                Old::Separate(old) => {
                    gather(old, at, lanes, L::State::COMPONENTS, before);
                    &*before
                }
            };
            for c in 0..L::State::COMPONENTS {
                mix(self.combine, &before[c], &u[c], &rate[c], &mut value[c]);
            }
            scatter(value, self.out, at, lanes, L::State::COMPONENTS);
            show::<L::State, _>(observe, value, lanes);
        }
    }

    /// The cell at these numbers of cells, rows and layers from the region's first.
    fn cell(&self, i: i64, row: i64, layer: i64) -> Cell<N> {
        let mut cell = self.region.lower;
        cell[0] += i;
        if N == 3 {
            cell[1] += row;
        }
        if N > 1 {
            cell[N - 1] += layer;
        }
        Cell(cell)
    }

    /// The coordinate of a cell's centre along an axis: that of the cell it is an image of, beyond a periodic face.
    fn centre(&self, a: usize, index: i64) -> f64 {
        let cells = self.grid.cells()[a] as i64;
        let index = if self.grid.periodic()[a] { index.rem_euclid(cells) } else { index };
        self.grid.lower()[a] + (index as f64 + 0.5) * self.grid.spacing()[Axis::<N>::new(a)]
    }
}

/// Reads some cells from their place in a block on.
fn gather<const N: usize>(block: &Patch<f64, N>, at: usize, lanes: usize, components: usize, into: &mut Strips) {
    let plane = block.plane();
    for (c, strip) in into[..components].iter_mut().enumerate() {
        let from = &block.data()[c * plane + at..];
        // A whole strip is a copy of constant length.
        match from.first_chunk::<LANES>() {
            Some(whole) if lanes == LANES => *strip = *whole,
            _ => strip[..lanes].copy_from_slice(&from[..lanes]),
        }
    }
}

/// Writes some cells to their place in a block and on.
fn scatter<const N: usize>(strips: &Strips, block: &mut Patch<f64, N>, at: usize, lanes: usize, components: usize) {
    let plane = block.plane();
    for (c, strip) in strips[..components].iter().enumerate() {
        let to = &mut block.data_mut()[c * plane + at..];
        match to.first_chunk_mut::<LANES>() {
            Some(whole) if lanes == LANES => *whole = *strip,
            _ => to[..lanes].copy_from_slice(&strip[..lanes]),
        }
    }
}

/// The primitive variables of some cells. Here and below compiled for several widths of vectors, and not inlined: as
/// arguments the strips are known not to overlap.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2"), dispatcher = "direct")]
#[inline(never)]
fn to_primitive<L: ConservationLaw<N>, const N: usize>(law: &L, u: &Strips, w: &mut Strips) {
    for i in 0..LANES {
        law.primitive(L::State::load(|c| u[c][i])).store(|c, x| w[c][i] = x);
    }
}

/// Adds what flows in less what flows out, by the cell's length.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2"), dispatcher = "direct")]
#[inline(never)]
fn gain(inflow: &Strip, outflow: &Strip, per_length: f64, rate: &mut Strip) {
    for i in 0..LANES {
        rate[i] += (inflow[i] - outflow[i]) * per_length;
    }
}

/// Adds the law's source to the rates of some cells, which have `place` but for their x.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2"), dispatcher = "direct")]
#[inline(never)]
fn add_source<L: ConservationLaw<N>, const N: usize>(
    law: &L,
    u: &Strips,
    x: &Strip,
    place: Vector<N>,
    time: f64,
    rate: &mut Strips,
) {
    for i in 0..LANES {
        let mut place = place;
        place[Axis::new(0)] = x[i];
        law.source(L::State::load(|c| u[c][i]), place, time).store(|c, source| rate[c][i] += source);
    }
}

/// Combines one component of some cells.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2"), dispatcher = "direct")]
#[inline(never)]
fn mix(combine: &Combine, before: &Strip, u: &Strip, rate: &Strip, value: &mut Strip) {
    let Combine { keep, take, by, .. } = *combine;
    if keep == 1.0 && take == 0.0 {
        for i in 0..LANES {
            value[i] = before[i] + rate[i] * by;
        }
    } else if keep + take == 1.0 {
        // A mean of equals is what they are, to the last bit: what is at rest stays at rest.
        for i in 0..LANES {
            value[i] = (before[i] + (u[i] - before[i]) * take) + rate[i] * by;
        }
    } else {
        for i in 0..LANES {
            value[i] = (before[i] * keep + u[i] * take) + rate[i] * by;
        }
    }
}

/// Shows some cells of a row to whoever observes.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2"), dispatcher = "direct")]
#[inline(never)]
fn show<S: Record<Scalar = f64>, O: Observe<S>>(observe: &mut O, values: &Strips, length: usize) {
    if length == LANES {
        observe.see(LANES, |i| S::load(|c| values[c][i]));
    } else {
        observe.see(length, |i| S::load(|c| values[c][i]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheme::gas::{Conserved, Gas};
    use crate::scheme::{Limiter, Reconstruction, Riemann};

    const GAS: Gas = Gas { gamma: 1.4 };
    const STEP: Combine = Combine { keep: 1.0, take: 0.0, by: 0.01, time: 0.0 };

    fn schemes() -> impl Iterator<Item = Scheme> {
        use Reconstruction::{Constant, Plm, Ppm, WenoZ};
        let riemann = [Riemann::Rusanov, Riemann::Hll, Riemann::Hllc];
        riemann.into_iter().flat_map(|riemann| {
            let scheme = move |reconstruction| Scheme { reconstruction, limiter: Limiter::VanLeer, riemann };
            [Constant, Plm, Ppm, WenoZ].map(scheme)
        })
    }

    /// A periodic grid over whole waves of the gas's initial state.
    fn waves<const N: usize>(cells: [usize; N]) -> Grid<N> {
        Grid::new(cells, Vector::ZERO, Vector([2.0 * std::f64::consts::PI; N]), [true; N]).unwrap()
    }

    /// A block of the periodic grid with all ghosts filled.
    fn block<const N: usize>(grid: &Grid<N>, interior: Region<N>) -> Patch<f64, N> {
        let mut block = Patch::new(interior, 4, N + 2);
        for cell in block.memory().cells() {
            let image = Cell(std::array::from_fn(|a| cell.0[a].rem_euclid(grid.cells()[a] as i64)));
            block.set(cell, GAS.initial(grid.centre(image)));
        }
        block
    }

    fn step<const N: usize>(
        scheme: &Scheme,
        grid: &Grid<N>,
        source: &Patch<f64, N>,
        region: &Region<N>,
    ) -> Patch<f64, N> {
        let (mut out, mut scratch) = (source.clone(), Scratch::default());
        sweep_law(&GAS, scheme, grid, source, Old::Source, &mut out, region, &STEP, &mut scratch, &mut ());
        out
    }

    fn same_in_any_region_and_block<const N: usize>(cells: [usize; N]) {
        let grid = waves(cells);
        let whole = block(&grid, grid.region());
        for scheme in schemes() {
            let expected = step(&scheme, &grid, &whole, &grid.region());
            let middle = Region::new([2; N], cells.map(|n| n as i64 - 1));
            let (mut scratch, mut parts) = (Scratch::default(), whole.clone());
            for region in grid.region().without(&middle).chain([middle]) {
                sweep_law(&GAS, &scheme, &grid, &whole, Old::Source, &mut parts, &region, &STEP, &mut scratch, &mut ());
            }
            assert_eq!(parts.data(), expected.data(), "in parts, {scheme:?}");
            let other = block(&grid, middle);
            let ghosts = step(&scheme, &grid, &other, &middle.grow(1));
            for cell in middle.grow(1).intersect(&grid.region()).cells() {
                assert_eq!(ghosts.get::<Conserved<N>>(cell), expected.get(cell), "in another block, {scheme:?}");
            }
        }
    }

    #[test]
    fn a_cell_gets_the_same_bits_in_any_region_of_any_block() {
        same_in_any_region_and_block([37]);
        same_in_any_region_and_block([21, 9]);
        same_in_any_region_and_block([19, 6, 7]);
    }

    /// Largest sum of the rates of a component, as a part of the sum of their magnitudes.
    fn imbalance<const N: usize>(cells: [usize; N], scheme: &Scheme) -> f64 {
        let grid = waves(cells);
        let before = block(&grid, grid.region());
        let after = step(scheme, &grid, &before, &grid.region());
        let sums = |c: usize| {
            let changes = (&after.interior_array(c) - &before.interior_array(c)).into_iter();
            changes.fold((0.0f64, 0.0f64), |(sum, size), change| (sum + change, size + change.abs()))
        };
        (0..N + 2).map(sums).fold(0.0, |most, (sum, size)| most.max(sum.abs() / size))
    }

    #[test]
    fn what_leaves_a_cell_enters_the_next() {
        for scheme in schemes() {
            for imbalance in [imbalance([50], &scheme), imbalance([20, 9], &scheme), imbalance([17, 6, 5], &scheme)] {
                assert!(imbalance < 1e-13, "{scheme:?}: {imbalance:e}");
            }
        }
    }

    /// The rates of a row of cells in a grid of N dimensions that varies along one axis, as pure numbers.
    fn along<const N: usize>(axis: usize, scheme: &Scheme) -> Vec<[f64; 3]> {
        let cells: [usize; N] = std::array::from_fn(|a| if a == axis { 40 } else { 3 });
        let upper = std::array::from_fn(|a| if a == axis { 2.0 * std::f64::consts::PI } else { 1.0 });
        let grid = Grid::new(cells, Vector::ZERO, Vector(upper), [true; N]).unwrap();
        let mut source = Patch::<f64, N>::new(grid.region(), 4, N + 2);
        for cell in source.memory().cells() {
            let x = Vector([grid.centre(cell)[axis]]);
            let Conserved { density, momentum, energy } = ConservationLaw::<1>::initial(&GAS, x);
            let momentum = Vector::<N>::from_fn(|a| if a.index() == axis { momentum[0] } else { 0.0 });
            source.set(cell, Conserved { density, momentum, energy });
        }
        let out = step(scheme, &grid, &source, &grid.region());
        let one = |i| {
            let cell = Cell(std::array::from_fn(|a| if a == axis { i } else { 1 }));
            let u: Conserved<N> = out.get(cell);
            [u.density, u.momentum[axis], u.energy]
        };
        (0..40).map(one).collect()
    }

    #[test]
    fn a_plane_flow_has_the_same_bits_along_every_axis() {
        for scheme in schemes() {
            let expected = along::<1>(0, &scheme);
            for (axis, found) in [along::<2>(0, &scheme), along::<2>(1, &scheme)].into_iter().enumerate() {
                assert_eq!(found, expected, "axis {axis} of 2, {scheme:?}");
            }
            for axis in 0..3 {
                assert_eq!(along::<3>(axis, &scheme), expected, "axis {axis} of 3, {scheme:?}");
            }
        }
    }

    #[test]
    fn the_rate_is_that_of_a_plain_loop_over_the_faces_of_a_cell() {
        use crate::scheme::riemann::{Rusanov, Solve};
        let grid = waves([20, 5, 6]);
        let source = block(&grid, grid.region());
        let scheme = schemes().next().unwrap();
        let out = step(&scheme, &grid, &source, &grid.region());
        for cell in grid.region().cells() {
            let at = |offset: crate::grid::Offset<3>| GAS.primitive(source.get(cell + offset));
            let here = at(crate::grid::Offset::ZERO);
            let mut rate = Conserved::<3>::load(|_| 0.0);
            for a in Axis::all() {
                let inflow = Rusanov::flux(&GAS, [at(-a), here], a);
                let outflow = Rusanov::flux(&GAS, [here, at(a.into())], a);
                rate = rate + (inflow - outflow) * (1.0 / grid.spacing()[a]);
            }
            assert_eq!(out.get::<Conserved<3>>(cell), source.get::<Conserved<3>>(cell) + rate * STEP.by);
        }
    }

    /// Nothing moves; the source is the place.
    #[derive(serde::Deserialize)]
    struct Place;

    impl ConservationLaw<2> for Place {
        type State = f64;
        type Primitive = f64;

        fn initial(&self, _x: Vector<2>) -> f64 {
            1.0
        }
        fn primitive(&self, u: f64) -> f64 {
            u
        }
        fn conserved(&self, w: f64) -> f64 {
            w
        }
        fn flux(&self, _w: f64, _axis: Axis<2>) -> f64 {
            0.0
        }
        fn speeds(&self, _w: f64, _axis: Axis<2>) -> [f64; 2] {
            [0.0, 0.0]
        }
        fn source(&self, u: f64, x: Vector<2>, time: f64) -> f64 {
            u * (x[0] + 100.0 * x[1]) + time
        }
    }

    #[test]
    fn a_source_beyond_a_periodic_face_has_the_place_of_its_image() {
        let grid = Grid::new([3, 4], Vector::ZERO, Vector([3.0, 4.0]), [true, false]).unwrap();
        let mut source = Patch::<f64, 2>::new(grid.region(), 10, 1);
        source.data_mut().fill(1.0);
        let mut out = source.clone();
        let region = Region::new([-7, -2], [8, 6]);
        let combine = Combine { keep: 0.25, take: 2.0, by: 1.0, time: 0.5 };
        for scheme in schemes().filter(|scheme| scheme.riemann == Riemann::Hll) {
            let mut scratch = Scratch::default();
            sweep_law(&Place, &scheme, &grid, &source, Old::Source, &mut out, &region, &combine, &mut scratch, &mut ());
            for cell in region.cells() {
                let [x, y] = [cell.0[0].rem_euclid(3) as f64 + 0.5, cell.0[1] as f64 + 0.5];
                assert_eq!(out.get::<f64>(cell), 2.25 + (x + 100.0 * y + 0.5), "{cell:?}");
            }
        }
    }

    #[test]
    fn the_value_before_comes_from_where_it_was_asked_for_and_the_observer_sees_each_value() {
        #[derive(Clone)]
        struct Sum(f64, usize);
        impl Observe<f64> for Sum {
            fn see(&mut self, length: usize, get: impl Fn(usize) -> f64) {
                self.1 += length;
                self.0 += (0..length).map(get).sum::<f64>();
            }
        }
        let grid = Grid::new([35, 4], Vector::ZERO, Vector([35.0, 4.0]), [true; 2]).unwrap();
        let mut source = Patch::<f64, 2>::new(grid.region(), 3, 1);
        source.data_mut().fill(1.0);
        let mut third = source.clone();
        third.data_mut().fill(7.0);
        let combine = Combine { keep: 1.0, take: 0.0, by: 0.0, time: 0.0 };
        let scheme = schemes().next().unwrap();
        for (old, expected) in [(Old::Source, 1.0), (Old::Separate(&third), 7.0), (Old::InPlace, 3.0)] {
            let (mut out, mut sum) = (source.clone(), Sum(0.0, 0));
            out.data_mut().fill(3.0);
            let region = grid.region().grow(2);
            let mut scratch = Scratch::default();
            sweep_law(&Place, &scheme, &grid, &source, old, &mut out, &region, &combine, &mut scratch, &mut sum);
            let cells = region.volume();
            assert_eq!((sum.0, sum.1), (expected * cells as f64, cells));
            assert_eq!(out.get::<f64>(Cell([-2, 5])), expected);
            assert_eq!(out.get::<f64>(Cell([-3, 0])), 3.0, "outside of the region nothing is written");
        }
    }

    #[test]
    #[should_panic(expected = "leaves the patch's memory")]
    fn a_region_too_near_to_the_end_of_the_memory_is_refused() {
        let grid = waves([8, 8]);
        let source = block(&grid, grid.region());
        let scheme = Scheme { reconstruction: Reconstruction::Ppm, ..schemes().next().unwrap() };
        step(&scheme, &grid, &source, &grid.region().grow(2));
    }
}
