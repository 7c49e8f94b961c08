//! `steadfast stop`: asks a run to save, and to stop for good.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::job::RunJob;
use super::launch::tell;
use super::show;
use crate::batch::{Scheduler, Slurm};
use crate::config::parse_duration;
use crate::error::{Error, Kind, Result};
use crate::rundir::{Lease, RunDirectory};

/// The time between two looks whether the run has stopped.
const LOOK: Duration = Duration::from_millis(500);

/// How often those who wait are told that they do.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// Ask a run to save and to stop for good.
///
/// Ranks that compute save first, and end with code 75; a batch job that has the run ends with them and is not put into the
/// queue again. A job that still waits for its nodes is cancelled. The run can go on later, from where it stopped.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run directory.
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// Wait until it has stopped.
    #[arg(long)]
    wait: bool,

    /// How long to wait, as in "10 min".
    #[arg(long, value_name = "DURATION", default_value = "10 min", value_parser = parse_duration)]
    limit: Duration,
}

/// What has to be done for a run to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    /// Nobody has the run.
    Nothing,
    /// Ranks or their supervisor are to be asked.
    Ask,
    /// The job has not begun, or nobody minds it: there is nobody to be asked.
    Cancel,
}

/// Stops the run.
///
/// # Errors
///
/// A bad command, if the directory holds no run; a run error, if nobody seems to have the run and its job cannot be asked
/// for, if it cannot be cancelled, or if the run has not stopped when the wait is over; an I/O error, if the request cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    let run = RunDirectory::open(&args.dir)?;
    let slurm = Slurm::new();
    let is_held = is_held(&run);
    let job = match RunJob::of(&run, &slurm) {
        // Whoever has the run hears of it without the batch system.
        Err(error) if is_held => {
            tell(&format!("nothing is known of its job: {}", error.message()));
            None
        }
        job => job?.filter(RunJob::is_alive),
    };
    match next(is_held, job.as_ref()) {
        Move::Nothing => {
            tell("nobody has the run: there is nothing to stop");
            return Ok(ExitCode::SUCCESS);
        }
        Move::Cancel => {
            let id = job.as_ref().map(RunJob::id).expect("there is a job to be cancelled");
            slurm.cancel(&id)?;
            tell(&format!("job {id} is cancelled; what the run has saved stays"));
        }
        Move::Ask => {
            run.request_stop("steadfast stop")?;
            tell("asked the run to save and to stop");
        }
    }
    if args.wait { wait(&run, &slurm, args.limit) } else { Ok(ExitCode::SUCCESS) }
}

/// What to do, by who has the run.
fn next(is_held: bool, job: Option<&RunJob>) -> Move {
    match job {
        Some(job) if !is_held && (job.is_pending() || job.dead_host.is_some()) => Move::Cancel,
        None if !is_held => Move::Nothing,
        _ => Move::Ask,
    }
}

/// Whether ranks or a supervisor hold the run, as far as this machine can see.
fn is_held(run: &RunDirectory) -> bool {
    [run.lease(), run.supervisor_lock()].iter().any(|path| Lease::holder_of(path).is_some())
}

fn wait(run: &RunDirectory, slurm: &Slurm, limit: Duration) -> Result<ExitCode> {
    let begin = Instant::now();
    let mut told = begin;
    loop {
        let who = match RunJob::of(run, slurm).map(|job| job.filter(RunJob::is_alive)) {
            Ok(Some(job)) => Some(format!("job {}", job.id())),
            _ if is_held(run) => Some("its ranks or their supervisor".to_owned()),
            Ok(None) => None,
            // A controller that is busy now answers later.
            Err(error) => Some(format!("perhaps a job, of which nothing is known ({})", error.message())),
        };
        let Some(who) = who else {
            tell("the run has stopped");
            return Ok(ExitCode::SUCCESS);
        };
        if begin.elapsed() >= limit {
            let what = format!("the run has not stopped within {}: {who} still has it", show::duration(limit));
            return Err(Error::new(Kind::Run, what).at_path(run.root()).hint("look at it with steadfast status"));
        }
        if told.elapsed() >= SIGN_OF_LIFE {
            told = Instant::now();
            tell(&format!("waiting for {who}"));
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::batch::{Job, JobId, JobState};
    use crate::rundir::JobRecord;

    fn job(state: JobState, dead_host: bool) -> RunJob {
        RunJob {
            record: JobRecord { scheduler: "Slurm".into(), id: "12".into(), since: Timestamp::UNIX_EPOCH },
            job: Some(Job {
                id: JobId("12".into()),
                state,
                reason: None,
                nodes: Vec::new(),
                batch_host: None,
                restarts: 0,
                time_left: None,
            }),
            dead_host: dead_host.then(|| ("n1".into(), "DOWN".into())),
        }
    }

    #[test]
    fn whoever_has_the_run_is_asked_and_a_job_that_cannot_answer_is_cancelled() {
        for (is_held, job, expected) in [
            (false, None, Move::Nothing),
            (true, None, Move::Ask),
            (false, Some(job(JobState::Running, false)), Move::Ask),
            (true, Some(job(JobState::Running, false)), Move::Ask),
            (false, Some(job(JobState::Pending, false)), Move::Cancel),
            (true, Some(job(JobState::Pending, false)), Move::Ask),
            (false, Some(job(JobState::Running, true)), Move::Cancel),
        ] {
            assert_eq!(next(is_held, job.as_ref()), expected, "{is_held} {job:?}");
        }
    }
}
