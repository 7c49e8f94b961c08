//! The supervisor's loop: attempt, decision, attempt, until the run is finished or there is a reason to stop.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;

use super::allocation::{Allocation, Fate};
use super::attempt::{self, Call};
use super::ground::{Dead, Ground};
use super::launcher::Launcher;
use super::lives::Lives;
use super::nodes::Nodes;
use super::policy::{Asked, Decision, History, Observation, decide};
use super::signals::{StopSignals, Wish};
use crate::config::{Bounds, StopSignal};
use crate::error::{Error, Kind, Result};
use crate::rundir::{Event, HeartbeatRecord, JobRecord, Journal, Lease, Orders, RunDirectory};
use crate::sys::overhear;
use crate::sys::process::{adopt_orphans, is_same_host};

/// The word with which a program starts over; it is meant for the first attempt alone.
const FRESH: &str = "--fresh";

/// The time between two questions to a batch system that does not answer.
const PAUSE: Duration = Duration::from_secs(5);

/// What is to be run, and how patiently.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Who starts the ranks: the first, and the others in turn when a launch shows no rank.
    pub launchers: Vec<Launcher>,
    /// Options for the launcher, before the program.
    pub launcher_arguments: Vec<OsString>,
    /// How many ranks.
    pub ranks: usize,
    /// The fewest ranks to go on with, if the nodes take no more.
    pub fewest_ranks: usize,
    /// The nodes to place them on, spare ones included; empty if the launcher knows. In an allocation its own count.
    pub nodes: Nodes,
    /// The allocation of the batch job that this runs in, if it does.
    pub allocation: Option<Allocation>,
    /// The run directory; an absolute path, since it is handed to the ranks.
    pub directory: RunDirectory,
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// As many failures in a row without a newer checkpoint end the run.
    pub failures_allowed: u32,
    /// The limits of the time after which ranks that compute and do not move hang.
    pub hang_after: Bounds,
    /// The signals at which the ranks save and stop.
    pub stop_signals: Vec<StopSignal>,
    /// When the run must have saved and ended, if there is a limit.
    pub deadline: Option<Timestamp>,
    /// How long the ranks may take to save when they are asked to stop.
    pub grace: Duration,
}

/// How supervision ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// 0 finished, 1 failed, 2 bad command or case, 75 stopped and resumable, 130 stopped at once.
    pub exit_code: u8,
    /// The reason, as a sentence.
    pub why: String,
}

/// Runs the plan until it is finished or must stop; `tell` gets a line for people at each turn.
///
/// Call it from the main thread of a process that has no other children: it kills all of them after each attempt, and
/// the kernel kills the launcher when the thread that started it ends.
///
/// # Errors
///
/// A run error, if another supervisor has this run, the launcher cannot be started, or a process cannot be ended; an I/O
/// error, if the run directory cannot be used.
pub fn supervise(plan: &Plan, tell: &mut dyn FnMut(&str)) -> Result<Verdict> {
    let run = &plan.directory;
    run.create()?;
    adopt_orphans().map_err(|cause| Error::new(Kind::Run, format!("cannot adopt orphaned processes: {cause}")))?;
    let signals = StopSignals::take_over(&plan.stop_signals)?;
    let found: BTreeSet<u64> = run.checkpoints()?.into_iter().map(|entry| entry.step).collect();
    let lives = match &plan.allocation {
        Some(allocation) => Lives::of(&Journal::read(run)?, allocation, found.last().copied()),
        None => Lives::default(),
    };
    let lease = match (&plan.allocation, &lives.predecessor) {
        (None, _) => Lease::of_supervisor(run)?,
        // The batch system ends one life of a job before it begins the next.
        (Some(_), Some((before, _))) => Lease::inherited_from_supervisor(run, before)?,
        // Whoever submitted the job may still be at it.
        (Some(_), None) => Lease::of_submitted_supervisor(run)?,
    };
    // A request that is older than this launch was meant for another; whoever submits a job takes it back by himself.
    if !plan.allocation.as_ref().is_some_and(|allocation| is_recorded(run, &allocation.job().0)) {
        run.withdraw_stop_request()?;
    }
    let mut supervision = Supervision {
        plan,
        lease,
        place: place_of(run)?,
        command: plan.command.clone(),
        history: History::new(plan.failures_allowed, found.last().copied()),
        found,
        launchers: plan.launchers.iter().collect(),
        dead: Dead::new(),
        is_first: true,
        blamed: None,
        rank_0: lives.predecessor.as_ref().and_then(|(_, attempt)| rank_0_of(run, *attempt)),
        deadline: plan.deadline,
        signals,
        tell,
    };
    let number = Journal::last_attempt(run)?.saturating_add(1);
    if let Some(verdict) = supervision.begin_life(number, &lives)? {
        return Ok(verdict);
    }
    for number in number.. {
        match supervision.attempt(number) {
            Ok(None) => {}
            Ok(Some(verdict)) => return Ok(verdict),
            Err(error) => return supervision.give_up(number, error),
        }
    }
    unreachable!("the numbers of attempts do not end")
}

/// The supervision of one run, from its beginning to its verdict.
struct Supervision<'a> {
    plan: &'a Plan,
    lease: Lease,
    /// Which directory the run's path named at the beginning.
    place: (u64, u64),
    command: Vec<OsString>,
    history: History,
    /// The checkpoints that were there at the beginning.
    found: BTreeSet<u64>,
    /// Who starts the ranks, and who is tried next if that fails.
    launchers: VecDeque<&'a Launcher>,
    /// The nodes that cannot be used.
    dead: Dead,
    is_first: bool,
    /// When the batch system said last that our time is over.
    deadline: Option<Timestamp>,
    /// The node on which a rank died in the last attempt.
    blamed: Option<String>,
    /// The host and the process of the last attempt's rank 0.
    rank_0: Option<(String, u32)>,
    signals: StopSignals,
    tell: &'a mut dyn FnMut(&str),
}

impl Supervision<'_> {
    /// Makes known which job has the run, and what its earlier lives tell; the verdict, if there is no point in another one.
    fn begin_life(&mut self, number: u32, lives: &Lives) -> Result<Option<Verdict>> {
        let Some(allocation) = &self.plan.allocation else { return Ok(None) };
        let run = &self.plan.directory;
        for node in &lives.avoided {
            self.history.remember(node);
        }
        if lives.has_begun {
            self.command.retain(|word| word != FRESH);
        }
        let (scheduler, id) = (allocation.scheduler().to_owned(), allocation.job().to_string());
        if !is_recorded(run, &id) {
            JobRecord { scheduler, id, since: Timestamp::now() }.write(run)?;
        }
        let journal = Journal::new(run, number);
        journal.append(Event::JobBegan {
            scheduler: allocation.scheduler().to_owned(),
            job: allocation.job().to_string(),
            restart: allocation.restart(),
            nodes: allocation.nodes().names(),
            checkpoint: self.found.last().copied(),
            supervisor: Some(self.lease.holder().clone()),
        });
        let vain = lives.without_progress;
        if vain < self.plan.failures_allowed {
            return Ok(None);
        }
        let why = format!("{vain} lives of job {} in a row ended without a newer checkpoint", allocation.job());
        Ok(Some(stop(&journal, 1, format!("{why}: another would end like them"))))
    }

    /// Launches the ranks once, watches them to the end, and decides; the verdict, if that was the last time.
    fn attempt(&mut self, number: u32) -> Result<Option<Verdict>> {
        let (plan, run) = (self.plan, &self.plan.directory);
        let journal = Journal::new(run, number);
        if place_of(run).ok() != Some(self.place) {
            let why = format!("the run directory {} is no longer the one in which it began", run.root().display());
            let why = format!("{why}: it was moved or replaced; nothing is started over");
            return Ok(Some(Verdict { exit_code: 1, why }));
        }
        // Whoever was frozen or cut off may wake up when another has long taken the run over.
        self.lease.check()?;
        if run.stop_request().exists() {
            return Ok(Some(self.leave(&journal, Asked::by_a_person())));
        }
        let Ground { placement, deadline } = match self.find_ground(&journal) {
            Ok(ground) => ground,
            Err(asked) => return Ok(Some(self.leave(&journal, asked))),
        };
        let orders = Orders::from_this_supervisor(number, self.history.poison(), deadline, self.condemned())?;
        self.is_first = false;
        let launcher = self.launchers[0];
        (self.tell)(&format!("attempt {number}: {} on {placement}: {launcher}", words(&self.command)));
        journal.append(Event::AttemptLaunched {
            launcher: launcher.to_string(),
            ranks: placement.ranks,
            nodes: placement.nodes.iter().map(ToString::to_string).collect(),
            command: self.command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        });
        let is_overheard = !placement.nodes.is_empty() && overhear::is_unseen();
        let sentry = self.sentry();
        let (placement, command, orders) = (&placement, &self.command[..], &orders);
        let mut call = Call { launcher, placement, command, orders, sentry, is_overheard };
        let seen = attempt::run(plan, &mut call, &mut self.signals, self.tell)?;
        journal.append(Event::AttemptEnded { outcome: outcome(&seen), step: seen.step });
        run.withdraw_stop_request_to(number)?;
        self.conclude(number, &journal, seen)
    }

    /// Where the attempt runs, or why it does not; nodes that are newly found dead are told.
    fn find_ground(&mut self, journal: &Journal) -> Result<Ground, Asked> {
        let pause = |reason| Asked { reason, for_good: false };
        let Some(allocation) = &self.plan.allocation else {
            return Ground::of_plan(self.plan, &self.history).map_err(pause);
        };
        let survey = match self.ask(allocation)? {
            Fate::Goes(survey) => survey,
            Fate::Ends(why) => return Err(pause(why)),
        };
        self.deadline = survey.deadline;
        let known: BTreeSet<String> = self.dead.keys().cloned().collect();
        let ground =
            Ground::of_allocation(self.plan, allocation, &survey, &self.history, self.is_first, &mut self.dead);
        for (node, why) in self.dead.iter().filter(|(node, _)| !known.contains(*node)) {
            (self.tell)(&format!("node {node} {why}"));
            journal.append(Event::NodeAvoided { node: node.clone(), why: why.clone() });
            // A launcher that loses a node kills the ranks on the others.
            if let Some(blamed) = self.blamed.take().filter(|blamed| blamed != node) {
                self.history.absolve(&blamed);
            }
        }
        ground.map_err(pause)
    }

    /// The epoch of the lease that the next attempt need not wait for: its holder is of the attempt before, ours or that of a
    /// life of the job which the batch system has ended, and cannot be killed at once; or it is on a node that is dead.
    fn condemned(&self) -> Option<u64> {
        let holder = Lease::holder_of(&self.plan.directory.lease())?;
        let is_ours =
            self.rank_0.as_ref().is_some_and(|(host, pid)| holder.host.starts_with(host) && holder.pid == *pid);
        let is_lost = self.dead.keys().any(|node| is_same_host(node, &holder.host));
        (is_ours || is_lost).then_some(holder.epoch)
    }

    /// What the batch system says of the allocation; without its help nothing can be launched on other nodes, so it is waited
    /// for: it is being restarted, or this node is cut off.
    fn ask(&mut self, allocation: &Allocation) -> Result<Fate, Asked> {
        let mut told = false;
        loop {
            let error = match allocation.survey() {
                Ok(fate) => return Ok(fate),
                Err(error) => error,
            };
            if allocation.is_this_node_alone() {
                return Ok(Fate::Goes(allocation.as_given(self.deadline)));
            }
            if self.plan.directory.stop_request().exists() {
                return Err(Asked::by_a_person());
            }
            if !std::mem::replace(&mut told, true) {
                (self.tell)(&format!("{}; waiting for {}", error.message(), allocation.scheduler()));
            }
            if let Some(asked) = self.signals.wait(PAUSE) {
                let reason = format!("stopped ({}) while {} gave no answer", asked.reason, allocation.scheduler());
                return Err(Asked { reason, ..asked });
            }
        }
    }

    /// Decides what comes after an attempt, and does it; the verdict, if nothing comes.
    fn conclude(&mut self, number: u32, journal: &Journal, seen: Observation) -> Result<Option<Verdict>> {
        let mut decision = decide(&self.history, &seen);
        if let (Decision::Relaunch { .. }, Some(Wish::Stop(asked))) = (&decision, self.signals.look()) {
            // The signal came after the last process was gone.
            decision = decide(&self.history, &Observation { stop_asked: Some(asked), ..seen.clone() });
        }
        let suspects = self.history.suspects();
        self.history.add(&seen);
        self.blamed = seen.faulty.clone();
        self.rank_0 = seen.rank_0.clone();
        for node in &self.history.suspects() - &suspects {
            let why = if seen.silent.contains(&node) { "fell silent" } else { "is where ranks failed twice" };
            journal.append(Event::NodeAvoided { node, why: why.into() });
        }
        let ended = format!("attempt {number}: {}", outcome(&seen));
        match decision {
            Decision::Finished => {
                let why = "the completion record is there".into();
                journal.append(Event::Decision { what: "finished".into(), why });
                (self.tell)(&format!("attempt {number}: finished in step {}", seen.step));
                return Ok(Some(Verdict { exit_code: 0, why: "finished".into() }));
            }
            Decision::Stop { exit_code, why } => {
                (self.tell)(&ended);
                return Ok(Some(stop(journal, exit_code, why)));
            }
            Decision::Pause { why } => {
                (self.tell)(&ended);
                return Ok(Some(self.pause(journal, why)));
            }
            Decision::Relaunch { why, after } => {
                let place = restart_place(&self.plan.directory, &self.history)?;
                journal.append(Event::Decision { what: format!("relaunch from {place}"), why: why.clone() });
                (self.tell)(&format!("{ended}; relaunching from {place} ({why})"));
                if let Some(asked) = self.signals.wait(after) {
                    let reason = format!("stopped ({}) before the next attempt", asked.reason);
                    return Ok(Some(self.leave(journal, Asked { reason, ..asked })));
                }
            }
        }
        if !seen.shown {
            // Where there are several, another launcher may know better how this machine wants it.
            self.launchers.rotate_left(1);
        }
        if seen.has_begun(&self.found) {
            self.command.retain(|word| word != FRESH);
        }
        Ok(None)
    }

    /// Who watches this node from another one during an attempt, if the job outlives it.
    fn sentry(&mut self) -> Option<Command> {
        let allocation = self.plan.allocation.as_ref().filter(|allocation| allocation.wants_sentry())?;
        let sentry = allocation.sentry(&allocation.nodes().filtered(|name| !self.dead.contains_key(name)));
        if sentry.is_none() {
            (self.tell)(
                "no other node is left to watch this one: should it die, somebody must put the job into the queue again",
            );
        }
        sentry
    }

    /// Ends with an error, unless another node may do without it: a job that may goes into the queue again.
    fn give_up(&mut self, number: u32, error: Error) -> Result<Verdict> {
        let may_pass = matches!(error.kind(), Kind::Run | Kind::Io);
        match &self.plan.allocation {
            Some(allocation) if allocation.requeue && may_pass && self.lease.check().is_ok() => {
                let journal = Journal::new(&self.plan.directory, number);
                Ok(self.pause(&journal, error.message().to_owned()))
            }
            _ => Err(error),
        }
    }

    /// Leaves the run, for now or for good.
    fn leave(&mut self, journal: &Journal, asked: Asked) -> Verdict {
        if asked.for_good || self.plan.directory.stop_request().exists() {
            stop(journal, 75, asked.reason)
        } else {
            self.pause(journal, asked.reason)
        }
    }

    /// Leaves the run for now; a job that may goes into the queue again.
    fn pause(&mut self, journal: &Journal, why: String) -> Verdict {
        let verdict = stop(journal, 75, why.clone());
        let Some(allocation) = self.plan.allocation.as_ref().filter(|allocation| allocation.requeue) else {
            return verdict;
        };
        let job = allocation.job();
        let avoid: Vec<String> = self.history.suspects().into_iter().chain(self.dead.keys().cloned()).collect();
        let more = match self.lease.check().and_then(|()| allocation.put_back(&avoid)) {
            Ok(None) => {
                journal.append(Event::JobRequeued { job: job.to_string(), why });
                format!("job {job} goes into the queue again")
            }
            Ok(Some(end)) => format!("{end}, and is left alone"),
            Err(error) => format!("job {job} could not be put into the queue again: {error}; submit it anew"),
        };
        Verdict { why: format!("{}; {more}", verdict.why), ..verdict }
    }
}

/// Whether the run's record names this job: it was submitted for the run, or had it before.
fn is_recorded(run: &RunDirectory, job: &str) -> bool {
    JobRecord::read(run).is_ok_and(|record| record.is_some_and(|record| record.id == job))
}

/// The host and the process of an attempt's rank 0, as far as its heartbeat still tells.
fn rank_0_of(run: &RunDirectory, attempt: u32) -> Option<(String, u32)> {
    let records = HeartbeatRecord::read_all(run, attempt).ok()?;
    records.into_iter().find(|record| record.rank == 0).map(|record| (record.host, record.pid))
}

/// Which directory the run's path names now.
fn place_of(run: &RunDirectory) -> Result<(u64, u64)> {
    let metadata = run.root().metadata().map_err(|cause| Error::io("look at the run directory", run.root(), &cause))?;
    Ok((metadata.dev(), metadata.ino()))
}

fn stop(journal: &Journal, exit_code: u8, why: String) -> Verdict {
    journal.append(Event::Decision { what: format!("stop with code {exit_code}"), why: why.clone() });
    Verdict { exit_code, why }
}

/// How an attempt ended, with the ranks' own words if they had any.
fn outcome(seen: &Observation) -> String {
    match &seen.error {
        Some(error) => format!("{}; the ranks say: {}", seen.end, error.message()),
        None => seen.end.to_string(),
    }
}

/// Where the ranks will begin, as far as can be told without looking into the checkpoints.
fn restart_place(run: &RunDirectory, history: &History) -> Result<String> {
    let poison = history.poison();
    let newest = run.checkpoints()?.into_iter().map(|entry| entry.step).find(|step| !poison.contains(step));
    Ok(newest.map_or_else(|| "the start".to_owned(), |step| format!("step {step}")))
}

fn words(command: &[OsString]) -> String {
    command.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
impl Plan {
    /// A plan for so many ranks, of which all are needed, in a run directory of its own.
    pub(super) fn in_test(launcher: Launcher, ranks: usize, directory: &std::path::Path) -> Plan {
        Plan {
            launchers: vec![launcher],
            launcher_arguments: vec!["--extra".into()],
            ranks,
            fewest_ranks: ranks,
            nodes: Nodes::default(),
            allocation: None,
            directory: RunDirectory::new(directory),
            command: Vec::new(),
            failures_allowed: 3,
            hang_after: Bounds { at_least: Duration::ZERO, at_most: Duration::ZERO },
            stop_signals: Vec::new(),
            deadline: None,
            grace: Duration::ZERO,
        }
    }
}
