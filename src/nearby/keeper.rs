//! The thread of a rank that writes pieces and removes old ones, beside the sweeps.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::folder::{self, Folder};
use crate::error::{Error, Kind, Result};
use crate::sys::process::time_of_thread;

/// What the thread is asked for.
enum Order {
    /// Writes these words to a file of this name, and answers.
    Write(PathBuf, Arc<Vec<u64>>),
    /// Removes these files.
    Remove(Vec<PathBuf>),
}

/// What became of a file that was to be written.
pub(super) struct Written {
    pub path: PathBuf,
    pub result: Result<()>,
    /// The processor time that it took.
    pub effort: Duration,
    /// The buffer, to be used again.
    pub words: Arc<Vec<u64>>,
}

/// The thread, as the rank sees it; it ends when this is dropped.
pub(super) struct Keeper {
    orders: Option<Sender<Order>>,
    answers: Receiver<Written>,
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start(folder: Folder, tick: Arc<dyn Fn() + Send + Sync>) -> Result<Self> {
        let (orders, inbox) = channel();
        let (answer, answers) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let path = folder.path().to_owned();
        let run = move || {
            let go_on = || {
                tick();
                !stopped.load(Ordering::Relaxed)
            };
            while let Ok(order) = inbox.recv() {
                match order {
                    Order::Write(path, words) => {
                        let began = time_of_thread();
                        let result = folder.write(&path, &words, &go_on);
                        let effort = time_of_thread().saturating_sub(began);
                        // Nobody listens any more if the rank has given up.
                        let _ = answer.send(Written { path, result, effort, words });
                    }
                    Order::Remove(paths) => {
                        for error in paths.iter().filter_map(|path| folder::remove(path).err()) {
                            log::warn!("{error}");
                        }
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("nearby".into()).spawn(run);
        let thread =
            thread.map_err(|cause| Error::io("start the thread of the node-local checkpoints", path, &cause))?;
        Ok(Keeper { orders: Some(orders), answers, thread: Some(thread), stop })
    }

    /// Asks for a file to be written.
    pub fn write(&self, path: PathBuf, words: Arc<Vec<u64>>) {
        self.order(Order::Write(path, words));
    }

    /// Asks for files to be removed.
    pub fn remove(&self, paths: Vec<PathBuf>) {
        self.order(Order::Remove(paths));
    }

    /// The next file that is written, or has failed; `None` if there is none yet.
    ///
    /// # Errors
    /// If the thread is gone.
    pub fn answer(&self) -> Result<Option<Written>> {
        match self.answers.try_recv() {
            Ok(written) => Ok(Some(written)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => {
                Err(Error::new(Kind::Internal, "the thread of the node-local checkpoints panicked"))
            }
        }
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // A thread that has panicked is noticed when it is asked for an answer.
            let _ = orders.send(order);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
