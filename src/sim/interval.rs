//! How often to save where the case leaves it open: as the measured cost of a checkpoint and the failures seen advise.
//!
//! With the cost δ of a checkpoint (how long the sweeps stand) and the mean time M between failures, the time between two
//! checkpoints that loses least is τ = √(2δM) (Young), to higher order (Daly, for δ < 2M)
//!
//! ```text
//! τ = √(2δM) · [1 + ⅓ √(δ / 2M) + ⅑ · δ / 2M] − δ,      and τ = M for δ ≥ 2M
//! ```
//!
//! Wall time decides only when something is saved, never what is computed.
//!
//! # Sources
//! J. W. Young, Commun. ACM 17, 530 (1974), doi:10.1145/361147.361115; J. T. Daly, Future Gener. Comput. Syst. 22, 303
//! (2006), doi:10.1016/j.future.2004.11.016, eq. 37.

use std::time::Duration;

use crate::config::Bounds;
use crate::rundir::Tally;

/// What is held of a machine before anything was seen of it: one failure in this time. Each failure and each hour of the
/// run's own shifts the mean from there.
const PRIOR: Duration = Duration::from_secs(24 * 3600);

/// An interval that has changed by this factor is worth telling.
const TELLING_CHANGE: f64 = 1.25;

/// Chooses the time between two checkpoints, and keeps the account of what they cost.
#[derive(Debug, Clone)]
pub(super) struct Interval {
    bounds: Bounds,
    /// What earlier attempts met.
    before: Tally,
    /// The sum of the stalls in this attempt, and how many there were.
    stalls: (Duration, u32),
    /// The longest time from the first copy to the commit.
    longest: Duration,
    /// The interval that was told last.
    told: Option<Duration>,
}

impl Interval {
    /// An interval within bounds, for a run that has met what `before` tells.
    pub fn new(bounds: Bounds, before: Tally) -> Self {
        Interval { bounds, before, stalls: (Duration::ZERO, 0), longest: Duration::ZERO, told: None }
    }

    /// Takes a committed checkpoint into account.
    pub fn measured(&mut self, stall: Duration, duration: Duration) {
        self.stalls = (self.stalls.0 + stall, self.stalls.1 + 1);
        self.longest = self.longest.max(duration);
    }

    /// The mean time between failures, `elapsed` after the start of this attempt.
    pub fn between_failures(&self, elapsed: Duration) -> Duration {
        (PRIOR + self.before.wall + elapsed) / (1 + self.before.failures)
    }

    /// What a checkpoint costs on the average: how long the sweeps stand.
    pub fn cost(&self) -> Duration {
        self.stalls.0 / self.stalls.1.max(1)
    }

    /// How many checkpoints this attempt has committed.
    pub fn committed(&self) -> u32 {
        self.stalls.1
    }

    /// All that this attempt's checkpoints have cost.
    pub fn total_cost(&self) -> Duration {
        self.stalls.0
    }

    /// The time from one checkpoint to the next, `elapsed` after the start of this attempt.
    ///
    /// Before the first is measured it is the shortest that is allowed. It is never shorter than twice the time that a
    /// checkpoint takes to get to the disk, so that the disk rests half of the time.
    pub fn now(&self, elapsed: Duration) -> Duration {
        let Bounds { at_least, at_most } = self.bounds;
        if self.stalls.1 == 0 {
            return at_least;
        }
        let best = daly(self.cost().as_secs_f64(), self.between_failures(elapsed).as_secs_f64());
        Duration::from_secs_f64(best).max(2 * self.longest).clamp(at_least, at_most)
    }

    /// The interval, if it has changed so much since it was told last that it is worth telling.
    pub fn news(&mut self, elapsed: Duration) -> Option<Duration> {
        let now = self.now(elapsed);
        let ratio = now.as_secs_f64() / self.told.map_or(0.0, |told| told.as_secs_f64());
        let telling = self.stalls.1 > 0 && !(1.0 / TELLING_CHANGE..=TELLING_CHANGE).contains(&ratio);
        telling.then(|| *self.told.insert(now))
    }
}

/// The time between checkpoints of cost `cost` that loses least if failures come every `between` on the average, all in
/// seconds.
fn daly(cost: f64, between: f64) -> f64 {
    let ratio = cost / (2.0 * between);
    if ratio >= 1.0 {
        return between;
    }
    (2.0 * cost * between).sqrt() * (1.0 + ratio.sqrt() / 3.0 + ratio / 9.0) - cost
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    const BOUNDS: Bounds = Bounds { at_least: Duration::from_secs(10), at_most: Duration::from_secs(3600) };

    fn interval(failures: u32, hours: u64) -> Interval {
        Interval::new(BOUNDS, Tally { attempts: failures, failures, wall: Duration::from_secs(3600 * hours) })
    }

    /// The time lost a second of work: saving, and on a failure half an interval and what is saved meanwhile.
    fn loss(interval: f64, cost: f64, between: f64) -> f64 {
        between * ((interval + cost) / between).exp_m1() / interval - 1.0
    }

    #[test]
    fn the_chosen_interval_loses_less_than_its_neighbours() {
        for (cost, between) in [(0.01, 86_400.0), (1.0, 3600.0), (30.0, 7200.0), (300.0, 3000.0)] {
            let best = daly(cost, between);
            let at_best = loss(best, cost, between);
            assert!(at_best < loss(0.8 * best, cost, between) && at_best < loss(1.25 * best, cost, between), "{cost}");
        }
        assert_relative_eq!(daly(0.02, 86_400.0), 58.8, max_relative = 1e-3);
        assert_eq!(daly(100.0, 50.0), 50.0);
    }

    #[test]
    fn it_begins_short_and_grows_with_the_cost_of_a_checkpoint() {
        let mut interval = interval(0, 0);
        assert_eq!(interval.now(Duration::ZERO), BOUNDS.at_least);
        interval.measured(Duration::from_millis(20), Duration::from_millis(200));
        let cheap = interval.now(Duration::ZERO);
        assert!((58.0..60.0).contains(&cheap.as_secs_f64()), "{cheap:?}");
        interval.measured(Duration::from_secs(2), Duration::from_secs(20));
        assert!(interval.now(Duration::ZERO) > cheap);
        assert_eq!(interval.total_cost(), Duration::from_millis(2020));
    }

    #[test]
    fn failures_make_it_shorter_and_quiet_days_longer() {
        let of = |failures, hours| {
            let mut interval = interval(failures, hours);
            interval.measured(Duration::from_millis(100), Duration::from_millis(500));
            interval.now(Duration::ZERO)
        };
        assert!(of(10, 1) < of(1, 1) && of(1, 1) < of(0, 1) && of(0, 1) < of(0, 1000));
    }

    #[test]
    fn it_stays_within_its_bounds_and_lets_the_disk_rest() {
        let mut interval = interval(1000, 1);
        interval.measured(Duration::from_millis(1), Duration::from_millis(2));
        assert_eq!(interval.now(Duration::ZERO), BOUNDS.at_least);
        interval.measured(Duration::from_millis(1), Duration::from_secs(60));
        assert_eq!(interval.now(Duration::ZERO), Duration::from_secs(120));
        interval.measured(Duration::from_millis(1), Duration::from_secs(6000));
        assert_eq!(interval.now(Duration::ZERO), BOUNDS.at_most);
    }

    #[test]
    fn only_a_telling_change_is_told() {
        let mut interval = interval(0, 0);
        assert_eq!(interval.news(Duration::ZERO), None);
        interval.measured(Duration::from_millis(20), Duration::from_millis(200));
        assert!(interval.news(Duration::ZERO).is_some());
        interval.measured(Duration::from_millis(21), Duration::from_millis(200));
        assert_eq!(interval.news(Duration::ZERO), None);
        interval.measured(Duration::from_secs(1), Duration::from_secs(1));
        assert!(interval.news(Duration::ZERO).is_some());
    }
}
