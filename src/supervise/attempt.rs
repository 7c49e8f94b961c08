//! One attempt: launches the ranks, watches them until the end, ends what is left, and says what was seen.

use std::ffi::OsString;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::complaint::{Complaint, How};
use super::launcher::{Family, Launcher};
use super::nodes::Placement;
use super::pace::{Pace, Slow};
use super::policy::{Asked, End, Observation, Start};
use super::signals::{StopSignals, Wish};
use super::supervisor::Plan;
use super::watch::{Finding, Vital, Watch};
use crate::error::{Error, Kind, Result};
use crate::rundir::{Event, Finished, HeartbeatRecord, Journal, Orders};
use crate::sys::overhear;
use crate::sys::process::{
    Condition, Deaths, ask_to_end, host, is_descendant, kill_descendants, signal_that_killed, spawn_bound,
};

/// The time between two looks at the heartbeats; a death wakes the supervisor earlier.
const LOOK: Duration = Duration::from_millis(100);
/// How long a launcher may take to end by itself once a rank is dead: its exit code may tell why.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// How long a launcher may take to end when it is asked to, before it is killed with all its ranks.
const FAREWELL: Duration = Duration::from_secs(1);
/// The code with which a rank that panics ends all.
const PANIC: i32 = 101;
/// How long the others may take to end when one has, with a code of ours.
const AGREEMENT: Duration = Duration::from_secs(2);
/// The system's number for a process that there is not.
const ESRCH: i32 = nix::errno::Errno::ESRCH as i32;
/// What a launcher kills ranks with.
const SIGKILL: i32 = nix::sys::signal::Signal::SIGKILL as i32;
/// How long killed processes may take to vanish.
const BURIAL: Duration = Duration::from_secs(30);

/// Runs one attempt to its end; no process of it is left when this returns.
///
/// # Errors
///
/// A run error, if the launcher cannot be started, or if a process can neither be killed nor waited for.
pub(super) fn run(
    plan: &Plan,
    call: &mut Call<'_>,
    signals: &mut StopSignals,
    tell: &mut dyn FnMut(&str),
) -> Result<Observation> {
    let Call { placement, orders, launcher: starter, .. } = *call;
    let refused = |cause| Error::new(Kind::Run, format!("cannot start {starter}: {cause}"));
    let mut command = starter.command(plan, call)?;
    if call.is_overheard {
        command.stderr(Stdio::piped());
    }
    let deaths = Deaths::new().map_err(unwatched)?;
    let mut launcher = spawn_bound(&mut command).map_err(refused)?;
    let lines = if call.is_overheard { Some(overhear::listen(&mut launcher).map_err(refused)?) } else { None };
    if let Some(sentry) = call.sentry.as_mut()
        && let Err(cause) = spawn_bound(sentry)
    {
        tell(&format!("no sentry watches this node: {cause}"));
    }
    let mut attempt = Attempt {
        plan,
        family: starter.family(),
        orders,
        journal: Journal::new(&plan.directory, orders.attempt),
        launcher,
        deaths,
        is_blind: false,
        watch: Watch::new(placement.ranks, plan.hang_after),
        pace: Pace::default(),
        lines,
        faulty: None,
        stop: None,
        tell,
    };
    let end = attempt.watch_to_the_end(signals);
    attempt.leave_nobody_behind()?;
    let end = attempt.with_its_name(end?);
    attempt.observation(end)
}

/// A request to stop that is under way.
struct Stop {
    asked: Asked,
    deadline: Instant,
}

/// What is launched: the ranks, where, by whom, with which orders.
pub(super) struct Call<'a> {
    pub launcher: &'a Launcher,
    pub placement: &'a Placement,
    pub command: &'a [OsString],
    pub orders: &'a Orders,
    /// Watches the supervisor's node from another one.
    pub sentry: Option<Command>,
    /// Whether what the launcher says is listened to: ranks on other nodes cannot be watched from here, and what their
    /// launcher says of them is all there is.
    pub is_overheard: bool,
}

struct Attempt<'a> {
    plan: &'a Plan,
    family: Family,
    orders: &'a Orders,
    journal: Journal,
    launcher: Child,
    /// Watches the launcher, and the ranks' processes that are descendants of this one.
    deaths: Deaths,
    /// Whether a process could not be watched, which was told.
    is_blind: bool,
    watch: Watch,
    pace: Pace,
    /// What the launcher says, where it is listened to.
    lines: Option<Receiver<String>>,
    /// The node of the rank that died or hung.
    faulty: Option<String>,
    stop: Option<Stop>,
    tell: &'a mut dyn FnMut(&str),
}

impl Attempt<'_> {
    fn watch_to_the_end(&mut self, signals: &mut StopSignals) -> Result<End> {
        self.deaths.watch(self.launcher.id()).map_err(unwatched)?;
        let mut last_look = Instant::now();
        loop {
            if let Some(end) = self.launcher_end() {
                return Ok(end);
            }
            if let Some(end) = self.end_by_complaint() {
                return Ok(end);
            }
            match signals.look() {
                Some(Wish::StopAtOnce) => return Ok(End::AtOnce),
                Some(Wish::Stop(asked)) => {
                    if let Some(end) = self.ask_ranks_to_stop(asked) {
                        return Ok(end);
                    }
                }
                None => {}
            }
            if self.stop.as_ref().is_some_and(|stop| Instant::now() >= stop.deadline) {
                self.ask_launcher_to_end(FAREWELL);
                return Ok(End::Overdue);
            }
            if last_look.elapsed() >= LOOK {
                let elapsed = last_look.elapsed();
                last_look = Instant::now();
                if let Some(end) = self.look(elapsed) {
                    return Ok(end);
                }
            }
            if let Some(end) = self.wait_for_a_death()? {
                return Ok(end);
            }
        }
    }

    /// How the launcher ended, if it has.
    fn launcher_end(&mut self) -> Option<End> {
        use std::os::unix::process::ExitStatusExt;
        let status = self.launcher.try_wait().ok().flatten()?;
        Some(match (status.code(), status.signal()) {
            (Some(code), _) => End::Exited(code),
            (None, signal) => End::Killed(signal.unwrap_or(0)),
        })
    }

    /// Passes a wish to stop on to the ranks; if it cannot even be written, nothing could be saved either.
    fn ask_ranks_to_stop(&mut self, asked: Asked) -> Option<End> {
        if let Some(stop) = &mut self.stop {
            stop.asked.for_good |= asked.for_good;
            return None;
        }
        let reason = format!("{} to the supervisor", asked.reason);
        self.journal.append(Event::StopRequested { reason: reason.clone() });
        let grace = self.plan.grace;
        (self.tell)(&format!(
            "{}: asking the ranks to save and to stop (within {} s)",
            asked.reason,
            grace.as_secs_f64()
        ));
        let requested = self.plan.directory.request_stop_of(self.orders.attempt, &reason);
        self.stop = Some(Stop { asked: Asked { reason, ..asked }, deadline: Instant::now() + grace });
        requested.err().map(|error| {
            (self.tell)(&error.to_string());
            End::Overdue
        })
    }

    /// Looks at the heartbeats.
    fn look(&mut self, elapsed: Duration) -> Option<End> {
        // What cannot be read now may be readable at the next look; a silence that lasts is found by the watch.
        let records = HeartbeatRecord::read_all(&self.plan.directory, self.orders.attempt).unwrap_or_default();
        self.meet(&records);
        self.report_slow(&records);
        let deaths = &self.deaths;
        let vital = |record: &HeartbeatRecord| match deaths.watches(record.pid) && is_here(record) {
            true if Condition::of(record.pid).is_some_and(Condition::is_stopped) => Vital::Stopped,
            true => Vital::Lives,
            false => Vital::Unknown,
        };
        let finding = self.watch.look(elapsed, records, vital)?;
        let sentence = match finding {
            Finding::Still(record, time) | Finding::Hung(record, time) => {
                self.faulty = Some(record.host.clone());
                let event = Event::RankHung {
                    rank: record.rank,
                    node: record.host,
                    pid: record.pid,
                    phase: record.phase,
                    step: record.step,
                    seconds: time.as_secs_f64(),
                };
                let sentence = event.to_string();
                self.journal.append(event);
                sentence
            }
            Finding::Absent(rank, time) => format!("rank {rank} has not shown itself for {:.1} s", time.as_secs_f64()),
        };
        self.ask_launcher_to_end(FAREWELL);
        Some(End::Rank(sentence))
    }

    /// Tells of a rank that the others wait for.
    fn report_slow(&mut self, records: &[HeartbeatRecord]) {
        if let Some(Slow { record, busy, others }) = self.pace.look(self.watch.ranks(), records) {
            let event = Event::RankSlow {
                rank: record.rank,
                node: record.host,
                pid: record.pid,
                step: record.step,
                busy,
                others,
            };
            (self.tell)(&event.to_string());
            self.journal.append(event);
        }
    }

    /// Begins to watch the processes of ranks that have shown themselves, where they are ours.
    fn meet(&mut self, records: &[HeartbeatRecord]) {
        for record in records {
            let is_known = record.phase.may_leave() || self.deaths.watches(record.pid);
            if is_here(record) && !is_known && is_descendant(record.pid) {
                match self.deaths.watch(record.pid) {
                    // Of a process that is gone already the launcher will tell.
                    Err(cause)
                        if cause.raw_os_error() != Some(ESRCH) && !std::mem::replace(&mut self.is_blind, true) =>
                    {
                        (self.tell)(&format!("cannot watch the process of rank {}: {cause}", record.rank));
                    }
                    _ => {}
                }
            }
        }
    }

    /// Waits a little; a rank that dies meanwhile without having left in good order ends the attempt.
    fn wait_for_a_death(&mut self) -> Result<Option<End>> {
        let dead = self.deaths.wait(LOOK).map_err(unwatched)?;
        // Who died first is seen only now: the launcher kills the others within milliseconds.
        let launcher = self.launcher.id();
        for pid in dead.into_iter().filter(|&pid| pid != launcher) {
            if let Some(end) = self.death_of(pid, signal_that_killed(pid)) {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// How the attempt ends with the death of a process; not at all, if its rank had left in good order.
    fn death_of(&mut self, pid: u32, signal: Option<i32>) -> Option<End> {
        let records = HeartbeatRecord::read_all(&self.plan.directory, self.orders.attempt).unwrap_or_default();
        let record = records.iter().chain(self.watch.records()).find(|record| record.pid == pid && is_here(record));
        let record = record.filter(|record| !record.phase.may_leave())?.clone();
        let last_words = self.wait_for_launcher(LAST_WORDS);
        if signal.is_none_or(|signal| signal == SIGKILL)
            && self.lines.is_some()
            && self.watch.has_several_nodes()
            && let Some(end) = last_words
        {
            // The launcher kills all ranks here when it hears that one has died elsewhere: only it knows who was first.
            return Some(end);
        }
        let told = match last_words {
            // The launcher died first and took its ranks along; or the ranks ended by themselves with a code of ours, and
            // this one was only cleared away.
            Some(end @ (End::Killed(_) | End::Exited(1 | 2 | 75 | PANIC))) => return Some(end),
            Some(End::Exited(code)) => self.family.signal_in(code),
            _ => None,
        };
        Some(self.died(record, signal.or(told)))
    }

    /// How the attempt ends with the death of a rank.
    fn died(&mut self, record: HeartbeatRecord, signal: Option<i32>) -> End {
        self.faulty = Some(record.host.clone());
        let event = Event::RankDied {
            rank: record.rank,
            node: record.host,
            pid: record.pid,
            phase: record.phase,
            step: record.step,
            signal,
        };
        let sentence = event.to_string();
        self.journal.append(event);
        End::Rank(sentence)
    }

    /// How the attempt ends, if the launcher says that a rank has died which had not left in good order.
    fn end_by_complaint(&mut self) -> Option<End> {
        let lines = self.lines.as_ref()?;
        let Complaint { rank, how } = lines.try_iter().find_map(|line| Complaint::read(&line))?;
        let signal = match how {
            How::Died(signal) => signal,
            How::Gave(code) => return Some(self.wait_for_launcher(AGREEMENT).unwrap_or(End::Exited(code))),
        };
        let record = self.watch.records().find(|record| record.rank == rank).cloned();
        match record {
            Some(record) if record.phase.may_leave() => None,
            Some(record) => Some(self.died(record, signal)),
            None => Some(End::Rank(format!("rank {rank} died before it showed itself"))),
        }
    }

    /// The same end with the name of the rank that brought it about, if the launcher has told it at last.
    fn with_its_name(&mut self, end: End) -> End {
        match end {
            End::Exited(129..) => self.end_by_complaint().unwrap_or(end),
            end => end,
        }
    }

    fn ask_launcher_to_end(&mut self, limit: Duration) {
        self.end_elsewhere();
        // It may hold remote ranks and temporary files that only it can clear away.
        ask_to_end(self.launcher.id());
        self.wait_for_launcher(limit);
    }

    fn wait_for_launcher(&mut self, limit: Duration) -> Option<End> {
        let end = Instant::now() + limit;
        loop {
            let ended = self.launcher_end();
            if ended.is_some() || Instant::now() >= end {
                return ended;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends what runs on the other nodes of the allocation; those that cannot be reached are fenced by the lease.
    fn end_elsewhere(&mut self) {
        if let Some(allocation) = &self.plan.allocation
            && let Err(error) = allocation.end_all()
        {
            (self.tell)(&error.to_string());
        }
    }

    fn leave_nobody_behind(&mut self) -> Result<()> {
        self.end_elsewhere();
        let left = kill_descendants(std::process::id(), BURIAL);
        // Its status has been taken already, here or with its descendants'.
        let _ = self.launcher.try_wait();
        if left.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            Kind::Run,
            format!("the processes {left:?} cannot be killed: they wait inside the kernel, usually for a file system"),
        )
        .hint("look at the file system, then launch again"))
    }

    /// What there is to say once all processes are gone.
    fn observation(&mut self, end: End) -> Result<Observation> {
        let run = &self.plan.directory;
        let records = HeartbeatRecord::read_all(run, self.orders.attempt).unwrap_or_default();
        let mut step = self.watch.furthest_step().max(records.iter().map(|record| record.step).max().unwrap_or(0));
        let (mut start, mut saved, mut error) = (Start::Never, None, None);
        let entries = Journal::read(run)?.into_iter().filter(|entry| entry.attempt == self.orders.attempt);
        for entry in entries {
            match entry.event {
                Event::Started { resumed_from, .. } => start = resumed_from.map_or(Start::Fresh, Start::From),
                Event::Stopped { reason, step: last } => {
                    step = step.max(last);
                    saved = Some(reason);
                }
                Event::Failed { error: told } => error = Some(told),
                _ => {}
            }
        }
        let record = Finished::read(run).unwrap_or_else(|error| {
            (self.tell)(&error.to_string());
            None
        });
        // A program that finds its run finished already has nothing to start and leaves the old record.
        let finished = record.is_some_and(|record| {
            record.attempt == self.orders.attempt || (start == Start::Never && end == End::Exited(0))
        });
        let several = self.watch.has_several_nodes();
        let blamed = error.as_ref().filter(|error| error.kind() == Kind::Corruption).and_then(Error::rank);
        if let Some(record) = self.watch.records().find(|record| Some(record.rank) == blamed) {
            self.faulty = Some(record.host.clone());
        }
        let wanted = run.stop_request().exists().then(Asked::by_a_person);
        Ok(Observation {
            end,
            start,
            step,
            finished,
            checkpoints: run.checkpoints()?.into_iter().map(|entry| entry.step).collect(),
            error,
            saved,
            stop_asked: wanted.or_else(|| self.stop.take().map(|stop| stop.asked)),
            shown: self.watch.records().next().is_some() || !records.is_empty(),
            rank_0: self
                .watch
                .records()
                .find(|record| record.rank == 0)
                .map(|record| (record.host.clone(), record.pid)),
            faulty: self.faulty.take().filter(|_| several),
            silent: self.watch.silent_nodes(),
        })
    }
}

/// A death that could go unseen.
fn unwatched(cause: std::io::Error) -> Error {
    Error::new(Kind::Run, format!("cannot watch the launcher and its ranks: {cause}"))
}

/// Whether the record is of a process on this host.
fn is_here(record: &HeartbeatRecord) -> bool {
    // A long name is cut in the record.
    host().starts_with(&record.host)
}
