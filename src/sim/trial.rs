//! Which of two ways of doing the same is the faster one here: what no size of a cache tells for sure is tried.

/// Learns on this rank which of two ways of sweeping is done sooner; the bits are the same.
///
/// For sweeps between two exchanges: together they move less through memory, one after the other they can be written past the
/// caches and go on for longer without a break. For what a sweep writes: past the caches it moves less, in them the next sweep
/// finds it. Which counts for more depends on who else uses the memory and the caches, and is the machine's to say.
#[derive(Debug, Default)]
pub(super) struct Trial {
    /// How many sweeps went at a time where it was tried: the most that there were.
    sweeps: usize,
    /// How often so many went.
    count: u32,
    /// The shortest time of either way, s.
    best: [f64; 2],
}

impl Trial {
    /// Whether the next sweeps, so many of them, should go the second way.
    pub fn second(&self, sweeps: usize) -> bool {
        let tries = sweeps >= self.sweeps && self.count < TRIES;
        // Both ways come equally early and late.
        if tries { (RUN..3 * RUN).contains(&(self.count % TRIES)) } else { self.best[1] < self.best[0] }
    }

    /// Learns how long some sweeps took, s.
    pub fn learn(&mut self, second: bool, sweeps: usize, took: f64) {
        if sweeps > self.sweeps || self.count == AGAIN {
            *self = Trial { sweeps, count: 0, best: [f64::INFINITY; 2] };
        }
        if sweeps == self.sweeps {
            let best = &mut self.best[usize::from(second)];
            *best = best.min(took);
            self.count += 1;
        }
    }
}

/// How often one way is gone before the other is tried: only after two sweeps is in the caches what it leaves there.
const RUN: u32 = 4;

/// How often both ways are tried: what disturbs a measurement only adds to it.
const TRIES: u32 = 4 * RUN;

/// After how many times they are tried again: what else the machine does may have changed.
const AGAIN: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_faster_way_is_gone_once_both_were_tried_and_now_and_then_they_are_tried_again() {
        let mut trial = Trial::default();
        let mut ways = Vec::new();
        for i in 0..2 * AGAIN {
            // Fewer sweeps than most go the same way and tell nothing.
            let way = trial.second(2);
            trial.learn(way, 2, 0.0);
            let way = trial.second(4);
            let faster = i < AGAIN;
            // The first measurements after a change of ways are disturbed.
            let took = if way == faster { 1.0 } else { 2.0 } + if i % RUN < 2 { 5.0 } else { 0.0 };
            trial.learn(way, 4, took);
            ways.push(way);
        }
        let [first, second] = [&ways[..AGAIN as usize], &ways[AGAIN as usize + 1..]];
        let settled = |ways: &[bool], way| ways[TRIES as usize + 1..].iter().all(|&gone| gone == way);
        assert!(settled(first, true) && settled(second, false), "{ways:?}");
        let tried = |ways: &[bool], way| ways[..TRIES as usize].iter().filter(|&&gone| gone == way).count();
        assert!([first, second].iter().all(|ways| [true, false].iter().all(|&way| tried(ways, way) > RUN as usize)));
    }
}
