//! Who lives on this machine: identities that survive a reused pid, process trees, and deaths that follow a parent's.
//!
//! Linux only: it reads `/proc` and uses `prctl(2)`, `pidfd_open(2)` and `epoll(7)`.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::str::FromStr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getppid};

/// The name of this host, as it stands in heartbeats, leases and the journal.
pub(crate) fn host() -> String {
    nix::unistd::gethostname().map_or_else(|_| "localhost".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Whether two names are of one host: what comes after the first dot is its domain, which not everybody tells.
pub(crate) fn is_same_host(one: &str, other: &str) -> bool {
    let first = |name: &str| match name.parse::<IpAddr>() {
        Ok(_) => name.to_owned(),
        Err(_) => name.split('.').next().unwrap_or(name).to_ascii_lowercase(),
    };
    first(one) == first(other)
}

/// The user in whose name this process acts.
pub(crate) fn user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// The processor time that the calling thread has used so far.
pub(crate) fn time_of_thread() -> Duration {
    // Nanoseconds on a processor come first. A kernel that does not count them only makes a cost look smaller.
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

/// What the kernel says of a process right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condition {
    /// The state letter of `/proc/PID/stat`: R, S, D, T, Z and so on.
    pub(crate) state: char,
    /// The parent's pid.
    pub(crate) parent: u32,
    /// The start, in clock ticks since boot: with the pid it names a process for good.
    pub(crate) started: u64,
}

impl Condition {
    /// Reads the condition of `pid`; none if there is no such process, or only its zombie.
    pub(crate) fn of(pid: u32) -> Option<Condition> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Condition::parse(&stat).filter(|condition| !matches!(condition.state, 'Z' | 'X'))
    }

    /// Parses `pid (name) state ppid … starttime …`; the name may itself hold blanks and parentheses.
    fn parse(stat: &str) -> Option<Condition> {
        let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        // Field 22 of proc(5); 3 and 4 are read, so 17 lie between.
        let started = fields.nth(17)?.parse().ok()?;
        Some(Condition { state, parent, started })
    }

    /// Whether job control or SIGSTOP has stopped the process; a debugger's stop is not meant.
    pub(crate) fn is_stopped(self) -> bool {
        self.state == 'T'
    }
}

/// A process named so that neither another host nor a reused pid is taken for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    host: String,
    pid: u32,
    started: u64,
}

impl Process {
    /// The calling process.
    pub(crate) fn this() -> io::Result<Process> {
        let pid = std::process::id();
        let condition = Condition::of(pid).ok_or_else(|| io::Error::other("/proc does not show this process"))?;
        Ok(Process { host: host(), pid, started: condition.started })
    }

    /// Its pid on its host.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it is known to be gone; a process of another host never is.
    pub(crate) fn is_gone(&self) -> bool {
        self.host == host() && Condition::of(self.pid).is_none_or(|condition| condition.started != self.started)
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}@{}", self.pid, self.started, self.host)
    }
}

impl FromStr for Process {
    type Err = String;

    fn from_str(text: &str) -> Result<Process, String> {
        let parse = || {
            let (numbers, host) = text.split_once('@')?;
            let (pid, started) = numbers.split_once(':')?;
            Some(Process { host: host.to_owned(), pid: pid.parse().ok()?, started: started.parse().ok()? })
        };
        parse().ok_or_else(|| format!("\"{text}\" is not of the form pid:start@host"))
    }
}

/// From now on the kernel kills this process when its parent dies.
///
/// The parent's death before this call goes unnoticed here: the heartbeat looks for it.
pub(crate) fn die_with_parent() -> io::Result<()> {
    Ok(prctl::set_pdeathsig(Signal::SIGKILL)?)
}

/// From now on orphans among the descendants become children of this process, so that none escapes.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    Ok(prctl::set_child_subreaper(true)?)
}

/// Ends this process at once, without a core file and without running anything.
pub(crate) fn end_at_once() -> ! {
    // A process may always send a signal to itself, and SIGKILL does not return; abort is there for the type alone.
    let _ = kill(Pid::this(), Signal::SIGKILL);
    std::process::abort()
}

/// Starts `command` in a process group of its own, to be killed by the kernel when the calling thread ends.
///
/// Call it from a thread that lives as long as the process: PR_SET_PDEATHSIG means the parent's thread (prctl(2)).
pub(crate) fn spawn_bound(command: &mut Command) -> io::Result<Child> {
    let parent = Pid::this();
    command.process_group(0);
    let bind = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        if getppid() == parent { Ok(()) } else { Err(io::Error::from(Errno::ESRCH)) }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; the closure makes the system calls prctl
    // and getppid alone and allocates nothing (an `io::Error` of an errno is held by value).
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(bind);
    }
    command.spawn()
}

/// The signal that killed the process `pid`, as long as its parent has not asked for it.
///
/// A parent usually asks within microseconds, so that none is an answer to expect.
pub(crate) fn signal_that_killed(pid: u32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Field 52 of proc(5), the last one, is the status as wait(2) gives it; a living process shows 0.
    let status: i32 = stat.split_ascii_whitespace().nth_back(0)?.parse().ok()?;
    Some(status & 0x7f).filter(|&signal| signal != 0)
}

/// Watches processes by handles (pidfd_open(2), Linux 5.3), whoever their parents are, and tells of their deaths in the order in which they died.
///
/// The order is the kernel's own, however late somebody looks: of many ranks that a launcher kills, the first is the one to
/// blame.
#[derive(Debug)]
pub(crate) struct Deaths {
    watched: BTreeMap<u32, OwnedFd>,
    /// Hands out events in the order in which they happened.
    queue: Epoll,
}

impl Deaths {
    /// Watches nobody yet.
    pub(crate) fn new() -> io::Result<Deaths> {
        Ok(Deaths { watched: BTreeMap::new(), queue: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)? })
    }

    /// Begins to watch the process that bears `pid` now.
    pub(crate) fn watch(&mut self, pid: u32) -> io::Result<()> {
        // SAFETY: pidfd_open takes two integers and touches no memory of ours.
        #[allow(unsafe_code)]
        let handle = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid, 0) };
        let handle = Errno::result(handle)?;
        let handle = RawFd::try_from(handle).expect("a file descriptor is a small number");
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        #[allow(unsafe_code)]
        let handle = unsafe { OwnedFd::from_raw_fd(handle) };
        self.queue.add(&handle, EpollEvent::new(EpollFlags::EPOLLIN, pid.into()))?;
        self.watched.insert(pid, handle);
        Ok(())
    }

    /// Whether the process is watched and has not been told dead.
    pub(crate) fn watches(&self, pid: u32) -> bool {
        self.watched.contains_key(&pid)
    }

    /// Waits until a watched process is dead, a signal comes, or `limit` is over; gives those that have died since the last
    /// time, the first one first.
    pub(crate) fn wait(&mut self, limit: Duration) -> io::Result<Vec<u32>> {
        let mut events = [EpollEvent::empty(); 64];
        let limit = EpollTimeout::try_from(limit).unwrap_or(EpollTimeout::MAX);
        let count = match self.queue.wait(&mut events, limit) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(cause) => return Err(cause.into()),
        };
        let dead: Vec<u32> = events[..count].iter().map(|event| event.data() as u32).collect();
        for pid in &dead {
            if let Some(handle) = self.watched.remove(pid) {
                // To close it is not enough while a process that was just forked has a copy.
                self.queue.delete(&handle)?;
            }
        }
        Ok(dead)
    }
}

/// Whether `pid` is this process's child, or a child's child, and so on.
pub(crate) fn is_descendant(pid: u32) -> bool {
    let this = std::process::id();
    std::iter::successors(Condition::of(pid), |condition| Condition::of(condition.parent))
        .any(|condition| condition.parent == this)
}

/// All living descendants of `root`, nearest generations first.
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let mut others: Vec<(u32, u32)> =
        pids.filter_map(|pid| Condition::of(pid).map(|condition| (pid, condition.parent))).collect();
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        let (children, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(|&(_, p)| p == parent);
        found.extend(children.into_iter().map(|(pid, _)| pid));
        others = rest;
        next += 1;
    }
    found.split_off(1)
}

/// Kills every descendant of `root` and waits until none lives; returns those that outlast the limit.
///
/// A process that waits inside the kernel (state D, a dead file server) cannot be killed until it returns.
pub(crate) fn kill_descendants(root: u32, limit: Duration) -> Vec<u32> {
    let end = Instant::now() + limit;
    loop {
        let living = descendants(root);
        for &pid in &living {
            // A pid that went away meanwhile is what is wanted.
            let _ = kill(pid_of(pid), Signal::SIGKILL);
        }
        if root == std::process::id() {
            reap_children();
        }
        if living.is_empty() || Instant::now() >= end {
            return living;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asks a process to end (SIGTERM); one that is gone is no error.
pub(crate) fn ask_to_end(pid: u32) {
    let _ = kill(pid_of(pid), Signal::SIGTERM);
}

/// Takes the exit statuses of all dead children, so that no zombie stays.
fn reap_children() {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("Linux pids end at 4194304"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_parentheses_does_not_confuse() {
        let stat = "17 (a) b (c) T 4 17 17 0 -1 4194304 1 0 0 0 9 8 0 0 20 0 1 0 5555 1 1";
        assert_eq!(Condition::parse(stat), Some(Condition { state: 'T', parent: 4, started: 5555 }));
    }

    #[test]
    fn this_process_lives_and_a_namesake_with_another_start_does_not() {
        let this = Process::this().unwrap();
        assert!(!this.is_gone());
        assert!(Process { started: this.started + 1, ..this.clone() }.is_gone());
        assert!(!Process { started: 0, host: "elsewhere".into(), ..this.clone() }.is_gone());
        assert_eq!(this.to_string().parse(), Ok(this));
        assert!("17".parse::<Process>().is_err());
    }

    #[test]
    fn a_whole_tree_dies() {
        let mut shell = spawn_bound(Command::new("sh").args(["-c", "sleep 1000 & sleep 1000 & wait"])).unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while descendants(shell.id()).len() < 2 {
            assert!(Instant::now() < end, "the shell never started its two children");
            std::thread::yield_now();
        }
        let children = descendants(shell.id());
        assert!(kill_descendants(shell.id(), Duration::from_secs(10)).is_empty());
        shell.kill().unwrap();
        shell.wait().unwrap();
        while children.iter().any(|&pid| Condition::of(pid).is_some()) {
            assert!(Instant::now() < end, "a killed child still lives");
            std::thread::yield_now();
        }
    }

    #[test]
    fn deaths_that_nobody_saw_are_told_in_their_order() {
        let mut children: Vec<Child> =
            (0..70).map(|_| spawn_bound(Command::new("sleep").arg("1000")).unwrap()).collect();
        let mut deaths = Deaths::new().unwrap();
        children.iter().for_each(|child| deaths.watch(child.id()).unwrap());
        let order: Vec<u32> = (0..children.len())
            .map(|k| {
                let child = &mut children[(23 * k + 3) % 70];
                child.kill().unwrap();
                child.wait().unwrap();
                child.id()
            })
            .collect();
        let mut told = deaths.wait(Duration::from_secs(10)).unwrap();
        told.extend(deaths.wait(Duration::from_secs(10)).unwrap());
        assert_eq!(told, order);
    }

    #[test]
    fn a_death_is_told_at_once_and_with_its_signal() {
        let mut child = spawn_bound(Command::new("sleep").arg("1000")).unwrap();
        assert!(is_descendant(child.id()));
        let mut deaths = Deaths::new().unwrap();
        deaths.watch(child.id()).unwrap();
        assert!(deaths.wait(Duration::ZERO).unwrap().is_empty());
        child.kill().unwrap();
        assert_eq!(deaths.wait(Duration::from_secs(10)).unwrap(), [child.id()]);
        assert!(!deaths.watches(child.id()));
        assert_eq!(signal_that_killed(child.id()), Some(9));
        child.wait().unwrap();
        assert_eq!(signal_that_killed(child.id()), None);
    }
}
