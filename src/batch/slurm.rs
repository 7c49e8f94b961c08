//! Slurm, through its commands: sbatch, scontrol, squeue, sinfo, scancel and srun.
//!
//! Their plain output is read, not JSON, which needs a plugin that many sites lack. Checked against Slurm 22.05; a word
//! that is not known is kept as it is.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::ask::{Answer, LIMIT, ask};
use super::{Job, JobId, JobState, NodeState, Partition, Scheduler};
use crate::error::{Error, Kind, Result};

/// How often it is tried to say something of a job that has just been put into the queue again.
const UPDATES: usize = 3;

/// A node may take so many times longer to answer than the slowest that did,
const SLOWER: u32 = 10;
/// and at least so long.
const PATIENCE: Duration = Duration::from_secs(2);

/// To `sbatch` these weigh more than what a script says.
const STRONGER: [&str; 12] = [
    "SBATCH_ACCOUNT",
    "SBATCH_ARRAY_INX",
    "SBATCH_JOB_NAME",
    "SBATCH_MEM_PER_NODE",
    "SBATCH_NO_KILL",
    "SBATCH_NO_REQUEUE",
    "SBATCH_OPEN_MODE",
    "SBATCH_OUTPUT",
    "SBATCH_PARTITION",
    "SBATCH_REQUEUE",
    "SBATCH_SIGNAL",
    "SBATCH_TIMELIMIT",
];

/// How many nodes are called at once.
const CALLS: usize = 64;

/// Slurm's commands, as PATH has them.
#[derive(Debug, Clone)]
pub struct Slurm {
    /// Where commands are looked for, if not in this process's own PATH.
    path: Option<OsString>,
    /// How long an answer may take.
    limit: Duration,
}

impl Default for Slurm {
    fn default() -> Self {
        Slurm { path: None, limit: LIMIT }
    }
}

impl Slurm {
    /// Slurm as this process finds it.
    pub fn new() -> Self {
        Slurm::default()
    }

    /// The same, for those who would rather know nothing than wait longer than this for an answer.
    pub fn within(limit: Duration) -> Self {
        Slurm { limit, ..Slurm::default() }
    }

    fn command(&self, name: &str) -> Command {
        let mut command = match &self.path {
            // A command is looked for in the PATH of whoever starts it, not in its own.
            Some(path) => Command::new(Path::new(path).join(name)),
            None => Command::new(name),
        };
        // Formats that the user prefers are not ours.
        for variable in ["SQUEUE_FORMAT", "SQUEUE_FORMAT2", "SINFO_FORMAT", "SLURM_TIME_FORMAT", "SQUEUE_STATES"] {
            command.env_remove(variable);
        }
        command
    }

    /// What a command prints, if it succeeds.
    pub(super) fn read(&self, name: &str, arguments: &[&str]) -> Result<String> {
        let answer = self.said(name, arguments)?;
        if answer.succeeded { Ok(answer.out) } else { Err(refusal(name, arguments, &answer)) }
    }

    /// What a command prints, whether it succeeds or not.
    pub(super) fn said(&self, name: &str, arguments: &[&str]) -> Result<Answer> {
        ask(self.command(name).args(arguments), self.limit)
    }

    /// Starts nothing on some nodes, to see whether it can be done.
    fn call(&self, nodes: &[String]) -> Option<Child> {
        let count = nodes.len();
        let mut command = self.command("srun");
        command.args(["--overlap", "--mpi=none", "--job-name=roll-call", "--kill-on-bad-exit=1", "--gres=none"]);
        command.args([
            format!("--nodes={count}"),
            format!("--ntasks={count}"),
            format!("--nodelist={}", nodes.join(",")),
        ]);
        without_job_defaults(command.arg("true"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
    }
}

/// The variables in which `sbatch` leaves the totals of a job.
const JOB_DEFAULTS: [&str; 10] = [
    "SLURM_NTASKS",
    "SLURM_NPROCS",
    "SLURM_NTASKS_PER_NODE",
    "SLURM_NTASKS_PER_CORE",
    "SLURM_NTASKS_PER_SOCKET",
    "SLURM_NTASKS_PER_GPU",
    "SLURM_GPUS",
    "SLURM_GPUS_PER_SOCKET",
    "SLURM_NNODES",
    "SLURM_JOB_NUM_NODES",
];

/// What `sbatch` leaves in the environment, so that the steps of a job are like the job: a step of other nodes or ranks must
/// not inherit it.
pub fn without_job_defaults(command: &mut Command) {
    for variable in JOB_DEFAULTS {
        command.env_remove(variable);
    }
}

impl Scheduler for Slurm {
    fn name(&self) -> &'static str {
        "Slurm"
    }

    fn submit(&self, script: &Path) -> Result<JobId> {
        let mut command = self.command("sbatch");
        for variable in STRONGER {
            command.env_remove(variable);
        }
        // Whoever submits from within a job must not hand on which job that is.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"SLURM_")) {
            if name != "SLURM_CONF" {
                command.env_remove(name);
            }
        }
        let answer = ask(command.arg("--parsable").arg(script), self.limit).map_err(|error| match error.kind() {
            Kind::Run => error.hint("squeue --me shows whether the job is there all the same"),
            _ => error,
        })?;
        if !answer.succeeded {
            return Err(refusal("sbatch", &["--parsable", &script.to_string_lossy()], &answer));
        }
        // As `1234` or `1234;cluster`, perhaps after what a site's own filter has to say.
        let line = answer.out.lines().last().unwrap_or_default();
        let id = line.split(';').next().unwrap_or_default().trim();
        if id.is_empty() || !id.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(Error::new(Kind::Run, format!("sbatch gave no job id, but \"{}\"", answer.out.trim()))
                .hint("look with squeue whether the job is there"));
        }
        Ok(JobId(id.to_owned()))
    }

    fn job(&self, id: &JobId) -> Result<Option<Job>> {
        let arguments = ["--oneliner", "show", "job", &id.0];
        let answer = self.said("scontrol", &arguments)?;
        if answer.err.contains("Invalid job id") {
            return Ok(None);
        }
        if !answer.succeeded {
            return Err(refusal("scontrol", &arguments, &answer));
        }
        // Of an array all tasks are told; the first line is the one that was asked for.
        let line = answer.out.lines().next().unwrap_or_default();
        let value = |key| value_of(line, key);
        let state = value("JobState").unwrap_or_default();
        let reason = value("Reason");
        let left = || Some(duration(value("TimeLimit")?)?.saturating_sub(duration(value("RunTime")?)?));
        let state = job_state(state, reason);
        Ok(Some(Job {
            id: id.clone(),
            reason: reason.map(str::to_owned),
            nodes: self.names(value("NodeList").unwrap_or_default())?,
            batch_host: value("BatchHost").map(str::to_owned),
            restarts: value("Restarts").and_then(|count| count.parse().ok()).unwrap_or(0),
            time_left: if state == JobState::Running { left() } else { None },
            state,
        }))
    }

    fn nodes(&self, names: &[String]) -> Result<Vec<NodeState>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let text = self.read("scontrol", &["--oneliner", "show", "node", &names.join(",")])?;
        let state_of = |name: &String| {
            let line = text.lines().find(|line| value_of(line, "NodeName") == Some(name));
            let word = line.and_then(|line| value_of(line, "State"));
            word.map(node_state).ok_or_else(|| {
                Error::new(Kind::Run, format!("scontrol says nothing of the node {name}"))
                    .hint("see scontrol show node for the names")
            })
        };
        names.iter().map(state_of).collect()
    }

    fn partition(&self, name: Option<&str>) -> Result<Partition> {
        let mut arguments = vec!["--noheader", "--format=%P|%c|%m"];
        arguments.extend(name.map(|_| "--partition").into_iter().chain(name));
        let text = self.read("sinfo", &arguments)?;
        partition_in(&text, name).ok_or_else(|| match name {
            Some(name) => Error::case(format!("Slurm has no partition \"{name}\"")).hint("sinfo lists them"),
            None => Error::case("Slurm has no default partition").hint("name one: --partition NAME (sinfo lists them)"),
        })
    }

    fn names(&self, list: &str) -> Result<Vec<String>> {
        if list.is_empty() {
            return Ok(Vec::new());
        }
        if !list.contains(['[', ',']) {
            return Ok(vec![list.to_owned()]);
        }
        Ok(self.read("scontrol", &["show", "hostnames", list])?.lines().map(str::to_owned).collect())
    }

    fn requeue(&self, id: &JobId, avoid: &[String]) -> Result<()> {
        let excluded = if avoid.is_empty() { None } else { self.without(id, avoid).unwrap_or(None) };
        self.read("scontrol", &["requeue", &id.0])?;
        if let Some(excluded) = excluded {
            // It can only be said of a job that waits, and by now Slurm is ending us: whoever is hit in the middle of it
            // tries again. If it cannot be said at all, the next life finds out for itself.
            let exclude = format!("ExcNodeList={excluded}");
            let update = || self.read("scontrol", &["update", &format!("JobId={id}"), &exclude]);
            if !(0..UPDATES).any(|_| update().map_err(|error| log::info!("{error}")).is_ok()) {
                log::info!("job {id} is not kept away from {excluded}");
            }
        }
        Ok(())
    }

    fn cancel(&self, id: &JobId) -> Result<()> {
        self.read("scancel", &[&id.0]).map(drop)
    }

    fn end_marked(&self, id: &JobId, mark: &str) -> Result<()> {
        let steps = self.read("squeue", &["--noheader", "--steps", "--format=%i|%j", "--jobs", &id.0])?;
        let marked: Vec<&str> = steps
            .lines()
            .filter_map(|line| line.split_once('|'))
            .filter(|(_, name)| *name == mark)
            .map(|(step, _)| step)
            .collect();
        if marked.is_empty() {
            return Ok(());
        }
        // At once: without the signal Slurm asks them to end, and gives them half a minute. By the controller: scancel itself
        // would wait for nodes that are dead. That a step has ended meanwhile is what was wanted.
        let answer = ask(self.command("scancel").args(["--quiet", "--ctld", "--signal=KILL"]).args(&marked), LIMIT)?;
        if !answer.succeeded {
            log::info!("{}", refusal("scancel", &marked, &answer));
        }
        Ok(())
    }

    fn silent_among(&self, nodes: &[String], limit: Duration) -> BTreeSet<String> {
        if nodes.len() > CALLS && self.silent_of_calls(vec![(nodes, self.call(nodes))], limit).is_empty() {
            return BTreeSet::new();
        }
        nodes.chunks(CALLS).flat_map(|nodes| self.silent_of_few(nodes, limit)).collect()
    }
}

impl Slurm {
    /// All nodes that the job is to be kept away from, if it is kept away from these as well; none, if too few might be left
    /// for it: of whatever else it asks of its nodes, too little is known here.
    fn without(&self, id: &JobId, avoid: &[String]) -> Result<Option<String>> {
        let job = self.read("scontrol", &["--oneliner", "show", "job", &id.0])?;
        if ["Features", "Reservation", "ReqNodeList"].iter().any(|key| value_of(&job, key).is_some()) {
            return Ok(None);
        }
        let mut excluded: BTreeSet<String> = avoid.iter().cloned().collect();
        excluded.extend(self.names(value_of(&job, "ExcNodeList").unwrap_or_default())?);
        let needed = value_of(&job, "NumNodes").and_then(|count| count.split('-').next()?.parse::<usize>().ok());
        let partition = value_of(&job, "Partition").unwrap_or_default();
        let states = "--states=idle,allocated,mixed,completing,reserved";
        let list = self.read("sinfo", &["--noheader", "--Node", "--format=%N", states, "--partition", partition])?;
        let usable: BTreeSet<&str> = list.lines().map(str::trim).filter(|name| !excluded.contains(*name)).collect();
        let is_enough = needed.is_some_and(|needed| usable.len() >= needed);
        Ok(is_enough.then(|| excluded.into_iter().collect::<Vec<_>>().join(",")))
    }

    fn silent_of_few(&self, nodes: &[String], limit: Duration) -> Vec<String> {
        let calls = nodes.iter().map(std::slice::from_ref).map(|node| (node, self.call(node))).collect();
        self.silent_of_calls(calls, limit)
    }

    /// The nodes whose call fails, or is not answered in time: the time that others take says how long that is.
    fn silent_of_calls(&self, mut calls: Vec<(&[String], Option<Child>)>, limit: Duration) -> Vec<String> {
        let begin = Instant::now();
        let mut patience = limit;
        let mut silent = Vec::new();
        while !calls.is_empty() {
            let elapsed = begin.elapsed();
            calls.retain_mut(|(nodes, call)| {
                match call.as_mut().and_then(|call| call.try_wait().ok().flatten()) {
                    Some(status) if status.success() => {
                        patience = (elapsed * SLOWER).max(PATIENCE).min(limit);
                        return false;
                    }
                    None if call.is_some() && elapsed < patience => return true,
                    _ => silent.extend_from_slice(nodes),
                }
                if let Some(call) = call {
                    let _ = call.kill();
                    let _ = call.try_wait();
                }
                false
            });
            std::thread::sleep(Duration::from_millis(10));
        }
        silent
    }
}

fn refusal(name: &str, arguments: &[&str], answer: &Answer) -> Error {
    let said = [answer.err.trim(), answer.out.trim()].into_iter().find(|text| !text.is_empty());
    let said = said.map_or_else(|| "failed and says nothing".to_owned(), |said| format!("says: {said}"));
    Error::new(Kind::Run, format!("{name} {} {said}", arguments.join(" ")))
}

/// The value of `Key=value` in a line of such pairs, which are parted by spaces; none if it stands for nothing.
fn value_of<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let begins = |at: usize| at == 0 || line.as_bytes()[at - 1] == b' ';
    let found = line.match_indices(&format!("{key}=")).map(|(at, _)| at).find(|&at| begins(at))?;
    let value = line[found + key.len() + 1..].split(' ').next()?;
    Some(value).filter(|value| !["", "(null)", "None", "N/A"].contains(value))
}

fn job_state(word: &str, reason: Option<&str>) -> JobState {
    match word {
        "PENDING" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED" | "SPECIAL_EXIT" | "RESV_DEL_HOLD" => JobState::Pending,
        "RUNNING" | "CONFIGURING" | "SUSPENDED" | "RESIZING" | "SIGNALING" | "STOPPED" => JobState::Running,
        "COMPLETING" if reason == Some("TimeLimit") => JobState::TimedOut,
        "COMPLETING" | "STAGE_OUT" => JobState::Ending,
        "COMPLETED" | "FAILED" | "NODE_FAIL" | "BOOT_FAIL" | "OUT_OF_MEMORY" | "PREEMPTED" | "DEADLINE" | "REVOKED" => {
            JobState::Ended
        }
        "CANCELLED" => JobState::Cancelled,
        "TIMEOUT" => JobState::TimedOut,
        other => JobState::Other(other.to_owned()),
    }
}

/// The state of a node from words as `MIXED+DRAIN` or `DOWN*`; the star means that it does not answer.
fn node_state(words: &str) -> NodeState {
    let plain = |word: &str| word.trim_end_matches(['*', '~', '#', '!', '%', '$', '@', '^', '-']).to_owned();
    let is = |wanted: &[&str]| words.split('+').any(|word| wanted.contains(&plain(word).as_str()));
    if words.contains('*')
        || is(&["DOWN", "NOT_RESPONDING", "FAIL", "POWERED_DOWN", "POWERING_DOWN", "ERROR", "FUTURE"])
    {
        NodeState::Down(words.to_owned())
    } else if is(&["DRAIN", "DRAINING", "DRAINED", "FAILING"]) {
        NodeState::Draining
    } else {
        NodeState::Up
    }
}

/// The partition in lines as `sim*|2|1000`: the star marks the default; nodes of several kinds have a line each.
fn partition_in(text: &str, wanted: Option<&str>) -> Option<Partition> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.trim().split('|');
        // Where nodes differ, the least is told with a plus.
        let mut next = || words.next().map(|word| word.trim_end_matches('+'));
        let (name, cpus, megabytes) = (next()?, next()?.parse::<usize>().ok()?, next()?.parse::<u64>().ok()?);
        let is_wanted = match wanted {
            // Of several the job gets any: the smallest counts.
            Some(wanted) => wanted.split(',').any(|wanted| name.trim_end_matches('*') == wanted),
            None => name.ends_with('*'),
        };
        is_wanted.then(|| Partition {
            name: name.trim_end_matches('*').to_owned(),
            cpus_a_node: cpus,
            memory_a_node: megabytes << 20,
        })
    });
    lines.reduce(|one, other| Partition {
        cpus_a_node: one.cpus_a_node.min(other.cpus_a_node),
        memory_a_node: one.memory_a_node.min(other.memory_a_node),
        ..one
    })
}

/// A duration as Slurm writes it: `1-02:03:04`, `02:03:04`, `03:04`; none if it has no end.
fn duration(text: &str) -> Option<Duration> {
    let (days, rest) = text.split_once('-').unwrap_or(("0", text));
    let parts = rest.split(':').map(|part| part.parse().ok()).collect::<Option<Vec<u64>>>()?;
    let [hours, minutes, seconds] = match parts[..] {
        [hours, minutes, seconds] => [hours, minutes, seconds],
        [minutes, seconds] => [0, minutes, seconds],
        _ => return None,
    };
    Some(Duration::from_secs(days.parse::<u64>().ok()? * 86_400 + hours * 3600 + minutes * 60 + seconds))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    const JOB: &str = "JobId=12 JobName=a job JobState=RUNNING Reason=None Dependency=(null) Requeue=1 Restarts=2 \
                       RunTime=00:00:07 TimeLimit=1-00:00:10 NodeList=node[1,3] BatchHost=node1 OS=Linux 6 Features=(null)";

    /// Slurm whose commands are these shell scripts.
    fn fake(commands: &[(&str, &str)]) -> (tempfile::TempDir, Slurm) {
        let room = tempfile::tempdir().unwrap();
        for (name, script) in commands {
            // Written by another process: a file that this one has open for writing in any thread cannot be run.
            let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod +x "$2""#;
            let arguments = [OsStr::new("-c"), write.as_ref(), "write".as_ref(), script.as_ref()];
            assert!(Command::new("sh").args(arguments).arg(room.path().join(name)).status().unwrap().success());
        }
        let path = Some(room.path().as_os_str().to_owned());
        (room, Slurm { path, ..Slurm::new() })
    }

    fn id(text: &str) -> JobId {
        JobId(text.into())
    }

    #[test]
    fn a_job_is_told_with_its_nodes_and_the_time_that_is_left() {
        let script = format!("case \"$*\" in *hostnames*) printf 'node1\\nnode3\\n';; *) echo '{JOB}';; esac");
        let (_room, slurm) = fake(&[("scontrol", &script)]);
        let job = slurm.job(&id("12")).unwrap().unwrap();
        assert_eq!((job.state, job.restarts, job.reason), (JobState::Running, 2, None));
        assert_eq!(job.nodes, ["node1", "node3"]);
        assert_eq!(job.batch_host.as_deref(), Some("node1"));
        assert_eq!(job.time_left, Some(Duration::from_secs(86_400 + 3)));
    }

    #[test]
    fn a_job_that_is_forgotten_is_no_error_and_a_dead_controller_is() {
        let (_room, slurm) =
            fake(&[("scontrol", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")]);
        assert_eq!(slurm.job(&id("12")).unwrap(), None);
        let (_room, slurm) = fake(&[("scontrol", "echo 'Unable to contact slurm controller' >&2; exit 1")]);
        let error = slurm.job(&id("12")).unwrap_err();
        assert!(error.message().contains("scontrol --oneliner show job 12 says: Unable to contact"), "{error}");
    }

    #[test]
    fn states_that_nobody_has_heard_of_are_kept() {
        assert_eq!(job_state("TELEPORTING", None), JobState::Other("TELEPORTING".into()));
        assert!(job_state("TELEPORTING", None).is_alive());
        assert_eq!(job_state("COMPLETING", Some("TimeLimit")), JobState::TimedOut);
        assert_eq!(job_state("COMPLETING", None), JobState::Ending);
    }

    #[test]
    fn a_node_can_be_used_unless_it_is_down_or_silent() {
        for (words, state) in [
            ("ALLOCATED", NodeState::Up),
            ("MIXED+CLOUD", NodeState::Up),
            ("ALLOCATED+DRAIN", NodeState::Draining),
            ("DOWN*", NodeState::Down("DOWN*".into())),
            ("ALLOCATED*+DRAIN", NodeState::Down("ALLOCATED*+DRAIN".into())),
            ("IDLE+NOT_RESPONDING", NodeState::Down("IDLE+NOT_RESPONDING".into())),
            ("SINGING", NodeState::Up),
        ] {
            assert_eq!(node_state(words), state, "{words}");
        }
    }

    #[test]
    fn a_job_id_is_found_among_what_a_site_has_to_say() {
        for (said, found) in [("1234", Some("1234")), ("welcome\n1234;cluster", Some("1234")), ("welcome", None)] {
            let (_room, slurm) = fake(&[("sbatch", &format!("printf '{said}\\n'"))]);
            let submitted = slurm.submit(Path::new("job.sh"));
            assert_eq!(submitted.ok(), found.map(id), "{said}");
        }
        let (_room, slurm) = fake(&[("sbatch", "echo 'Batch job submission failed: Invalid account' >&2; exit 1")]);
        assert!(slurm.submit(Path::new("job.sh")).unwrap_err().message().contains("Invalid account"));
    }

    #[test]
    fn of_a_partition_the_smallest_node_counts() {
        let text = "sim*|64|256000\nbig|128|1000000\nsim*|32+|512000\n";
        let sim = Partition { name: "sim".into(), cpus_a_node: 32, memory_a_node: 256_000 << 20 };
        assert_eq!(partition_in(text, None), Some(sim.clone()));
        assert_eq!(partition_in(text, Some("sim")), Some(sim));
        assert_eq!(partition_in(text, Some("big")).unwrap().cpus_a_node, 128);
        assert_eq!(partition_in(text, Some("big,sim")).unwrap().cpus_a_node, 32);
        assert_eq!(partition_in(text, Some("small")), None);
    }

    #[test]
    fn durations_are_read_as_slurm_writes_them() {
        for (text, seconds) in [("1-02:03:04", Some(93_784)), ("00:10:00", Some(600)), ("03:04", Some(184))] {
            assert_eq!(duration(text), seconds.map(Duration::from_secs), "{text}");
        }
        for endless in ["UNLIMITED", "Partition_Limit", "INVALID", ""] {
            assert_eq!(duration(endless), None);
        }
    }

    #[test]
    fn a_roll_call_finds_who_does_not_answer_in_time_or_refuses() {
        let script = "case \"$*\" in *node2*) exec sleep 100;; *node3*) exit 1;; esac";
        let (_room, slurm) = fake(&[("srun", script)]);
        let nodes = ["node1", "node2", "node3"].map(str::to_owned);
        let silent = slurm.silent_among(&nodes, Duration::from_secs(20));
        assert_eq!(silent, BTreeSet::from(["node2".to_owned(), "node3".to_owned()]));
    }

    #[test]
    fn only_what_bears_the_mark_is_ended() {
        let (room, slurm) = fake(&[
            ("squeue", "printf '7.0|mine\\n7.1|other\\n7.batch|batch\\n7.2|mine\\n'"),
            ("scancel", "echo \"$@\" > \"$(dirname \"$0\")/ended\""),
        ]);
        slurm.end_marked(&id("7"), "mine").unwrap();
        assert_eq!(
            std::fs::read_to_string(room.path().join("ended")).unwrap(),
            "--quiet --ctld --signal=KILL 7.0 7.2\n"
        );
    }
}
