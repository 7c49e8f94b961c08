//! The keeper: the one process that starts everything of a cluster, obeys the test, and leaves nothing.
//!
//! It is this program again. In a world of its own it is the first process there, so that the kernel ends whatever it
//! should forget; without one it adopts the orphans. Orders come through its standard input, one a line, and each is
//! answered by one line. When that input ends, because the test is done, panicked, was interrupted or killed, the keeper
//! ends all processes, removes the directory and leaves.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_child_subreaper;
use nix::unistd::setsid;

use super::conf::{self, NODES};
use super::mode::{Mode, program};
use super::node::Node;
use super::{network, processes};

/// The word by which this program knows that it is the keeper.
pub const ROLE: &str = "__keeper";

/// The answer to an order that was carried out, before what there is to tell; what went wrong comes without it.
pub const DONE: &str = "done";

/// The time between two looks at the dead, in milliseconds.
const LOOK: u16 = 20;
/// How long munged may take until it listens.
const LISTENS: Duration = Duration::from_secs(10);

/// Keeps a cluster until the orders end; `arguments` are the mode and the directory.
pub fn keep(arguments: &[String]) -> ExitCode {
    let [mode, directory] = arguments else { return ExitCode::from(2) };
    let Some(mode) = Mode::parse(mode) else { return ExitCode::from(2) };
    // A Ctrl-C is for the test, whose end is told by the end of its orders.
    let _ = setsid();
    let mut keeper = Keeper { mode, directory: Path::new(directory), nodes: BTreeMap::new() };
    let started = keeper.start();
    answer(started.clone().map(|()| String::new()));
    if started.is_ok() {
        keeper.obey();
    }
    let ended = processes::kill_children();
    if let Err(problem) = &ended {
        eprintln!("{problem}");
    }
    let removed = fs::remove_dir_all(directory);
    ExitCode::from(u8::from(started.is_err() || ended.is_err() || removed.is_err()))
}

/// Tells the test how an order went; that nobody listens any more is noticed by the end of the orders.
fn answer(outcome: Result<String, String>) {
    let line = match outcome {
        Ok(told) => format!("{DONE} {told}"),
        Err(problem) => problem,
    };
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{}", line.replace('\n', " ")).and_then(|()| out.flush());
}

struct Keeper<'d> {
    mode: Mode,
    directory: &'d Path,
    /// Those that live.
    nodes: BTreeMap<usize, Node>,
}

impl Keeper<'_> {
    fn start(&mut self) -> Result<(), String> {
        set_child_subreaper(true).map_err(|cause| format!("no orphans are handed over: {cause}"))?;
        if self.mode == Mode::Network {
            fs::write("/proc/sys/kernel/hostname", conf::LOGIN).map_err(|cause| format!("no host name: {cause}"))?;
            network::run("mount", &["--bind", &self.path("hosts"), "/etc/hosts"])?;
            network::set_up()?;
        }
        let munged = [
            ("key-file", "munge.key"),
            ("socket", "run/munge.socket"),
            ("pid-file", "run/munged.pid"),
            ("log-file", "log/munged.log"),
            ("seed-file", "run/munge.seed"),
        ];
        let options = munged.map(|(option, file)| format!("--{option}={}", self.path(file)));
        self.daemon("munged", &[&["--foreground".to_owned()], &options[..]].concat())?;
        let begin = Instant::now();
        while !self.directory.join("run/munge.socket").exists() {
            if begin.elapsed() > LISTENS || !processes::bury().is_empty() {
                return Err(format!("munged does not listen; {} tells why", self.path("log/munged.log")));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.daemon("slurmctld", &["-D", "-c", "-f", &self.path("slurm.conf")].map(str::to_owned))?;
        for number in 1..=NODES {
            self.nodes.insert(number, Node::boot(number, self.directory, self.mode)?);
        }
        Ok(())
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).to_string_lossy().into_owned()
    }

    /// Starts a daemon that stays a child of the keeper.
    fn daemon(&self, name: &str, arguments: &[String]) -> Result<(), String> {
        let log = fs::File::create(self.directory.join(format!("log/{name}.out")));
        let log = log.map_err(|cause| format!("no log for {name}: {cause}"))?;
        let out = log.try_clone().map_err(|cause| format!("no log for {name}: {cause}"))?;
        let mut command = Command::new(program(name).ok_or(format!("{name} is missing"))?);
        command.args(arguments).stdin(Stdio::null()).stdout(out).stderr(log);
        command.spawn().map(drop).map_err(|cause| format!("{name} does not start: {cause}"))
    }

    /// Carries out orders until they end, and buries the dead meanwhile.
    fn obey(&mut self) {
        let (mut orders, mut bytes) = (String::new(), [0; 256]);
        loop {
            let stdin = std::io::stdin();
            let mut watched = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut watched, PollTimeout::from(LOOK));
            processes::bury();
            if watched[0].revents().is_none_or(|events| events.is_empty()) {
                continue;
            }
            match std::io::stdin().lock().read(&mut bytes) {
                Ok(0) | Err(_) => return,
                Ok(count) => orders.push_str(&String::from_utf8_lossy(&bytes[..count])),
            }
            while let Some((order, rest)) = orders.split_once('\n') {
                answer(self.carry_out(order));
                orders = rest.to_owned();
            }
        }
    }

    fn carry_out(&mut self, order: &str) -> Result<String, String> {
        let unknown = || format!("the order \"{order}\" is not known");
        let words: Vec<&str> = order.split(' ').collect();
        let [what, number, rest @ ..] = words.as_slice() else { return Err(unknown()) };
        let number: usize = number.parse().map_err(|_| unknown())?;
        let Some(node) = self.nodes.get(&number) else { return Err(format!("node {number} is dead")) };
        match (*what, rest) {
            ("kill", []) => self.nodes.remove(&number).expect("it was there just now").kill()?,
            ("freeze", []) => node.freeze(),
            ("wake", []) => node.wake(),
            ("cut", []) => node.cut()?,
            ("join", []) => node.join()?,
            ("busy", []) => return Ok(node.busy().join(" ")),
            ("signal", [pid, signal]) => {
                node.signal(pid.parse().map_err(|_| unknown())?, signal.parse().map_err(|_| unknown())?)?;
            }
            _ => return Err(unknown()),
        }
        Ok(String::new())
    }
}
