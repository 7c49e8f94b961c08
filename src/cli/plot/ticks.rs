//! Where an axis has its marks, and what is written at them.

use super::colours::{Scale, Spread};

/// A mark on an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    /// The value that it stands at.
    pub value: f64,
    /// What is written at it.
    pub label: String,
}

/// At most `most` marks at round values within the scale: steps of 1, 2 or 5 times a power of ten.
///
/// Over two decades or more, a logarithmic scale has its marks at powers of ten, over one at 1, 2 and 5 times these.
pub fn ticks(scale: &Scale, most: usize) -> Vec<Tick> {
    let most = most.max(2);
    if scale.spread == Spread::Logarithmic && scale.upper / scale.lower >= 100.0 {
        let (first, last) = (scale.lower.log10().ceil() as i32, scale.upper.log10().floor() as i32);
        let step = ((last - first + 1).max(1) as u32).div_ceil(most as u32) as i32;
        let powers = (first..=last).filter(|power| power.rem_euclid(step) == 0);
        return powers.map(|power| Tick { value: 10f64.powi(power), label: power_of_ten(power) }).collect();
    }
    if scale.spread == Spread::Logarithmic && scale.upper / scale.lower >= 10.0 {
        let powers = scale.lower.log10().floor() as i32..=scale.upper.log10().floor() as i32;
        let values = powers.flat_map(|exponent| [1.0, 2.0, 5.0].map(|digit| digit * power(exponent)));
        let inside = values.filter(|value| (scale.lower..=scale.upper).contains(value));
        return inside.map(|value| Tick { value, label: number(value, 2) }).collect();
    }
    even(scale.lower, scale.upper, most)
}

/// Marks at even distances.
fn even(lower: f64, upper: f64, most: usize) -> Vec<Tick> {
    let span = upper - lower;
    if !(span.is_finite() && span > 0.0) {
        return vec![Tick { value: lower, label: number(lower, 3) }];
    }
    let exponent = (span / most as f64).log10().floor() as i32;
    let steps = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0].map(|digit| digit * power(exponent));
    let count = |step: f64| ((upper / step + 1e-9).floor() - (lower / step - 1e-9).ceil()) as i64 + 1;
    let step = steps.into_iter().find(|&step| count(step) <= most as i64).unwrap_or(span);
    let first = (lower / step - 1e-9).ceil() as i64;
    let largest = lower.abs().max(upper.abs());
    let places = -(step.log10() + 1e-9).floor() as i32;
    (first..first + count(step))
        .map(|i| {
            let value = i as f64 * step;
            let label = if value == 0.0 {
                "0".to_owned()
            } else if !(1e-3..1e5).contains(&largest) {
                // As many digits as tell the largest mark from its neighbour.
                let digits = largest.log10().floor() as i32 + places;
                scientific(value, digits.clamp(0, 15) as usize)
            } else {
                minus(format!("{value:.*}", places.max(0) as usize))
            };
            Tick { value, label }
        })
        .collect()
}

/// A value for people, with about `digits` significant digits.
pub fn number(value: f64, digits: usize) -> String {
    if value == 0.0 || !value.is_finite() {
        return minus(format!("{value}"));
    }
    let exponent = value.abs().log10().floor() as i32;
    if (-4..6).contains(&exponent) {
        let places = (digits as i32 - 1 - exponent).max(0) as usize;
        let text = format!("{value:.places$}");
        let text = if places > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        minus(text.to_owned())
    } else {
        scientific(value, digits.saturating_sub(1))
    }
}

/// As in `1.5×10⁻⁷`.
fn scientific(value: f64, places: usize) -> String {
    let text = format!("{value:.places$e}");
    let (mantissa, exponent) = text.split_once('e').expect("the format has an exponent");
    let mantissa = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    let exponent = power_of_ten(exponent.parse().expect("the exponent is an integer"));
    match mantissa {
        "1" => exponent,
        "-1" => minus(format!("-{exponent}")),
        mantissa => minus(format!("{mantissa}×{exponent}")),
    }
}

fn power_of_ten(exponent: i32) -> String {
    let raised = |c: char| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        digit => char::from_u32('⁰' as u32 + digit as u32 - '0' as u32).expect("superscript digits are in a row"),
    };
    match exponent {
        0 => "1".to_owned(),
        1 => "10".to_owned(),
        exponent => format!("10{}", exponent.to_string().chars().map(raised).collect::<String>()),
    }
}

/// With the typographer's minus sign.
fn minus(text: String) -> String {
    text.replace('-', "−")
}

/// The power of ten that is nearest, correctly rounded, for negative exponents too.
fn power(exponent: i32) -> f64 {
    format!("1e{exponent}").parse().expect("it is a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(lower: f64, upper: f64, most: usize, spread: Spread) -> Vec<String> {
        ticks(&Scale { lower, upper, spread }, most).into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn marks_stand_at_round_values() {
        assert_eq!(labels(0.0, 1.0, 6, Spread::Linear), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"].map(round_zero));
        assert_eq!(labels(-3.0, 17.0, 5, Spread::Linear), ["0", "5", "10", "15"]);
        assert_eq!(labels(312.2, 989.7, 5, Spread::Linear), ["400", "600", "800"]);
        assert_eq!(labels(-0.02, 0.02, 5, Spread::Linear), ["−0.02", "−0.01", "0", "0.01", "0.02"]);
    }

    fn round_zero(label: &str) -> &str {
        if label == "0.0" { "0" } else { label }
    }

    #[test]
    fn very_large_and_small_values_are_written_as_powers() {
        assert_eq!(labels(0.0, 3e-7, 4, Spread::Linear), ["0", "10⁻⁷", "2×10⁻⁷", "3×10⁻⁷"]);
        assert_eq!(labels(0.0, 2.5e6, 6, Spread::Linear), ["0", "5×10⁵", "10⁶", "1.5×10⁶", "2×10⁶", "2.5×10⁶"]);
    }

    #[test]
    fn marks_that_lie_close_together_differ_in_their_labels() {
        let labels = labels(100000.0, 100000.5, 6, Spread::Linear);
        let mut unique = labels.clone();
        unique.dedup();
        assert_eq!(labels, unique);
        assert!(labels.len() >= 3, "{labels:?}");
    }

    #[test]
    fn a_logarithmic_scale_is_marked_at_powers_of_ten() {
        assert_eq!(labels(1e-3, 1e2, 6, Spread::Logarithmic), ["10⁻³", "10⁻²", "10⁻¹", "1", "10", "10²"]);
        assert_eq!(labels(1e-12, 1.0, 5, Spread::Logarithmic).len(), 5);
        assert_eq!(labels(12.0, 150.0, 8, Spread::Logarithmic), ["20", "50", "100"]);
        assert_eq!(labels(2.0, 8.0, 4, Spread::Logarithmic), ["2", "4", "6", "8"]);
    }

    #[test]
    fn a_constant_has_one_mark() {
        assert_eq!(labels(2.5, 2.5, 5, Spread::Linear), ["2.5"]);
        assert_eq!(labels(f64::NAN, f64::NAN, 5, Spread::Linear).len(), 1);
    }

    #[test]
    fn numbers_are_as_short_as_their_digits_allow() {
        assert_eq!(number(0.25, 4), "0.25");
        assert_eq!(number(1234.5678, 5), "1234.6");
        assert_eq!(number(-2.0e-9, 4), "−2×10⁻⁹");
        assert_eq!(number(0.0, 4), "0");
    }

    proptest::proptest! {
        #[test]
        fn no_more_marks_than_asked_for_and_all_on_the_scale(lower in -1e6..1e6, span in 1e-3..1e7, most in 2usize..12) {
            let upper: f64 = lower + span;
            let marks = ticks(&Scale { lower, upper, spread: Spread::Linear }, most);
            proptest::prop_assert!(marks.len() <= most);
            let slack = span * 1e-6 + 1e-9 * lower.abs();
            proptest::prop_assert!(marks.iter().all(|mark| mark.value >= lower - slack && mark.value <= upper + slack));
        }
    }
}
