//! The signals that ask the supervisor to stop.

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::error::{Error, Kind, Result};

/// What the signals since the last look ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Save and stop; the signal's name.
    Stop(&'static str),
    /// Stop at once: a second SIGINT.
    StopAtOnce,
}

/// Counts the wishes of whoever sends signals.
pub(super) struct StopSignals {
    signals: Signals,
    interrupts: u32,
}

impl StopSignals {
    /// Takes over SIGINT, SIGTERM and SIGUSR1 (the usual warning of a batch system) from now on.
    pub(super) fn take_over() -> Result<StopSignals> {
        let signals = Signals::new([SIGINT, SIGTERM, SIGUSR1])
            .map_err(|cause| Error::new(Kind::Run, format!("cannot take over the signals: {cause}")))?;
        Ok(StopSignals { signals, interrupts: 0 })
    }

    /// The strongest wish since the last look.
    pub(super) fn look(&mut self) -> Option<Wish> {
        let mut wish = None;
        for signal in self.signals.pending() {
            wish = match signal {
                SIGINT => {
                    self.interrupts += 1;
                    if self.interrupts > 1 {
                        return Some(Wish::StopAtOnce);
                    }
                    Some(Wish::Stop("SIGINT"))
                }
                SIGTERM => Some(Wish::Stop("SIGTERM")),
                _ => Some(Wish::Stop("SIGUSR1")),
            };
        }
        wish
    }
}
