//! What the ghosts beyond the domain's outer faces hold.

use super::rows::Rows;
use crate::field::{Component, Patch, Role, Scalar};
use crate::grid::{Axis, Boundaries, Boundary, Grid, Region, Side};

/// Sets the ghosts of a patch, up to `depth` cells from its interior, that lie beyond outer faces of the domain.
///
/// The axes come one after the other: x, then y, then z, each over what the axes before it have filled. So edges and
/// corners are defined, and no value depends on how the domain is cut into blocks. The ghosts within the domain must have
/// their values already (see [`Exchange`](super::Exchange)).
///
/// Where the domain has fewer cells than the ghosts are deep, a mirror image continues in the other face's ghosts.
///
/// # Panics
/// If the patch has no ghosts so deep, or a boundary does not give one value a component.
pub fn fill_boundaries<T: Scalar, const N: usize>(
    boundaries: &Boundaries<N>,
    grid: &Grid<N>,
    components: &[Component],
    patch: &mut Patch<T, N>,
    depth: usize,
) {
    let all = patch.interior().grow(depth as i64);
    fill_boundaries_of(boundaries, grid, components, patch, &all);
}

/// Sets the ghosts of a part of a patch that lie beyond outer faces of the domain: as [`fill_boundaries`], but it reads cells
/// and ghosts beside the part, too, as far from a face as the part goes beyond it.
pub(crate) fn fill_boundaries_of<T: Scalar, const N: usize>(
    boundaries: &Boundaries<N>,
    grid: &Grid<N>,
    components: &[Component],
    patch: &mut Patch<T, N>,
    all: &Region<N>,
) {
    assert_eq!(components.len(), patch.components(), "a boundary must know every component of the patch");
    let domain = grid.region();
    if domain.encloses(all) {
        return;
    }
    for axis in Axis::<N>::all().filter(|axis| !grid.periodic()[axis.index()]) {
        let a = axis.index();
        // Later axes fill what lies beyond their own faces.
        let mut reached = *all;
        for b in (a + 1..N).filter(|&b| !grid.periodic()[b]) {
            reached.lower[b] = reached.lower[b].max(domain.lower[b]);
            reached.upper[b] = reached.upper[b].min(domain.upper[b]);
        }
        // Both faces in turn, outward: a mirror image beyond the other face is there when it is needed.
        for k in 0..(domain.lower[a] - all.lower[a]).max(all.upper[a] - domain.upper[a]) {
            for side in Side::BOTH {
                let face = Face { axis, side, boundary: boundaries.face(axis, side), spacing: grid.spacing()[axis] };
                let (ghost, image, edge) = match side {
                    Side::Low => (-1 - k, k, 0),
                    Side::High => (domain.upper[a] + k, domain.upper[a] - 1 - k, domain.upper[a] - 1),
                };
                if (reached.lower[a]..reached.upper[a]).contains(&ghost) {
                    let source = if *face.boundary == Boundary::Outflow { edge } else { image };
                    face.fill(components, patch, &reached, ghost, source, k);
                }
            }
        }
    }
}

/// An outer face of the domain.
struct Face<'a, const N: usize> {
    axis: Axis<N>,
    side: Side,
    boundary: &'a Boundary,
    spacing: f64,
}

impl<const N: usize> Face<'_, N> {
    /// Sets the layer of ghosts at the coordinate `ghost`, the k-th outward, from the layer at `source`.
    fn fill<T: Scalar>(
        &self,
        components: &[Component],
        patch: &mut Patch<T, N>,
        reached: &Region<N>,
        ghost: i64,
        source: i64,
        k: i64,
    ) {
        let a = self.axis.index();
        let layer = |at: i64| {
            let mut layer = *reached;
            (layer.lower[a], layer.upper[a]) = (at, at + 1);
            layer
        };
        let (ghosts, cells) = (Rows::new(patch, &layer(ghost)), Rows::new(patch, &layer(source)));
        let volume = patch.plane();
        for (c, plane) in patch.data_mut().chunks_exact_mut(volume).enumerate() {
            match self.boundary {
                Boundary::FixedValue(values) if T::IS_INTEGER => {
                    let value = T::from_f64(self.entry(values, c));
                    set(plane, ghosts, cells, |_| value);
                }
                Boundary::FixedValue(values) => {
                    let twice = T::from_f64(2.0 * self.entry(values, c));
                    set(plane, ghosts, cells, |u: T| twice.minus(u));
                }
                Boundary::FixedGradient(gradients) => {
                    let rise = self.entry(gradients, c) * (2 * k + 1) as f64 * self.spacing;
                    // Unsigned numbers know no negative rise.
                    let size = T::from_f64(rise.abs());
                    set(plane, ghosts, cells, |u: T| if rise < 0.0 { u.minus(size) } else { u.plus(size) });
                }
                Boundary::Reflecting if components[c].role == Role::VectorAlong(a) => {
                    set(plane, ghosts, cells, |u: T| u.times(-1.0));
                }
                Boundary::Outflow | Boundary::Reflecting => set(plane, ghosts, cells, |u| u),
            }
        }
    }

    fn entry(&self, values: &[f64], component: usize) -> f64 {
        *values.get(component).unwrap_or_else(|| {
            panic!(
                "the boundary at the {} side of {} has {} values; it needs one for each component",
                self.side.name(),
                self.axis.name(),
                values.len()
            )
        })
    }
}

/// Sets a layer of ghosts in one component's plane to a function of a layer of cells.
fn set<T: Scalar>(plane: &mut [T], ghosts: Rows, cells: Rows, rule: impl Fn(T) -> T) {
    ghosts.each_pair(cells, |ghost, cell| {
        for i in 0..ghosts.length() {
            plane[ghost + i] = rule(plane[cell + i]);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Field;
    use crate::grid::{Cell, Partition, Tiling, Vector, random};
    use crate::halo::Plan;
    use crate::halo::exchange::copy_within_rank;
    use proptest::prelude::*;

    /// A component along each axis, then one without direction.
    fn components(n: usize) -> Vec<Component> {
        let vector = |a| Component { name: format!("v{a}"), unit: "1".into(), role: Role::VectorAlong(a) };
        (0..n).map(vector).chain([Component::scalar("s", "1")]).collect()
    }

    fn line<T: Scalar>(values: &[T], boundary: Boundary, width: usize) -> Vec<T> {
        let n = values.len();
        let grid = Grid::new([n], Vector([0.0]), Vector([0.5 * n as f64]), [false]).unwrap();
        let mut patch = Patch::<T, 1>::new(grid.region(), width, 1);
        patch.data_mut()[width..width + n].copy_from_slice(values);
        fill_boundaries(&Boundaries::all(boundary), &grid, &components(0), &mut patch, width);
        patch.data().to_vec()
    }

    #[test]
    fn a_fixed_value_is_the_mean_of_ghost_and_cell() {
        let ghosts = line(&[1.0, 2.0, 4.0], Boundary::FixedValue(vec![3.0]), 2);
        assert_eq!(ghosts, [4.0, 5.0, 1.0, 2.0, 4.0, 2.0, 4.0]);
        assert_eq!(line(&[1.0f32, 2.0], Boundary::FixedValue(vec![0.5]), 1), [0.0, 1.0, 2.0, -1.0]);
    }

    #[test]
    fn a_fixed_value_of_integers_is_the_ghost_itself() {
        assert_eq!(line(&[1u8, 0, 1], Boundary::FixedValue(vec![1.0]), 2), [1, 1, 1, 0, 1, 1, 1]);
    }

    #[test]
    fn a_fixed_gradient_rises_outward() {
        let ghosts = line(&[1.0, 2.0, 4.0], Boundary::FixedGradient(vec![2.0]), 2);
        assert_eq!(ghosts, [5.0, 2.0, 1.0, 2.0, 4.0, 5.0, 5.0]);
        assert_eq!(line(&[7u8, 9], Boundary::FixedGradient(vec![-2.0]), 1), [6, 7, 9, 8]);
    }

    #[test]
    fn outflow_repeats_the_last_cell() {
        assert_eq!(line(&[1, 2, 4], Boundary::Outflow, 2), [1, 1, 1, 2, 4, 4, 4]);
    }

    #[test]
    fn a_mirror_shows_the_cells_in_reverse() {
        assert_eq!(line(&[1.0, 2.0, 4.0], Boundary::Reflecting, 3), [4.0, 2.0, 1.0, 1.0, 2.0, 4.0, 4.0, 2.0, 1.0]);
    }

    #[test]
    fn mirrors_nearer_than_the_ghosts_are_deep_show_each_other() {
        assert_eq!(line(&[1, 2], Boundary::Reflecting, 5), [1, 1, 2, 2, 1, 1, 2, 2, 1, 1, 2, 2]);
    }

    #[test]
    fn the_part_of_a_vector_across_a_mirror_changes_its_sign() {
        let grid = Grid::new([2, 2], Vector::ZERO, Vector([1.0; 2]), [false; 2]).unwrap();
        let mut patch = Patch::<f64, 2>::new(grid.region(), 1, 3);
        patch.data_mut().fill(1.0);
        fill_boundaries(&Boundaries::all(Boundary::Reflecting), &grid, &components(2), &mut patch, 1);
        let at = |patch: &Patch<f64, 2>, c: usize, cell| patch.data()[c * patch.plane() + patch.position(Cell(cell))];
        assert_eq!([0, 1, 2].map(|c| at(&patch, c, [-1, 0])), [-1.0, 1.0, 1.0]);
        assert_eq!([0, 1, 2].map(|c| at(&patch, c, [1, 2])), [1.0, -1.0, 1.0]);
        assert_eq!([0, 1, 2].map(|c| at(&patch, c, [2, 2])), [-1.0, -1.0, 1.0], "a corner is mirrored twice");
    }

    #[test]
    fn only_ghosts_within_the_depth_are_touched() {
        let grid = Grid::new([3], Vector([0.0]), Vector([3.0]), [false]).unwrap();
        let mut patch = Patch::<i32, 1>::new(grid.region(), 3, 1);
        patch.data_mut().fill(7);
        fill_boundaries(&Boundaries::all(Boundary::FixedValue(vec![1.0])), &grid, &components(0), &mut patch, 1);
        assert_eq!(patch.data(), [7, 7, 1, 7, 7, 7, 1, 7, 7]);
    }

    #[test]
    #[should_panic(expected = "the low side of x has 0 values")]
    fn a_boundary_without_a_value_for_a_component_is_refused() {
        line(&[1.0], Boundary::FixedValue(vec![]), 1);
    }

    /// The field of one rank with random numbers inside and all ghosts filled.
    fn filled<const N: usize>(
        grid: &Grid<N>,
        shape: [usize; N],
        boundaries: &Boundaries<N>,
        width: usize,
        depth: usize,
    ) -> Field<f64, N> {
        let tiling = Tiling::new(*grid, shape).unwrap();
        // Each block is a patch.
        let partition = Partition::by_cost(&vec![1.0; tiling.len()], 1).for_threads(tiling.len());
        let mut field = Field::new(&tiling, &partition, 0, width, N + 1);
        for patch in field.patches_mut() {
            for cell in patch.interior().cells() {
                let (at, plane) = (patch.position(cell), patch.plane());
                let code = (0..N).fold(1u64, |code, a| code * 1000 + cell.0[a] as u64);
                for c in 0..=N {
                    patch.data_mut()[at + c * plane] = (random::mix(code * 10 + c as u64) >> 40) as f64 / 1000.0;
                }
            }
        }
        copy_within_rank(&Plan::new(&tiling, &partition, 0, width), field.patches_mut());
        for patch in field.patches_mut() {
            fill_boundaries(boundaries, grid, &components(N), patch, depth);
        }
        field
    }

    fn check_independence<const N: usize>(
        cells: [usize; N],
        shape: [usize; N],
        periodic: [bool; N],
        kinds: &[usize],
        width: usize,
        depth: usize,
    ) {
        let grid = Grid::new(cells, Vector::ZERO, Vector([1.0; N]), periodic).unwrap();
        let values = |x: f64| (0..=N).map(|c| x + c as f64).collect();
        let boundary = |face: usize| match kinds[face] {
            0 => Boundary::FixedValue(values(face as f64)),
            1 => Boundary::FixedGradient(values(-(face as f64))),
            2 => Boundary::Outflow,
            _ => Boundary::Reflecting,
        };
        let boundaries = Boundaries { faces: std::array::from_fn(|a| [boundary(2 * a), boundary(2 * a + 1)]) };
        let depth = depth.min(width);
        let whole = filled(&grid, cells, &boundaries, width, depth);
        let whole = &whole.patches()[0];
        for patch in filled(&grid, shape, &boundaries, width, depth).patches() {
            for cell in patch.interior().grow(depth as i64).cells() {
                for c in 0..=N {
                    let [here, there] = [patch, whole].map(|b| b.data()[c * b.plane() + b.position(cell)]);
                    assert_eq!(here.to_bits(), there.to_bits(), "component {c} of cell {cell:?}: {here} and {there}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn ghosts_are_the_same_for_any_blocks_in_one_dimension(
            n in 1usize..12, b in 1usize..12, p: bool, kinds in prop::collection::vec(0usize..4, 2), w in 0usize..8,
            d in 0usize..8,
        ) {
            check_independence([n], [b.min(n)], [p], &kinds, w, d);
        }

        #[test]
        fn ghosts_are_the_same_for_any_blocks_in_two_dimensions(
            n in prop::array::uniform2(1usize..9), b in prop::array::uniform2(1usize..9), p: [bool; 2],
            kinds in prop::collection::vec(0usize..4, 4), w in 0usize..5, d in 0usize..5,
        ) {
            check_independence(n, b, p, &kinds, w, d);
        }

        #[test]
        fn ghosts_are_the_same_for_any_blocks_in_three_dimensions(
            n in prop::array::uniform3(1usize..6), b in prop::array::uniform3(1usize..6), p: [bool; 3],
            kinds in prop::collection::vec(0usize..4, 6), w in 0usize..4, d in 0usize..4,
        ) {
            check_independence(n, b, p, &kinds, w, d);
        }
    }
}
