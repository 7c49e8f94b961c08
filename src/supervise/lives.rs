//! What the journal tells a job about the run's earlier lives, in this job and in others.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::allocation::Allocation;
use crate::rundir::{Entry, Event, Holder};

/// For so long a node is remembered that was avoided: it may have been repaired since.
const MEMORY: SignedDuration = SignedDuration::from_hours(24);

/// What earlier lives tell the present one.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Lives {
    /// As many lives of this job in a row, up to the last one, had no newer checkpoint to begin with than there is now.
    pub without_progress: u32,
    /// Whether the ranks have begun to compute in an earlier life of this job: only the first one starts over.
    pub has_begun: bool,
    /// The nodes that were avoided lately.
    pub avoided: BTreeSet<String>,
    /// The supervisor of the life of this job that was the last to have the run, and its last attempt.
    pub predecessor: Option<(Holder, u32)>,
}

impl Lives {
    /// Reads the journal up to now, for a life of the job that is about to begin.
    pub fn of(journal: &[Entry], allocation: &Allocation, newest: Option<u64>) -> Lives {
        Self::read(journal, &allocation.job().to_string(), allocation.restart(), newest, Timestamp::now())
    }

    fn read(journal: &[Entry], this: &str, restart: u32, newest: Option<u64>, now: Timestamp) -> Lives {
        let mut lives = Lives::default();
        let mut of_this_job = false;
        for entry in journal {
            match &entry.event {
                Event::JobBegan { job, restart: earlier, checkpoint, supervisor, .. } => {
                    // Numbers of jobs may begin anew: another job of this name had no life before ours.
                    of_this_job = job == this && *earlier < restart;
                    let vain = of_this_job && *checkpoint >= newest;
                    lives.without_progress = if vain { lives.without_progress + 1 } else { 0 };
                    lives.has_begun &= of_this_job;
                    lives.predecessor =
                        supervisor.clone().filter(|_| of_this_job).map(|holder| (holder, entry.attempt));
                }
                Event::AttemptLaunched { .. } => {
                    if let Some((_, attempt)) = &mut lives.predecessor {
                        *attempt = entry.attempt;
                    }
                }
                Event::Started { .. } => lives.has_begun |= of_this_job,
                Event::NodeAvoided { node, .. } if now.duration_since(entry.time) < MEMORY => {
                    lives.avoided.insert(node.clone());
                }
                _ => {}
            }
        }
        lives
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn began(job: &str, restart: u32, checkpoint: Option<u64>) -> Event {
        let (scheduler, nodes) = ("Slurm".to_owned(), vec!["n1".to_owned()]);
        Event::JobBegan { scheduler, job: job.into(), restart, nodes, checkpoint, supervisor: Some(holder(restart)) }
    }

    fn holder(restart: u32) -> Holder {
        Holder { host: "n1".into(), pid: 1, epoch: restart.into(), since: Timestamp::UNIX_EPOCH }
    }

    fn started() -> Event {
        Event::Started { run_id: "r".into(), ranks: 1, program: "p".into(), resumed_from: None }
    }

    fn read(events: impl IntoIterator<Item = Event>, restart: u32, newest: Option<u64>) -> Lives {
        let entry = |event| Entry { time: Timestamp::UNIX_EPOCH, attempt: 1, event };
        let journal: Vec<Entry> = events.into_iter().map(entry).collect();
        Lives::read(&journal, "7", restart, newest, Timestamp::UNIX_EPOCH + SignedDuration::from_hours(23))
    }

    #[test]
    fn lives_that_got_nowhere_are_counted_and_progress_begins_the_count_anew() {
        let lives = [began("7", 0, None), began("7", 1, Some(10)), began("7", 2, Some(10))];
        assert_eq!(read(lives.clone(), 3, Some(10)).without_progress, 2);
        assert_eq!(read(lives.clone(), 3, Some(20)).without_progress, 0);
        assert_eq!(read(lives[..1].to_vec(), 1, None).without_progress, 1);
        assert_eq!(read(lives, 3, None).predecessor, Some((holder(2), 1)));
        assert_eq!(read([], 0, None), Lives::default());
    }

    #[test]
    fn what_another_job_did_is_another_story() {
        let others = [began("6", 0, Some(10)), started(), began("6", 1, Some(10))];
        assert_eq!(read(others, 1, Some(10)), Lives::default());
        let old = [began("7", 0, Some(10)), started()];
        assert_eq!(read(old, 0, Some(10)), Lives::default(), "the numbers of jobs may begin anew");
    }

    #[test]
    fn only_the_first_life_starts_over() {
        assert!(!read([began("7", 0, None)], 1, None).has_begun, "it got nowhere");
        assert!(read([began("7", 0, None), started()], 1, None).has_begun);
    }

    #[test]
    fn a_node_that_was_avoided_is_remembered_for_a_day() {
        let avoided = || Event::NodeAvoided { node: "n3".into(), why: "fell silent".into() };
        assert_eq!(read([avoided()], 0, None).avoided, BTreeSet::from(["n3".to_owned()]));
        let entry = Entry { time: Timestamp::UNIX_EPOCH, attempt: 1, event: avoided() };
        let late = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(25);
        assert_eq!(Lives::read(&[entry], "7", 0, None, late), Lives::default());
    }
}
