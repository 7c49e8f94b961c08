//! The fluxes through a row of faces, some neighbouring ones at a time.

use super::reconstruct::{MOST_CELLS, reconstruct};
use super::riemann::{Hll, Hllc, Rusanov, Solve};
use super::scratch::{FaceStrips, FluxRow, LANES, Strips, strip, strip_mut};
use super::{ConservationLaw, Reconstruction, Riemann, Scheme};
use crate::field::Record;
use crate::grid::Axis;

/// Where the primitive variables of the cells across a row of faces lie.
pub(super) struct Across<'a> {
    /// Rows of primitive variables.
    pub primitives: &'a [f64],
    /// The distance between two components of a row.
    pub pitch: usize,
    /// For each cell across a face, low side first, the place of its first component at the first face.
    pub cells: [usize; MOST_CELLS],
}

/// Sets the fluxes along the axis number `AXIS` through the first `faces` faces of a row, and through some that do not
/// exist, up to a whole number of strips.
pub(super) fn fluxes<L: ConservationLaw<N>, const N: usize, const AXIS: usize>(
    law: &L,
    scheme: &Scheme,
    across: &Across<'_>,
    faces: usize,
    strips: &mut FaceStrips,
    row: &mut FluxRow,
) {
    let FaceStrips { cells, faces: states, fluxes } = strips;
    let (reach, is_constant) = (scheme.reach(), scheme.reconstruction == Reconstruction::Constant);
    for start in (0..faces).step_by(LANES) {
        for c in 0..L::Primitive::COMPONENTS {
            let cell = |k: usize| strip(across.primitives, across.cells[k] + c * across.pitch + start);
            let ([cells_low, cells_high], [low, high]) = (&mut *cells, &mut *states);
            cells_low[c] = *cell(reach - 1);
            cells_high[c] = *cell(reach);
            if !is_constant {
                reconstruct(scheme, cell, &mut low[c], &mut high[c]);
            }
        }
        let states = if is_constant {
            &*cells
        } else {
            secure(law, &cells[0], &mut states[0]);
            secure(law, &cells[1], &mut states[1]);
            &*states
        };
        match scheme.riemann {
            Riemann::Rusanov => solve::<L, N, AXIS, Rusanov>(law, cells, states, fluxes),
            Riemann::Hll => solve::<L, N, AXIS, Hll>(law, cells, states, fluxes),
            Riemann::Hllc => solve::<L, N, AXIS, Hllc>(law, cells, states, fluxes),
        }
        for (c, (to_low, to_high)) in fluxes[0].iter().zip(&fluxes[1]).take(L::State::COMPONENTS).enumerate() {
            *strip_mut(&mut row.to_low, c * across.pitch + start) = *to_low;
            *strip_mut(&mut row.to_high, c * across.pitch + start) = *to_high;
        }
    }
}

/// The fluxes of one strip of faces, by the solver `R`.
///
/// The axis is a constant: with an axis that is only known at run time, `momentum[axis]` kept the record in memory, and the
/// loop was 4.6 times slower (measured). Compiled for several widths of vectors, and not
/// inlined, so that the strips are known not to overlap.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2"), dispatcher = "direct")]
#[inline(never)]
fn solve<L: ConservationLaw<N>, const N: usize, const AXIS: usize, R: Solve>(
    law: &L,
    cells: &[Strips; 2],
    states: &[Strips; 2],
    fluxes: &mut [Strips; 2],
) {
    let axis = Axis::<N>::new(AXIS);
    let [to_low, to_high] = fluxes;
    for i in 0..LANES {
        let means = [L::Primitive::load(|c| cells[0][c][i]), L::Primitive::load(|c| cells[1][c][i])];
        let sides = [L::Primitive::load(|c| states[0][c][i]), L::Primitive::load(|c| states[1][c][i])];
        let [low, high] = law.face(means, sides, axis, |sides| R::flux(law, sides, axis));
        low.store(|c, flux| to_low[c][i] = flux);
        high.store(|c, flux| to_high[c][i] = flux);
    }
}

/// Replaces the reconstructed states that are not sound by the means of their cells.
///
/// In two steps, since a choice between two records with a vector in them was a choice between two places in memory, and
/// did not vectorise.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2"), dispatcher = "direct")]
#[inline(never)]
fn secure<L: ConservationLaw<N>, const N: usize>(law: &L, means: &Strips, states: &mut Strips) {
    let mut sound = [true; LANES];
    for i in 0..LANES {
        let state = L::Primitive::load(|c| states[c][i]);
        sound[i] = state.all_finite() & law.admissible(state);
    }
    if sound == [true; LANES] {
        return;
    }
    for c in 0..L::Primitive::COMPONENTS {
        for i in 0..LANES {
            states[c][i] = if sound[i] { states[c][i] } else { means[c][i] };
        }
    }
}
