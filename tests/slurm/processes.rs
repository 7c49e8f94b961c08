//! Processes and their descendants, as /proc tells them: how a node's are found, stopped and ended together.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// How long killed processes may take to vanish.
const BURIAL: Duration = Duration::from_secs(10);

/// A process as it is seen now.
struct Seen {
    parent: u32,
    state: char,
    name: String,
}

impl Seen {
    fn of(pid: u32) -> Option<Seen> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // A name may hold anything, but it ends at the last parenthesis.
        let (start, rest) = stat.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let state = fields.next()?.chars().next()?;
        Some(Seen { parent: fields.next()?.parse().ok()?, state, name: start.split_once('(')?.1.to_owned() })
    }

    fn lives(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}

fn all() -> BTreeMap<u32, Seen> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter_map(|pid| Some((pid, Seen::of(pid)?))).collect()
}

/// The living processes beneath this one, each with its name.
pub fn beneath(root: u32) -> BTreeMap<u32, String> {
    let all = all();
    let mut found = BTreeSet::from([root]);
    loop {
        let more: Vec<u32> = all
            .iter()
            .filter(|(pid, seen)| found.contains(&seen.parent) && !found.contains(pid))
            .map(|(&pid, _)| pid)
            .collect();
        if more.is_empty() {
            break;
        }
        found.extend(more);
    }
    let living = all.into_iter().filter(|(pid, seen)| *pid != root && found.contains(pid) && seen.lives());
    living.map(|(pid, seen)| (pid, seen.name)).collect()
}

/// The only child of a process.
pub fn child_of(parent: u32) -> Option<u32> {
    all().into_iter().find(|(_, seen)| seen.parent == parent).map(|(pid, _)| pid)
}

/// The pid that a process has in its own world.
pub fn innermost_pid(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    pids.split_whitespace().last()?.parse().ok()
}

pub fn lives(pid: u32) -> bool {
    Seen::of(pid).is_some_and(|seen| seen.lives())
}

pub fn signal(pid: u32, signal: Signal) {
    // Whoever is gone need not be told.
    let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
}

/// Stops everything beneath this process and, last, itself, until nobody is left who could start another.
pub fn freeze(root: u32) {
    let mut stopped = BTreeSet::new();
    loop {
        let new: Vec<u32> = beneath(root).into_keys().chain([root]).filter(|pid| !stopped.contains(pid)).collect();
        if new.is_empty() {
            return;
        }
        new.iter().for_each(|&pid| signal(pid, Signal::SIGSTOP));
        stopped.extend(new);
    }
}

/// Lets everything beneath this process go on, and itself.
pub fn wake(root: u32) {
    beneath(root).into_keys().chain([root]).for_each(|pid| signal(pid, Signal::SIGCONT));
}

/// Ends a process and everything beneath it at one moment.
///
/// # Errors
///
/// The processes that cannot be ended.
pub fn kill_tree(root: u32) -> Result<(), String> {
    freeze(root);
    let doomed: Vec<u32> = beneath(root).into_keys().chain([root]).collect();
    doomed.iter().for_each(|&pid| signal(pid, Signal::SIGKILL));
    vanish(|| doomed.iter().copied().filter(|&pid| lives(pid)).collect())
}

/// Ends everything beneath this very process.
///
/// # Errors
///
/// The processes that cannot be ended.
pub fn kill_children() -> Result<(), String> {
    let this = std::process::id();
    vanish(|| {
        let left: Vec<u32> = beneath(this).into_keys().collect();
        left.iter().for_each(|&pid| signal(pid, Signal::SIGKILL));
        left
    })
}

/// Buries the dead until nobody is left.
fn vanish(mut left: impl FnMut() -> Vec<u32>) -> Result<(), String> {
    let begin = Instant::now();
    loop {
        bury();
        match left() {
            nobody if nobody.is_empty() => return Ok(()),
            still if begin.elapsed() > BURIAL => return Err(format!("the processes {still:?} cannot be killed")),
            _ => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Buries the dead children that nobody waited for, and tells their pids.
pub fn bury() -> Vec<u32> {
    let mut dead = Vec::new();
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return dead,
            Ok(status) => dead.extend(status.pid().map(|pid| pid.as_raw().cast_unsigned())),
            Err(_) => {}
        }
    }
}
