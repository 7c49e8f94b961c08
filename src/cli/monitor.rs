//! Shows a person how a run goes: to stderr, from rank 0.

use super::show;
use crate::rundir::{Event, Status};
use crate::sim::{Beginning, Monitor};

/// A monitor that writes to stderr.
pub(super) struct ScreenMonitor {
    quiet: bool,
}

impl ScreenMonitor {
    pub fn new(quiet: bool) -> Self {
        ScreenMonitor { quiet }
    }
}

impl Monitor for ScreenMonitor {
    fn started(&mut self, beginning: &Beginning) {
        if !self.quiet {
            eprintln!("{} on {} ranks, {}", beginning.title, beginning.ranks, show::bytes(beginning.bytes));
        }
    }

    fn moved(&mut self, status: &Status) {
        if !self.quiet {
            eprintln!("step {} time {} {}", status.step, status.time, show::rate(status.rate));
        }
    }

    fn happened(&mut self, event: &Event) {
        if !self.quiet {
            eprintln!("{event}");
        }
    }
}
