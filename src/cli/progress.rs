//! What `run` shows while it runs: a bar on a terminal, a plain line now and then in a batch log.

use std::io::Write;
use std::time::Duration;

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use super::show;
use crate::rundir::Status;

/// A log gets its first line after this time,
const FIRST_LINE: Duration = Duration::from_secs(1);
/// and the next ones this far apart.
const BETWEEN_LINES: Duration = Duration::from_secs(10);
/// The divisions of the bar.
const FINENESS: u64 = 10_000;

/// Shows on stderr how far a run is; for rank 0 alone.
pub struct Progress {
    view: View,
}

enum View {
    Bar { bar: ProgressBar, term: Term },
    Log { due: Timestamp, out: Box<dyn Write + Send> },
}

impl Progress {
    /// Begins to show: a bar if stderr is a terminal, lines if it is not.
    pub fn start() -> Self {
        let term = Term::stderr();
        if !term.is_term() {
            return Self::log(Timestamp::now(), Box::new(std::io::stderr()));
        }
        let bar = ProgressBar::with_draw_target(Some(FINENESS), ProgressDrawTarget::stderr());
        bar.set_style(style("{msg}"));
        Progress { view: View::Bar { bar, term } }
    }

    fn log(started: Timestamp, out: Box<dyn Write + Send>) -> Self {
        Progress { view: View::Log { due: started + FIRST_LINE, out } }
    }

    /// Shows the status, if it is time to.
    pub fn update(&mut self, status: &Status) {
        match &mut self.view {
            View::Bar { bar, term } => {
                let columns = usize::from(term.size().1);
                let (room, template) = match (share(status), columns) {
                    (Some(_), 60..) => (columns - 16, "{wide_bar:.cyan/black.bright} {msg}"),
                    _ => (columns.saturating_sub(1), "{msg}"),
                };
                bar.set_style(style(template));
                bar.set_message(line(status, room));
                bar.set_position((share(status).unwrap_or(0.0) * FINENESS as f64) as u64);
            }
            View::Log { due, out } => {
                if status.updated >= *due {
                    *due = status.updated + BETWEEN_LINES;
                    // A log that cannot be written is no reason to end a run.
                    let _ = writeln!(out, "{}", line(status, usize::MAX));
                }
            }
        }
    }

    /// Prints a line that stays, such as that a checkpoint was discarded.
    pub fn note(&mut self, text: &str) {
        match &mut self.view {
            View::Bar { bar, .. } => bar.suspend(|| {
                let _ = writeln!(std::io::stderr(), "{text}");
            }),
            View::Log { out, .. } => {
                let _ = writeln!(out, "{text}");
            }
        }
    }

    /// Takes the bar away.
    pub fn clear(self) {
        if let View::Bar { bar, .. } = &self.view {
            bar.finish_and_clear();
        }
    }

    /// Takes the bar away and prints how the run ended.
    pub fn finish(mut self, summary: &str) {
        self.note(summary);
        self.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is sound")
}

/// Which part of the simulated time is done, where the end is known.
fn share(status: &Status) -> Option<f64> {
    let end = status.end_time.filter(|&end| end > 0.0)?;
    Some((status.time / end).clamp(0.0, 1.0))
}

/// The status in a line of at most `room` characters: what matters most comes first, and what does not fit is left out.
fn line(status: &Status, room: usize) -> String {
    let mut parts = Vec::new();
    if let Some(share) = share(status) {
        parts.push(format!("{:.1} %", 100.0 * share));
    }
    if let Some(left) = status.eta.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        parts.push(format!("{} left", show::duration(left)));
    }
    parts.push(format!("step {}", show::count(status.step)));
    parts.push(format!("{}cells/s", show::rate(status.rate)));
    parts.push(match status.last_checkpoint {
        Some(last) => {
            let age = Duration::try_from(status.updated.duration_since(last.at)).unwrap_or_default();
            format!("checkpoint {} ago", show::duration(age))
        }
        None => "no checkpoint yet".to_owned(),
    });
    parts.push(format!("t = {}", super::plot::number(status.time, 6)));
    let mut text = String::new();
    for part in parts {
        let gap = if text.is_empty() { "" } else { " · " };
        if text.chars().count() + gap.chars().count() + part.chars().count() <= room {
            text.push_str(gap);
            text.push_str(&part);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rundir::{LastCheckpoint, State};
    use std::sync::{Arc, Mutex};

    fn status(seconds: i64) -> Status {
        let updated = Timestamp::from_second(1_000_000 + seconds).unwrap();
        Status {
            run_id: "r".into(),
            program: "heat".into(),
            state: State::Running,
            step: 12_345,
            time: 0.25,
            end_time: Some(1.0),
            dt: 1e-3,
            cells: 1 << 24,
            ranks: 4,
            threads: 1,
            rate: 5.12e8,
            eta: Some(200.0),
            last_checkpoint: Some(LastCheckpoint { step: 12_000, at: updated - Duration::from_secs(12) }),
            next_checkpoint: None,
            checkpointing: None,
            last_local: None,
            attempt: 1,
            updated,
        }
    }

    #[test]
    fn a_line_tells_all_where_there_is_room() {
        assert_eq!(
            line(&status(0), 200),
            "25.0 % · 3 min 20 s left · step 12 345 · 512.0 Mcells/s · checkpoint 12 s ago · t = 0.25"
        );
    }

    #[test]
    fn forty_columns_keep_what_matters_most() {
        assert_eq!(line(&status(0), 40), "25.0 % · 3 min 20 s left · step 12 345");
        assert!((0..100).all(|room| line(&status(0), room).chars().count() <= room));
    }

    #[test]
    fn a_run_without_a_known_end_shows_no_share() {
        let status = Status { end_time: None, eta: None, last_checkpoint: None, ..status(0) };
        assert_eq!(line(&status, 60), "step 12 345 · 512.0 Mcells/s · no checkpoint yet · t = 0.25");
    }

    #[derive(Clone, Default)]
    struct Pad(Arc<Mutex<Vec<u8>>>);

    impl Write for Pad {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_gets_a_line_after_one_second_and_then_every_ten() {
        let pad = Pad::default();
        let mut progress = Progress::log(status(0).updated, Box::new(pad.clone()));
        let mut seen = Vec::new();
        for second in 0..=32 {
            let before = pad.0.lock().unwrap().len();
            progress.update(&status(second));
            if pad.0.lock().unwrap().len() > before {
                seen.push(second);
            }
        }
        assert_eq!(seen, [1, 11, 21, 31]);
        progress.finish("finished at step 12 345");
        let text = String::from_utf8(pad.0.lock().unwrap().clone()).unwrap();
        assert!(text.ends_with("finished at step 12 345\n") && !text.contains('\x1b'));
    }
}
