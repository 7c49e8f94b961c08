//! `steadfast submit`: hands a run to the batch system, as a job that goes on by itself.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::command;
use super::draft::Draft;
use super::job::{RunJob, revival};
use super::launch::{seconds, tell};
use super::show;
use crate::batch::script::{quote, split_options, time_limit};
use crate::batch::{JobId, Scheduler, Slurm};
use crate::config::parse_duration;
use crate::error::{Error, Kind, Result};
use crate::rundir::{Event, JobRecord, Journal, Lease, RunDirectory};

/// Submit a run to Slurm, as a job that survives failures and goes on until the run is finished.
///
/// The job runs `steadfast launch`, which launches the ranks, brings them back after failures, and puts the job into the queue
/// again when its time is over or too many of its nodes are lost. What is not said here follows from the case and from the
/// partition. Words after -- that begin with a dash are options for sbatch, as in -- --constraint=gpu heat run CASE.toml
///
/// Exit codes: 0 submitted, 1 Slurm refuses, or a job has the run already, 2 bad command or case.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The nodes that compute.
    #[arg(short = 'N', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) nodes: u32,

    /// The ranks on each node [default: as many as the partition's nodes have processors for, and no more than the case has
    /// blocks].
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) tasks_per_node: Option<u32>,

    /// The processors of each rank [default: the case's run.threads].
    #[arg(short = 'c', long, value_name = "C", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) cpus_per_task: Option<u32>,

    /// The limit of wall time for each life of the job, as in "4 h" or in Slurm's form 04:00:00 [default: the partition's].
    #[arg(short, long, value_name = "TIME", value_parser = time, env = "SBATCH_TIMELIMIT")]
    pub(super) time: Option<String>,

    /// Be content with so much wall time, if the job then begins earlier.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) time_min: Option<String>,

    /// The partition [default: Slurm's].
    #[arg(short, long, value_name = "NAME", env = "SBATCH_PARTITION")]
    pub(super) partition: Option<String>,

    /// The account that pays [default: Slurm's].
    #[arg(short = 'A', long, value_name = "NAME", env = "SBATCH_ACCOUNT")]
    pub(super) account: Option<String>,

    /// Nodes that wait in the allocation to take the place of dead ones at once.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(super) spare_nodes: u32,

    /// Have Slurm warn the run so long before its time is over [default: no need, the run knows its time and saves as late as
    /// is safe].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) signal_lead: Option<Duration>,

    /// The name of the job [default: the case's].
    #[arg(short = 'J', long, value_name = "NAME")]
    pub(super) name: Option<String>,

    /// The launcher that starts the ranks in the job: mpirun, srun, or auto.
    #[arg(long, value_name = "NAME")]
    pub(super) launcher: Option<String>,

    /// An option for the launcher, before the program; may be repeated.
    #[arg(long = "launcher-arg", value_name = "OPTION", allow_hyphen_values = true)]
    pub(super) launcher_arguments: Vec<String>,

    /// The run directory, which all nodes must see [default: as for steadfast launch].
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,

    /// Never put the job into the queue again.
    #[arg(long)]
    pub(super) no_requeue: bool,

    /// Keep away from no node, even if it was lost within the last day.
    #[arg(long)]
    pub(super) use_all_nodes: bool,

    /// Put the job that has the run into the queue again, because the node that minded it is dead.
    #[arg(long, conflicts_with_all = ["dry_run", "json"])]
    revive: bool,

    /// Print the script, and do nothing.
    #[arg(long, conflicts_with = "json")]
    pub(super) dry_run: bool,

    /// Print JSON for programs.
    #[arg(long)]
    json: bool,

    /// Options for sbatch, then the program and its arguments, as in: -- --mail-type=END heat run CASE.toml
    #[arg(last = true, required_unless_present = "revive", value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}

/// What was submitted.
#[derive(Serialize)]
struct Submitted {
    job: JobId,
    directory: PathBuf,
    script: PathBuf,
    log: PathBuf,
    nodes: usize,
    ranks: usize,
}

/// Submits the run.
///
/// # Errors
///
/// A bad command or case, found before anything is touched; a run error, if somebody has the run already or Slurm refuses;
/// an I/O error, if the run directory cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    let slurm = Slurm::new();
    if args.revive {
        let (_, command) = split_options(&args.command);
        return revive(&command::directory(args.dir.as_deref(), command)?, &slurm);
    }
    let draft = Draft::check(args)?;
    let (script, shape) = draft.script(&slurm)?;
    let text = script.text()?;
    for remark in &shape.remarks {
        tell(remark);
    }
    if args.dry_run {
        show::data(&text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let run = draft.run();
    run.create()?;
    // Whoever supervises the run, and whoever submits it at the same time, wants it too.
    let lease = Lease::of_supervisor(run);
    if let Some(code) = refuse_second(run, &slurm)? {
        return Ok(code);
    }
    // Only now: that a job has the run tells more than which process has it.
    let _lease = lease?;
    // What was asked of an earlier launch is not meant for this job; what is asked from now on is.
    run.withdraw_stop_request()?;
    let path = run.job_script();
    std::fs::write(&path, &text).map_err(|cause| Error::io("write the job script", &path, &cause))?;
    let job = slurm.submit(&path)?;
    let record = JobRecord { scheduler: slurm.name().into(), id: job.0.clone(), since: Timestamp::now() };
    record.write(run).inspect_err(|_| tell(&format!("job {job} is submitted all the same")))?;
    let submitted = Submitted {
        log: script.log_of(&job),
        directory: run.root().to_owned(),
        script: path,
        nodes: script.nodes,
        ranks: shape.ranks(),
        job,
    };
    match args.json {
        true => show::json(&submitted)?,
        false => show::data(&submitted.text()?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses a run that somebody has already; none if nobody has it, an exit code if its dead job was put into the queue again.
fn refuse_second(run: &RunDirectory, slurm: &Slurm) -> Result<Option<ExitCode>> {
    // Whoever submits thinks in jobs; which process holds the run is for those who have no job.
    let Some(job) = RunJob::of(run, slurm)?.filter(RunJob::is_alive) else {
        return match Lease::holder_of(&run.lease()) {
            None => Ok(None),
            Some(holder) => {
                let whose = format!("process {} on {} since {}", holder.pid, holder.host, holder.since);
                Err(Error::new(Kind::Run, format!("the run is in the hands of {whose}"))
                    .at_path(run.root())
                    .hint("wait until it ends, stop it with steadfast stop, or use another --dir"))
            }
        };
    };
    let id = job.id();
    if let Some((host, words)) = &job.dead_host {
        let what = format!("job {id} has the run, but its batch host {host} is dead ({words}) and nobody minds it");
        if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() && is_wanted(&what) {
            return requeue(run, &id, host, slurm).map(Some);
        }
        return Err(Error::new(Kind::Run, what)
            .at_path(run.root())
            .hint(format!("put it into the queue again, where the run goes on: {}", revival(run))));
    }
    let state = job.job.map_or_else(String::new, |job| format!(", which is {}", job.state));
    Err(Error::new(Kind::Run, format!("job {id}{state}, has the run already"))
        .at_path(run.root())
        .hint("look at it with steadfast status, end it with steadfast stop, or use another --dir"))
}

/// Asks a person whether a job is to be put into the queue again.
fn is_wanted(what: &str) -> bool {
    let mut answer = String::new();
    let asked =
        write!(std::io::stderr(), "steadfast: {what}.\nPut it into the queue again, where the run goes on? [y/N] ");
    asked.is_ok() && std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Puts the job of a run into the queue again, if nobody minds it any more.
fn revive(run: &RunDirectory, slurm: &Slurm) -> Result<ExitCode> {
    let nothing = |what: String| Err(Error::new(Kind::Run, what).at_path(run.root()).hint("see steadfast status"));
    match RunJob::of(run, slurm)? {
        Some(RunJob { record, dead_host: Some((host, _)), .. }) => requeue(run, &JobId(record.id), &host, slurm),
        Some(job) => match job.job {
            Some(known) if known.state.is_alive() => {
                nothing(format!("job {} is {} and minded: it needs no revival", known.id, known.state))
            }
            _ => nothing(format!("job {} is over: submit the run again", job.record.id)),
        },
        None => nothing("no job has ever had the run".to_owned()),
    }
}

fn requeue(run: &RunDirectory, id: &JobId, dead: &str, slurm: &Slurm) -> Result<ExitCode> {
    slurm.requeue(id, &[dead.to_owned()])?;
    let why = format!("its batch host {dead} is dead, and somebody asked for it");
    Journal::new(run, Journal::last_attempt(run)?).append(Event::JobRequeued { job: id.0.clone(), why });
    tell(&format!("job {id} is in the queue again: the run goes on from its newest good checkpoint"));
    Ok(ExitCode::SUCCESS)
}

/// A limit of wall time in Slurm's words.
fn time(text: &str) -> Result<String, String> {
    let is_number = |part: &str| !part.is_empty() && part.len() < 10 && part.bytes().all(|b| b.is_ascii_digit());
    let (days, clock) = text.split_once('-').map_or((None, text), |(days, clock)| (Some(days), clock));
    let parts: Vec<&str> = clock.split(':').collect();
    if days.is_none_or(is_number) && parts.len() <= 3 && parts.iter().all(|part| is_number(part)) {
        return Ok(text.to_owned());
    }
    let rule = "must be a span of time as \"4 h\", or as Slurm writes it: minutes, HH:MM:SS or DAYS-HH:MM:SS";
    parse_duration(text).map(time_limit).map_err(|_| rule.to_owned())
}

impl Submitted {
    fn text(&self) -> Result<String> {
        let path = |path: &Path| quote(&path.to_string_lossy());
        let directory = path(&self.directory)?;
        Ok(show::pairs(&[
            ("job", self.job.to_string()),
            ("run", self.directory.display().to_string()),
            ("size", format!("{} ranks, {} nodes", self.ranks, self.nodes)),
            ("watch", format!("steadfast status {directory}")),
            ("", format!("tail -f {}", path(&self.log)?)),
            ("stop", format!("steadfast stop {directory}  (saves first)")),
            ("", format!("scancel {}  (at once)", self.job)),
            ("again", format!("sbatch {}", path(&self.script)?)),
        ]))
    }
}
