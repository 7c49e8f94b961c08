//! What a rank's wall time is spent on.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::rundir::Part;

/// The watch of one rank: at every moment its time counts as one [`Part`], so that the parts add up to the whole.
///
/// Whoever drives the rank tells what comes next ([`enter`](Self::enter)). What is called inside a step, and knows nothing of
/// it, steps [aside](Self::aside): collectives and exchanges do, also those that a program or a solver has of its own. Outside
/// a step they belong to whatever they are called for, as the votes on a checkpoint do to checkpoints.
///
/// A change of parts costs one look at the clock and no memory.
#[derive(Debug)]
pub struct Meter {
    part: Cell<Part>,
    since: Cell<Instant>,
    spent: [Cell<Duration>; Part::ALL.len()],
    exchanges: Cell<u64>,
    bytes: Cell<u64>,
}

impl Meter {
    /// A watch that starts now, with [`Part::Start`]; the ranks' own are those of their communicators.
    pub fn new() -> Self {
        Meter {
            part: Cell::new(Part::Start),
            since: Cell::new(Instant::now()),
            spent: Part::ALL.map(|_| Cell::new(Duration::ZERO)),
            exchanges: Cell::new(0),
            bytes: Cell::new(0),
        }
    }

    /// From now on time counts as this.
    pub fn enter(&self, part: Part) {
        let now = Instant::now();
        let spent = &self.spent[self.part.replace(part) as usize];
        spent.set(spent.get() + (now - self.since.replace(now)));
    }

    /// Within a step, time counts as this until the value is dropped; elsewhere nothing changes.
    #[must_use = "what is dropped at once takes no time"]
    pub fn aside(&self, part: Part) -> Aside<'_> {
        let outer = self.part.get();
        let changes = outer.is_of_step() && outer != part;
        if changes {
            self.enter(part);
        }
        Aside { meter: self, back_to: changes.then_some(outer) }
    }

    /// Within a step, counts an exchange with so many bytes sent to other ranks.
    pub fn exchanged(&self, bytes: usize) {
        if self.part.get().is_of_step() {
            self.exchanges.update(|count| count + 1);
            self.bytes.update(|sum| sum + bytes as u64);
        }
    }

    /// The time of each part so far, in the order of [`Part::ALL`].
    pub fn spent(&self) -> [Duration; Part::ALL.len()] {
        self.enter(self.part.get());
        std::array::from_fn(|part| self.spent[part].get())
    }

    /// The exchanges of the steps so far, and the bytes that were sent in them.
    pub fn exchanges(&self) -> [u64; 2] {
        [self.exchanges.get(), self.bytes.get()]
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

/// Ends when it is dropped: time counts again as what it did before.
#[derive(Debug)]
pub struct Aside<'a> {
    meter: &'a Meter,
    back_to: Option<Part>,
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        if let Some(part) = self.back_to {
            self.meter.enter(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_counts_once() {
        let before = Instant::now();
        let meter = Meter::new();
        let born = Instant::now();
        for part in Part::ALL.into_iter().cycle().take(1000) {
            meter.enter(part);
            let _waiting = meter.aside(Part::Waiting);
        }
        let least = born.elapsed();
        let sum: Duration = meter.spent().iter().sum();
        assert!((least..=before.elapsed()).contains(&sum), "{sum:?}");
    }

    #[test]
    fn what_is_called_within_a_step_counts_by_itself_and_elsewhere_as_what_it_is_called_for() {
        let meter = Meter::new();
        for outer in Part::ALL {
            meter.enter(outer);
            {
                let _packing = meter.aside(Part::Packing);
                let _waiting = meter.aside(Part::Waiting);
                assert_eq!(meter.part.get(), if outer.is_of_step() { Part::Waiting } else { outer });
            }
            assert_eq!(meter.part.get(), outer);
            meter.exchanged(8);
        }
        assert_eq!(meter.exchanges(), [4, 32], "sweeps, packing, waiting and reductions");
    }
}
