//! The supervisor's loop: attempt, decision, attempt, until the run is finished or there is a reason to stop.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use jiff::Timestamp;

use super::attempt;
use super::launcher::Launcher;
use super::nodes::Nodes;
use super::policy::{Decision, History, Observation, decide};
use super::signals::{StopSignals, Wish};
use crate::config::{Bounds, StopSignal};
use crate::error::{Error, Kind, Result};
use crate::rundir::{Event, Journal, Lease, Orders, RunDirectory};
use crate::sys::process::adopt_orphans;

/// The word with which a program starts over; it is meant for the first attempt alone.
const FRESH: &str = "--fresh";

/// What is to be run, and how patiently.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Who starts the ranks.
    pub launcher: Launcher,
    /// Options for the launcher, before the program.
    pub launcher_arguments: Vec<OsString>,
    /// How many ranks.
    pub ranks: usize,
    /// The fewest ranks to go on with, if the nodes take no more.
    pub fewest_ranks: usize,
    /// The nodes to place them on, spare ones included; empty if the launcher knows.
    pub nodes: Nodes,
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
    let _lease = Lease::of_supervisor(run)?;
    adopt_orphans().map_err(|cause| Error::new(Kind::Run, format!("cannot adopt orphaned processes: {cause}")))?;
    let mut signals = StopSignals::take_over(&plan.stop_signals)?;
    // A request that is older than this launch was meant for another.
    run.withdraw_stop_request()?;
    let place = place_of(run)?;
    let mut command = plan.command.clone();
    let found: BTreeSet<u64> = run.checkpoints()?.into_iter().map(|entry| entry.step).collect();
    let mut history = History::new(plan.failures_allowed, found.last().copied());
    for number in Journal::last_attempt(run)?.saturating_add(1).. {
        let orders = Orders::from_this_supervisor(number, history.poison(), plan.deadline)?;
        let journal = Journal::new(run, number);
        let placement = match plan.nodes.place(plan.ranks, plan.fewest_ranks, &history.suspects()) {
            Ok(placement) => placement,
            Err(why) => return Ok(stop(&journal, 75, why)),
        };
        if place_of(run).ok() != Some(place) {
            let why = format!("the run directory {} is no longer the one in which it began", run.root().display());
            return Ok(Verdict {
                exit_code: 1,
                why: format!("{why}: it was moved or replaced; nothing is started over"),
            });
        }
        tell(&format!("attempt {number}: {} on {placement}: {}", words(&command), plan.launcher));
        journal.append(Event::AttemptLaunched {
            launcher: plan.launcher.to_string(),
            ranks: placement.ranks,
            nodes: placement.nodes.iter().map(ToString::to_string).collect(),
            command: command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        });
        let seen = attempt::run(plan, &placement, &command, &orders, &mut signals, tell)?;
        journal.append(Event::AttemptEnded { outcome: outcome(&seen), step: seen.step });
        let mut decision = decide(&history, &seen);
        if let (Decision::Relaunch { .. }, Some(Wish::Stop(signal))) = (&decision, signals.look()) {
            // The signal came after the last process was gone.
            decision = decide(&history, &Observation { stop_asked: Some(signal.into()), ..seen.clone() });
        }
        history.add(&seen);
        match decision {
            Decision::Finished => {
                journal
                    .append(Event::Decision { what: "finished".into(), why: "the completion record is there".into() });
                tell(&format!("attempt {number}: finished in step {}", seen.step));
                return Ok(Verdict { exit_code: 0, why: "finished".into() });
            }
            Decision::Stop { exit_code, why } => {
                tell(&format!("attempt {number}: {}", outcome(&seen)));
                return Ok(stop(&journal, exit_code, why));
            }
            Decision::Relaunch { why, after } => {
                let place = restart_place(run, &history)?;
                journal.append(Event::Decision { what: format!("relaunch from {place}"), why: why.clone() });
                tell(&format!("attempt {number}: {}; relaunching from {place} ({why})", outcome(&seen)));
                if let Some(signal) = signals.wait(after) {
                    return Ok(stop(&journal, 75, format!("stopped ({signal}) before the next attempt")));
                }
            }
        }
        if seen.has_begun(&found) {
            command.retain(|word| word != FRESH);
        }
    }
    unreachable!("the numbers of attempts do not end")
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
