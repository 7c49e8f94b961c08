//! The threads of a rank that do its tasks while the rank itself keeps in touch with the others.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::error::{Error, Kind, Result};

/// What a worker did.
pub(super) struct Finished<R> {
    /// The number of the task.
    pub task: usize,
    /// What came of it.
    pub outcome: Result<R>,
}

/// The workers of one rank. They are not waited for when it ends: what they do then would not be kept.
pub(super) struct Workers<R> {
    orders: Sender<usize>,
    finished: Receiver<Finished<R>>,
    busy: usize,
    count: usize,
}

impl<R: Send + 'static> Workers<R> {
    /// Starts so many threads, which do what `run` does for the number of a task.
    ///
    /// # Errors
    /// If the system has no more threads.
    pub fn start(count: usize, run: impl Fn(usize) -> Result<R> + Send + Sync + 'static) -> Result<Self> {
        let run = Arc::new(run);
        let (orders, inbox) = channel();
        let (outbox, finished) = channel();
        let inbox = Arc::new(Mutex::new(inbox));
        for number in 0..count {
            let (run, inbox, outbox) = (Arc::clone(&run), Arc::clone(&inbox), outbox.clone());
            let work = move || {
                loop {
                    let order = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    // When the farm is gone, nobody gives orders or takes outcomes.
                    let Ok(task) = order else { return };
                    if outbox.send(Finished { task, outcome: run(task) }).is_err() {
                        return;
                    }
                }
            };
            let spawned = std::thread::Builder::new().name(format!("task-{number}")).spawn(work);
            spawned.map_err(|cause| Error::new(Kind::Run, format!("cannot start a thread for tasks: {cause}")))?;
        }
        Ok(Workers { orders, finished, busy: 0, count })
    }

    /// How many could be given a task now.
    pub fn free(&self) -> usize {
        self.count - self.busy
    }

    /// Gives a task to a free worker.
    pub fn give(&mut self, task: usize) {
        self.busy += 1;
        // The threads end only with their farm, or with the whole process.
        let _ = self.orders.send(task);
    }

    /// What has been finished; waits for the first at most so long.
    pub fn collect(&mut self, patience: Duration) -> Vec<Finished<R>> {
        let first = self.finished.recv_timeout(patience).ok();
        let all: Vec<_> = first.into_iter().chain(self.finished.try_iter()).collect();
        self.busy -= all.len();
        all
    }
}
