//! What the attempts of a run came to so far: how many there were, how many failed, how long they lasted.

use std::time::Duration;

use super::event::Event;
use super::journal::Entry;

/// The attempts of a run, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Attempts that left a trace, the present one included.
    pub attempts: u32,
    /// Attempts that ended and neither finished nor stopped as they were asked to.
    pub failures: u32,
    /// The wall time of those that ended, from the first trace of each to its last.
    pub wall: Duration,
}

impl Tally {
    /// Counts the attempts of a journal; all but the last have ended, whether they could tell or not.
    pub fn of(journal: &[Entry]) -> Tally {
        let mut numbers: Vec<u32> = journal.iter().map(|entry| entry.attempt).filter(|&number| number > 0).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut tally = Tally { attempts: numbers.len() as u32, ..Tally::default() };
        for &number in &numbers {
            let entries: Vec<&Entry> = journal.iter().filter(|entry| entry.attempt == number).collect();
            let any = |what: fn(&Event) -> bool| entries.iter().any(|entry| what(&entry.event));
            let well = any(|event| match event {
                Event::Finished { .. } | Event::Stopped { .. } => true,
                Event::Decision { what, .. } => what == "finished",
                _ => false,
            });
            let told = any(|event| matches!(event, Event::AttemptEnded { .. } | Event::Failed { .. }));
            if !(well || told || Some(&number) != numbers.last()) {
                continue;
            }
            tally.failures += u32::from(!well);
            if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
                // The clock may have been set back meanwhile: that is no time at all.
                tally.wall += Duration::try_from(last.time.duration_since(first.time)).unwrap_or_default();
            }
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;

    fn journal(lines: impl IntoIterator<Item = (i64, u32, Event)>) -> Vec<Entry> {
        let entry = |(second, attempt, event)| Entry {
            time: Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second),
            attempt,
            event,
        };
        lines.into_iter().map(entry).collect()
    }

    fn ended() -> Event {
        Event::AttemptEnded { outcome: "x".into(), step: 1 }
    }

    fn asked() -> Event {
        Event::StopRequested { reason: "x".into() }
    }

    #[test]
    fn attempts_failures_and_their_time_are_counted() {
        let journal = journal([
            (0, 0, asked()),
            (10, 1, asked()),
            (25, 1, ended()),
            (25, 1, Event::Decision { what: "relaunch".into(), why: "x".into() }),
            (30, 2, Event::Failed { error: crate::Error::case("x") }),
            (31, 2, ended()),
            (40, 3, Event::Finished { step: 1, time: 1.0, hash: "0".into() }),
            (42, 3, ended()),
            (50, 4, asked()),
        ]);
        let seconds = Duration::from_secs;
        assert_eq!(Tally::of(&journal), Tally { attempts: 4, failures: 2, wall: seconds(18) });
        assert_eq!(Tally::of(&[]), Tally::default());
    }

    #[test]
    fn an_attempt_that_could_not_tell_its_end_has_failed_when_there_is_another() {
        let killed = [(1, 1, asked()), (8, 1, asked())];
        assert_eq!(Tally::of(&journal(killed.clone())).failures, 0);
        let next = journal(killed.into_iter().chain([(20, 2, asked())]));
        assert_eq!(Tally::of(&next), Tally { attempts: 2, failures: 1, wall: Duration::from_secs(7) });
    }

    #[test]
    fn a_clock_that_was_set_back_takes_no_time_away() {
        let journal = journal([(100, 1, asked()), (50, 1, ended())]);
        assert_eq!(Tally::of(&journal), Tally { attempts: 1, failures: 1, wall: Duration::ZERO });
    }
}
