//! Reductions whose result depends neither on the order of the ranks nor on their number.

use super::{Communicator, ExactSum};
use crate::error::Result;
use crate::rundir::{Part, Spread};
use crate::sys::mpi::{Operation, Reduced};

impl Communicator {
    /// Replaces each number by its minimum over the ranks, which all pass equally many; NaN wins over every number.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If MPI fails.
    pub fn min_f64(&self, values: &mut [f64]) -> Result<()> {
        self.extreme(values, i64::MIN, Operation::Min)
    }

    /// Replaces each number by its maximum over the ranks, which all pass equally many; NaN wins over every number.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If MPI fails.
    pub fn max_f64(&self, values: &mut [f64]) -> Result<()> {
        self.extreme(values, i64::MAX, Operation::Max)
    }

    /// Replaces each number by its minimum over the ranks, which all pass equally many.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If MPI fails.
    pub fn min_i64(&self, values: &mut [i64]) -> Result<()> {
        self.reduce(values, Operation::Min)
    }

    /// Replaces each number by its sum over the ranks, which all pass equally many and see to it that no sum overflows.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If MPI fails.
    pub fn sum_i64(&self, values: &mut [i64]) -> Result<()> {
        self.reduce(values, Operation::Sum)
    }

    /// Replaces each number by its sum modulo 2^64 over the ranks, which all pass equally many.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If MPI fails.
    pub fn sum_u64_wrapping(&self, values: &mut [u64]) -> Result<()> {
        self.reduce(values, Operation::Sum)
    }

    /// What each number comes to over the ranks, which all pass equally many.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If MPI fails.
    pub fn spread(&self, values: &[f64]) -> Result<Vec<Spread>> {
        let (mut least, mut most) = (values.to_vec(), values.to_vec());
        self.min_f64(&mut least)?;
        self.max_f64(&mut most)?;
        let mut sums = vec![ExactSum::new(); values.len()];
        sums.iter_mut().zip(values).for_each(|(sum, &value)| sum.add(value));
        ExactSum::reduce_all(&mut sums, self)?;
        let extremes = least.into_iter().zip(most);
        Ok(extremes
            .zip(&sums)
            .map(|((min, max), sum)| Spread::of(min, sum.value() / self.size() as f64, max))
            .collect())
    }

    fn reduce<T: Reduced>(&self, values: &mut [T], operation: Operation) -> Result<()> {
        self.together(Part::Reductions, |all| all.all_reduce(values, operation))
    }

    /// Compares floats as integers in the order of IEEE 754: MPI's own comparison leaves open what becomes of NaN, and
    /// which of -0 and 0 is smaller.
    fn extreme(&self, values: &mut [f64], nan: i64, operation: Operation) -> Result<()> {
        let keys: &mut [i64] = bytemuck::cast_slice_mut(values);
        keys.iter_mut().for_each(|x| *x = if f64::from_bits(*x as u64).is_nan() { nan } else { ordered(*x) });
        let outcome = self.reduce(keys, operation);
        keys.iter_mut().for_each(|x| *x = if *x == nan { f64::NAN.to_bits() as i64 } else { ordered(*x) });
        outcome
    }
}

/// The bits of a float as an integer in the order of the floats; it is its own inverse.
fn ordered(bits: i64) -> i64 {
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_the_floats_and_lead_back() {
        let floats = [f64::NEG_INFINITY, -2.0, -5e-324, -0.0, 0.0, 5e-324, 1.0, f64::MAX, f64::INFINITY];
        let keys = floats.map(|x| ordered(x.to_bits() as i64));
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
        assert!(keys.iter().all(|key| (i64::MIN + 1..i64::MAX).contains(key)), "the ends are left for NaN");
        assert_eq!(keys.map(|key| f64::from_bits(ordered(key) as u64).to_bits()), floats.map(f64::to_bits));
    }
}
