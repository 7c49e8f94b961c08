//! Shows a person how a run goes: on stderr, from rank 0.

use std::io::Write;

use super::progress::Progress;
use super::{show, times};
use crate::rundir::{Checkpointing, Event, Status, Times};
use crate::sim::{Beginning, Monitor};

/// A monitor that shows the beginning, the progress, what happens, and the end.
pub(super) struct ScreenMonitor {
    progress: Option<Progress>,
    /// Cell updates per second, as last heard.
    rate: f64,
    /// What saving has come to, as last heard.
    checkpointing: Option<Checkpointing>,
    account: Account,
}

/// How it is told where the time went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Account {
    /// Not at all.
    Untold,
    /// As a table for people, on stderr.
    Table,
    /// As JSON for programs, on stdout.
    Json,
}

impl ScreenMonitor {
    /// A monitor that begins to show when the run begins.
    pub fn new(account: Account) -> Self {
        ScreenMonitor { progress: Some(Progress::start()), rate: 0.0, checkpointing: None, account }
    }

    /// A monitor that shows warnings, and nothing else but where the time went.
    pub fn quiet(account: Account) -> Self {
        ScreenMonitor { progress: None, rate: 0.0, checkpointing: None, account }
    }

    fn say(&mut self, text: &str) {
        match &mut self.progress {
            Some(progress) => progress.note(text),
            None => log::info!("{text}"),
        }
    }
}

impl Monitor for ScreenMonitor {
    fn started(&mut self, beginning: &Beginning) {
        if !beginning.spare_ranks.is_empty() {
            let spare: Vec<_> = beginning.spare_ranks.iter().map(usize::to_string).collect();
            log::warn!(
                "{} blocks are too few for {} ranks: ranks {} own none and only take part in what all do together",
                beginning.blocks,
                beginning.ranks,
                spare.join(", ")
            );
        }
        self.say(&describe(beginning));
    }

    fn moved(&mut self, status: &Status) {
        (self.rate, self.checkpointing) = (status.rate, status.checkpointing);
        if let Some(progress) = &mut self.progress {
            progress.update(status);
        }
    }

    fn happened(&mut self, event: &Event) {
        match event {
            Event::CheckpointRejected { .. } | Event::CheckpointFailed { .. } | Event::OutputFailed { .. } => {
                log::warn!("{event}")
            }
            // The error itself is reported by the command.
            Event::Failed { .. } => {
                if let Some(progress) = self.progress.take() {
                    progress.clear();
                }
            }
            Event::Finished { .. } | Event::Stopped { .. } => match self.progress.take() {
                Some(progress) => {
                    let saving = self.checkpointing.map_or_else(String::new, |saving| format!("; {saving}"));
                    progress.finish(&format!("{event}; {}cells/s on average{saving}", show::rate(self.rate)))
                }
                None => log::info!("{event}"),
            },
            // The progress tells the age of the newest one.
            Event::CheckpointCommitted { .. } => log::info!("{event}"),
            _ => self.say(&event.to_string()),
        }
    }

    fn spent(&mut self, times: &Times) {
        match self.account {
            // The run is over and well: a report that nobody can read does not change that.
            Account::Json => drop(show::json(times)),
            // Without a step there is nothing to tell.
            Account::Table if times.steps > 0 => drop(write!(std::io::stderr(), "{}", times::table(times))),
            Account::Table | Account::Untold => {}
        }
    }
}

/// What is known at the beginning, in two lines.
fn describe(beginning: &Beginning) -> String {
    let by = |extents: &[usize]| extents.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ");
    let plural = |count: usize, what: &str| if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") };
    let from = match beginning.resumed_from {
        Some(at) => format!("goes on from step {}, time {}", at.step, at.time),
        None => "starts at time 0".into(),
    };
    let title = if beginning.title.is_empty() { "run".into() } else { beginning.title.clone() };
    format!(
        "{title}: {} cells in {} of {}, {}, {}\n{from}, in {}; fields take {} on rank 0",
        by(&beginning.cells),
        plural(beginning.blocks, "block"),
        by(&beginning.block),
        plural(beginning.ranks, "rank"),
        plural(beginning.threads, "thread"),
        beginning.directory.root().display(),
        show::bytes(beginning.bytes),
    )
}
