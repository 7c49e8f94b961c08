//! What asks a run to stop before its end: signals, a request in the run directory, a limit of wall time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::config::StopSignal;
use crate::error::{Error, Kind, Result};

/// The wishes to stop that this rank knows of. Ranks learn of them at different moments: a vote makes them one.
#[derive(Debug, Clone, Default)]
pub struct Stops {
    signal: Arc<AtomicUsize>,
    request: Arc<AtomicBool>,
    limit: Option<Duration>,
}

impl Stops {
    /// Nothing ever asks for a stop.
    pub fn never() -> Self {
        Stops::default()
    }

    /// Listens to these signals, to a flag that others set, and to a limit of wall time, which one rank's clock may judge
    /// for all; a second SIGINT ends the process.
    ///
    /// # Errors
    /// If the signals cannot be listened to.
    pub fn listen(signals: &[StopSignal], request: Arc<AtomicBool>, limit: Option<Duration>) -> Result<Self> {
        let signal = Arc::new(AtomicUsize::new(0));
        let interrupted = Arc::new(AtomicBool::new(false));
        let refused = |number: i32, cause: std::io::Error| {
            Error::new(Kind::Internal, format!("cannot listen to signal {number}: {cause}"))
        };
        let interrupt = signal_hook::consts::SIGINT;
        // A second Ctrl-C ends the process at once: this handler is asked first, and the flag is set by the next.
        if signals.contains(&StopSignal::Int) {
            signal_hook::flag::register_conditional_shutdown(interrupt, 130, Arc::clone(&interrupted))
                .map_err(|cause| refused(interrupt, cause))?;
            signal_hook::flag::register(interrupt, interrupted).map_err(|cause| refused(interrupt, cause))?;
        }
        for number in signals.iter().map(|signal| signal.number()) {
            signal_hook::flag::register_usize(number, Arc::clone(&signal), number as usize)
                .map_err(|cause| refused(number, cause))?;
        }
        Ok(Stops { signal, request, limit })
    }

    /// Whether this rank has been asked to stop; `elapsed` is the wall time since its start, and `before` tells how long
    /// before a limit it is time to save.
    pub fn asked(&self, elapsed: Duration, before: impl Fn(Duration) -> Duration) -> bool {
        self.signal.load(Ordering::Relaxed) != 0
            || self.request.load(Ordering::Relaxed)
            || self.is_near(elapsed, before)
    }

    fn is_near(&self, elapsed: Duration, before: impl Fn(Duration) -> Duration) -> bool {
        self.limit.is_some_and(|limit| elapsed + before(limit) >= limit)
    }

    /// Who asked, as far as this rank knows; as [`Stops::asked`].
    pub fn reason(&self, elapsed: Duration, before: impl Fn(Duration) -> Duration) -> String {
        match self.signal.load(Ordering::Relaxed) as i32 {
            0 if self.request.load(Ordering::Relaxed) => "a stop was requested in the run directory".into(),
            0 if self.is_near(elapsed, before) => "the limit of wall time is near".into(),
            0 => "another rank was asked to stop".into(),
            number => format!("signal {}", signal_hook::low_level::signal_name(number).unwrap_or("of an unknown kind")),
        }
    }
}
