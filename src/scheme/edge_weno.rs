//! What the profile of a cell gives at its face: WENO-Z, a weighted sum of three parabolas that avoids jumps.
//!
//! # Sources
//! Borges, Carmona, Costa and Don 2008, doi:10.1016/j.jcp.2007.11.038, equations 25 and 28 with the power 2; the
//! smoothness indicators are those of Jiang and Shu 1996, doi:10.1006/jcph.1996.0130.

/// The weights with which the three parabolas make one polynomial of fifth order.
const IDEAL: [f64; 3] = [0.1, 0.6, 0.3];

/// Keeps the weights of constant data from dividing zero by zero: below any smoothness that matters.
const TINY: f64 = 1e-40;

/// The value of the cell `here` at its face towards `ahead`, from the means of five cells.
///
/// The parabolas are written as deviations from the cell's mean, so that constant data come out to the last bit.
#[inline(always)]
pub(super) fn edge_weno_z([far_behind, behind, here, ahead, far_ahead]: [f64; 5]) -> f64 {
    let [d0, d1, d2, d3] = [behind - far_behind, here - behind, ahead - here, far_ahead - ahead];
    let smoothness = |bend: f64, slope: f64| 13.0 / 12.0 * bend * bend + 0.25 * slope * slope;
    let betas = [smoothness(d1 - d0, 3.0 * d1 - d0), smoothness(d2 - d1, d1 + d2), smoothness(d3 - d2, d3 - 3.0 * d2)];
    let deviations = [5.0 * d1 - 2.0 * d0, d1 + 2.0 * d2, 4.0 * d2 - d3];
    let tau = (betas[0] - betas[2]).abs();
    let weight = |k: usize| {
        let ratio = tau / (betas[k] + TINY);
        IDEAL[k] * (1.0 + ratio * ratio)
    };
    let weights = [weight(0), weight(1), weight(2)];
    let sum = weights[0] + weights[1] + weights[2];
    let deviation = weights[0] * deviations[0] + weights[1] * deviations[1] + weights[2] * deviations[2];
    here + deviation / (6.0 * sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smooth_data_have_fifth_order() {
        let error = |h: f64| {
            let primitive = |x: f64| -(x.cos());
            let cells = std::array::from_fn(|i| {
                (primitive((i as f64 - 1.5) * h + 0.7) - primitive((i as f64 - 2.5) * h + 0.7)) / h
            });
            (edge_weno_z(cells) - (0.7 + 0.5 * h).sin()).abs()
        };
        let order = (error(0.1) / error(0.05)).log2();
        assert!((order - 5.0).abs() < 0.3, "the order is {order:.2}");
    }

    #[test]
    fn a_step_is_not_overshot() {
        for cells in [[0.0, 0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0, 1.0], [5.0, 5.0, 5.0, 5.0, 6.0]] {
            let found = edge_weno_z(cells);
            assert!((found - cells[2]).abs() < 1e-3, "{cells:?}: {found}");
        }
    }
}
