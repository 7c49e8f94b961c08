//! `steadfast status`: what a run does and did.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::job::JobReport;
use super::{show, times};
use crate::error::Result;
use crate::rundir::{
    CheckpointEntry, Entry, Finished, Holder, Journal, Lease, NextCheckpoint, RunDirectory, State, Status, Tally, Times,
};

/// How many of the last events are shown.
const LAST_EVENTS: usize = 5;

/// A status that is not older shows that the ranks compute: they post one about every second.
const FRESH: Duration = Duration::from_secs(30);

/// Show what a run does and did.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run directory.
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

/// Everything there is to say about a run.
#[derive(Serialize)]
struct Report {
    directory: PathBuf,
    /// One of idle, queued, waiting, running, lost, finished, stopped, failed.
    state: &'static str,
    /// The batch job that has the run.
    job: Option<JobReport>,
    status: Option<Status>,
    newest_checkpoint: Option<u64>,
    checkpoints: usize,
    attempts: u32,
    failures: u32,
    ranks: Option<Holder>,
    supervisor: Option<Holder>,
    finished: Option<Finished>,
    /// Where the time went in the last attempt of this run that ended well.
    times: Option<Times>,
    last_events: Vec<Entry>,
}

/// Shows the status of a run directory.
///
/// # Errors
///
/// A bad command, if the directory holds no run; an I/O error, if it cannot be read.
pub fn run(args: &Args) -> Result<ExitCode> {
    let run = RunDirectory::open(&args.dir)?;
    let checkpoints = run.checkpoints()?;
    let report = Report::of(&run, &checkpoints)?;
    match args.json {
        true => show::json(&report)?,
        false => show::data(&report.text(&run, checkpoints.first()))?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Report {
    fn of(run: &RunDirectory, checkpoints: &[CheckpointEntry]) -> Result<Report> {
        let journal = Journal::read(run)?;
        let tally = Tally::of(&journal);
        let status = Status::read(run)?;
        let finished = Finished::read(run)?;
        let is_of_this_run = |times: &Times| status.as_ref().is_none_or(|status| status.run_id == times.run_id);
        // What nobody needs for going on must not keep anybody from looking.
        let times = Times::read(run).unwrap_or_else(|error| {
            log::warn!("{error}");
            None
        });
        let times = times.filter(is_of_this_run);
        let ranks = Lease::holder_of(&run.lease());
        let supervisor = Lease::holder_of(&run.supervisor_lock());
        let job = JobReport::of(run);
        let signs = Signs {
            finished: finished.is_some(),
            ranks: ranks.is_some(),
            supervisor: supervisor.is_some(),
            queued: job.as_ref().is_some_and(JobReport::is_pending),
            minded: job.as_ref().is_some_and(JobReport::is_minded),
        };
        Ok(Report {
            directory: run.root().to_owned(),
            state: state(status.as_ref(), signs),
            job,
            status,
            newest_checkpoint: checkpoints.first().map(|entry| entry.step),
            checkpoints: checkpoints.len(),
            attempts: tally.attempts,
            failures: tally.failures,
            ranks,
            supervisor,
            finished,
            times,
            last_events: journal[journal.len().saturating_sub(LAST_EVENTS)..].to_vec(),
        })
    }

    fn text(&self, run: &RunDirectory, newest: Option<&CheckpointEntry>) -> String {
        let mut lines = vec![("run", self.directory.display().to_string()), ("state", self.state.to_owned())];
        if let Some(status) = &self.status {
            lines.push(("program", self.program(status)));
            lines.push(("step", show::count(status.step)));
            lines.push(("time", time(status)));
            if self.state == "running" {
                lines.push(("rate", format!("{}cells/s", show::rate(status.rate))));
                if let Some(eta) = status.eta.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
                    lines.push(("ends in", show::duration(eta)));
                }
                lines.push(("updated", format!("{} ago", show::duration(since(status.updated)))));
            }
        }
        lines.push(("checkpoint", checkpoint(newest, self.checkpoints)));
        let next = self.status.as_ref().filter(|_| self.state == "running").and_then(|status| status.next_checkpoint);
        lines.extend(next.map(|next| ("next", upcoming(next))));
        if let Some(checkpointing) = self.status.as_ref().and_then(|status| status.checkpointing) {
            lines.push(("checkpointing", checkpointing.to_string()));
        }
        let local = self.status.as_ref().filter(|_| self.state == "running").and_then(|status| status.last_local);
        lines.extend(local.map(|local| {
            let age = show::duration(since(local.at));
            ("on the nodes", format!("step {}, {age} old", show::count(local.step)))
        }));
        for (place, sentence) in self.job.iter().flat_map(|job| job.sentences(run)).enumerate() {
            lines.push((if place == 0 { "job" } else { "" }, sentence));
        }
        lines.push(("attempts", format!("{}, of which {} failed", self.attempts, self.failures)));
        lines.push(("ranks", holder(self.ranks.as_ref())));
        lines.push(("supervisor", holder(self.supervisor.as_ref())));
        lines.extend(self.times.as_ref().map(|times| ("time spent", times::line(times))));
        if let Some(finished) = &self.finished {
            lines.push(("state hash", format!("{:016x}", finished.state_hash)));
        }
        let mut text = show::pairs(&lines);
        if !self.last_events.is_empty() {
            text.push('\n');
        }
        for entry in &self.last_events {
            text.push_str(&format!("{}  attempt {}: {}\n", entry.time.strftime("%F %TZ"), entry.attempt, entry.event));
        }
        text
    }

    fn program(&self, status: &Status) -> String {
        let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        let (ranks, threads) = (plural(status.ranks, "rank"), plural(status.threads, "thread"));
        format!("{}, {} cells, {ranks} of {threads}", status.program, show::count(status.cells))
    }
}

/// What tells whether a run moves.
#[derive(Debug, Clone, Copy, Default)]
struct Signs {
    /// The completion record is there.
    finished: bool,
    /// Ranks hold the run.
    ranks: bool,
    /// A supervisor holds it.
    supervisor: bool,
    /// Its job waits for nodes.
    queued: bool,
    /// Its job has nodes, and the one that minds it lives.
    minded: bool,
}

/// The state in a word; what the status file says holds only as long as somebody holds the lease.
fn state(status: Option<&Status>, signs: Signs) -> &'static str {
    // A file server may tell nobody on this machine which locks are held on others; then what is fresh counts.
    let is_fresh = |status: &Status| status.state == State::Running && since(status.updated) < FRESH;
    let is_seen = signs.minded && !signs.supervisor && status.is_some_and(is_fresh);
    match status.map(|status| status.state) {
        _ if signs.ranks || is_seen => "running",
        _ if signs.finished => "finished",
        // The ranks are about to be launched, or launched again.
        _ if signs.supervisor || signs.minded => "waiting",
        _ if signs.queued => "queued",
        Some(State::Running) => "lost",
        Some(state) => state.name(),
        None => "idle",
    }
}

fn time(status: &Status) -> String {
    match status.end_time {
        Some(end) if end > 0.0 => format!("{} of {end} ({:.1} %)", status.time, 100.0 * status.time / end),
        _ => status.time.to_string(),
    }
}

fn upcoming(next: NextCheckpoint) -> String {
    match next {
        NextCheckpoint::Step(step) => format!("after step {}", show::count(step)),
        NextCheckpoint::Time(time) => format!("at time {time}"),
        NextCheckpoint::At(at) => match Duration::try_from(at.duration_since(Timestamp::now())) {
            Ok(left) => format!("in {}", show::duration(left)),
            Err(_) => "now".to_owned(),
        },
    }
}

fn checkpoint(newest: Option<&CheckpointEntry>, number: usize) -> String {
    match newest {
        Some(entry) => {
            let age = entry.modified.elapsed().unwrap_or_default();
            format!("step {}, {} old, {number} kept", show::count(entry.step), show::duration(age))
        }
        None => "none yet".into(),
    }
}

fn holder(holder: Option<&Holder>) -> String {
    match holder {
        Some(holder) => format!("process {} on {} since {}", holder.pid, holder.host, holder.since),
        None => "none".into(),
    }
}

fn since(time: Timestamp) -> Duration {
    Duration::try_from(Timestamp::now().duration_since(time)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_nobody_holds_does_not_run() {
        let nobody = Signs::default();
        for (signs, word) in [
            (Signs { ranks: true, supervisor: true, ..nobody }, "running"),
            (Signs { finished: true, supervisor: true, ..nobody }, "finished"),
            (Signs { supervisor: true, ..nobody }, "waiting"),
            (Signs { minded: true, ..nobody }, "waiting"),
            (Signs { queued: true, ..nobody }, "queued"),
            (nobody, "idle"),
        ] {
            assert_eq!(state(None, signs), word, "{signs:?}");
        }
    }
}
