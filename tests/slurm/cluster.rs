//! A throw-away Slurm of five nodes: real daemons, started by the test and gone with it.
//!
//! All of it lives beneath a [`keeper`](super::keeper), which ends with the test however the test ends.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::conf::{self, NODES};
use super::job::Job;
use super::mode::{self, Mode};
use super::node::log_of;
use super::{keeper, processes};

/// How long the nodes may take to report.
const REPORT: Duration = Duration::from_secs(30);
/// The lines of a log that a failure shows.
const TAIL: usize = 12;

pub struct Cluster {
    pub mode: Mode,
    directory: PathBuf,
    keeper: Child,
    /// The keeper's process, as this machine counts; it is a child of `unshare` in a world of its own.
    world: u32,
    orders: RefCell<(Option<ChildStdin>, BufReader<ChildStdout>)>,
}

impl Cluster {
    /// Starts a cluster and waits until all its nodes are idle.
    ///
    /// # Errors
    ///
    /// The step that failed, with what the daemons said.
    pub fn start(mode: Mode) -> Result<Cluster, String> {
        let io = |cause: std::io::Error| format!("no directory for a cluster: {cause}");
        // Sockets have short names: the system's own directory for such things, not one deep in a project.
        let directory = tempfile::Builder::new().prefix("slurm-").tempdir().map_err(io)?.keep();
        conf::write(&directory, mode).map_err(io)?;
        let mut command = mode.another_self(keeper::ROLE).map_err(io)?;
        command.arg(mode.to_string()).arg(&directory).env("PATH", mode::path());
        undisturbed(&mut command).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = command.spawn().map_err(|cause| format!("the keeper does not start: {cause}"))?;
        let pipes = keeper.stdin.take().zip(keeper.stdout.take()).expect("both were asked for");
        let orders = RefCell::new((Some(pipes.0), BufReader::new(pipes.1)));
        let mut cluster = Cluster { mode, directory, world: keeper.id(), keeper, orders };
        cluster.answer()?;
        if mode == Mode::Network {
            cluster.world = processes::child_of(cluster.keeper.id()).ok_or("the keeper is gone")?;
        }
        cluster.see(&format!("{NODES} idle nodes"), REPORT, || cluster.all_idle());
        Ok(cluster)
    }

    /// What a parallel file system would hold; the same path everywhere.
    pub fn shared(&self) -> PathBuf {
        self.directory.join("shared")
    }

    /// A command as a user calls it on the login machine.
    pub fn login(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        match self.mode {
            Mode::Network => {
                command.args(["--net", "--mount", "--uts", "--ipc", "--pid", "--target", &self.world.to_string()]);
                command.arg("env");
            }
            Mode::Plain => command = Command::new("env"),
        }
        command.arg("-C").arg(self.shared()).arg(program);
        let settings = [
            // More ranks than cores, and root among them.
            ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
            ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
            ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
            ("OMPI_MCA_mpi_yield_when_idle", "1"),
            ("RUST_BACKTRACE", "0"),
        ];
        undisturbed(&mut command).envs(settings).env("PATH", mode::path());
        command.env("SLURM_CONF", self.directory.join("slurm.conf")).env("TMPDIR", self.directory.join("local"));
        command.stdin(Stdio::null());
        command
    }

    /// What a command on the login machine prints; it must succeed.
    pub fn ask(&self, program: &str, arguments: &[&str]) -> String {
        let (told, error) = self.try_ask(program, arguments);
        told.unwrap_or_else(|| panic!("{program} {} failed: {error}\n{}", arguments.join(" "), self.story()))
    }

    /// The same for one that may fail: what it prints, if it succeeds, and its errors.
    pub fn try_ask(&self, program: &str, arguments: &[&str]) -> (Option<String>, String) {
        let output = self.login(program).args(arguments).output().expect("nsenter and env are there");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success().then(|| text(&output.stdout)), text(&output.stderr))
    }

    /// The job, as the controller knows it.
    pub fn job(&self, id: u32) -> Job {
        Job::parse(&self.ask("scontrol", &["--oneliner", "show", "job", &id.to_string()]))
    }

    /// The jobs that are in the queue, finished ones excluded.
    pub fn queue(&self) -> String {
        self.ask("squeue", &["--noheader", "--format", "%i %T %R"])
    }

    /// What Slurm thinks of each node, in a word.
    pub fn node_states(&self) -> Vec<String> {
        let (told, _) = self.try_ask("sinfo", &["--noheader", "--Node", "--format", "%T"]);
        told.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    }

    fn all_idle(&self) -> bool {
        let states = self.node_states();
        states.len() == NODES && states.iter().all(|state| state == "idle")
    }

    /// Takes a node's power away.
    pub fn kill(&self, node: usize) {
        self.order("kill", node);
    }

    pub fn freeze(&self, node: usize) {
        self.order("freeze", node);
    }

    pub fn wake(&self, node: usize) {
        self.order("wake", node);
    }

    /// Pulls a node's cable.
    pub fn cut(&self, node: usize) {
        self.order("cut", node);
    }

    /// Plugs a node's cable in again.
    pub fn join(&self, node: usize) {
        self.order("join", node);
    }

    /// Sends a signal to a process, by the pid that it has on its node.
    pub fn signal(&self, node: usize, pid: u32, signal: Signal) {
        let order = format!("signal {node} {pid} {signal}");
        self.send(&order).unwrap_or_else(|problem| panic!("{order}: {problem}\n{}", self.story()));
    }

    /// The names of the processes that work on a node; those of a dead one are none.
    pub fn busy(&self, node: usize) -> Vec<String> {
        let told = self.try_order("busy", node).unwrap_or_default();
        told.split(' ').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    /// Has Slurm believe that a node is down, as a health check or an operator would.
    pub fn declare_dead(&self, node: usize) {
        let name = format!("NodeName={}", conf::name(node));
        self.ask("scontrol", &["update", &name, "State=DOWN", "Reason=dead"]);
    }

    /// Waits for a condition.
    ///
    /// # Panics
    ///
    /// If it is not seen within the limit, with what was missing and what the daemons say.
    pub fn see(&self, what: &str, limit: Duration, condition: impl FnMut() -> bool) {
        if !self.is_seen(limit, condition) {
            panic!("not seen within {limit:?}: {what}\n{}", self.story());
        }
    }

    /// Whether a condition comes true within a limit.
    pub fn is_seen(&self, limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
        let begin = Instant::now();
        loop {
            if condition() {
                return true;
            }
            if begin.elapsed() > limit {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What there is to say about the cluster now: nodes, queue, and the ends of the logs.
    pub fn story(&self) -> String {
        let mut told = String::new();
        for (program, arguments) in [("sinfo", vec!["--Node", "--long"]), ("squeue", vec!["--long"])] {
            let (output, error) = self.try_ask(program, &arguments);
            told += &format!("{}{error}", output.unwrap_or_default());
        }
        let mut logs: Vec<PathBuf> =
            vec![self.directory.join("log/slurmctld.log"), self.directory.join("log/munged.log")];
        logs.extend((1..=NODES).map(|node| log_of(&self.directory, node)));
        logs.extend(self.logs_of_jobs());
        logs.iter().for_each(|log| told += &tail(log));
        told
    }

    fn logs_of_jobs(&self) -> Vec<PathBuf> {
        let entries = |directory: &Path| {
            fs::read_dir(directory).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
        };
        let shared = self.shared();
        let inner: Vec<PathBuf> =
            entries(&shared).filter(|path| path.is_dir()).flat_map(|path| entries(&path).collect::<Vec<_>>()).collect();
        entries(&shared)
            .chain(inner)
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect()
    }

    /// Copies everything for whoever looks into a failure.
    pub fn keep(&self, name: &str) -> PathBuf {
        let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("slurm").join(name);
        let _ = fs::remove_dir_all(&place);
        let _ = fs::create_dir_all(&place);
        for part in ["log", "shared"] {
            let _ = Command::new("cp").arg("-r").arg(self.directory.join(part)).arg(&place).status();
        }
        place
    }

    fn order(&self, what: &str, node: usize) -> String {
        self.try_order(what, node).unwrap_or_else(|problem| panic!("{what} {node}: {problem}\n{}", self.story()))
    }

    fn try_order(&self, what: &str, node: usize) -> Result<String, String> {
        self.send(&format!("{what} {node}"))
    }

    fn send(&self, order: &str) -> Result<String, String> {
        if let Some(orders) = &mut self.orders.borrow_mut().0 {
            writeln!(orders, "{order}").map_err(|cause| format!("the keeper does not listen: {cause}"))?;
        }
        self.answer()
    }

    fn answer(&self) -> Result<String, String> {
        let mut line = String::new();
        let read = self.orders.borrow_mut().1.read_line(&mut line);
        match read {
            Ok(0) | Err(_) => Err("the keeper is gone".into()),
            Ok(_) => match line.trim_end().strip_prefix(keeper::DONE) {
                Some(told) => Ok(told.trim().to_owned()),
                None => Err(line.trim_end().to_owned()),
            },
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The end of its orders is the keeper's order to end.
        self.orders.borrow_mut().0 = None;
        let _ = self.keeper.wait();
    }
}

/// Takes away what a job of another Slurm, in which this test may run, has set, and what people set for this project.
fn undisturbed(command: &mut Command) -> &mut Command {
    const FOREIGN: [&str; 5] = ["SLURM", "SBATCH_", "PMI", "OMPI_", "STEADFAST_"];
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in names.filter(|name| FOREIGN.iter().any(|start| name.starts_with(start))) {
        command.env_remove(name);
    }
    command
}

/// The last lines of a log, under its name.
fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(TAIL)..];
    match last.is_empty() {
        true => String::new(),
        false => format!("--- {}\n{}\n", log.display(), last.join("\n")),
    }
}
