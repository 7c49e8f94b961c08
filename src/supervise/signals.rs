//! The signals that ask the supervisor to stop.

use std::time::{Duration, Instant};

use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;

use super::observation::Asked;
use crate::config::StopSignal;
use crate::error::{Error, Kind, Result};

/// The time between two looks while nothing else is to be done.
const LOOK: Duration = Duration::from_millis(50);

/// What the signals since the last look ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// Save and stop. An interrupt is a person's, who means it for good; other signals warn of an end.
    Stop(Asked),
    /// Stop at once: a second SIGINT.
    StopAtOnce,
}

/// Counts the wishes of whoever sends signals.
pub(super) struct StopSignals {
    signals: Signals,
    interrupts: u32,
}

impl StopSignals {
    /// Takes these signals over from now on.
    pub(super) fn take_over(signals: &[StopSignal]) -> Result<StopSignals> {
        let signals = Signals::new(signals.iter().map(|signal| signal.number()))
            .map_err(|cause| Error::new(Kind::Run, format!("cannot take over the signals: {cause}")))?;
        Ok(StopSignals { signals, interrupts: 0 })
    }

    /// The strongest wish since the last look.
    pub(super) fn look(&mut self) -> Option<Wish> {
        let mut wish = None;
        for signal in self.signals.pending() {
            if signal == SIGINT {
                self.interrupts += 1;
                if self.interrupts > 1 {
                    return Some(Wish::StopAtOnce);
                }
            }
            let reason = signal_name(signal).unwrap_or("a signal").to_owned();
            wish = Some(Wish::Stop(Asked { reason, for_good: self.interrupts > 0 }));
        }
        wish
    }

    /// Lets time go by while nothing runs; a wish to stop, however strong, ends that, and is returned.
    pub(super) fn wait(&mut self, time: Duration) -> Option<Asked> {
        let end = Instant::now() + time;
        loop {
            match self.look() {
                Some(Wish::Stop(asked)) => return Some(asked),
                Some(Wish::StopAtOnce) => return Some(Asked { reason: "SIGINT".into(), for_good: true }),
                None => {}
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            std::thread::sleep(left.min(LOOK));
        }
    }
}
