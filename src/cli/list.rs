//! `steadfast list`: the checkpoints of a run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

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
        eprintln!("no checkpoint yet in {}", run.checkpoint_directory().display());
    } else {
        show::data(&table(&lines))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(run: &RunDirectory) -> Result<Vec<Line>> {
    let times: BTreeMap<u64, f64> = Journal::read(run)?
        .into_iter()
        .filter_map(|entry| match entry.event {
            Event::CheckpointCommitted { step, time, .. } => Some((step, time)),
            _ => None,
        })
        .collect();
    let line = |(place, entry): (usize, crate::rundir::CheckpointEntry)| Line {
        step: entry.step,
        time: times.get(&entry.step).copied(),
        bytes: entry.bytes,
        age_seconds: entry.modified.elapsed().unwrap_or_default().as_secs_f64(),
        path: entry.path,
        latest: place == 0,
    };
    Ok(run.checkpoints()?.into_iter().enumerate().map(line).collect())
}

fn table(lines: &[Line]) -> String {
    let mut table = show::Table::new(&["STEP", "TIME", "SIZE", "AGE", "FILE"]);
    for line in lines {
        let name = line.path.file_name().unwrap_or_default().to_string_lossy();
        table.row(vec![
            line.step.to_string(),
            line.time.map_or_else(|| "-".to_owned(), |time| time.to_string()),
            show::bytes(line.bytes),
            show::duration(std::time::Duration::from_secs_f64(line.age_seconds)),
            format!("{name}{}", if line.latest { "  (latest)" } else { "" }),
        ]);
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
}
