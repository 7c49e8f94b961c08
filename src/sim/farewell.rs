//! How long before its limit of wall time a run must begin to save, so that it is neither too late nor a step too early.

use std::time::Duration;

/// What a disk is expected to write before anything was measured, in bytes a second: little, for safety's sake.
const SLOW_DISK: f64 = 50e6;
/// What leaving takes besides: reductions, the last lines, MPI's end.
const LEAVING: Duration = Duration::from_secs(1);

/// The slowest that was seen so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Farewell {
    /// How long a checkpoint may take, before any was measured.
    guess: Duration,
    /// From the first copy of a checkpoint to its commit.
    slowest_save: Option<Duration>,
    /// All that one round of the loop takes: agreement, step, and what is begun to be written.
    longest_step: Duration,
}

impl Farewell {
    /// For a state of `bytes`, and the slowest checkpoint of earlier attempts, if there was one.
    pub fn new(bytes: u64, slowest_save: Option<Duration>) -> Self {
        let guess = Duration::from_secs_f64(bytes as f64 / SLOW_DISK);
        Farewell { guess, slowest_save, longest_step: Duration::ZERO }
    }

    /// A checkpoint took so long.
    pub fn saved(&mut self, duration: Duration) {
        self.slowest_save = self.slowest_save.max(Some(duration));
    }

    /// A round of the loop took so long.
    pub fn stepped(&mut self, duration: Duration) {
        self.longest_step = self.longest_step.max(duration);
    }

    /// How long before a limit of wall time it is time to save.
    ///
    /// It leaves room for a step, for a checkpoint half as slow again as the slowest so far, and for one more if one is
    /// still being written. At most half of the whole time goes for that, so that a short limit does not keep a run from
    /// getting anywhere.
    pub fn before(&self, limit: Duration, one_is_pending: bool) -> Duration {
        let saves = if one_is_pending { 2.5 } else { 1.5 };
        let needed = self.slowest_save.unwrap_or(self.guess).mul_f64(saves) + 2 * self.longest_step + LEAVING;
        needed.min(limit / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn it_follows_the_slowest_checkpoint_and_step_so_far() {
        let mut farewell = Farewell::new(0, Some(seconds(4.0)));
        assert_eq!(farewell.before(HOUR, false), seconds(7.0));
        farewell.saved(seconds(2.0));
        assert_eq!(farewell.before(HOUR, false), seconds(7.0), "a quick one is no promise");
        farewell.saved(seconds(8.0));
        farewell.stepped(seconds(0.5));
        farewell.stepped(seconds(0.25));
        assert_eq!(farewell.before(HOUR, false), seconds(14.0));
        assert_eq!(farewell.before(HOUR, true), seconds(22.0));
    }

    #[test]
    fn before_anything_was_measured_the_size_of_the_state_decides() {
        let mut farewell = Farewell::new(1_000_000_000, None);
        assert_eq!(farewell.before(HOUR, false), seconds(31.0));
        farewell.saved(seconds(2.0));
        assert_eq!(farewell.before(HOUR, false), seconds(4.0), "what is measured counts, not what was guessed");
        assert_eq!(Farewell::new(0, None).before(HOUR, false), LEAVING);
    }

    #[test]
    fn half_of_a_short_limit_is_left_for_the_run() {
        assert_eq!(Farewell::new(1 << 40, None).before(seconds(3.0), true), seconds(1.5));
    }
}
