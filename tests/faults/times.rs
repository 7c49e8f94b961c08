//! How long it took, by the journal's clock: from a fault to its detection, and to the first step of the next attempt.

use jiff::Timestamp;
use steadfast::rundir::{Entry, Event, Journal, RunDirectory};

/// What the journal tells of the faults of one play.
#[derive(Default)]
pub struct Times {
    /// How many faults of a plan struck.
    pub struck: u64,
    /// From the strike to the first sign that somebody noticed, s.
    pub detected: Vec<f64>,
    /// From the strike to the next attempt's first step, s.
    pub recovered: Vec<f64>,
}

impl Times {
    pub fn of(run: &RunDirectory) -> Times {
        let entries = Journal::read(run).unwrap_or_default();
        let mut times = Times::default();
        for (place, entry) in entries.iter().enumerate() {
            let Event::FaultInjected { fault, .. } = &entry.event else { continue };
            // What slows all ranks down is in the plan to give other faults their time.
            if fault.starts_with("slow@attempt=any") {
                continue;
            }
            times.struck += 1;
            let later = &entries[place + 1..];
            let since = |then: Timestamp| then.duration_since(entry.time).as_secs_f64().max(0.0);
            let same = |later: &&Entry| later.attempt == entry.attempt;
            let noticed = later.iter().take_while(same).find(|later| is_notice(&later.event));
            let next = later
                .iter()
                .find(|later| later.attempt == entry.attempt + 1 && matches!(later.event, Event::Started { .. }));
            if let (Some(noticed), Some(next)) = (noticed, next) {
                times.detected.push(since(noticed.time));
                times.recovered.push(since(next.time));
            }
        }
        times
    }
}

fn is_notice(event: &Event) -> bool {
    matches!(event, Event::RankDied { .. } | Event::RankHung { .. } | Event::Failed { .. } | Event::AttemptEnded { .. })
}
