//! How a rank shows that it lives and moves: a thread that beats four times a second, whatever the rank itself does.
//!
//! The rank's own part is a few relaxed stores. The thread writes them down, on rank 0 looks for a stop request, and ends the
//! process when the supervisor that asked for it is dead, so that no rank outlives its attempt.

use std::fs::{File, OpenOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use super::directory::RunDirectory;
use super::fault::{Faults, Spoil};
use super::orders::Orders;
use super::record::{HeartbeatRecord, Phase};
use crate::error::{Error, Result};
use crate::sys::process::{end_at_once, host};

/// The time from one beat to the next.
pub const BEAT: Duration = Duration::from_millis(250);

/// What the rank stores and the thread writes down.
#[derive(Debug)]
struct Pulse {
    phase: AtomicU8,
    step: AtomicU64,
    progress: AtomicU64,
    leaving: AtomicBool,
}

/// The heartbeat of one rank; it beats until it is dropped, and its last record says [`Phase::Ended`].
#[derive(Debug)]
pub struct Heartbeat {
    pulse: Arc<Pulse>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// What is injected on purpose.
    faults: Option<Faults>,
}

impl Heartbeat {
    /// Starts the heartbeat of `rank` in an existing run directory, in phase [`Phase::Starting`].
    ///
    /// # Errors
    ///
    /// An I/O error, if the heartbeats file cannot be opened: a supervisor would take the rank for dead. A bad command, if
    /// faults are to be injected and their plan makes no sense.
    pub fn start(run: &RunDirectory, rank: usize, orders: &Orders) -> Result<Heartbeat> {
        let faults = Faults::from_environment(run, rank, orders)?;
        let path = run.heartbeats();
        let open = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = open.map_err(|cause| Error::io("open the heartbeats", &path, &cause).on_rank(rank))?;
        let pulse = Arc::new(Pulse {
            phase: AtomicU8::new(Phase::Starting as u8),
            step: AtomicU64::new(0),
            progress: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
        });
        let stop = Arc::new(AtomicBool::new(false));
        let beater = Beater {
            file,
            run: run.clone(),
            orders: orders.clone(),
            rank,
            host: host(),
            pulse: Arc::clone(&pulse),
            stop: Arc::clone(&stop),
        };
        let thread = std::thread::Builder::new()
            .name("heartbeat".into())
            .spawn(move || beater.beat_until_leaving())
            .map_err(|cause| Error::io("start the heartbeat", &path, &cause).on_rank(rank))?;
        let heartbeat = Heartbeat { pulse, stop, thread: Some(thread), faults };
        heartbeat.mark();
        heartbeat.injected_error()?;
        Ok(heartbeat)
    }

    /// The rank now does this; counts as progress.
    pub fn phase(&self, phase: Phase) {
        self.pulse.phase.store(phase as u8, Relaxed);
        self.progress();
        self.mark();
    }

    /// The rank is now in this step; counts as progress.
    pub fn step(&self, step: u64) {
        self.pulse.step.store(step, Relaxed);
        self.progress();
        self.mark();
    }

    /// The rank has got on within its phase, by a block or a file.
    pub fn progress(&self) {
        self.pulse.progress.fetch_add(1, Relaxed);
    }

    /// [`Heartbeat::progress`] for those who know nothing of heartbeats, on any thread.
    pub fn ticker(&self) -> Arc<dyn Fn() + Send + Sync> {
        let pulse = Arc::clone(&self.pulse);
        Arc::new(move || {
            pulse.progress.fetch_add(1, Relaxed);
        })
    }

    /// Whatever is to be injected at this place of the run strikes.
    fn mark(&self) {
        if let Some(faults) = &self.faults {
            faults.strike(self.pulse.step.load(Relaxed), Phase::from_number(self.pulse.phase.load(Relaxed)));
        }
    }

    /// Whether faults are to be injected on this rank.
    pub fn injects(&self) -> bool {
        self.faults.is_some()
    }

    /// The error that was injected on this rank since the last call.
    ///
    /// # Errors
    ///
    /// That error: it must be voted on, like any that one rank has alone.
    pub fn injected_error(&self) -> Result<()> {
        self.faults.as_ref().map_or(Ok(()), Faults::take_error)
    }

    /// What is to be spoilt on this rank in this step, of what is `wanted` here.
    pub fn spoils(&self, step: u64, wanted: fn(Spoil) -> bool) -> impl Iterator<Item = Spoil> {
        self.faults.iter().flat_map(move |faults| faults.spoils(step, wanted))
    }

    /// Whether somebody has asked this rank to save and to end.
    ///
    /// Ranks see a request at different moments: vote before acting on it.
    pub fn stop_requested(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// The flag behind [`Heartbeat::stop_requested`], for a signal handler to set.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.phase(Phase::Ended);
        }
        self.pulse.leaving.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic in the thread has been printed; the rank leaves all the same.
            let _ = thread.join();
        }
    }
}

/// The thread's side.
struct Beater {
    file: File,
    run: RunDirectory,
    orders: Orders,
    rank: usize,
    host: String,
    pulse: Arc<Pulse>,
    stop: Arc<AtomicBool>,
}

impl Beater {
    fn beat_until_leaving(self) {
        let mut warned = false;
        for beat in 1.. {
            let leaving = self.pulse.leaving.load(Relaxed);
            if let Err(cause) = self.record(beat, leaving).write(&self.file)
                && !std::mem::replace(&mut warned, true)
            {
                log::warn!("rank {}: cannot write its heartbeat: {cause}", self.rank);
            }
            if leaving {
                return;
            }
            if self.is_asked_to_stop() {
                self.stop.store(true, Relaxed);
            }
            if self.orders.supervisor_is_gone() {
                log::error!("rank {}: the supervisor is dead; this rank ends with it", self.rank);
                end_at_once();
            }
            // A wake-up without a cause only makes one beat come early.
            std::thread::park_timeout(BEAT);
        }
    }

    /// Rank 0 looks for all, who hear of it where they meet: many thousands that look four times a second are more than the
    /// file system that they share answers.
    fn is_asked_to_stop(&self) -> bool {
        self.rank == 0 && (self.run.stop_request().exists() || self.run.stop_request_to(self.orders.attempt).exists())
    }

    fn record(&self, beat: u64, leaving: bool) -> HeartbeatRecord {
        let phase = if leaving { Phase::Ended } else { Phase::from_number(self.pulse.phase.load(Relaxed)) };
        HeartbeatRecord {
            rank: self.rank,
            attempt: self.orders.attempt,
            pid: std::process::id(),
            host: self.host.clone(),
            step: self.pulse.step.load(Relaxed),
            phase,
            progress: self.pulse.progress.load(Relaxed),
            beat,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn wait_until(what: &str, condition: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < end, "never seen: {what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_rank_shows_where_it_stands_until_it_leaves() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        let orders = Orders::from_environment(&run).unwrap();
        let seen = || HeartbeatRecord::read_all(&run, orders.attempt).unwrap().pop();
        let heartbeat = Heartbeat::start(&run, 2, &orders).unwrap();
        heartbeat.step(41);
        heartbeat.phase(Phase::Exchange);
        wait_until("the phase", || seen().is_some_and(|record| record.phase == Phase::Exchange));
        let record = seen().unwrap();
        assert_eq!((record.rank, record.step, record.pid), (2, 41, std::process::id()));
        wait_until("the next beat", || seen().is_some_and(|later| later.beat > record.beat));
        let tick = heartbeat.ticker();
        std::thread::spawn(move || tick()).join().unwrap();
        wait_until("another thread's progress", || seen().is_some_and(|later| later.progress > record.progress));
        drop(heartbeat);
        assert_eq!(seen().unwrap().phase, Phase::Ended);
    }

    #[test]
    fn a_stop_request_reaches_the_rank() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        let heartbeat = Heartbeat::start(&run, 0, &Orders::from_environment(&run).unwrap()).unwrap();
        assert!(!heartbeat.stop_requested());
        run.request_stop("a test").unwrap();
        wait_until("the stop request", || heartbeat.stop_requested());
    }

    #[test]
    fn what_is_asked_of_another_attempt_is_not_heeded() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        let orders = Orders::from_environment(&run).unwrap();
        let heartbeat = Heartbeat::start(&run, 0, &orders).unwrap();
        run.request_stop_of(orders.attempt + 1, "a test").unwrap();
        let beats = || HeartbeatRecord::read_all(&run, orders.attempt).unwrap().first().map_or(0, |record| record.beat);
        let before = beats();
        wait_until("two more beats", || beats() > before + 1);
        assert!(!heartbeat.stop_requested());
        run.request_stop_of(orders.attempt, "a test").unwrap();
        wait_until("the stop request", || heartbeat.stop_requested());
    }

    #[test]
    fn a_missing_run_directory_is_an_error_at_once() {
        let run = RunDirectory::new("/nonexistent");
        let error = Heartbeat::start(&run, 3, &Orders::from_environment(&run).unwrap()).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/heartbeats, rank 3"), "{error}");
    }
}
