//! The thread that works on a checkpoint beside the sweeps: one a rank, from the staging copy to the end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::create::Created;
use super::disk::System;
use super::phases::{Job, Watch};
use super::stage::Staging;
use super::store::{self, Past};
use super::writer::Settings;
use crate::error::{Error, Kind, Result};
use crate::field::Scalar;

/// What the thread is told to do next.
pub(super) enum Order {
    /// Phase 2: read these blocks back, whose checksums follow component after component.
    Verify { chunks: Vec<usize>, checksums: Vec<u64> },
    /// Phase 3 on rank 0, which has the checksums and costs of all blocks: seal, rename; and then remove what is too old.
    Commit { checksums: Vec<u64>, costs: Vec<f64> },
    /// Phase 3 on the others.
    Rest,
}

/// A running thread and how far it is.
pub(super) struct Worker<T> {
    thread: Option<JoinHandle<Staging<T>>>,
    orders: Option<Sender<Order>>,
    job: Arc<Job>,
    progress: Arc<Progress>,
}

/// How far the thread is; shared with it.
struct Progress {
    /// The last phase done, or what failed.
    phase: Mutex<Result<u8>>,
    changed: Condvar,
    stop: AtomicBool,
}

impl Progress {
    fn new() -> Self {
        Progress { phase: Mutex::new(Ok(0)), changed: Condvar::new(), stop: AtomicBool::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, Result<u8>> {
        // A number is never half written, so that a poisoned lock holds a sound one.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, phase: Result<u8>) {
        *self.lock() = phase;
        self.changed.notify_all();
    }
}

impl<T: Scalar> Worker<T> {
    /// Starts with phase 1; the rank that created the file gives it, the others open it.
    pub fn start(job: Arc<Job>, created: Option<Created>, staging: Staging<T>, settings: Settings, past: Past) -> Self {
        let (orders, inbox) = channel();
        let progress = Arc::new(Progress::new());
        let (own_job, own_progress) = (job.clone(), progress.clone());
        let run = move || {
            // Whoever waits for this thread must learn of a panic.
            let guard = Guard(&own_progress);
            let result = work(&own_job, created, &staging, &settings, &past, &inbox, guard.0);
            if let Err(error) = result {
                guard.0.set(Err(error));
            }
            staging
        };
        let thread = match std::thread::Builder::new().name("checkpoint".into()).spawn(run) {
            Ok(thread) => Some(thread),
            Err(cause) => {
                progress.set(Err(Error::io("start the thread that writes the checkpoint", &job.partial, &cause)));
                None
            }
        };
        Worker { thread, orders: Some(orders), job, progress }
    }

    /// The last phase done.
    ///
    /// # Errors
    /// What failed, if something did.
    pub fn phase(&self) -> Result<u8> {
        self.progress.lock().clone()
    }

    /// Tells the thread what to do next; one that failed already hears nothing.
    pub fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(order);
        }
    }

    /// Waits until a phase is done or something has failed.
    pub fn wait_for(&self, phase: u8) {
        let mut reached = self.progress.lock();
        while reached.as_ref().is_ok_and(|&reached| reached < phase) {
            reached = self.progress.changed.wait(reached).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the thread, at the next point where it can, and gives back its memory and what it failed of.
    pub fn end(mut self) -> (Staging<T>, Result<()>) {
        let staging = self.stop();
        let result = self.phase().map(drop);
        (staging, result)
    }

    fn stop(&mut self) -> Staging<T> {
        // The reason must not become that it was stopped: what it reached until now counts.
        let reached = self.phase();
        self.progress.stop.store(true, Ordering::Relaxed);
        self.orders = None;
        let staging = self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        self.progress.set(reached);
        staging
    }
}

impl<T> Drop for Worker<T> {
    /// Leaves neither a thread behind nor the unfinished file: nobody can commit it any more.
    fn drop(&mut self) {
        self.progress.stop.store(true, Ordering::Relaxed);
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
            self.job.remove(&System);
        }
    }
}

struct Guard<'a>(&'a Progress);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.set(Err(Error::new(Kind::Internal, "the thread that writes the checkpoint panicked")));
        }
    }
}

/// The thread's life: the three phases, each begun when it is told to.
fn work<T: Scalar>(
    job: &Job,
    created: Option<Created>,
    staging: &Staging<T>,
    settings: &Settings,
    past: &Past,
    orders: &Receiver<Order>,
    progress: &Progress,
) -> Result<()> {
    let opened = if created.is_none() { Some(job.open(&System)?) } else { None };
    let own = created.as_ref().map(|created| &created.file).or(opened.as_ref());
    let file = own.expect("it is created here or opened here").as_ref();
    let watch = Watch::new(&progress.stop, settings.tick.as_ref());
    job.write(file, &staging.chunks, bytemuck::cast_slice(&staging.numbers), &watch)?;
    progress.set(Ok(1));
    while let Ok(order) = orders.recv() {
        match order {
            Order::Verify { chunks, checksums } => {
                job.verify(file, &chunks, &checksums, &watch, settings.verify)?;
                progress.set(Ok(2));
            }
            Order::Commit { checksums, costs } => {
                let created = created.as_ref().expect("the rank that created the file commits it");
                job.commit(&System, created, &checksums, &costs, settings.fence.as_ref())?;
                progress.set(Ok(3));
                // Nobody waits for it, unless the next checkpoint is due already: to free the blocks of a large file takes its
                // time, which is none of what a checkpoint is said to take.
                let (step, keep, fence) = (job.header.step, settings.keep, settings.fence.as_ref());
                if let Err(error) = store::retain_on(&System, &settings.directory, step, keep, past, fence) {
                    log::warn!("{error}");
                }
                return Ok(());
            }
            Order::Rest => {
                progress.set(Ok(3));
                return Ok(());
            }
        }
    }
    Ok(())
}
