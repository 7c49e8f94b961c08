//! Random numbers that belong to a cell, not to a rank.
//!
//! They are a function of a seed and a key alone, so that they are the same on any number of ranks and after any number
//! of restarts. The generator is the finaliser of SplitMix64, applied once to each word of the key.
//!
//! # Sources
//! Steele, Lea, Flood 2014, doi:10.1145/2714064.2660195 (SplitMix64); Salmon et al. 2011, doi:10.1145/2063384.2063405
//! (counter-based random numbers).

use super::Cell;

/// Mixes a word so that every bit of the result depends on every bit of the input.
#[inline]
pub(crate) const fn mix(word: u64) -> u64 {
    let z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number between 0, included, and 1, excluded, that is fixed by the seed and the cell.
///
/// # Example
/// ```
/// use steadfast::grid::{random, Cell};
/// let u = random::uniform(42, Cell([3, 5]));
/// assert!((0.0..1.0).contains(&u));
/// assert_eq!(u, random::uniform(42, Cell([3, 5])));
/// assert_ne!(u, random::uniform(42, Cell([5, 3])));
/// ```
pub fn uniform<const N: usize>(seed: u64, cell: Cell<N>) -> f64 {
    let word = cell.0.iter().fold(mix(seed), |state, &i| mix(state ^ i as u64));
    (word >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_numbers_have_the_mean_and_variance_of_a_uniform_distribution() {
        let n = 1_000_000;
        let numbers: Vec<f64> = (0..n).map(|i| uniform(7, Cell([i % 1000, i / 1000]))).collect();
        let mean = numbers.iter().sum::<f64>() / n as f64;
        let variance = numbers.iter().map(|u| (u - mean).powi(2)).sum::<f64>() / n as f64;
        assert!((mean - 0.5).abs() < 0.0015, "mean {mean}");
        assert!((variance - 1.0 / 12.0).abs() < 0.0005, "variance {variance}");
    }
}
