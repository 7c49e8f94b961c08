//! What the profile of a cell gives at its face: parabolas that keep smooth extrema.
//!
//! # Sources
//! Colella and Sekora 2008, doi:10.1016/j.jcp.2008.03.034; McCorquodale and Colella 2011, doi:10.2140/camcos.2011.6.1
//! (the test against rounding); Felker and Stone 2018, doi:10.1016/j.jcp.2018.08.025, section 3 (the form used here);
//! equations 84 and 85 are those of Colella, Dorr, Hittinger and Martin 2011, doi:10.1016/j.jcp.2010.12.044.

/// By how much a limited second derivative may exceed those of its neighbours: more than 1, so that smooth ones pass.
const C: f64 = 1.25;

/// What is below this part of the values themselves is rounding.
const ROUNDING: f64 = 1e-12;

/// The value of the parabola of the cell `here` at its face towards `ahead`, from the means of five cells.
#[inline(always)]
pub(super) fn edge_ppm([far_behind, behind, here, ahead, far_ahead]: [f64; 5]) -> f64 {
    let bend_behind = bend(far_behind, behind, here);
    let bend_here = bend(behind, here, ahead);
    let bend_ahead = bend(here, ahead, far_ahead);
    let back = interface([far_behind, behind, here, ahead], bend_behind, bend_here);
    let front = interface([behind, here, ahead, far_ahead], bend_here, bend_ahead);

    let (fall, rise) = (here - back, front - here);
    let second = 6.0 * bend(back, here, front);
    let limited = smallest_of_one_sign(second, [bend_behind, bend_here, bend_ahead]);
    let size = larger(larger(far_behind.abs(), behind.abs()), larger(larger(ahead.abs(), far_ahead.abs()), here.abs()));
    let ratio = limited / second;
    let ratio = if second.abs() > ROUNDING * size { ratio } else { 0.0 };

    let is_extremum = (fall * rise <= 0.0) | ((ahead - here) * (here - behind) <= 0.0);
    let steep = if rise.abs() >= 2.0 * fall.abs() { here + 2.0 * fall } else { front };
    let changed = if is_extremum { here + ratio * rise } else { steep };
    if ratio <= 1.0 - ROUNDING { changed } else { front }
}

/// The value at the face between the two middle cells: of fourth order, and within their values unless the second
/// derivatives round it, `low` and `high`, are of one sign.
#[inline(always)]
fn interface([a, b, c, d]: [f64; 4], low: f64, high: f64) -> f64 {
    let middle = 0.5 * (b + c);
    let value = middle + ((b - a) - (d - c)) / 12.0;
    let second = 3.0 * ((b + c) - 2.0 * value);
    let limited = middle - smallest_of_one_sign(second, [low, high, high]) / 6.0;
    if (value - b) * (c - value) < 0.0 { limited } else { value }
}

/// The second derivative `own`, or [`C`] times the smallest of the others if that is smaller; zero unless all are of one
/// sign.
#[inline(always)]
fn smallest_of_one_sign(own: f64, others: [f64; 3]) -> f64 {
    let [a, b, c] = others;
    let least = smaller(smaller(own.abs(), C * a.abs()), smaller(C * b.abs(), C * c.abs()));
    let one_sign = (own * a > 0.0) & (own * b > 0.0) & (own * c > 0.0);
    if one_sign { least.copysign(own) } else { 0.0 }
}

/// The second difference.
#[inline(always)]
fn bend(low: f64, middle: f64, high: f64) -> f64 {
    (low + high) - 2.0 * middle
}

#[inline(always)]
fn smaller(a: f64, b: f64) -> f64 {
    if a < b { a } else { b }
}

#[inline(always)]
fn larger(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The means of a polynomial over five cells of length 1, and its value at the face towards the fourth.
    fn means(coefficients: &[f64]) -> ([f64; 5], f64) {
        let primitive =
            |x: f64| (0..).zip(coefficients).map(|(k, c)| c * x.powi(k + 1) / f64::from(k + 1)).sum::<f64>();
        let value = |x: f64| (0..).zip(coefficients).map(|(k, c)| c * x.powi(k)).sum::<f64>();
        (std::array::from_fn(|i| primitive(i as f64 - 1.5) - primitive(i as f64 - 2.5)), value(0.5))
    }

    #[test]
    fn parabolas_are_found_even_at_their_extremum() {
        for coefficients in [&[1.0][..], &[0.5, 2.0], &[1.0, -0.25, 3.0], &[0.0, 0.0, -1.0]] {
            let (cells, exact) = means(coefficients);
            let found = edge_ppm(cells);
            assert!((found - exact).abs() < 1e-14, "{coefficients:?}: {found}, not {exact}");
        }
    }

    #[test]
    fn a_step_stays_within_the_values_of_its_cells() {
        for cells in [[0.0, 0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0, 0.0]] {
            let found = edge_ppm(cells);
            assert!((0.0..=1.0).contains(&found), "{cells:?}: {found}");
        }
    }
}
