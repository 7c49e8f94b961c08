//! The batch job of a run: which it is, how far it is, and whether anybody still minds it.

use std::time::Duration;

use serde::Serialize;

use super::show;
use crate::batch::script::quote;
use crate::batch::{Job, JobId, JobState, NodeState, Scheduler, Slurm};
use crate::error::{Error, Kind, Result};
use crate::rundir::{JobRecord, RunDirectory};

/// How long whoever only looks waits for the batch system.
const GLANCE: Duration = Duration::from_secs(5);

/// The job that a run had last, as its batch system knows it now.
#[derive(Debug)]
pub(super) struct RunJob {
    /// What the run directory says.
    pub record: JobRecord,
    /// What the batch system says; none if it has forgotten the job.
    pub job: Option<Job>,
    /// The node of its script and that node's state, if the job has nodes and this one is dead: nobody minds the job.
    pub dead_host: Option<(String, String)>,
}

impl RunJob {
    /// Asks the batch system for the job of a run; none if no job ever had the run.
    ///
    /// # Errors
    ///
    /// As [`JobRecord::read`] and [`Scheduler::job`]; a run error, if the batch system is one that is not known.
    pub fn of(run: &RunDirectory, slurm: &Slurm) -> Result<Option<RunJob>> {
        let Some(record) = JobRecord::read(run)? else { return Ok(None) };
        if record.scheduler != slurm.name() {
            let (scheduler, id) = (&record.scheduler, &record.id);
            return Err(Error::new(
                Kind::Run,
                format!("job {id} of {scheduler} has the run, and only Slurm is known here"),
            )
            .at_path(run.job())
            .hint("once it has ended, remove this file"));
        }
        let job = slurm.job(&JobId(record.id.clone()))?;
        let host = job.as_ref().filter(|job| job.state == JobState::Running).and_then(|job| job.batch_host.clone());
        let dead_host = host.and_then(|host| match slurm.nodes(std::slice::from_ref(&host)).ok()?.pop()? {
            NodeState::Down(words) => Some((host, words)),
            NodeState::Up | NodeState::Draining => None,
        });
        Ok(Some(RunJob { record, job, dead_host }))
    }

    /// Its name in the batch system.
    pub fn id(&self) -> JobId {
        JobId(self.record.id.clone())
    }

    /// Whether it has nodes, or will have them.
    pub fn is_alive(&self) -> bool {
        self.job.as_ref().is_some_and(|job| job.state.is_alive())
    }

    /// Whether it waits for its nodes.
    pub fn is_pending(&self) -> bool {
        self.job.as_ref().is_some_and(|job| job.state == JobState::Pending)
    }

    /// What there is to say of it.
    fn report(self) -> JobReport {
        let state = self.job.as_ref().map_or_else(|| "forgotten".to_owned(), |job| job.state.to_string());
        let report = JobReport {
            record: Some(self.record),
            state: Some(state),
            dead_host: self.dead_host,
            ..JobReport::default()
        };
        match self.job {
            Some(job) => JobReport {
                reason: job.reason,
                nodes: job.nodes,
                batch_host: job.batch_host,
                restarts: job.restarts,
                seconds_left: job.time_left.map(|left| left.as_secs()),
                ..report
            },
            None => report,
        }
    }
}

/// What there is to say of a run's job to those who only look.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct JobReport {
    #[serde(flatten)]
    record: Option<JobRecord>,
    /// How far it is, in a word; none if nobody could be asked.
    state: Option<String>,
    /// Why it waits or ended, in the batch system's word.
    reason: Option<String>,
    nodes: Vec<String>,
    batch_host: Option<String>,
    restarts: u32,
    seconds_left: Option<u64>,
    /// The batch host and its state, if it is dead and nobody minds the job.
    dead_host: Option<(String, String)>,
    /// Why the batch system could not be asked.
    unknown: Option<String>,
}

impl JobReport {
    /// Looks at the job of a run, and never fails: what cannot be learnt is said to be unknown. None if no job has the run.
    pub fn of(run: &RunDirectory) -> Option<JobReport> {
        match RunJob::of(run, &Slurm::within(GLANCE)) {
            Ok(job) => job.map(RunJob::report),
            Err(error) => Some(JobReport {
                record: JobRecord::read(run).ok().flatten(),
                unknown: Some(error.message().to_owned()),
                ..JobReport::default()
            }),
        }
    }

    /// Whether the job waits for its nodes.
    pub fn is_pending(&self) -> bool {
        self.state == Some(JobState::Pending.to_string())
    }

    /// Whether the job has nodes, and somebody minds it.
    pub fn is_minded(&self) -> bool {
        self.state == Some(JobState::Running.to_string()) && self.dead_host.is_none()
    }

    /// The same for people, a sentence for each matter.
    pub fn sentences(&self, run: &RunDirectory) -> Vec<String> {
        let name = match &self.record {
            Some(record) => format!("{} of {}", record.id, record.scheduler),
            None => "unknown".to_owned(),
        };
        let mut facts = Vec::new();
        if let Some(state) = &self.state {
            let nodes = if self.nodes.is_empty() { String::new() } else { format!(" on {}", self.nodes.join(",")) };
            let reason = self.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
            facts.push(format!("{state}{reason}{nodes}"));
        }
        match self.restarts {
            0 => {}
            1 => facts.push("put into the queue again once".to_owned()),
            restarts => facts.push(format!("put into the queue again {restarts} times")),
        }
        facts.extend(self.seconds_left.map(|left| format!("{} left", show::duration(Duration::from_secs(left)))));
        facts.extend(self.unknown.as_ref().map(|why| format!("nothing is known of it: {why}")));
        let mut sentences = vec![format!("{name}: {}", facts.join(", "))];
        sentences.extend(self.dead_host.as_ref().map(|(host, words)| {
            let revive = revival(run);
            format!("its batch host {host} is dead ({words}): nobody minds it; put it into the queue again: {revive}")
        }));
        sentences
    }
}

/// The command that puts a job that nobody minds into the queue again.
pub(super) fn revival(run: &RunDirectory) -> String {
    let directory = run.root().to_string_lossy();
    format!("steadfast submit --revive --dir {}", quote(&directory).unwrap_or_else(|_| directory.into_owned()))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn report() -> JobReport {
        JobReport {
            record: Some(JobRecord { scheduler: "Slurm".into(), id: "12".into(), since: Timestamp::UNIX_EPOCH }),
            state: Some("running".into()),
            nodes: vec!["n1".into(), "n2".into()],
            restarts: 1,
            seconds_left: Some(200),
            ..JobReport::default()
        }
    }

    #[test]
    fn a_job_is_told_in_a_sentence() {
        let run = RunDirectory::new("a b.run");
        let sentence = "12 of Slurm: running on n1,n2, put into the queue again once, 3 min 20 s left";
        assert_eq!(report().sentences(&run), [sentence]);
        let pending = JobReport {
            state: Some("pending".into()),
            reason: Some("Priority".into()),
            nodes: Vec::new(),
            restarts: 0,
            seconds_left: None,
            ..report()
        };
        assert_eq!(pending.sentences(&run), ["12 of Slurm: pending (Priority)"]);
    }

    #[test]
    fn a_job_that_nobody_minds_is_told_with_what_to_do() {
        let report = JobReport { dead_host: Some(("n1".into(), "DOWN*".into())), ..report() };
        let sentence = &report.sentences(&RunDirectory::new("a b.run"))[1];
        assert!(sentence.starts_with("its batch host n1 is dead (DOWN*)"), "{sentence}");
        assert!(sentence.ends_with("steadfast submit --revive --dir 'a b.run'"), "{sentence}");
    }

    #[test]
    fn what_is_not_known_is_no_error() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        assert_eq!(JobReport::of(&run), None);
        JobRecord { scheduler: "Tide".into(), ..report().record.unwrap() }.write(&run).unwrap();
        let told = JobReport::of(&run).unwrap().sentences(&run);
        assert!(told[0].starts_with("12 of Tide: nothing is known of it: job 12 of Tide has the run"), "{told:?}");
        std::fs::write(run.job(), "{").unwrap();
        assert!(JobReport::of(&run).unwrap().sentences(&run)[0].starts_with("unknown: nothing is known of it"));
    }
}
