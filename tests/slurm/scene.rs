//! Where a story takes place: a small case in a directory that all nodes see, the job that runs it, and how it ends.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use steadfast::checkpoint::Reader;
use steadfast::rundir::{Event, HeartbeatRecord, Journal, RunDirectory};

use super::cluster::Cluster;
use super::conf::{self, NODES};
use super::draw::Draw;
use super::job::Job;
use super::mode;
use super::stage::{self, Room};
use super::times::{Clock, Times};

/// How many nodes a job needs, and the ranks on each: there is room for spare ones.
pub const NEEDED: usize = 2;
pub const PER_NODE: usize = 2;
/// The steps of the case.
pub const STEPS: u64 = 200;

/// No story waits longer for one thing: a node's death is known to Slurm after a quarter of a minute, and a job that is
/// requeued waits some seconds more.
pub const LIMIT: Duration = Duration::from_secs(90);
/// How long processes and jobs may take to vanish once a job is over.
const BURIAL: Duration = Duration::from_secs(20);
/// The time between two questions to the controller, which cost more than a look into a file.
const ASK: Duration = Duration::from_millis(250);

/// The environment variable that holds a plan of faults.
pub const PLAN: &str = "STEADFAST_FAULT";
/// The tool.
const TOOL: &str = env!("CARGO_BIN_EXE_steadfast");

/// A fault that is none: it makes a run slow enough to be seen at work.
const SLOWLY: &str = "slow@attempt=any,phase=sweep,ms=5";

fn case() -> String {
    stage::gray_scott(
        [48, 48],
        [12, 16],
        200.0,
        r#"
[[output]]
what = "totals"
every = { steps = 10 }
[checkpoint]
every = { steps = 10 }
[recovery]
hang_after = "3 s"
"#,
    )
}

/// A case, its run directory, and its jobs.
pub struct Scene<'c> {
    pub cluster: &'c Cluster,
    /// The plan of faults that its jobs are submitted with.
    plan: &'static str,
    clock: RefCell<Clock>,
    last_ask: Cell<Option<Instant>>,
}

impl<'c> Scene<'c> {
    /// The case, in the directory that all nodes see.
    pub fn new(cluster: &'c Cluster) -> Scene<'c> {
        let scene = Scene { cluster, plan: SLOWLY, clock: RefCell::default(), last_ask: Cell::default() };
        scene.write_case(&case());
        scene
    }

    pub fn with_plan(self, plan: &'static str) -> Scene<'c> {
        Scene { plan, ..self }
    }

    fn write_case(&self, text: &str) {
        fs::write(self.path("case.toml"), text).expect("the disk has room for a case");
    }

    /// The case lets the run go on with so many ranks.
    pub fn allow_fewer_ranks(&self, fewest: usize) {
        self.write_case(&format!("{}fewest_ranks = {fewest}\n", case()));
    }

    /// The case allows so many failures in a row, and lives of a job, without a newer checkpoint.
    pub fn allow_failures(&self, allowed: u32) {
        self.write_case(&format!("{}failures_without_progress = {allowed}\n", case()));
    }

    /// The case says what no case can mean.
    pub fn spoil_the_case(&self) {
        self.write_case(&case().replace("cells = [48, 48]", "cells = [48, -48]"));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.cluster.shared().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    pub fn run(&self) -> RunDirectory {
        RunDirectory::new(self.path("run"))
    }

    /// The hash and the totals of a run on this machine, without a cluster and undisturbed; it is run once for all.
    fn whole() -> &'static (u64, String) {
        static WHOLE: OnceLock<(u64, String)> = OnceLock::new();
        WHOLE.get_or_init(|| {
            let room = Room::new();
            room.case("case.toml", &case());
            room.alone("gray_scott").runs("case.toml", "whole").ends_with(0);
            (stage::hash(&room.run("whole")), stage::totals(&room.run("whole")))
        })
    }

    /// Submits the run with so many spare nodes, and gives the job's number.
    pub fn submit(&self, spare: usize, options: &[&str]) -> u32 {
        self.submit_with(spare, options, &[])
    }

    /// The same with options for sbatch.
    pub fn submit_with(&self, spare: usize, options: &[&str], sbatch: &[&str]) -> u32 {
        self.try_submit(spare, options, sbatch).unwrap_or_else(|told| panic!("{told}\n{}", self.cluster.story()))
    }

    /// The same if it may be refused.
    ///
    /// # Errors
    ///
    /// What it told.
    pub fn try_submit(&self, spare: usize, options: &[&str], sbatch: &[&str]) -> Result<u32, String> {
        let sizes = [("--nodes", NEEDED), ("--tasks-per-node", PER_NODE), ("--spare-nodes", spare)];
        let mut command = self.cluster.login(TOOL);
        command.arg("submit").args(sizes.map(|(name, size)| format!("{name}={size}"))).args(["--json", "--dir"]);
        command.arg(self.path("run")).args(options).arg("--").args(sbatch).args(self.program());
        let output = command.env(PLAN, self.plan).output().expect("the tool is there");
        let submitted: Option<serde_json::Value> = serde_json::from_slice(&output.stdout).ok();
        let id = submitted.and_then(|value| value["job"].as_str()?.parse().ok()).filter(|_| output.status.success());
        id.ok_or_else(|| format!("submit: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
    }

    /// Submits a script that lies beside the case, with the tool on the PATH.
    pub fn submit_script(&self, name: &str) -> u32 {
        let tools = Path::new(TOOL).parent().expect("the tool lies in a directory");
        let path = format!("{}:{}", tools.display(), mode::path());
        let mut command = self.cluster.login("sbatch");
        command.env("PATH", path).env(PLAN, self.plan).args(["--parsable", &self.text(name)]);
        let output = command.output().expect("sbatch is there");
        let id = String::from_utf8_lossy(&output.stdout).trim().parse();
        id.unwrap_or_else(|_| panic!("sbatch {name}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// What the tool says to a user on the login machine.
    pub fn tool(&self, arguments: &[&str]) -> String {
        self.cluster.ask(TOOL, arguments)
    }

    /// What the jobs have said.
    pub fn log(&self) -> String {
        let entries = fs::read_dir(self.path("run")).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let logs = entries.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.map(|path| fs::read_to_string(path).unwrap_or_default()).collect()
    }

    /// The program and its arguments.
    pub fn program(&self) -> Vec<String> {
        let program = stage::find("gray_scott").to_string_lossy().into_owned();
        vec![program, "run".into(), self.text("case.toml"), "--quiet".into()]
    }

    /// Waits until the ranks of this attempt have done some steps, as many as are drawn, with a checkpoint to go back to.
    pub fn see_at_work(&self, attempt: u32, draw: &Draw) -> Vec<HeartbeatRecord> {
        let (mut seen, mut begun, steps) = (Vec::new(), None, draw.between(STEPS / 10, STEPS / 4));
        self.cluster.see(&format!("attempt {attempt} at work for {steps} steps, with a checkpoint"), LIMIT, || {
            seen = HeartbeatRecord::read_all(&self.run(), attempt).unwrap_or_default();
            let step = seen.iter().map(|record| record.step).max().unwrap_or(0);
            let begun = *begun.get_or_insert(step);
            step >= begun + steps && !self.run().checkpoints().unwrap_or_default().is_empty()
        });
        seen
    }

    /// Waits until ranks that do not live on this node have begun an attempt, and gives its number.
    pub fn next_attempt(&self, id: u32, without: usize) -> u32 {
        let mut attempt = 0;
        self.see(id, "with ranks elsewhere", |_| {
            attempt = Journal::last_attempt(&self.run()).unwrap_or(0);
            let records = HeartbeatRecord::read_all(&self.run(), attempt).unwrap_or_default();
            !records.is_empty() && records.iter().all(|record| record.host != conf::name(without))
        });
        attempt
    }

    /// A node on which ranks compute, and not the supervisor: the spare one may be any of the others.
    pub fn worker(&self, id: u32, ranks: &[HeartbeatRecord]) -> usize {
        let host = self.cluster.job(id).batch_host;
        let mut nodes = ranks.iter().map(|record| self.node_of(&record.host));
        nodes.find(|node| Some(*node) != host).expect("two nodes work")
    }

    /// The node of a rank, or of whoever else tells a host name.
    pub fn node_of(&self, host: &str) -> usize {
        (1..=NODES).find(|&node| conf::name(node) == host).unwrap_or_else(|| panic!("{host} is no node"))
    }

    /// Waits for something that the job must come to.
    pub fn see(&self, id: u32, what: &str, mut condition: impl FnMut(&Job) -> bool) -> Job {
        let mut seen = None;
        self.cluster.see(&format!("job {id} {what}"), LIMIT, || {
            seen = self.look(id).filter(|job| condition(job));
            seen.is_some()
        });
        seen.expect("it was seen")
    }

    /// Looks at heartbeats and journal and, now and then, at the job.
    fn look(&self, id: u32) -> Option<Job> {
        self.clock.borrow_mut().look(&self.run());
        if self.last_ask.get().is_some_and(|last| last.elapsed() < ASK) {
            return None;
        }
        self.last_ask.set(Some(Instant::now()));
        let job = self.cluster.job(id);
        self.clock.borrow_mut().look_at(&job);
        Some(job)
    }

    /// Strikes, and notes when.
    pub fn strike(&self, blow: impl FnOnce()) {
        self.clock.borrow_mut().strike();
        blow();
    }

    /// Waits until the job has finished the run, and checks all that is promised of it.
    pub fn finishes(&self, id: u32) -> Times {
        let job = self.see(id, "over", Job::is_over);
        assert_eq!(
            (job.state.as_str(), job.exit_code),
            ("COMPLETED", 0),
            "job {id}: {job:?}\n{}",
            self.cluster.story()
        );
        self.has_the_same_bits();
        self.has_only_good_checkpoints();
        self.leaves_nothing();
        self.times()
    }

    /// What has become of the blow, in seconds.
    pub fn times(&self) -> Times {
        self.clock.borrow().times(&self.run())
    }

    /// Whatever bears a final name is whole, and was committed by the attempt that had the run then.
    fn has_only_good_checkpoints(&self) {
        for entry in self.run().checkpoints().expect("the run directory is there") {
            let report = Reader::open(&entry.path).and_then(|reader| reader.verify());
            let report = report.unwrap_or_else(|error| panic!("{}: {error}", entry.path.display()));
            assert!(report.faults.is_empty(), "{} is torn", entry.path.display());
        }
        let mut newest = 0;
        for entry in Journal::read(&self.run()).expect("the journal can be read") {
            if matches!(entry.event, Event::CheckpointCommitted { .. } | Event::Finished { .. }) {
                assert!(entry.attempt >= newest, "a late writer was heard: {:?}", entry.event);
            }
            if matches!(entry.event, Event::Started { .. }) {
                newest = newest.max(entry.attempt);
            }
        }
    }

    /// It has not finished, and left what another job can go on from.
    pub fn is_resumable(&self) {
        assert!(!self.run().finished().exists(), "the run calls itself finished");
        assert!(!self.run().checkpoints().unwrap_or_default().is_empty(), "there is no checkpoint");
        self.has_only_good_checkpoints();
    }

    /// The result is that of a run on one machine that nothing has disturbed.
    pub fn has_the_same_bits(&self) {
        let (hash, totals) = Self::whole();
        assert_eq!(stage::hash(&self.run()), *hash, "other bits than a local run\n{}", self.cluster.story());
        assert_eq!(&stage::totals(&self.run()), totals, "other totals than a local run\n{}", self.cluster.story());
    }

    /// No process of it is on any node, and no job in the queue.
    pub fn leaves_nothing(&self) {
        let busy = || (1..=NODES).map(|node| self.cluster.busy(node)).collect::<Vec<_>>();
        let mut left = busy();
        let gone = self.cluster.is_seen(BURIAL, || {
            left = busy();
            left.iter().all(Vec::is_empty)
        });
        assert!(gone, "processes were left on the nodes: {left:?}\n{}", self.cluster.story());
        let empty = self.cluster.is_seen(BURIAL, || self.cluster.queue().is_empty());
        assert!(empty, "jobs were left in the queue: {}\n{}", self.cluster.queue(), self.cluster.story());
    }

    pub fn events(&self) -> Vec<Event> {
        Journal::read(&self.run()).unwrap_or_default().into_iter().map(|entry| entry.event).collect()
    }
}
