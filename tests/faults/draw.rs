//! Numbers that look random and are the same for the same seed, so that every plan can be met again.

use std::cell::Cell as Counter;

use steadfast::grid::{Cell, random};

/// A stream of draws.
pub struct Draw {
    pub seed: u64,
    drawn: Counter<i64>,
}

impl Draw {
    pub fn new(seed: u64) -> Draw {
        Draw { seed, drawn: Counter::new(0) }
    }

    /// A number below `end`.
    pub fn below(&self, end: u64) -> u64 {
        let number = random::uniform(self.seed, Cell([self.drawn.replace(self.drawn.get() + 1)]));
        ((number * end as f64) as u64).min(end - 1)
    }

    /// A number from `first` to `last`, both included.
    pub fn between(&self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    pub fn one_of<T: Copy>(&self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}
