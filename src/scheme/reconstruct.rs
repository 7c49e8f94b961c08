//! The states on both sides of some neighbouring faces, one component at a time.

use super::edge::{edge_plm, limit_minmod, limit_monotonized_central, limit_van_leer};
use super::edge_ppm::edge_ppm;
use super::edge_weno::edge_weno_z;
use super::scratch::{LANES, Strip};
use super::{Limiter, Reconstruction, Scheme};

/// The largest number of cells that the states at a face depend on.
pub(super) const MOST_CELLS: usize = 6;

/// The states on the low and on the high side of each face, from the cells across it: `cell(k)` is the k-th from the low
/// side, of twice the scheme's reach.
#[inline]
pub(super) fn reconstruct<'a>(scheme: &Scheme, cell: impl Fn(usize) -> &'a Strip, low: &mut Strip, high: &mut Strip) {
    match (scheme.reconstruction, scheme.limiter) {
        (Reconstruction::Constant, _) => {
            *low = *cell(0);
            *high = *cell(1);
        }
        (Reconstruction::Plm, limiter) => {
            let cells = std::array::from_fn(cell);
            match limiter {
                Limiter::Minmod => linear(cells, low, high, limit_minmod),
                Limiter::VanLeer => linear(cells, low, high, limit_van_leer),
                Limiter::MonotonizedCentral => linear(cells, low, high, limit_monotonized_central),
            }
        }
        (Reconstruction::Ppm, _) => quintic::<Ppm>(std::array::from_fn(cell), low, high),
        (Reconstruction::WenoZ, _) => quintic::<WenoZ>(std::array::from_fn(cell), low, high),
    }
}

/// Straight lines. Here and below compiled for several widths of vectors, and not inlined: as arguments the strips are
/// known not to overlap.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2"), dispatcher = "direct")]
#[inline(never)]
fn linear(cells: [&Strip; 4], low: &mut Strip, high: &mut Strip, limit: impl Fn(f64, f64) -> f64) {
    for i in 0..LANES {
        let [a, b, c, d] = cells.map(|cell| cell[i]);
        low[i] = edge_plm([a, b, c], &limit);
        high[i] = edge_plm([d, c, b], &limit);
    }
}

/// A profile that depends on five cells. A function as an argument was called through a shim that is never inlined.
trait Profile {
    /// The value at the face between the third and the fourth of them.
    fn edge(cells: [f64; 5]) -> f64;
}

struct Ppm;
struct WenoZ;

impl Profile for Ppm {
    #[inline(always)]
    fn edge(cells: [f64; 5]) -> f64 {
        edge_ppm(cells)
    }
}

impl Profile for WenoZ {
    #[inline(always)]
    fn edge(cells: [f64; 5]) -> f64 {
        edge_weno_z(cells)
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2"), dispatcher = "direct")]
#[inline(never)]
fn quintic<P: Profile>(cells: [&Strip; 6], low: &mut Strip, high: &mut Strip) {
    for i in 0..LANES {
        let [a, b, c, d, e, f] = cells.map(|cell| cell[i]);
        low[i] = P::edge([a, b, c, d, e]);
        high[i] = P::edge([f, e, d, c, b]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schemes() -> impl Iterator<Item = Scheme> {
        let plm = [Limiter::Minmod, Limiter::VanLeer, Limiter::MonotonizedCentral].map(|l| (Reconstruction::Plm, l));
        let others = [Reconstruction::Constant, Reconstruction::Ppm, Reconstruction::WenoZ];
        let others = others.map(|reconstruction| (reconstruction, Limiter::Minmod));
        plm.into_iter().chain(others).map(|(reconstruction, limiter)| Scheme {
            reconstruction,
            limiter,
            riemann: super::super::Riemann::Hll,
        })
    }

    /// The states at the faces of a row of cells; face `i` is the low face of cell `i + reach`.
    fn faces(scheme: &Scheme, cells: &[f64]) -> Vec<[f64; 2]> {
        let count = cells.len() + 1 - 2 * scheme.reach();
        let mut row = cells.to_vec();
        row.resize(cells.len() + 2 * LANES, 0.0);
        let mut states = Vec::new();
        for start in (0..count).step_by(LANES) {
            let (mut low, mut high) = ([f64::NAN; LANES], [f64::NAN; LANES]);
            let cell = |k: usize| super::super::scratch::strip(&row, start + k);
            reconstruct(scheme, cell, &mut low, &mut high);
            states.extend((0..LANES.min(count - start)).map(|i| [low[i], high[i]]));
        }
        states
    }

    /// The means over cells of length `h` of a sine.
    fn sine(h: f64, count: usize) -> Vec<f64> {
        let mean = |i: usize| ((i as f64 * h).cos() - ((i + 1) as f64 * h).cos()) / h;
        (0..count).map(mean).collect()
    }

    #[test]
    fn constants_come_out_to_the_last_bit() {
        for scheme in schemes() {
            for value in [0.0, 1.0 / 3.0, -1e17, 1e-200] {
                for [low, high] in faces(&scheme, &[value; 40]) {
                    assert_eq!([low, high], [value; 2], "{scheme:?}");
                }
            }
        }
    }

    #[test]
    fn straight_lines_are_found_by_all_but_the_first_order() {
        for scheme in schemes().filter(|s| s.reconstruction != Reconstruction::Constant) {
            let cells: Vec<_> = (0..40).map(|i| 0.25 * i as f64 - 3.0).collect();
            for (i, [low, high]) in faces(&scheme, &cells).into_iter().enumerate() {
                let exact = 0.25 * ((i + scheme.reach()) as f64 - 0.5) - 3.0;
                assert!(
                    (low - exact).abs() < 1e-14 && (high - exact).abs() < 1e-14,
                    "{scheme:?}: {low}, {high}, {exact}"
                );
            }
        }
    }

    #[test]
    fn smooth_data_have_the_order_of_the_scheme() {
        for scheme in schemes() {
            let order = match scheme.reconstruction {
                Reconstruction::Constant => 1.0,
                Reconstruction::Plm => 2.0,
                Reconstruction::Ppm => 4.0,
                Reconstruction::WenoZ => 5.0,
            };
            // Away from extrema, where slopes are limited.
            let error = |count: usize| {
                let h = 1.2 / count as f64;
                let all = faces(&scheme, &sine(h, count));
                let one = |(i, states): (usize, [f64; 2])| {
                    let exact = ((i + scheme.reach()) as f64 * h).sin();
                    states.into_iter().map(|state| (state - exact).abs()).sum::<f64>()
                };
                let count = all.len() as f64;
                all.into_iter().enumerate().map(one).sum::<f64>() / count
            };
            let measured = (error(40) / error(80)).log2();
            // A limiter that is not smooth where the second derivative is not zero keeps a slope of first order.
            let expected = if scheme.limiter == Limiter::Minmod && order == 2.0 { 1.9 } else { order };
            assert!(measured > expected - 0.2, "{scheme:?} has order {measured:.2}");
        }
    }

    #[test]
    fn a_step_makes_no_new_extremum() {
        for scheme in schemes() {
            let cells: Vec<_> = (0..40).map(|i| if i < 17 { 1.0 } else { 3.0 }).collect();
            // WENO is monotone only up to the weight of the parabolas that cross the step.
            let slack = if scheme.reconstruction == Reconstruction::WenoZ { 1e-2 } else { 0.0 };
            for state in faces(&scheme, &cells).into_iter().flatten() {
                assert!((1.0 - slack..=3.0 + slack).contains(&state), "{scheme:?}: {state}");
            }
        }
    }

    #[test]
    fn mirror_images_stay_mirror_images_to_the_last_bit() {
        for scheme in schemes() {
            let cells: Vec<_> = (0..64).map(|i| crate::grid::random::uniform(7, crate::grid::Cell([i]))).collect();
            let mirrored: Vec<_> = cells.iter().rev().copied().collect();
            let (one, other) = (faces(&scheme, &cells), faces(&scheme, &mirrored));
            for (a, b) in one.iter().zip(other.iter().rev()) {
                assert_eq!(*a, [b[1], b[0]], "{scheme:?}");
            }
        }
    }
}
