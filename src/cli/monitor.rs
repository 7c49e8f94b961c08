//! Shows a person how a run goes: to stderr, from rank 0.

use super::progress::Progress;
use super::show;
use crate::rundir::{Event, Status};
use crate::sim::{Beginning, Monitor};

/// A monitor that writes to stderr: nothing at all if it is quiet.
pub(super) struct ScreenMonitor {
    progress: Option<Progress>,
}

impl ScreenMonitor {
    pub fn new(quiet: bool) -> Self {
        ScreenMonitor { progress: (!quiet).then(Progress::start) }
    }
}

impl Monitor for ScreenMonitor {
    fn started(&mut self, beginning: &Beginning) {
        let Some(progress) = &mut self.progress else { return };
        let times = |counts: &[usize]| counts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" × ");
        let plural = |n: usize, word: &str| format!("{} {word}{}", show::count(n as u64), if n == 1 { "" } else { "s" });
        progress.note(&format!(
            "{}: {} cells in {} of {}, on {} with {}, {} a rank",
            beginning.title,
            times(&beginning.cells),
            plural(beginning.blocks, "block"),
            times(&beginning.block),
            plural(beginning.ranks, "rank"),
            plural(beginning.threads, "thread"),
            show::bytes(beginning.bytes),
        ));
    }

    fn moved(&mut self, status: &Status) {
        if let Some(progress) = &mut self.progress {
            progress.update(status);
        }
    }

    fn happened(&mut self, event: &Event) {
        match (&mut self.progress, event) {
            (None, _) => {}
            // The bar has done its work.
            (progress, Event::Finished { .. } | Event::Stopped { .. } | Event::Failed { .. }) => {
                if let Some(progress) = progress.take() {
                    progress.finish(&event.to_string());
                }
            }
            // The status tells the age of the newest one.
            (Some(_), Event::CheckpointCommitted { .. }) => {}
            (Some(progress), event) => progress.note(&event.to_string()),
        }
    }
}
