//! A node from boot to death: its first process, its cable, and its end.
//!
//! The keeper holds a [`Node`]; the node's first process is this program again ([`live`]). In a world of its own it sets
//! that up; in either mode it owns all processes of the node, because the kernel hands it those whose parents are gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;

use super::conf;
use super::mode::{Mode, program};
use super::network;
use super::processes;

/// The word by which this program knows that it is the first process of a node.
pub const ROLE: &str = "__node";

/// How long a process may take to enter its own world.
const ENTRY: Duration = Duration::from_secs(10);

/// A node that lives.
pub struct Node {
    number: usize,
    mode: Mode,
    /// The process above all others of the node.
    root: u32,
}

impl Node {
    /// Boots a node; its daemon reports to the controller by itself.
    ///
    /// # Errors
    ///
    /// The step that failed.
    pub fn boot(number: usize, directory: &Path, mode: Mode) -> Result<Node, String> {
        let log = fs::File::options().create(true).append(true).open(log_of(directory, number));
        let log = log.map_err(|cause| format!("no log for node {number}: {cause}"))?;
        let clone = || log.try_clone().map_or(Stdio::null(), Stdio::from);
        let mut command = mode.another_self(ROLE).map_err(|cause| format!("this program has no path: {cause}"))?;
        command.args([number.to_string(), mode.to_string()]).arg(directory);
        command.stdin(Stdio::null()).stdout(clone()).stderr(clone());
        let child = command.spawn().map_err(|cause| format!("node {number} does not start: {cause}"))?;
        let node = Node { number, mode, root: child.id() };
        if mode == Mode::Network {
            node.wait_for_own_network()?;
            network::plug_in(number, node.root)?;
        }
        Ok(node)
    }

    fn wait_for_own_network(&self) -> Result<(), String> {
        let begin = Instant::now();
        let network_of = |who: &str| fs::read_link(format!("/proc/{who}/ns/net")).ok();
        while network_of(&self.root.to_string()).is_none_or(|theirs| Some(theirs) == network_of("self")) {
            if begin.elapsed() > ENTRY {
                return Err(format!("node {} did not enter a network of its own", self.number));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Takes its power away: a dead node says no goodbye, so its cable goes first.
    ///
    /// # Errors
    ///
    /// The processes that cannot be ended.
    pub fn kill(self) -> Result<(), String> {
        if self.mode == Mode::Network {
            network::unplug(self.number)?;
        }
        processes::kill_tree(self.root)
    }

    /// Stops everything on it at once, as a hypervisor or a kernel in trouble does.
    pub fn freeze(&self) {
        processes::freeze(self.root);
    }

    pub fn wake(&self) {
        processes::wake(self.root);
    }

    /// Pulls its cable.
    ///
    /// # Errors
    ///
    /// If it has none, or `ip` refuses.
    pub fn cut(&self) -> Result<(), String> {
        network::unplug(self.number)
    }

    /// Plugs its cable in again.
    ///
    /// # Errors
    ///
    /// If it has none, or `ip` refuses.
    pub fn join(&self) -> Result<(), String> {
        network::replug(self.number)
    }

    /// Sends a signal to a process, by the pid that it has on the node.
    ///
    /// # Errors
    ///
    /// If there is no such process.
    pub fn signal(&self, pid: u32, signal: Signal) -> Result<(), String> {
        let found =
            processes::beneath(self.root).into_keys().find(|&outer| processes::innermost_pid(outer) == Some(pid));
        processes::signal(found.ok_or(format!("node {} has no process {pid}", self.number))?, signal);
        Ok(())
    }

    /// The names of the processes on it, but for those that every node has.
    pub fn busy(&self) -> Vec<String> {
        let this = fs::read_to_string("/proc/self/comm").unwrap_or_default();
        let is_work = |name: &String| name != "slurmd" && name != "unshare" && name != this.trim();
        processes::beneath(self.root).into_values().filter(is_work).collect()
    }
}

/// What a node's daemon and first process say.
pub fn log_of(directory: &Path, number: usize) -> PathBuf {
    directory.join("log").join(format!("{}.out", conf::name(number)))
}

/// Lives as the first process of a node, until its daemon ends; `arguments` are those that [`Node::boot`] gave.
pub fn live(arguments: &[String]) -> ExitCode {
    let [number, mode, directory] = arguments else { return ExitCode::from(2) };
    let (Ok(number), Some(mode)) = (number.parse(), Mode::parse(mode)) else { return ExitCode::from(2) };
    match settle_in(number, mode, Path::new(directory)) {
        Ok(daemon) => {
            // Who has lost its parents is this process's child, and is waited for like its own.
            while let Ok(dead) = waitpid(None, None) {
                if dead.pid().is_some_and(|pid| pid.as_raw().cast_unsigned() == daemon) {
                    break;
                }
            }
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

/// Makes the node's world and starts its daemon.
fn settle_in(number: usize, mode: Mode, directory: &Path) -> Result<u32, String> {
    set_child_subreaper(true).map_err(|cause| format!("no orphans are handed over: {cause}"))?;
    let local = directory.join("local");
    match mode {
        Mode::Network => {
            fs::write("/proc/sys/kernel/hostname", conf::name(number)).map_err(|cause| format!("no name: {cause}"))?;
            for place in [Path::new("/dev/shm"), &local] {
                let place = place.to_str().ok_or("a directory whose name is no text")?;
                network::run("mount", &["-t", "tmpfs", "-o", "size=1g,mode=1777", "tmpfs", place])?;
            }
            network::configure(number, ENTRY)?;
        }
        Mode::Plain => {}
    }
    let spool = conf::spool(directory, number, mode);
    fs::create_dir_all(&spool).map_err(|cause| format!("no {}: {cause}", spool.display()))?;
    let mut slurmd = Command::new(program("slurmd").ok_or("slurmd is missing")?);
    slurmd.arg("-D").args(["-N", &conf::name(number), "-f"]).arg(directory.join("slurm.conf"));
    Ok(slurmd.spawn().map_err(|cause| format!("slurmd does not start: {cause}"))?.id())
}
