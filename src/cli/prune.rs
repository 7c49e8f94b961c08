//! `steadfast prune`: removes old checkpoints, and what dead attempts left half-written.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;

use super::show;
use crate::error::{Error, Result};
use crate::rundir::{CheckpointEntry, Lease, RunDirectory};

/// Remove old checkpoints, and what dead attempts left half-written.
///
/// Two checkpoints are always kept: the newest may turn out to be damaged. Half-written ones go only while nobody runs.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run directory.
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// How many of the newest checkpoints to keep.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    keep: u32,

    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Prunes a run directory.
///
/// # Errors
///
/// A bad command, if the directory holds no run; an I/O error, if a file cannot be removed.
pub fn run(args: &Args) -> Result<ExitCode> {
    let run = RunDirectory::open(&args.dir)?;
    let mut nobody_runs = [run.supervisor_lock(), run.lease()].iter().all(|path| Lease::holder_of(path).is_none());
    // With both leases in hand no attempt can begin to write what is about to be removed. The supervisor's comes first:
    // between two attempts it alone is held, and whoever takes the other one then stands in the way of the next.
    let leases = (nobody_runs && !args.dry_run)
        .then(|| Lease::of_supervisor(&run).and_then(|supervisor| Ok((supervisor, Lease::of_attempt(&run)?))));
    nobody_runs &= leases.as_ref().is_none_or(Result::is_ok);
    let mut doomed: Vec<CheckpointEntry> = run.checkpoints()?.into_iter().skip(args.keep as usize).collect();
    if nobody_runs {
        doomed.extend(run.partials()?);
    } else if !run.partials()?.is_empty() {
        eprintln!("the run is going on: half-written checkpoints are left alone");
    }
    let mut freed = 0;
    for entry in &doomed {
        if !args.dry_run {
            remove(entry)?;
        }
        freed += entry.bytes;
        show::data(&format!("{}\n", entry.path.display()))?;
    }
    let verb = if args.dry_run { "would remove" } else { "removed" };
    eprintln!("{verb} {} files, {}", doomed.len(), show::bytes(freed));
    Ok(ExitCode::SUCCESS)
}

fn remove(entry: &CheckpointEntry) -> Result<()> {
    match fs::remove_file(&entry.path) {
        // The run's own retention was faster.
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|cause| Error::io("remove the checkpoint", &entry.path, &cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> (tempfile::TempDir, RunDirectory) {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        run.create().unwrap();
        for step in [1, 2, 3, 4] {
            fs::write(run.checkpoint_path(step), "x").unwrap();
        }
        fs::write(run.partial_path(5, 1), "x").unwrap();
        (room, run)
    }

    fn prune(run: &RunDirectory, dry_run: bool) {
        super::run(&Args { dir: run.root().to_owned(), keep: 2, dry_run }).unwrap();
    }

    fn steps(entries: Vec<CheckpointEntry>) -> Vec<u64> {
        entries.iter().map(|entry| entry.step).collect()
    }

    #[test]
    fn the_newest_checkpoints_stay() {
        let (_room, run) = room();
        prune(&run, false);
        assert_eq!(steps(run.checkpoints().unwrap()), [4, 3]);
        assert_eq!(run.partials().unwrap(), []);
    }

    #[test]
    fn a_running_attempt_keeps_what_it_writes() {
        let (_room, run) = room();
        let _lease = Lease::of_attempt(&run).unwrap();
        prune(&run, false);
        assert_eq!(steps(run.partials().unwrap()), [5]);
    }

    #[test]
    fn a_supervisor_between_two_attempts_finds_the_lease_free() {
        let (_room, run) = room();
        let _supervisor = Lease::of_supervisor(&run).unwrap();
        prune(&run, false);
        assert_eq!(steps(run.partials().unwrap()), [5]);
        assert_eq!(Lease::of_attempt(&run).unwrap().epoch(), 1, "nobody took it before");
    }

    #[test]
    fn a_dry_run_removes_nothing() {
        let (_room, run) = room();
        prune(&run, true);
        assert_eq!(steps(run.checkpoints().unwrap()), [4, 3, 2, 1]);
        assert_eq!(steps(run.partials().unwrap()), [5]);
    }
}
