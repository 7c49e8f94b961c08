//! How long it took, from a death until it is known, until the ranks are launched again, and until their first new step.
//!
//! The journal says when a supervisor noticed and launched; the controller says when Slurm noticed, if it was first; the
//! heartbeats, which come four times a second, say when the new ranks did their first step.

use std::collections::BTreeMap;

use jiff::Timestamp;
use steadfast::rundir::{Event, HeartbeatRecord, Journal, RunDirectory};

use super::job::Job;

/// What was seen while a story went on.
#[derive(Default)]
pub struct Clock {
    struck: Option<Timestamp>,
    /// When Slurm was seen not to have the job running any more, after the blow.
    interrupted: Option<Timestamp>,
    /// When each attempt was seen to have done a step.
    stepped: BTreeMap<u32, Timestamp>,
    /// The lowest step that each attempt was seen in.
    begun: BTreeMap<u32, u64>,
}

/// Seconds from the blow; none where there was no such thing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    pub known: Option<f64>,
    pub relaunched: Option<f64>,
    pub stepped: Option<f64>,
}

impl Clock {
    /// The blow falls now.
    pub fn strike(&mut self) {
        *self = Clock { struck: Some(Timestamp::now()), ..Clock::default() };
    }

    /// Looks at the ranks of the newest attempt.
    pub fn look(&mut self, run: &RunDirectory) {
        let Ok(attempt) = Journal::last_attempt(run) else { return };
        if self.stepped.contains_key(&attempt) {
            return;
        }
        for record in HeartbeatRecord::read_all(run, attempt).unwrap_or_default() {
            let begun = *self.begun.entry(attempt).or_insert(record.step);
            if record.step > begun {
                self.stepped.entry(attempt).or_insert_with(Timestamp::now);
            }
        }
    }

    /// Takes note of what Slurm says.
    pub fn look_at(&mut self, job: &Job) {
        if self.struck.is_some() && !job.is_running() {
            self.interrupted.get_or_insert_with(Timestamp::now);
        }
    }

    /// What has become of the blow.
    pub fn times(&self, run: &RunDirectory) -> Times {
        let Some(struck) = self.struck else { return Times::default() };
        let since = |then: Timestamp| then.duration_since(struck).as_secs_f64();
        let entries = Journal::read(run).unwrap_or_default();
        let later = || entries.iter().filter(|entry| entry.time > struck);
        let noticed = later().find(|entry| is_notice(&entry.event)).map(|entry| entry.time);
        let relaunch = later().find(|entry| matches!(entry.event, Event::AttemptLaunched { .. }));
        let stepped = relaunch.and_then(|launch| self.stepped.range(launch.attempt..).next()).map(|(_, &time)| time);
        Times {
            known: noticed.into_iter().chain(self.interrupted).min().map(since),
            relaunched: relaunch.map(|entry| since(entry.time)),
            stepped: stepped.map(since),
        }
    }
}

fn is_notice(event: &Event) -> bool {
    matches!(
        event,
        Event::RankDied { .. }
            | Event::RankHung { .. }
            | Event::Failed { .. }
            | Event::AttemptEnded { .. }
            | Event::StopRequested { .. }
    )
}
