//! `steadfast list`: the checkpoints of a run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::job::JobReport;
use super::launch::tell;
use super::show;
use crate::error::Result;
use crate::rundir::{Event, Journal, RunDirectory};

/// List the checkpoints of a run, the newest first.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run directory.
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

/// One checkpoint.
#[derive(Serialize)]
struct Line {
    step: u64,
    /// The simulated time, if the journal tells it.
    time: Option<f64>,
    bytes: u64,
    age_seconds: f64,
    path: PathBuf,
    latest: bool,
    /// The batch job that wrote it, as `12` or, in a later life, `12.1`; none if none did.
    job: Option<String>,
}

/// Lists the checkpoints of a run directory.
///
/// # Errors
///
/// A bad command, if the directory holds no run; an I/O error, if it cannot be read.
pub fn run(args: &Args) -> Result<ExitCode> {
    let run = RunDirectory::open(&args.dir)?;
    let lines = lines(&run)?;
    if args.json {
        show::json(&lines)?;
    } else if lines.is_empty() {
        tell(&format!("no checkpoint yet in {}", run.checkpoint_directory().display()));
    } else {
        show::data(&table(&lines))?;
    }
    if !args.json {
        for sentence in JobReport::of(&run).iter().flat_map(|job| job.sentences(&run)) {
            tell(&format!("job {sentence}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(run: &RunDirectory) -> Result<Vec<Line>> {
    let told = told(run)?;
    let line = |(place, entry): (usize, crate::rundir::CheckpointEntry)| {
        let (time, job) = told.get(&entry.step).cloned().unzip();
        Line {
            step: entry.step,
            time,
            bytes: entry.bytes,
            age_seconds: entry.modified.elapsed().unwrap_or_default().as_secs_f64(),
            path: entry.path,
            latest: place == 0,
            job: job.flatten(),
        }
    };
    Ok(run.checkpoints()?.into_iter().enumerate().map(line).collect())
}

/// What the journal tells of the checkpoints that were committed: the simulated time, and the job that had the run.
fn told(run: &RunDirectory) -> Result<BTreeMap<u64, (f64, Option<String>)>> {
    let mut told = BTreeMap::new();
    let mut now = None;
    for entry in Journal::read(run)? {
        match entry.event {
            Event::JobBegan { job, restart: 0, .. } => now = Some(job),
            Event::JobBegan { job, restart, .. } => now = Some(format!("{job}.{restart}")),
            // Whoever takes the run up then may do so without a job.
            Event::JobRequeued { .. } | Event::Stopped { .. } => now = None,
            Event::CheckpointCommitted { step, time, .. } => {
                told.insert(step, (time, now.clone()));
            }
            _ => {}
        }
    }
    Ok(told)
}

fn table(lines: &[Line]) -> String {
    let has_jobs = lines.iter().any(|line| line.job.is_some());
    let mut head = vec!["STEP", "TIME", "SIZE", "AGE", "FILE"];
    if has_jobs {
        head.insert(4, "JOB");
    }
    let mut table = show::Table::new(&head);
    for line in lines {
        let name = line.path.file_name().unwrap_or_default().to_string_lossy();
        let mut cells = vec![
            line.step.to_string(),
            line.time.map_or_else(|| "-".to_owned(), |time| time.to_string()),
            show::bytes(line.bytes),
            show::duration(std::time::Duration::from_secs_f64(line.age_seconds)),
            format!("{name}{}", if line.latest { "  (latest)" } else { "" }),
        ];
        if has_jobs {
            cells.insert(4, line.job.clone().unwrap_or_else(|| "-".to_owned()));
        }
        table.row(cells);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_comes_first_and_is_marked() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        run.create().unwrap();
        for step in [10, 20] {
            std::fs::write(run.checkpoint_path(step), "x").unwrap();
        }
        let committed = Event::CheckpointCommitted {
            step: 20,
            time: 0.125,
            path: run.checkpoint_path(20),
            bytes: 1,
            seconds: 0.1,
            stall: 0.0,
        };
        Journal::new(&run, 1).append(committed);
        let text = table(&lines(&run).unwrap());
        let rows: Vec<&str> = text.lines().collect();
        assert!(rows[1].contains("0.125") && rows[1].ends_with("step-0000000020.h5  (latest)"), "{text}");
        assert!(rows[2].ends_with("step-0000000010.h5"), "{text}");
        assert!(rows.iter().all(|row| row.chars().count() <= 80), "{text}");
    }

    #[test]
    fn a_checkpoint_is_told_with_the_life_of_the_job_that_wrote_it() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        run.create().unwrap();
        let journal = Journal::new(&run, 1);
        let began = |restart| Event::JobBegan {
            scheduler: "Slurm".into(),
            job: "12".into(),
            restart,
            nodes: vec!["n1".into()],
            checkpoint: None,
            supervisor: None,
        };
        let committed = |step| Event::CheckpointCommitted {
            step,
            time: step as f64,
            path: run.checkpoint_path(step),
            bytes: 1,
            seconds: 0.1,
            stall: 0.0,
        };
        let stopped = Event::Stopped { reason: "USR1".into(), step: 20 };
        for event in [began(0), committed(10), stopped, committed(20), began(1), committed(30)] {
            journal.append(event);
        }
        for step in [10, 20, 30] {
            std::fs::write(run.checkpoint_path(step), "x").unwrap();
        }
        let lines = lines(&run).unwrap();
        let jobs: Vec<_> = lines.iter().map(|line| line.job.as_deref()).collect();
        assert_eq!(jobs, [Some("12.1"), None, Some("12")]);
        assert!(table(&lines).starts_with("STEP  TIME  SIZE"), "{}", table(&lines));
        assert!(table(&lines).lines().nth(1).unwrap().contains("  12.1  step-0000000030.h5"), "{}", table(&lines));
    }
}
