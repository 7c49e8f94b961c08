//! What the profile of a cell gives at its face: constant and linear profiles.
//!
//! All profiles are functions of a cell and its neighbours towards the face and away from it. The other face of the cell is
//! the same function of the neighbours in reverse, so that mirror images stay mirror images to the last bit.

/// The value of a straight line through `here` at the face towards `ahead`.
#[inline(always)]
pub(super) fn edge_plm([behind, here, ahead]: [f64; 3], limit: impl Fn(f64, f64) -> f64) -> f64 {
    here + 0.5 * limit(here - behind, ahead - here)
}

/// The difference of smaller magnitude if both have one sign, else zero; see [`Limiter::Minmod`].
#[inline(always)]
pub(super) fn limit_minmod(a: f64, b: f64) -> f64 {
    let smaller = if a.abs() < b.abs() { a } else { b };
    if a * b > 0.0 { smaller } else { 0.0 }
}

/// The harmonic mean if both differences have one sign, else zero; see [`Limiter::VanLeer`].
#[inline(always)]
pub(super) fn limit_van_leer(a: f64, b: f64) -> f64 {
    let product = a * b;
    let mean = 2.0 * product / (a + b);
    if product > 0.0 { mean } else { 0.0 }
}

/// The mean difference, but at most twice the smaller one, and zero if they differ in sign; see
/// [`Limiter::MonotonizedCentral`].
#[inline(always)]
pub(super) fn limit_monotonized_central(a: f64, b: f64) -> f64 {
    let smaller = 2.0 * if a.abs() < b.abs() { a } else { b };
    let mean = 0.5 * (a + b);
    let limited = if mean.abs() < smaller.abs() { mean } else { smaller };
    if a * b > 0.0 { limited } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: [fn(f64, f64) -> f64; 3] = [limit_minmod, limit_van_leer, limit_monotonized_central];

    #[test]
    fn a_limited_slope_lies_between_zero_and_twice_the_smaller_difference() {
        for limit in LIMITS {
            for (a, b) in [(1.0, 3.0), (0.1, 5.0), (2.0, 2.0), (1e-3, 1e-3), (7.0, 1e-9)] {
                let slope = limit(a, b);
                assert!(slope > 0.0 && slope <= 2.0 * f64::min(a, b) && slope <= f64::max(a, b), "{a}, {b}: {slope}");
                assert_eq!(limit(b, a), slope, "it does not matter which side is which");
                assert_eq!(limit(-a, -b), -slope);
                assert_eq!(limit(a, -b), 0.0);
                assert_eq!(limit(a, 0.0), 0.0);
            }
            assert_eq!(limit(0.0, 0.0), 0.0);
        }
    }

    #[test]
    fn a_straight_line_is_found_exactly() {
        for limit in LIMITS {
            assert_eq!(edge_plm([1.0, 2.0, 3.0], limit), 2.5);
        }
    }
}
