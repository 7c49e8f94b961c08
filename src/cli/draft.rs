//! The script of a run's job, drafted from the command line, the case, the partition, and what earlier lives have met.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use super::command;
use super::forecast::Forecast;
use super::shape::{Shape, Wish};
use super::submit::Args;
use crate::batch::script::{quote, split_options};
use crate::batch::{Partition, Scheduler, Script};
use crate::error::{Error, Kind, Result};
use crate::rundir::{Event, Finished, Journal, RunDirectory, case_in};

/// How long a node that was avoided by earlier lives of the run is kept away from.
const MEMORY: SignedDuration = SignedDuration::from_hours(24);

/// What submit itself decides, so that it cannot be left to options of sbatch.
const OWN_OPTIONS: [(&str, &str); 11] = [
    ("--nodes", "-N"),
    ("--ntasks", "-n"),
    ("--ntasks-per-node", ""),
    ("--cpus-per-task", "-c"),
    ("--partition", "-p"),
    ("--array", "-a"),
    ("--output", "-o"),
    ("--clusters", "-M"),
    ("--wait", "-W"),
    ("--no-kill", "-k"),
    ("--no-requeue", ""),
];

/// What is to become a job.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    args: &'a Args,
    /// Options for sbatch.
    options: Vec<String>,
    /// The command of the run, as the user has written it.
    command: &'a [OsString],
    program: PathBuf,
    run: RunDirectory,
}

impl<'a> Draft<'a> {
    /// Reads what the command line says, and asks nobody.
    ///
    /// # Errors
    ///
    /// A bad command, if program, case or run directory are missing, or if it asks for what no job can have.
    pub fn check(args: &'a Args) -> Result<Self> {
        let (options, command) = split_options(&args.command);
        let Some(first) = command.first() else {
            return Err(Error::case("no program is named after --").hint("as in: -- heat run CASE.toml"));
        };
        let options = options.iter().map(|option| word(option)).collect::<Result<Vec<_>>>()?;
        if let Some((option, long)) = options.iter().find_map(|option| Some((option, own_option(option)?))) {
            let wish = format!("{option} cannot be an option for sbatch: submit itself decides on {long}");
            return Err(Error::case(wish).hint("its own options (steadfast submit --help) stand before --"));
        }
        if command.iter().any(|word| word == "--fresh") {
            return Err(Error::case("--fresh in a job would start the run over in each life of the job")
                .hint("remove the old run directory yourself, or name a new one: --dir DIR"));
        }
        if let Some(case) = case_in(command).filter(|case| !case.is_file()) {
            return Err(Error::case(format!("the case file {} is not there", case.display())));
        }
        let program = command::program(command).map_err(|error| match options.is_empty() {
            true => error,
            false => error.hint(format!(
                "options for sbatch before {} have their values after a =, as in --constraint=gpu",
                first.display()
            )),
        })?;
        let run = command::directory(args.dir.as_deref(), command)?;
        Ok(Draft { args, options, command, program: command::absolute(&program)?, run })
    }

    /// The run directory.
    pub fn run(&self) -> &RunDirectory {
        &self.run
    }

    /// The script, and how large the job is.
    ///
    /// # Errors
    ///
    /// A bad case, in its program's words; a bad command, as [`Shape::choose`]; a run error, if Slurm does not answer.
    pub fn script(&self, slurm: &dyn Scheduler) -> Result<(Script, Shape)> {
        let args = self.args;
        let fewest_ranks = command::recovery(self.command)?.fewest_ranks;
        let wish = Wish {
            nodes: args.nodes as usize,
            tasks_a_node: args.tasks_per_node.map(|tasks| tasks as usize),
            cpus_a_task: args.cpus_per_task.map(|cpus| cpus as usize),
        };
        let forecast = |ranks| Forecast::of(&self.program, self.command, ranks);
        let mut shape = Shape::choose(wish, self.partition(slurm)?.as_ref(), forecast)?;
        if args.time.is_none() && !self.has_option("--time") {
            shape.remarks.push("no time limit is given: the partition's default holds".to_owned());
        }
        if Finished::read(&self.run)?.is_some() {
            shape
                .remarks
                .push("the run is finished: nothing is left to do, unless its case has a later end now".to_owned());
        }
        let any_node = args.use_all_nodes || self.has_option("--exclude") || self.has_option("-x");
        let avoid = if any_node { Vec::new() } else { avoided(&self.run)? };
        if !avoid.is_empty() {
            let names: Vec<&str> = avoid.iter().map(|(node, _)| node.as_str()).collect();
            shape.remarks.push(format!("keeps away from {} (--use-all-nodes does not)", names.join(",")));
        }
        let spare = args.spare_nodes as usize;
        let survives_nodes = spare > 0 || fewest_ranks.is_some();
        let name = self.name()?;
        let script = Script {
            remarks: self.remarks(&name, &shape)?,
            name,
            workplace: command::absolute(Path::new("."))?,
            log: self.run.root().join("job-%j.log"),
            nodes: shape.nodes + spare,
            tasks_a_node: shape.tasks_a_node,
            cpus_a_task: shape.cpus_a_task,
            memory_a_node: shape.memory_a_node.filter(|_| !self.has_option("--mem")),
            time: args.time.clone(),
            least_time: args.time_min.clone(),
            partition: args.partition.clone(),
            account: args.account.clone(),
            signal_lead: args.signal_lead,
            requeue: !args.no_requeue,
            survives_nodes,
            avoid,
            options: self.options.clone(),
            command: self.launch(shape.ranks(), survives_nodes)?,
        };
        Ok((script, shape))
    }

    fn has_option(&self, beginning: &str) -> bool {
        self.options.iter().any(|option| option.starts_with(beginning))
    }

    /// What the nodes offer; none, if Slurm cannot be asked and a dry run does without.
    fn partition(&self, slurm: &dyn Scheduler) -> Result<Option<Partition>> {
        match slurm.partition(self.args.partition.as_deref()) {
            Err(error) if error.kind() == Kind::Case => Err(error),
            Err(_) if self.args.dry_run => Ok(None),
            Err(error) => Err(error.hint(
                "submit where Slurm's commands work; elsewhere --dry-run with --tasks-per-node K prints the script",
            )),
            Ok(partition) => Ok(Some(partition)),
        }
    }

    /// The job's name: as asked for, or the case's, or the program's.
    fn name(&self) -> Result<String> {
        let of_case = || word(case_in(self.command)?.file_stem()?).ok();
        match self.args.name.clone().or_else(of_case) {
            Some(name) => Ok(name),
            None => word(self.program.file_name().unwrap_or_default()),
        }
    }

    /// The head of the script, for whoever finds it later.
    fn remarks(&self, name: &str, shape: &Shape) -> Result<Vec<String>> {
        let mut size = format!("{} on {}", plural(shape.ranks(), "rank"), plural(shape.nodes, "node"));
        if self.args.spare_nodes > 0 {
            size += &format!(", and {}", plural(self.args.spare_nodes as usize, "spare node"));
        }
        let directory = quote(&word(self.run.root().as_os_str())?)?;
        Ok(vec![
            format!("{name}: {size}. Written by steadfast submit, to be read and edited."),
            format!("submit it again:    sbatch {}", quote(&word(self.run.job_script().as_os_str())?)?),
            format!("look at the run:    steadfast status {directory}"),
            format!("save and stop it:   steadfast stop {directory}"),
        ])
    }

    /// The command of the job: the supervisor, with whole paths, since a job may begin anywhere.
    fn launch(&self, ranks: usize, survives_nodes: bool) -> Result<Vec<String>> {
        let tool = std::env::current_exe().map_err(|cause| Error::io("find this tool", "/proc/self/exe", &cause))?;
        let mut line = vec![word(tool.as_os_str())?, "launch".into(), "-n".into(), ranks.to_string()];
        line.extend((!self.args.no_requeue).then(|| "--requeue".into()));
        line.extend(survives_nodes.then(|| "--no-kill".into()));
        if let Some(launcher) = &self.args.launcher {
            line.extend(["--launcher".into(), launcher.clone()]);
        }
        line.extend(self.args.launcher_arguments.iter().map(|option| format!("--launcher-arg={option}")));
        line.extend(["--dir".into(), word(self.run.root().as_os_str())?]);
        line.extend(["--".into(), word(self.program.as_os_str())?]);
        let case = case_in(self.command).map(Path::as_os_str);
        let mut rest = self.command[1..].iter();
        while let Some(argument) = rest.next() {
            if argument == "--dir" {
                // The supervisor hands it on.
                rest.next();
            } else if Some(argument.as_os_str()) == case {
                line.push(word(command::absolute(Path::new(argument))?.as_os_str())?);
            } else if !argument.as_encoded_bytes().starts_with(b"--dir=") {
                line.push(word(argument)?);
            }
        }
        Ok(line)
    }
}

/// The option of submit that decides what this option for sbatch would decide as well.
fn own_option(option: &str) -> Option<&'static str> {
    let is = |(long, short): &&(&str, &str)| match option.strip_prefix("--") {
        Some(_) => option.split('=').next() == Some(long),
        None => !short.is_empty() && option.starts_with(short),
    };
    OWN_OPTIONS.iter().find(is).map(|(long, _)| *long)
}

/// The nodes that earlier lives of the run have avoided lately, each with the last thing that was known of it.
fn avoided(run: &RunDirectory) -> Result<Vec<(String, String)>> {
    let now = Timestamp::now();
    let lately = Journal::read(run)?.into_iter().filter(|entry| now.duration_since(entry.time) < MEMORY);
    let avoided = lately.filter_map(|entry| match entry.event {
        Event::NodeAvoided { node, why } => Some((node, format!("{why} ({})", entry.time.strftime("%F %RZ")))),
        _ => None,
    });
    Ok(avoided.collect::<BTreeMap<_, _>>().into_iter().collect())
}

fn word(text: &OsStr) -> Result<String> {
    text.to_str().map(str::to_owned).ok_or_else(|| {
        Error::case(format!("{text:?} is not UTF-8, and cannot stand in a job script")).hint("rename it, or use a link")
    })
}

fn plural(n: usize, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}
