//! Faults that are injected on purpose, at a chosen rank, step and phase: for tests of what a run survives.
//!
//! The environment variable STEADFAST_FAULT holds a plan, faults separated by `;`:
//!
//! ```text
//! kill@rank=2,step=40,phase=checkpoint; slow@phase=exchange,ms=20,attempt=any
//! ```
//!
//! A condition that is not stated always holds, but for `attempt`, which is 1 unless it says otherwise. A fault strikes
//! once, at the first mark at which all of its conditions hold: when the rank enters a phase, or has done a step. Without
//! the variable a mark costs one branch.

use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};

use super::directory::RunDirectory;
use super::event::Event;
use super::journal::Journal;
use super::orders::Orders;
use super::record::Phase;
use crate::error::{Error, Kind, Result};

/// Names the plan of faults.
pub(crate) const FAULT_VARIABLE: &str = "STEADFAST_FAULT";

/// What a fault does to the rank, or has the rank do.
#[derive(Debug, Clone, PartialEq)]
enum Action {
    /// A signal, perhaps some time after the mark.
    Signal { signal: Signal, to: Target, after: Duration },
    /// Computes for ever, and beats.
    Spin,
    /// Sleeps at each mark at which the conditions hold.
    Slow(Duration),
    /// Panics on the rank's main thread.
    Panic,
    /// An error where the loop can return one.
    Error,
    /// Leaves at once, without a word.
    Exit(i32),
    /// Something that only the driver can do.
    Spoil(Spoil),
}

/// Who gets a signal.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Target {
    Rank,
    Launcher,
    Supervisor,
}

/// A fault in what a rank computes with or sends: the driver brings it about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoil {
    /// The next exchange of halos sends nothing.
    SkipSend,
    /// A bit flips in what the next exchange of halos sends, after it was packed.
    FlipMessage,
    /// A bit of the state flips between two steps.
    FlipField {
        /// Counted among the rank's blocks, modulo their number.
        block: usize,
        /// Counted from the first byte of the first component's interior, modulo their number.
        byte: usize,
    },
    /// A bit of what is to be written flips, after the checksums were taken.
    FlipStaging {
        /// Counted from the first byte that the rank stages, modulo their number.
        byte: usize,
    },
}

impl Spoil {
    /// Flips one bit of this byte of what is there; nothing if nothing is there.
    pub fn flip(bytes: &mut [u8], byte: usize) {
        let length = bytes.len();
        if let Some(byte) = byte.checked_rem(length).and_then(|at| bytes.get_mut(at)) {
            *byte ^= 0x10;
        }
    }
}

/// One fault of a plan: what, and when.
#[derive(Debug, Clone, PartialEq)]
struct Fault {
    action: Action,
    rank: Option<usize>,
    step: Option<u64>,
    phase: Option<Phase>,
    attempt: Option<u32>,
    /// Strikes at the n-th mark at which the conditions hold, from 1.
    nth: u64,
    /// As it was written.
    text: String,
}

/// The faults of a plan that concern one rank in one attempt.
#[derive(Debug)]
pub(super) struct Faults {
    rank: usize,
    journal: Journal,
    supervisor: Option<u32>,
    /// With how often the conditions have held.
    faults: Vec<(Fault, AtomicU64)>,
    /// The error that waits for a place where it can be returned.
    error: Mutex<Option<Error>>,
}

impl Faults {
    /// Reads the plan from the environment; none, if nothing of it concerns this rank in this attempt.
    ///
    /// # Errors
    ///
    /// A bad command, if the plan cannot be read: a test must not pass because its fault was misspelt.
    pub fn from_environment(run: &RunDirectory, rank: usize, orders: &Orders) -> Result<Option<Faults>> {
        let Some(text) = std::env::var_os(FAULT_VARIABLE).filter(|text| !text.is_empty()) else { return Ok(None) };
        let plan = parse(&text.to_string_lossy())?;
        if rank == 0 {
            log::warn!("faults will be injected: {FAULT_VARIABLE} is \"{}\"", text.to_string_lossy());
        }
        let concerns = |fault: &Fault| {
            fault.rank.is_none_or(|only| only == rank) && fault.attempt.is_none_or(|only| only == orders.attempt)
        };
        let faults: Vec<_> = plan.into_iter().filter(concerns).map(|fault| (fault, AtomicU64::new(0))).collect();
        let journal = Journal::new(run, orders.attempt);
        let supervisor = orders.supervisor_pid();
        Ok((!faults.is_empty()).then(|| Faults { rank, journal, supervisor, faults, error: Mutex::new(None) }))
    }

    /// The rank is at a mark: what is due strikes.
    pub fn strike(&self, step: u64, phase: Phase) {
        for (fault, met) in &self.faults {
            if matches!(fault.action, Action::Spoil(_)) || !fault.is_due(step, Some(phase), met) {
                continue;
            }
            if fault.strikes_first(met) {
                self.journal.append(Event::FaultInjected { rank: self.rank, phase, step, fault: fault.text.clone() });
            }
            self.bring_about(&fault.action, step);
        }
    }

    /// What is to be spoilt in this step, of what is `wanted`: what can be spoilt where the caller stands.
    pub fn spoils(&self, step: u64, wanted: fn(Spoil) -> bool) -> impl Iterator<Item = Spoil> {
        self.faults.iter().filter_map(move |(fault, met)| {
            let Action::Spoil(spoil) = fault.action else { return None };
            if !wanted(spoil) || !fault.is_due(step, None, met) {
                return None;
            }
            let phase = if matches!(spoil, Spoil::FlipStaging { .. }) { Phase::Checkpoint } else { Phase::Sweep };
            self.journal.append(Event::FaultInjected { rank: self.rank, phase, step, fault: fault.text.clone() });
            Some(spoil)
        })
    }

    /// The error that was injected since the last call, if there was one.
    pub fn take_error(&self) -> Result<()> {
        let waiting = self.error.lock().ok().and_then(|mut error| error.take());
        waiting.map_or(Ok(()), Err)
    }

    fn bring_about(&self, action: &Action, step: u64) {
        match *action {
            Action::Signal { signal, to, after } => self.send(signal, to, after),
            Action::Spin => loop {
                std::hint::spin_loop();
            },
            Action::Slow(time) => std::thread::sleep(time),
            Action::Panic => panic!("an injected panic on rank {} in step {step}", self.rank),
            Action::Error => {
                let error = Error::new(Kind::Internal, "an injected error").on_rank(self.rank).in_step(step);
                if let Ok(mut waiting) = self.error.lock() {
                    *waiting = Some(error);
                }
            }
            Action::Exit(code) => std::process::exit(code),
            Action::Spoil(_) => unreachable!("the driver asks for these"),
        }
    }

    fn send(&self, signal: Signal, to: Target, after: Duration) {
        let target = match to {
            Target::Rank => Some(Pid::this()),
            Target::Launcher => Some(getppid()),
            Target::Supervisor => self.supervisor.map(|pid| Pid::from_raw(pid.cast_signed())),
        };
        let Some(target) = target else {
            log::warn!("rank {}: a fault is meant for the supervisor, but there is none", self.rank);
            return;
        };
        let send = move || {
            std::thread::sleep(after);
            if let Err(cause) = kill(target, signal) {
                log::warn!("process {target} cannot get its injected {signal}: {cause}");
            }
        };
        if after.is_zero() {
            send();
        } else {
            std::thread::spawn(send);
        }
    }
}

impl Fault {
    /// Whether the fault strikes at this mark; counts the marks at which its conditions hold.
    fn is_due(&self, step: u64, phase: Option<Phase>, met: &AtomicU64) -> bool {
        let here = self.step.is_none_or(|only| only == step) && self.phase.is_none_or(|only| phase == Some(only));
        here && {
            let met = met.fetch_add(1, Relaxed) + 1;
            met == self.nth || (met > self.nth && matches!(self.action, Action::Slow(_)))
        }
    }

    fn strikes_first(&self, met: &AtomicU64) -> bool {
        met.load(Relaxed) == self.nth
    }
}

/// Reads a plan.
fn parse(plan: &str) -> Result<Vec<Fault>> {
    let words = plan.split(';').map(str::trim).filter(|word| !word.is_empty());
    words.map(|word| parse_fault(word).map_err(|problem| bad(word, &problem))).collect()
}

fn bad(word: &str, problem: &str) -> Error {
    Error::case(format!("{FAULT_VARIABLE}: \"{word}\" {problem}"))
        .hint("a fault is written as in kill@rank=2,step=40,phase=checkpoint; unset the variable to inject none")
}

/// The keys of one fault that have not been asked for yet.
struct Keys<'a>(Vec<(&'a str, &'a str)>);

impl Keys<'_> {
    fn take<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, String> {
        let Some(place) = self.0.iter().position(|(key, _)| *key == name) else { return Ok(None) };
        let (_, value) = self.0.swap_remove(place);
        value.parse().map(Some).map_err(|_| format!("has a {name} of \"{value}\", which makes no sense"))
    }

    fn must<T: FromStr>(&mut self, name: &str) -> Result<T, String> {
        self.take(name)?.ok_or_else(|| format!("needs {name}=…"))
    }

    fn milliseconds(&mut self, name: &str) -> Result<Option<Duration>, String> {
        Ok(self.take(name)?.map(Duration::from_millis))
    }
}

/// A number, or `any`.
struct Which<T>(Option<T>);

impl<T: FromStr> FromStr for Which<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == "any" { Ok(Which(None)) } else { text.parse().map(|number| Which(Some(number))) }
    }
}

impl FromStr for Target {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "rank" => Ok(Target::Rank),
            "launcher" => Ok(Target::Launcher),
            "supervisor" => Ok(Target::Supervisor),
            _ => Err(()),
        }
    }
}

fn parse_fault(word: &str) -> Result<Fault, String> {
    let (name, conditions) = word.split_once('@').unwrap_or((word, ""));
    let pairs = conditions.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').ok_or_else(|| format!("has \"{pair}\", which is no key=value")));
    let mut keys = Keys(pairs.collect::<Result<_, _>>()?);
    let action = parse_action(name, &mut keys)?;
    let fault = Fault {
        rank: keys.take::<Which<usize>>("rank")?.and_then(|which| which.0),
        step: keys.take("step")?,
        phase: keys.take("phase")?,
        attempt: keys.take("attempt")?.unwrap_or(Which(Some(1))).0,
        nth: keys.take::<std::num::NonZeroU64>("nth")?.map_or(1, Into::into),
        text: word.to_owned(),
        action,
    };
    if let Some((key, _)) = keys.0.first() {
        return Err(format!("has the key {key}, which {name} does not know"));
    }
    if fault.phase.is_some() && matches!(fault.action, Action::Spoil(_)) {
        return Err(format!("has a phase, but {name} has its own moment in a step"));
    }
    Ok(fault)
}

fn parse_action(name: &str, keys: &mut Keys<'_>) -> Result<Action, String> {
    let signal = |signal, keys: &mut Keys<'_>| -> Result<Action, String> {
        let to = keys.take("to")?.unwrap_or(Target::Rank);
        Ok(Action::Signal { signal, to, after: keys.milliseconds("after")?.unwrap_or_default() })
    };
    let byte = |keys: &mut Keys<'_>| Ok::<usize, String>(keys.take("byte")?.unwrap_or(0));
    Ok(match name {
        "kill" => signal(Signal::SIGKILL, keys)?,
        "stop" => signal(Signal::SIGSTOP, keys)?,
        "term" => signal(Signal::SIGTERM, keys)?,
        "usr1" => signal(Signal::SIGUSR1, keys)?,
        "int" => signal(Signal::SIGINT, keys)?,
        "spin" => Action::Spin,
        "slow" => Action::Slow(Duration::from_millis(keys.must("ms")?)),
        "panic" => Action::Panic,
        "error" => Action::Error,
        "exit" => Action::Exit(keys.must("code")?),
        "skip_send" => Action::Spoil(Spoil::SkipSend),
        "flip_message" => Action::Spoil(Spoil::FlipMessage),
        "flip_field" => Action::Spoil(Spoil::FlipField { block: keys.take("block")?.unwrap_or(0), byte: byte(keys)? }),
        "flip_staging" => Action::Spoil(Spoil::FlipStaging { byte: byte(keys)? }),
        _ => return Err("is no fault that can be injected".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(plan: &str) -> Faults {
        let faults = parse(plan).unwrap().into_iter().map(|fault| (fault, AtomicU64::new(0))).collect();
        let journal = Journal::new(&RunDirectory::new("/nonexistent"), 1);
        Faults { rank: 0, journal, supervisor: None, faults, error: Mutex::new(None) }
    }

    #[test]
    fn a_plan_says_what_strikes_whom_and_when() {
        let plan = parse("kill@rank=2,step=40,phase=checkpoint,nth=3; slow@ms=20,attempt=any,rank=any;error").unwrap();
        let at_once = Action::Signal { signal: Signal::SIGKILL, to: Target::Rank, after: Duration::ZERO };
        assert_eq!(plan[0].action, at_once);
        assert_eq!((plan[0].rank, plan[0].step, plan[0].phase), (Some(2), Some(40), Some(Phase::Checkpoint)));
        assert_eq!((plan[0].attempt, plan[0].nth), (Some(1), 3));
        assert_eq!((&plan[1].action, plan[1].attempt), (&Action::Slow(Duration::from_millis(20)), None));
        assert_eq!((&plan[2].action, plan[2].rank, plan[2].step, plan[2].phase), (&Action::Error, None, None, None));
    }

    #[test]
    fn a_plan_that_makes_no_sense_is_refused_with_its_reason() {
        for (plan, reason) in [
            ("explode", "is no fault"),
            ("kill@rank", "no key=value"),
            ("kill@rank=-1", "has a rank of \"-1\""),
            ("kill@phase=lunch", "has a phase of \"lunch\""),
            ("kill@nth=0", "has a nth"),
            ("kill@block=1", "the key block, which kill does not know"),
            ("slow@phase=sweep", "needs ms="),
            ("skip_send@phase=exchange", "its own moment"),
            ("term@to=moon", "has a to of \"moon\""),
        ] {
            let error = parse(plan).unwrap_err();
            assert!(error.message().contains(reason) && error.exit_code() == 2, "{plan}: {error}");
        }
    }

    #[test]
    fn a_fault_strikes_once_at_the_first_mark_at_which_its_conditions_hold() {
        let faults = faults("error@step=3,phase=reduce");
        for (step, phase) in [(2, Phase::Reduce), (3, Phase::Sweep)] {
            faults.strike(step, phase);
            assert_eq!(faults.take_error(), Ok(()));
        }
        faults.strike(3, Phase::Reduce);
        let error = faults.take_error().unwrap_err();
        assert!(error.to_string().contains("an injected error (rank 0, step 3)"), "{error}");
        faults.strike(3, Phase::Reduce);
        assert_eq!(faults.take_error(), Ok(()));
    }

    #[test]
    fn the_driver_is_asked_once_for_what_only_it_can_do() {
        let faults = faults("flip_field@step=7,block=2,byte=9;skip_send@nth=2");
        let field: fn(Spoil) -> bool = |spoil| matches!(spoil, Spoil::FlipField { .. });
        assert_eq!(faults.spoils(6, field).count(), 0);
        assert_eq!(faults.spoils(7, field).collect::<Vec<_>>(), [Spoil::FlipField { block: 2, byte: 9 }]);
        assert_eq!(faults.spoils(7, field).count(), 0);
        let send: fn(Spoil) -> bool = |spoil| spoil == Spoil::SkipSend;
        assert_eq!([1, 2, 3].map(|step| faults.spoils(step, send).count()), [0, 1, 0]);
    }

    #[test]
    fn one_bit_flips_and_nothing_where_nothing_is() {
        let mut bytes = [0; 3];
        Spoil::flip(&mut bytes, 4);
        assert_eq!(bytes, [0, 0x10, 0]);
        Spoil::flip(&mut [], 4);
    }
}
