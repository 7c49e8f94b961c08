//! Reductions and exact sums.

use steadfast::comm::{Communicator, ExactSum};
use steadfast::grid::{Cell, random};
use steadfast::rundir::Spread;

use super::Check;

pub const CHECKS: &[Check] = &[
    ("extremes_are_exact_and_nan_wins", extremes_are_exact_and_nan_wins),
    ("integers_add_over_the_ranks", integers_add_over_the_ranks),
    ("a_spread_has_the_least_the_mean_and_the_greatest", a_spread_has_the_least_the_mean_and_the_greatest),
    ("exact_sums_are_bitwise_those_of_one_rank", exact_sums_are_bitwise_those_of_one_rank),
];

fn extremes_are_exact_and_nan_wins(world: &Communicator) {
    let (rank, size) = (world.rank() as f64, world.size() as f64);
    let mut values = [rank, 0.0 - rank, f64::INFINITY, if rank == 0.0 { -0.0 } else { 0.0 }, 1.0];
    if world.rank() + 1 == world.size() {
        values[4] = -f64::NAN;
    }
    let (mut least, mut most) = (values, values);
    world.min_f64(&mut least).unwrap();
    world.max_f64(&mut most).unwrap();
    let bits = |values: [f64; 5]| values.map(f64::to_bits);
    let greater_zero = if world.size() == 1 { -0.0 } else { 0.0 };
    assert_eq!(bits(least), bits([0.0, 0.0 - (size - 1.0), f64::INFINITY, -0.0, f64::NAN]));
    assert_eq!(bits(most), bits([size - 1.0, 0.0, f64::INFINITY, greater_zero, f64::NAN]));
}

fn integers_add_over_the_ranks(world: &Communicator) {
    let size = world.size() as i64;
    let mut many: Vec<i64> = (0..3000).map(|i| i + world.rank() as i64).collect();
    world.sum_i64(&mut many).unwrap();
    assert!(many.iter().zip(0..).all(|(&sum, i)| sum == size * i + size * (size - 1) / 2));
    let mut wrapped = [u64::MAX, 5];
    world.sum_u64_wrapping(&mut wrapped).unwrap();
    assert_eq!(wrapped, [0u64.wrapping_sub(size as u64), 5 * size as u64]);
    let mut least = [world.rank() as i64 - 3];
    world.min_i64(&mut least).unwrap();
    assert_eq!(least, [-3]);
    world.sum_i64(&mut []).unwrap();
}

fn a_spread_has_the_least_the_mean_and_the_greatest(world: &Communicator) {
    let (rank, size) = (world.rank() as f64, world.size() as f64);
    let spreads = world.spread(&[rank, 0.1, -3.0]).unwrap();
    assert_eq!(spreads[0], Spread { min: 0.0, mean: (size - 1.0) / 2.0, max: size - 1.0 });
    for (spread, all) in spreads[1..].iter().zip([0.1, -3.0]) {
        assert_eq!(*spread, Spread { min: all, mean: all, max: all }, "what all ranks have is its own mean");
    }
    assert_eq!(world.spread(&[]).unwrap(), []);
}

fn exact_sums_are_bitwise_those_of_one_rank(world: &Communicator) {
    let uniform = |seed, i| random::uniform(seed, Cell([i]));
    // Exponents over most of the range, so that a rounded sum would depend on every order.
    let number = |i| (uniform(1, i) - 0.5) * 2f64.powi((2000.0 * uniform(2, i)) as i32 - 1000);
    let mut alone = [ExactSum::new(), ExactSum::new()];
    let mut shared = alone.clone();
    for i in 0..20_000 {
        let x = [number(i), (i as f64).sin()];
        for c in 0..2 {
            alone[c].add(x[c]);
            if (uniform(3, i) * world.size() as f64) as usize == world.rank() {
                shared[c].add(x[c]);
            }
        }
    }
    let expected = alone.map(|sum| sum.value().to_bits());
    let mut one = shared[1].clone();
    ExactSum::reduce_all(&mut shared, world).unwrap();
    assert_eq!(shared.map(|sum| sum.value().to_bits()), expected);
    assert_eq!(one.reduce(world).unwrap().to_bits(), expected[1]);
    let mut many: Vec<_> = (0..40).map(|_| one.clone()).collect();
    many.iter_mut().zip(0..).for_each(|(sum, i)| sum.add(f64::from(i)));
    let value = many[0].value();
    ExactSum::reduce_all(&mut many, world).unwrap();
    for (sum, i) in many.iter_mut().zip(0..) {
        let expected = world.size() as f64 * (value + f64::from(i));
        assert!((sum.value() - expected).abs() < 1e-9, "sum {i} of many");
    }
    let mut infinite = ExactSum::new();
    infinite.add(if world.rank() == 0 { f64::NEG_INFINITY } else { 1.0 });
    assert_eq!(infinite.reduce(world).unwrap(), f64::NEG_INFINITY);
}
