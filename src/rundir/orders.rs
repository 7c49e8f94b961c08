//! What the supervisor tells the ranks, through their environment.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::Command;

use jiff::Timestamp;

use super::directory::RunDirectory;
use super::journal::Journal;
use crate::error::{Error, Kind, Result};
use crate::sys::process::{Process, die_with_parent};

/// Names the run directory.
pub(crate) const DIRECTORY_VARIABLE: &str = "STEADFAST_DIR";
/// Numbers the attempt.
const ATTEMPT_VARIABLE: &str = "STEADFAST_ATTEMPT";
/// Names the supervisor as `pid:start@host`.
const SUPERVISOR_VARIABLE: &str = "STEADFAST_SUPERVISOR_PID";
/// Says when the run must have ended, in seconds since 1970.
const DEADLINE_VARIABLE: &str = "STEADFAST_DEADLINE";
/// The same from Slurm, of its newer versions.
const BATCH_VARIABLE: &str = "SLURM_JOB_END_TIME";
/// Names the epoch of the lease that is condemned.
const CONDEMNED_VARIABLE: &str = "STEADFAST_CONDEMNED_LEASE";
/// Lists the steps of the checkpoints that must not be used.
const SKIP_VARIABLE: &str = "STEADFAST_SKIP_CHECKPOINTS";

/// The orders of one attempt: its number, whom it serves, and what it must not use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orders {
    /// The number of the attempt in its run directory, from 1.
    pub attempt: u32,
    /// The steps of the checkpoints after which the run died again and again: they are good to read but must not be
    /// started from.
    pub skip_checkpoints: BTreeSet<u64>,
    /// When the run must have saved and ended, if there is a limit.
    pub deadline: Option<Timestamp>,
    /// The epoch of the lease whose holder is not waited for: it is dead, cut off, or about to be killed.
    pub condemned: Option<u64>,
    supervisor: Option<Process>,
}

impl Orders {
    /// The orders that a supervisor gives: this very process.
    pub(crate) fn from_this_supervisor(
        attempt: u32,
        skip_checkpoints: BTreeSet<u64>,
        deadline: Option<Timestamp>,
        condemned: Option<u64>,
    ) -> Result<Orders> {
        let this = Process::this().map_err(|cause| Error::io("find this process", "/proc", &cause))?;
        Ok(Orders { attempt, skip_checkpoints, deadline, condemned, supervisor: Some(this) })
    }

    /// Reads the orders from the environment; without a supervisor the attempt is the one after the last that left a
    /// trace.
    ///
    /// Without a supervisor ranks may read the journal at different moments: the count of rank 0 holds, and it should
    /// tell the others.
    ///
    /// # Errors
    ///
    /// A run error, if a variable of this crate holds what its supervisor never writes; without a supervisor also as
    /// [`Journal::last_attempt`].
    pub fn from_environment(run: &RunDirectory) -> Result<Orders> {
        Self::parse(|name| std::env::var(name).ok().filter(|value| !value.is_empty()), run)
    }

    /// Whether a supervisor watches this attempt.
    pub fn supervised(&self) -> bool {
        self.supervisor.is_some()
    }

    /// Ties the life of this process to its launcher's, and so to the supervisor's; does nothing without one.
    ///
    /// A program calls it first of all, before MPI starts. The heartbeat looks after the supervisor besides, since the
    /// launcher may put a process in between.
    pub fn bind_to_supervisor(&self) {
        if self.supervised()
            && let Err(cause) = die_with_parent()
        {
            log::warn!("cannot tie this process to its launcher: {cause}");
        }
    }

    /// Whether the supervisor that gave these orders is known to be dead, so that nobody wants this attempt any more.
    pub(super) fn supervisor_is_gone(&self) -> bool {
        self.supervisor.as_ref().is_some_and(Process::is_gone)
    }

    /// The process of the supervisor that gave these orders.
    pub(super) fn supervisor_pid(&self) -> Option<u32> {
        self.supervisor.as_ref().map(Process::pid)
    }

    /// Writes the orders into the environment of a command.
    pub(crate) fn give_to(&self, command: &mut Command, run: &RunDirectory) {
        command.envs(self.variables(run));
    }

    /// The names of all variables, for launchers that must be told which to pass on.
    pub(crate) fn variable_names() -> [&'static str; 6] {
        [
            DIRECTORY_VARIABLE,
            ATTEMPT_VARIABLE,
            SUPERVISOR_VARIABLE,
            SKIP_VARIABLE,
            DEADLINE_VARIABLE,
            CONDEMNED_VARIABLE,
        ]
    }

    fn variables(&self, run: &RunDirectory) -> [(&'static str, OsString); 6] {
        let steps: Vec<_> = self.skip_checkpoints.iter().map(u64::to_string).collect();
        let supervisor = self.supervisor.as_ref().map(ToString::to_string).unwrap_or_default();
        let deadline = self.deadline.map(|at| format!("{:.3}", at.as_millisecond() as f64 / 1000.0));
        [
            (DIRECTORY_VARIABLE, run.root().into()),
            (ATTEMPT_VARIABLE, self.attempt.to_string().into()),
            (SUPERVISOR_VARIABLE, supervisor.into()),
            (SKIP_VARIABLE, steps.join(",").into()),
            (DEADLINE_VARIABLE, deadline.unwrap_or_default().into()),
            (CONDEMNED_VARIABLE, self.condemned.map(|epoch| epoch.to_string()).unwrap_or_default().into()),
        ]
    }

    fn parse(read: impl Fn(&str) -> Option<String>, run: &RunDirectory) -> Result<Orders> {
        let bad = |name: &str, value: &str, rule: &str| {
            Error::new(Kind::Run, format!("the environment variable {name} is \"{value}\", but must be {rule}"))
                .hint(format!("it is set by `steadfast launch` or the batch system alone: unset {name}"))
        };
        let supervisor = match read(SUPERVISOR_VARIABLE) {
            Some(value) => Some(value.parse().map_err(|_| bad(SUPERVISOR_VARIABLE, &value, "pid:start@host"))?),
            None => None,
        };
        let attempt = match read(ATTEMPT_VARIABLE) {
            Some(value) => value.parse().map_err(|_| bad(ATTEMPT_VARIABLE, &value, "a number"))?,
            None => Journal::last_attempt(run)?.saturating_add(1),
        };
        let skip_checkpoints = match read(SKIP_VARIABLE) {
            Some(value) => value
                .split(',')
                .map(str::parse)
                .collect::<Result<_, _>>()
                .map_err(|_| bad(SKIP_VARIABLE, &value, "a list of steps"))?,
            None => BTreeSet::new(),
        };
        let second = |name| match read(name) {
            Some(value) => {
                let millisecond = value.parse::<f64>().ok().map(|second| (second * 1000.0).round() as i64);
                let second = millisecond.and_then(|at| Timestamp::from_millisecond(at).ok());
                second.map(Some).ok_or_else(|| bad(name, &value, "a time in seconds since 1970"))
            }
            None => Ok(None),
        };
        let deadlines = [second(DEADLINE_VARIABLE)?, second(BATCH_VARIABLE)?];
        let deadline = deadlines.into_iter().flatten().min();
        let condemned = match read(CONDEMNED_VARIABLE) {
            Some(value) => Some(value.parse().map_err(|_| bad(CONDEMNED_VARIABLE, &value, "a number"))?),
            None => None,
        };
        Ok(Orders { attempt, skip_checkpoints, deadline, condemned, supervisor })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_supervisor_orders_is_what_the_ranks_read() {
        let run = RunDirectory::new("somewhere");
        let deadline = Some(Timestamp::from_millisecond(1_800_000_000_123).unwrap());
        let orders = Orders::from_this_supervisor(7, BTreeSet::from([100, 200]), deadline, Some(12)).unwrap();
        let variables = orders.variables(&run);
        let read = |name: &str| {
            let (_, value) = variables.iter().find(|(n, _)| *n == name)?;
            Some(value.to_str()?.to_owned()).filter(|value| !value.is_empty())
        };
        assert_eq!(Orders::parse(read, &run).unwrap(), orders);
        assert!(orders.supervised() && !orders.supervisor_is_gone());
    }

    #[test]
    fn without_a_supervisor_the_attempts_count_up() {
        let room = tempfile::tempdir().unwrap();
        let orders = Orders::parse(|_| None, &RunDirectory::new(room.path())).unwrap();
        assert_eq!(orders.attempt, 1);
        assert!(!orders.supervised());
    }

    #[test]
    fn the_earliest_deadline_counts() {
        let deadline = |own: Option<&str>, batch: Option<&str>| {
            let read = |name: &str| match name {
                DEADLINE_VARIABLE => own.map(str::to_owned),
                BATCH_VARIABLE => batch.map(str::to_owned),
                _ => None,
            };
            Orders::parse(read, &RunDirectory::new("x")).map(|orders| orders.deadline.map(|at| at.as_second()))
        };
        assert_eq!(deadline(None, None).unwrap(), None);
        assert_eq!(deadline(Some("100"), Some("50")).unwrap(), Some(50));
        assert_eq!(deadline(Some("100"), None).unwrap(), Some(100));
        assert!(deadline(None, Some("noon")).unwrap_err().message().contains("SLURM_JOB_END_TIME is \"noon\""));
    }

    #[test]
    fn a_variable_that_makes_no_sense_is_named_with_its_rule() {
        let read = |name: &str| (name == SKIP_VARIABLE).then(|| "soon".to_owned());
        let error = Orders::parse(read, &RunDirectory::new("x")).unwrap_err();
        assert!(error.message().contains("STEADFAST_SKIP_CHECKPOINTS is \"soon\""), "{error}");
    }
}
