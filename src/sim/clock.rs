//! Simulated time: how long the next step is, and when what is due.
//!
//! The sequence of steps is a function of the case and the state alone. Of the schedules only `{ time = …, exact = true }`
//! changes it, by ending steps at the wanted times; wall time never does.

use serde::{Deserialize, Serialize};

use crate::config::{Schedule, StepSize, Time};
use crate::error::{Error, Kind, Result};
use crate::rundir::NextCheckpoint;

/// How much longer than planned the last step before a target may be, so that rounding leaves no sliver of a step.
const STRETCH: f64 = 1e-6;

/// The simulated time and the number of steps taken.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Instant {
    /// How many steps have been taken.
    pub step: u64,
    /// The simulated time.
    pub time: f64,
}

/// The run's clock.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    now: Instant,
    before: Instant,
    end: f64,
    last_step: u64,
    size: StepSize,
    /// The intervals of the schedules that steps have to meet exactly.
    exact: Vec<f64>,
}

impl Clock {
    /// A clock at time 0.
    pub fn new(time: &Time, schedules: impl Iterator<Item = Schedule>) -> Self {
        let now = Instant { step: 0, time: 0.0 };
        let exact = schedules.filter_map(|schedule| match schedule {
            Schedule::Time { interval, exact: true } => Some(interval),
            _ => None,
        });
        Clock {
            now,
            before: now,
            end: time.end,
            last_step: time.steps.unwrap_or(u64::MAX),
            size: time.step,
            exact: exact.collect(),
        }
    }

    /// Sets the clock to the last two instants of a checkpoint, so that what was due then is due again.
    pub fn set(&mut self, before: Instant, now: Instant) {
        (self.before, self.now) = (before, now);
    }

    /// Where the run was before its last step.
    pub fn before(&self) -> Instant {
        self.before
    }

    /// Where the run is.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Whether the asked time or number of steps is reached.
    pub fn is_over(&self) -> bool {
        self.now.time >= self.end || self.now.step >= self.last_step
    }

    /// The part of the run that is done, from 0 to 1.
    pub fn progress(&self) -> f64 {
        let by_time = self.now.time / self.end;
        let by_steps = self.now.step as f64 / self.last_step as f64;
        if self.end > 0.0 { by_time.max(by_steps).min(1.0) } else { 1.0 }
    }

    /// The length of the next step, given the smallest timescale of all cells; `None` when the run is over.
    ///
    /// # Errors
    /// If the model gives no timescale that a step could follow from, or the step is too short to move the time.
    pub fn next_step(&self, timescale: f64) -> Result<Option<f64>> {
        if self.is_over() {
            return Ok(None);
        }
        let wanted = match self.size {
            StepSize::Fixed(step) => step,
            StepSize::Cfl(_) if timescale == f64::INFINITY => {
                return Err(Error::case(
                    "time.cfl is given, but the model has no finite timescale to multiply it with",
                )
                .hint("give time.step instead, or implement Model::timescale"));
            }
            StepSize::Cfl(cfl) => cfl * timescale,
        };
        let left = self.target() - self.now.time;
        let step = if wanted * (1.0 + STRETCH) >= left { left } else { wanted };
        if self.now.time + step <= self.now.time || !step.is_finite() {
            return Err(Error::new(
                Kind::State,
                format!("a step of {step} does not move the time {} on", self.now.time),
            )
            .in_step(self.now.step)
            .hint("the state may be running away: look at the last checkpoint"));
        }
        Ok(Some(step))
    }

    /// Moves on by a step that [`Self::next_step`] gave.
    pub fn advance(&mut self, step: f64) {
        self.before = self.now;
        let target = self.target();
        let time = if step == target - self.now.time { target } else { self.now.time + step };
        self.now = Instant { step: self.now.step + 1, time };
    }

    /// Whether the last step reached or passed a moment of the schedule. Wall time is for the driver to judge.
    pub fn is_due(&self, schedule: &Schedule) -> bool {
        match *schedule {
            Schedule::Never | Schedule::Wall(_) => false,
            Schedule::Steps(steps) => self.now.step != self.before.step && self.now.step.is_multiple_of(steps),
            Schedule::Time { interval, .. } => count(self.now.time, interval) > count(self.before.time, interval),
        }
    }

    /// When a schedule is due next, unless wall time says so or the run is over before.
    pub fn next_due(&self, schedule: &Schedule) -> Option<NextCheckpoint> {
        match *schedule {
            Schedule::Never | Schedule::Wall(_) => None,
            Schedule::Steps(steps) => {
                let next = (self.now.step / steps).saturating_add(1).saturating_mul(steps);
                (next < self.last_step).then_some(NextCheckpoint::Step(next))
            }
            Schedule::Time { interval, .. } => {
                let next = (count(self.now.time, interval) + 1.0) * interval;
                (next < self.end).then_some(NextCheckpoint::Time(next))
            }
        }
    }

    /// The next time that a step has to meet exactly.
    fn target(&self) -> f64 {
        let next = |&interval: &f64| (count(self.now.time, interval) + 1.0) * interval;
        self.exact.iter().map(next).fold(self.end, f64::min)
    }
}

/// How many whole intervals have passed; a time that is a multiple but for rounding counts as one.
fn count(time: f64, interval: f64) -> f64 {
    (time / interval * (1.0 + 1e-12)).floor()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(end: f64, size: StepSize, schedules: &[Schedule]) -> Clock {
        let time = Time { end, steps: None, step: size, integrator: None };
        Clock::new(&time, schedules.iter().copied())
    }

    /// All instants of a run with a constant timescale.
    fn run(mut clock: Clock, timescale: f64) -> Vec<Instant> {
        let mut instants = Vec::new();
        while let Some(step) = clock.next_step(timescale).unwrap() {
            clock.advance(step);
            instants.push(clock.now());
        }
        instants
    }

    #[test]
    fn a_run_ends_exactly_at_the_asked_time_without_a_sliver() {
        for steps in [1u64, 3, 7, 10, 1000, 12345] {
            let instants = run(clock(1.0, StepSize::Fixed(1.0 / steps as f64), &[]), f64::INFINITY);
            assert_eq!(instants.len() as u64, steps);
            assert_eq!(instants.last().unwrap().time, 1.0);
        }
    }

    #[test]
    fn the_last_step_is_cut_to_the_end() {
        let instants = run(clock(1.0, StepSize::Cfl(0.5), &[]), 0.6);
        let times: Vec<_> = instants.iter().map(|i| i.time).collect();
        assert_eq!(times, [0.3, 0.6, 0.6 + 0.3, 1.0]);
    }

    #[test]
    fn exact_schedules_are_met_and_others_change_nothing() {
        let exact = [Schedule::Time { interval: 0.25, exact: true }];
        let times: Vec<_> = run(clock(1.0, StepSize::Fixed(0.1), &exact), 1.0).iter().map(|i| i.time).collect();
        for k in 1..=4 {
            assert!(times.contains(&(0.25 * f64::from(k))), "{times:?}");
        }
        let loose = [
            Schedule::Time { interval: 0.25, exact: false },
            Schedule::Steps(3),
            Schedule::Wall(std::time::Duration::ZERO),
        ];
        assert_eq!(run(clock(1.0, StepSize::Fixed(0.1), &loose), 1.0), run(clock(1.0, StepSize::Fixed(0.1), &[]), 1.0));
    }

    #[test]
    fn a_schedule_is_due_once_a_period() {
        for schedule in [
            Schedule::Time { interval: 0.1, exact: false },
            Schedule::Time { interval: 0.1, exact: true },
            Schedule::Steps(10),
        ] {
            let mut clock = clock(1.0, StepSize::Fixed(0.01), &[schedule]);
            let mut due = 0;
            while let Some(step) = clock.next_step(1.0).unwrap() {
                clock.advance(step);
                due += usize::from(clock.is_due(&schedule));
            }
            assert_eq!(due, 10, "{schedule:?}");
        }
    }

    #[test]
    fn what_is_due_next_is_known_before() {
        let mut clock = clock(1.0, StepSize::Fixed(0.25), &[]);
        clock.advance(0.25);
        let steps = |steps| clock.next_due(&Schedule::Steps(steps));
        assert_eq!((steps(1), steps(3)), (Some(NextCheckpoint::Step(2)), Some(NextCheckpoint::Step(3))));
        let time = |interval| clock.next_due(&Schedule::Time { interval, exact: false });
        assert_eq!((time(0.125), time(0.75)), (Some(NextCheckpoint::Time(0.375)), Some(NextCheckpoint::Time(0.75))));
        assert_eq!(time(1.0), None, "the end itself is saved anyway");
        assert_eq!(clock.next_due(&Schedule::Never), None);
    }

    #[test]
    fn a_restarted_clock_gives_the_same_steps() {
        let schedules = [Schedule::Time { interval: 0.07, exact: true }];
        let whole = run(clock(1.0, StepSize::Fixed(0.03), &schedules), 1.0);
        for at in [1, 5, whole.len() / 2] {
            let mut second = clock(1.0, StepSize::Fixed(0.03), &schedules);
            second.set(whole[at - 1], whole[at]);
            assert_eq!(run(second, 1.0), whole[at + 1..]);
        }
    }

    #[test]
    fn a_step_that_does_not_move_the_time_is_an_error() {
        let clock = clock(1.0, StepSize::Cfl(1.0), &[]);
        assert!(clock.next_step(0.0).is_err());
        assert!(clock.next_step(f64::INFINITY).unwrap_err().to_string().contains("Model::timescale"));
    }
}
