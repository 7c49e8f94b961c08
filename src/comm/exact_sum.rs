//! Sums of floats that are exact, and so the same in any order and on any number of ranks.
//!
//! An f64 is an integer below 2^53 times a power of two from 2^-1074 on. So every sum of f64 is an integer times
//! 2^-1074, and integers add without rounding. [`ExactSum`] keeps that integer in digits of 32 bits, each in an i64 of its
//! own:
//!
//! ```text
//!   value = 2^-1074 · Σ digit[i] · 2^(32 i)        an f64 touches three digits
//!           …│ digit 2 │ digit 1 │ digit 0 │       the upper half of each i64 takes the carries,
//!                ╰─ 53 bits ─╯                     which are passed on only now and then
//! ```
//!
//! Digits add with `MPI_SUM` on i64; the one rounding, to the nearest f64, comes last.
//!
//! Many numbers at once go a faster way to the same digits, without rounding either. A power of two σ, at least twice the
//! sum of the magnitudes, cuts each number x in two: the part q = (σ + x) − σ is a multiple of σ 2^-53, so the q add without
//! error as plain floats; the rest x − q is exact, smaller by a factor of 2^43 or so, and is cut in the same way, until
//! nothing is left. Nearly always that is after two cuts, each a loop that vectorises.
//!
//! # Sources
//! U. Kulisch, *Computer Arithmetic and Validity* (2008), <https://doi.org/10.1515/9783110203196>; R. M. Neal, "Fast exact
//! summation using small and large superaccumulators" (2015), <https://arxiv.org/abs/1505.05571>; S. M. Rump, T. Ogita, S. Oishi,
//! "Accurate floating-point summation part I: faithful rounding" (2008), <https://doi.org/10.1137/050645671> (the cut by σ).

use super::Communicator;
use crate::error::Result;

/// The digits: 2098 bits for the exponents of f64, and more than 64 for the carries of as many summands as one can add.
const DIGITS: usize = 69;

/// Then come the numbers of +∞, of -∞ and of NaN.
const WORDS: usize = DIGITS + 3;

/// The bits of a digit.
const BITS: u32 = 32;

/// So many summands, each below 2^32 in any digit, leave room for carries in an i64.
const SUMMANDS_BETWEEN_CARRIES: u32 = 1 << 29;

/// So many sums travel in one message.
const AT_ONCE: usize = 14;

/// So many numbers are cut at once: few enough for the first-level cache, and for most of their bits to fit one cut.
const BATCH: usize = 256;

/// The exponents of the σ that cut: its last bit is a normal number, and no sum overflows. Elsewhere, as for NaN, the
/// numbers are added one by one.
const CUT: std::ops::Range<u64> = 64..0x7ff;

/// So many partial sums run side by side, so that additions neither wait for each other nor go one by one.
const LANES: usize = 16;

/// A sum of f64 without rounding errors, rounded once, when it is asked for.
///
/// # Example
/// ```
/// use steadfast::comm::ExactSum;
///
/// let mut sum = ExactSum::new();
/// [1e100, 1.0, -1e100, 2f64.powi(-60)].into_iter().for_each(|x| sum.add(x));
/// assert_eq!(sum.value(), 1.0);
/// sum.add(-1.0);
/// assert_eq!(sum.value(), 2f64.powi(-60));
/// ```
#[derive(Debug, Clone)]
pub struct ExactSum {
    words: [i64; WORDS],
    summands: u32,
}

impl Default for ExactSum {
    fn default() -> Self {
        Self::new()
    }
}

impl ExactSum {
    /// The sum of nothing: 0.
    pub const fn new() -> Self {
        ExactSum { words: [0; WORDS], summands: 0 }
    }

    /// Adds a number.
    #[inline]
    pub fn add(&mut self, x: f64) {
        let bits = x.to_bits();
        let exponent = (bits >> 52 & 0x7ff) as u32;
        if exponent == 0x7ff {
            return self.add_special(x);
        }
        // The place of the lowest bit is 0 for subnormal numbers and for the smallest normal ones alike.
        let (leading, place) = if exponent == 0 { (0, 0) } else { (1 << 52, exponent - 1) };
        let wide = u128::from(bits & ((1 << 52) - 1) | leading) << (place % BITS);
        let digits = [wide as u32, (wide >> 32) as u32, (wide >> 64) as u32];
        let sign = 1 - 2 * (bits >> 63) as i64;
        let first = (place / BITS) as usize;
        for (word, digit) in self.words[first..first + 3].iter_mut().zip(digits) {
            *word += sign * i64::from(digit);
        }
        self.summands += 1;
        if self.summands >= SUMMANDS_BETWEEN_CARRIES {
            self.carry();
        }
    }

    /// Adds many numbers: the same as [`add`](Self::add) for each, and several times as fast.
    pub fn add_all(&mut self, values: &[f64]) {
        let mut batch = [0.0; BATCH];
        for part in values.chunks(BATCH) {
            batch[..part.len()].copy_from_slice(part);
            self.add_batch(&mut batch, part.len());
        }
    }

    /// Adds the products of the numbers in pairs of rows, each product rounded: a scalar product, several times as fast as
    /// with [`add`](Self::add).
    ///
    /// # Panics
    /// If the two rows of a pair differ in length.
    ///
    /// # Example
    /// ```
    /// use steadfast::comm::ExactSum;
    ///
    /// let mut sum = ExactSum::new();
    /// sum.add_products([(&[1.0, 1e200][..], &[2.0, 1.0][..]), (&[-1e200], &[1.0])]);
    /// assert_eq!(sum.value(), 2.0);
    /// ```
    pub fn add_products<'a>(&mut self, rows: impl IntoIterator<Item = (&'a [f64], &'a [f64])>) {
        let mut batch = [0.0; BATCH];
        let mut filled = 0;
        for (mut u, mut v) in rows {
            assert_eq!(u.len(), v.len(), "the rows of a scalar product are equally long");
            while !u.is_empty() {
                let next = u.len().min(BATCH - filled);
                let products = u.iter().zip(v).map(|(u, v)| u * v);
                batch[filled..filled + next].iter_mut().zip(products).for_each(|(slot, product)| *slot = product);
                (u, v, filled) = (&u[next..], &v[next..], filled + next);
                if filled == BATCH {
                    self.add_batch(&mut batch, filled);
                    filled = 0;
                }
            }
        }
        self.add_batch(&mut batch, filled);
    }

    /// Adds the first `filled` numbers of a batch, which is spent afterwards.
    fn add_batch(&mut self, batch: &mut [f64; BATCH], filled: usize) {
        let used = filled.next_multiple_of(LANES);
        batch[filled..used].fill(0.0);
        let batch = &mut batch[..used];
        let mut magnitude = sum_of_magnitudes(batch);
        while magnitude != 0.0 {
            // The exponent of a power of two above twice the magnitude.
            let exponent = (magnitude.to_bits() >> 52) + 2;
            if !CUT.contains(&exponent) {
                return batch.iter().for_each(|&x| self.add(x));
            }
            let (sum, rest) = cut(batch, f64::from_bits(exponent << 52));
            self.add(sum);
            magnitude = rest;
        }
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        let mut other = other.clone();
        other.carry();
        self.carry();
        self.words.iter_mut().zip(other.words).for_each(|(word, other)| *word += other);
        self.summands = 1;
    }

    /// The sum, rounded to the nearest f64, to the even one of two; infinite or NaN if summands are.
    pub fn value(&self) -> f64 {
        let mut sum = self.clone();
        sum.carry();
        let [plus, minus, nan] = [DIGITS, DIGITS + 1, DIGITS + 2].map(|i| sum.words[i] > 0);
        match (plus, minus, nan) {
            (false, false, false) => sum.rounded(),
            (true, false, false) => f64::INFINITY,
            (false, true, false) => f64::NEG_INFINITY,
            _ => f64::NAN,
        }
    }

    /// Adds up the sums of all ranks, on every rank, and returns the value.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If MPI fails.
    pub fn reduce(&mut self, communicator: &Communicator) -> Result<f64> {
        Self::reduce_all(std::slice::from_mut(self), communicator)?;
        Ok(self.value())
    }

    /// Adds up several sums of all ranks, on every rank, in as few messages as can be; all ranks pass equally many.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If MPI fails.
    pub fn reduce_all(sums: &mut [Self], communicator: &Communicator) -> Result<()> {
        let mut packed = [0; AT_ONCE * WORDS];
        for sums in sums.chunks_mut(AT_ONCE) {
            let packed = &mut packed[..sums.len() * WORDS];
            for (sum, words) in sums.iter_mut().zip(packed.chunks_exact_mut(WORDS)) {
                sum.carry();
                words.copy_from_slice(&sum.words);
            }
            communicator.sum_i64(packed)?;
            for (sum, words) in sums.iter_mut().zip(packed.chunks_exact(WORDS)) {
                sum.words.copy_from_slice(words);
                // The digits of up to 2^31 ranks fit, but for nothing more.
                sum.carry();
            }
        }
        Ok(())
    }

    #[cold]
    fn add_special(&mut self, x: f64) {
        let kind = if x.is_nan() { 2 } else { usize::from(x < 0.0) };
        self.words[DIGITS + kind] += 1;
    }

    /// Passes the carries on, so that every digit but the last is from 0 to 2^32 - 1; the last one has the sign.
    fn carry(&mut self) {
        let mut carry = 0;
        let (last, digits) = self.words[..DIGITS].split_last_mut().expect("there are digits");
        for digit in digits {
            let sum = *digit + carry;
            carry = sum >> BITS;
            *digit = sum & 0xffff_ffff;
        }
        *last += carry;
        self.summands = 0;
    }

    /// The value of a finite sum whose carries have been passed on.
    fn rounded(mut self) -> f64 {
        let negative = self.words[DIGITS - 1] < 0;
        if negative {
            self.words[..DIGITS].iter_mut().for_each(|digit| *digit = -*digit);
            self.carry();
        }
        let magnitude = f64::from_bits(self.magnitude_bits());
        if negative { -magnitude } else { magnitude }
    }

    /// The bits of the f64 nearest to a sum that is not negative.
    fn magnitude_bits(&self) -> u64 {
        let digits = &self.words[..DIGITS];
        let Some(top) = digits.iter().rposition(|&digit| digit != 0) else { return 0 };
        if top as u32 * BITS > 2098 {
            return f64::INFINITY.to_bits();
        }
        let highest = top as u32 * BITS + digits[top].ilog2();
        let bit = |i: u32| (digits[(i / BITS) as usize] >> (i % BITS) & 1) as u64;
        let from = |lowest: u32| (lowest..=highest).rev().fold(0, |bits, i| bits << 1 | bit(i));
        if highest <= 52 {
            // Below 2^53 units the integer is the encoding: subnormal numbers and the first normal ones.
            return from(0);
        }
        let shift = highest - 52;
        let half = bit(shift - 1) == 1;
        let below = || (0..shift - 1).any(|i| bit(i) == 1);
        let mantissa = from(shift);
        let up = half && (mantissa & 1 == 1 || below());
        // The leading bit adds one to the exponent field, and so does a mantissa that rounds up to the next power.
        let bits = (u64::from(shift) << 52) + mantissa + u64::from(up);
        bits.min(f64::INFINITY.to_bits())
    }
}

/// The sum of the magnitudes, rounded: no less than (1 − 2^-40) times the exact one; not finite if a number is not.
fn sum_of_magnitudes(batch: &[f64]) -> f64 {
    let mut sums = [0.0; LANES];
    for lanes in batch.chunks_exact(LANES) {
        for (sum, x) in sums.iter_mut().zip(lanes) {
            *sum += x.abs();
        }
    }
    sums.iter().sum()
}

/// Takes from each number the part that is a multiple of σ 2^-53, and returns the exact sum of the parts and the sum of
/// the magnitudes of what is left.
///
/// The sum of the magnitudes must be at most about σ/2. Then all partial sums of the parts, in any order, are multiples of
/// σ 2^-53 below σ, and so exact; and σ + x − σ loses nothing but the rest, which is exact too (Rump et al., section 3).
fn cut(batch: &mut [f64], sigma: f64) -> (f64, f64) {
    let (mut sums, mut rests) = ([0.0; LANES], [0.0; LANES]);
    for lanes in batch.chunks_exact_mut(LANES) {
        for ((sum, rest), x) in sums.iter_mut().zip(&mut rests).zip(lanes) {
            let part = (sigma + *x) - sigma;
            *x -= part;
            *sum += part;
            *rest += x.abs();
        }
    }
    (sums.iter().sum(), rests.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(values: &[f64]) -> f64 {
        let mut sum = ExactSum::new();
        values.iter().for_each(|&x| sum.add(x));
        sum.value()
    }

    /// Any finite float, all exponents alike.
    fn finite() -> impl Strategy<Value = f64> {
        any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |x| x.is_finite())
    }

    proptest! {
        #[test]
        fn one_number_is_its_own_sum(x in finite()) {
            prop_assert_eq!(sum(&[x]).to_bits(), (x + 0.0).to_bits());
        }

        #[test]
        fn the_sum_of_two_is_rounded_as_ieee_754_rounds(x in finite(), y in finite(), near in -60i32..60) {
            prop_assert_eq!(sum(&[x, y]).to_bits(), (x + y + 0.0).to_bits());
            let z = y / 2f64.powi((y.abs().log2() - x.abs().log2()) as i32 + near);
            if z.is_finite() {
                prop_assert_eq!(sum(&[x, z]).to_bits(), (x + z + 0.0).to_bits());
            }
        }

        #[test]
        fn no_order_and_no_split_changes_a_bit(
            mut values in prop::collection::vec(finite(), 0..40),
            seed: u64,
            cut in 0usize..40,
        ) {
            let expected = sum(&values).to_bits();
            let mut order = seed;
            for i in (1..values.len()).rev() {
                order = crate::grid::random::mix(order);
                values.swap(i, order as usize % (i + 1));
            }
            prop_assert_eq!(sum(&values).to_bits(), expected);
            let (one, two) = values.split_at(cut.min(values.len()));
            let mut parts = [ExactSum::new(), ExactSum::new()];
            one.iter().for_each(|&x| parts[0].add(x));
            two.iter().for_each(|&x| parts[1].add(x));
            let [mut whole, part] = parts;
            whole.merge(&part);
            prop_assert_eq!(whole.value().to_bits(), expected);
        }

        #[test]
        fn many_at_once_are_the_same_as_one_by_one(
            values in prop::collection::vec(finite(), 0..700),
            spread in 0u32..1000,
            seed: u64,
        ) {
            // Of all magnitudes, and of a few next to each other.
            let near = |(i, x): (usize, &f64)| {
                let exponent = crate::grid::random::mix(seed ^ i as u64) % u64::from(spread + 1);
                x.signum() * (1.0 + x.to_bits() as f64 * 2f64.powi(-64)) * 2f64.powi(exponent as i32 - 500)
            };
            for values in [values.clone(), values.iter().enumerate().map(near).collect()] {
                let mut at_once = ExactSum::new();
                at_once.add_all(&values);
                prop_assert_eq!(at_once.value().to_bits(), sum(&values).to_bits());
                let factors: Vec<_> = values.iter().rev().map(|x| x * 1e-200).collect();
                let products: Vec<_> = values.iter().zip(&factors).map(|(x, y)| x * y).collect();
                let mut of_rows = ExactSum::new();
                let length = 1 + seed as usize % 300;
                of_rows.add_products(values.chunks(length).zip(factors.chunks(length)));
                prop_assert_eq!(of_rows.value().to_bits(), sum(&products).to_bits());
            }
        }

        #[test]
        fn what_is_added_and_taken_away_leaves_the_rest(values in prop::collection::vec(finite(), 0..40), x in finite()) {
            let mut all = values.clone();
            all.push(x);
            all.extend(values.iter().map(|x| -x));
            prop_assert_eq!(sum(&all).to_bits(), (x + 0.0).to_bits());
        }

        #[test]
        fn integers_add_as_integers(values in prop::collection::vec(-(1i64 << 40)..1 << 40, 0..200)) {
            let floats: Vec<f64> = values.iter().map(|&x| x as f64).collect();
            prop_assert_eq!(sum(&floats), values.iter().sum::<i64>() as f64);
        }
    }

    #[test]
    fn half_way_cases_go_to_the_even_neighbour() {
        let (one, half) = (1.0, f64::EPSILON / 2.0);
        assert_eq!(sum(&[one, half]), one);
        assert_eq!(sum(&[one + f64::EPSILON, half]), one + 2.0 * f64::EPSILON);
        assert_eq!(sum(&[one, half, 5e-324]), one + f64::EPSILON, "the last bit of all breaks the tie");
        assert_eq!(sum(&[one, half, -5e-324]), one);
    }

    #[test]
    fn sums_beyond_the_range_are_infinite_only_if_they_end_there() {
        assert_eq!(sum(&[f64::MAX, f64::MAX]), f64::INFINITY);
        assert_eq!(sum(&[-f64::MAX, -f64::MAX]), f64::NEG_INFINITY);
        assert_eq!(sum(&[f64::MAX, f64::MAX, -f64::MAX]), f64::MAX);
        assert_eq!(sum(&[5e-324, 5e-324]), 1e-323);
        assert_eq!(sum(&vec![f64::MAX; 10_000]), f64::INFINITY);
    }

    #[test]
    fn infinities_and_nan_are_passed_on() {
        assert_eq!(sum(&[1.0, f64::INFINITY, f64::MAX]), f64::INFINITY);
        assert_eq!(sum(&[1.0, f64::NEG_INFINITY]), f64::NEG_INFINITY);
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
        assert!(sum(&[1.0, f64::NAN]).is_nan());
    }

    #[test]
    fn extremes_at_once_are_the_same_as_one_by_one() {
        let (inf, nan, tiny) = (f64::INFINITY, f64::NAN, 5e-324);
        for values in [
            &[][..],
            &[0.0, -0.0],
            &[tiny; 300],
            &[tiny, f64::MAX, -tiny, -f64::MAX, tiny],
            &[f64::MAX; 5],
            &[f64::MIN_POSITIVE, -tiny, 1.0, -1.0],
            &[inf, 1.0],
            &[-inf, f64::MAX],
            &[inf, -inf],
            &[0.0, nan],
        ] {
            let mut at_once = ExactSum::new();
            at_once.add_all(values);
            assert_eq!(at_once.value().to_bits(), sum(values).to_bits(), "{values:?}");
        }
    }

    #[test]
    fn carries_are_passed_on_before_a_digit_overflows() {
        let mut doubled = ExactSum::new();
        doubled.add(-1.5);
        doubled.add(f64::from_bits(0x3ff7_ffff_ffff_ffff));
        let expected = doubled.value();
        // As in a sum over 2^40 ranks, which no test can wait for.
        for _ in 0..40 {
            doubled.merge(&doubled.clone());
        }
        assert_eq!(doubled.value(), expected * 2f64.powi(40));
    }
}
