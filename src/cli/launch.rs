//! `steadfast launch`: runs a program under the supervisor.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;

use super::command;
use crate::config::{Bounds, parse_duration};
use crate::error::{Error, Result};
use crate::supervise::{Allocation, Launcher, Nodes, Plan, supervise};

/// Run a program on N ranks, and bring it back after failures.
///
/// The ranks are launched under mpirun, mpiexec or srun and watched. When one dies or no longer moves, all are ended and
/// launched again, and the program goes on from its newest good checkpoint. SIGINT, SIGTERM and SIGUSR1 make the ranks
/// save and stop; a second SIGINT ends them at once.
///
/// Exit codes: 0 finished, 1 failed, 2 bad command or case, 75 stopped (the same command goes on), 130 stopped at once.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many ranks compute [default inside a batch job: as many tasks as it was asked for].
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    ranks: Option<u32>,

    /// The launcher: mpirun, mpiexec, srun, a path, or auto (the first on PATH that fits the program's MPI; inside a batch
    /// job the next one is tried when a launch shows no rank).
    #[arg(long, value_name = "NAME", default_value = "auto")]
    launcher: String,

    /// An option for the launcher, before the program; may be repeated.
    #[arg(long = "launcher-arg", value_name = "OPTION", allow_hyphen_values = true)]
    launcher_arguments: Vec<OsString>,

    /// The hosts to place the ranks on, each with the ranks that it takes, as in node1:2,node2:2,node3:2; what is too many
    /// is spare [default: the nodes of the batch job, or the launcher's own choice].
    ///
    /// A host that falls silent, or on which ranks fail twice, is then passed over for a spare one; without spare ones the
    /// run goes on with fewer ranks, if the case's recovery.fewest_ranks allows it.
    #[arg(long, value_name = "LIST")]
    hosts: Option<String>,

    /// The run directory [default: the program's own --dir, STEADFAST_DIR, or NAME.run for NAME.toml].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Give up after so many failures in a row without a newer checkpoint [default: the case's
    /// recovery.failures_without_progress, or 3].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_failures_without_progress: Option<u32>,

    /// Take ranks that compute for hung when they do not move for so long [default: the case's recovery.hang_after, or
    /// 10].
    ///
    /// A model whose steps take long is waited for ten times as long as its longest step so far, up to the case's
    /// recovery.hang_after.at_most; starting and reading may take 6 times, writing 18 times as long.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    hang_after: Option<Duration>,

    /// Inside a batch job, put it into the queue again when the run cannot go on in this allocation: a node is lost and no
    /// spare one is left, the job's time is nearly over, or SIGUSR1 or SIGTERM warns of an end.
    ///
    /// A run that is stopped by SIGINT or by `steadfast stop`, a job that is cancelled, a bad case, or one that makes no
    /// progress is left alone.
    #[arg(long)]
    requeue: bool,

    /// The batch job outlives the death of its nodes (sbatch --no-kill): with --requeue, a sentry on another node puts it into
    /// the queue again if this node dies.
    #[arg(long)]
    no_kill: bool,

    /// Save as late as is safe before this wall time is over, and stop with code 75, as in --time-limit "4 h"
    /// [default: the time that is left to the batch job].
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    time_limit: Option<Duration>,

    /// How long the ranks may take to save when they are asked to stop.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    grace: Duration,

    /// The program and its arguments, as in: -- heat run CASE.toml
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Supervises the run to its end.
///
/// # Errors
///
/// A bad command, if program or launcher are missing or the run directory is unclear; otherwise as [`supervise`].
pub fn run(args: &Args) -> Result<ExitCode> {
    let program = command::program(&args.command)?;
    let recovery = command::recovery(&args.command)?;
    let allocation = allocation(args.requeue)?;
    let tasks = allocation.as_ref().and_then(Allocation::tasks);
    let ranks = args.ranks.map(|ranks| ranks as usize).or(tasks).ok_or_else(|| {
        Error::case("how many ranks compute is not said").hint("say it: -n N (only inside a batch job it is known)")
    })?;
    let nodes = args.hosts.as_deref().map(Nodes::parse).transpose()?;
    if let Some(nodes) = nodes.as_ref().filter(|nodes| nodes.slots() < ranks) {
        let (hosts, slots) = (args.hosts.as_deref().unwrap_or_default(), nodes.slots());
        return Err(Error::case(format!("--hosts {hosts} takes {slots} ranks, but -n asks for {ranks}"))
            .hint("name more hosts, or say how many ranks each takes: --hosts node1:2,node2:2"));
    }
    let allocation = allocation.map(|allocation| {
        let mut allocation = match nodes.clone() {
            Some(nodes) => allocation.with_nodes(nodes),
            None => allocation.with_room_for(ranks),
        };
        allocation.requeue = args.requeue;
        allocation.outlives_nodes = args.no_kill;
        allocation
    });
    let mut launchers = Launcher::candidates(&args.launcher, &program)?;
    if allocation.is_none() {
        launchers.truncate(1);
    }
    let plan = Plan {
        launchers,
        launcher_arguments: args.launcher_arguments.clone(),
        ranks,
        directory: command::directory(args.dir.as_deref(), &args.command)?,
        command: std::iter::once(program.into()).chain(args.command[1..].iter().cloned()).collect(),
        failures_allowed: args.max_failures_without_progress.unwrap_or(recovery.failures_without_progress),
        fewest_ranks: recovery.fewest_ranks.unwrap_or(ranks).min(ranks),
        nodes: nodes.unwrap_or_default(),
        allocation,
        hang_after: match args.hang_after {
            Some(at_least) => Bounds { at_least, at_most: recovery.hang_after.at_most.max(at_least) },
            None => recovery.hang_after,
        },
        stop_signals: recovery.stop_signals,
        deadline: args.time_limit.map(|limit| Timestamp::now() + limit),
        grace: args.grace,
    };
    tell(&format!("run directory {}", plan.directory.root().display()));
    let verdict = supervise(&plan, &mut |line| tell(line))?;
    tell(&verdict.why);
    Ok(ExitCode::from(verdict.exit_code))
}

/// The allocation of the job that we are in; none, if its batch system cannot be asked, as from within a container, and
/// nothing that only it can do is wanted.
fn allocation(requeue: bool) -> Result<Option<Allocation>> {
    Allocation::of_this_process().or_else(|error| {
        if requeue {
            return Err(error.hint("--requeue needs the batch system's commands: make them available, or leave it out"));
        }
        tell(&format!("{}; going on as outside of a batch job", error.message()));
        Ok(None)
    })
}

/// Tells whoever listens; that nobody does, as behind `| head`, is no reason to end a run.
pub(super) fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "steadfast: {line}");
}

/// A span of time, given as a number of seconds.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "must be a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "must be more than 0 seconds".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_positive_numbers_of_seconds() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["0", "-1", "soon", "inf", "nan"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
