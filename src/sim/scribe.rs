//! Writes journal and status on a thread of its own, so that a slow disk does not hold up rank 0, and with it all ranks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use jiff::Timestamp;

use crate::rundir::{Event, Journal, Status, StatusBoard};

/// What is to be written.
enum Order {
    Tell(Timestamp, Event),
    Post(Box<Status>),
    /// Whoever sent this waits until everything before it is written.
    Answer(Sender<()>),
}

/// Where it is written.
struct Desk {
    journal: Journal,
    board: StatusBoard,
    /// Whether a status waits to be posted; what comes meanwhile would only make it older.
    waiting: AtomicBool,
}

/// Rank 0's writer of journal and status; when it is dropped, all that it was given is written.
pub(super) struct Scribe {
    desk: Arc<Desk>,
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Scribe {
    /// A scribe for a journal and a status; without a thread, should there be none, it writes at once.
    pub fn new(journal: Journal, board: StatusBoard) -> Self {
        let desk = Arc::new(Desk { journal, board, waiting: AtomicBool::new(false) });
        let (orders, inbox) = channel();
        let own = Arc::clone(&desk);
        let spawned = std::thread::Builder::new().name("scribe".into()).spawn(move || own.work(&inbox));
        match spawned {
            Ok(thread) => Scribe { desk, orders: Some(orders), thread: Some(thread) },
            Err(cause) => {
                log::warn!("cannot start the thread that writes the journal: {cause}");
                Scribe { desk, orders: None, thread: None }
            }
        }
    }

    /// Puts down an event that happened now.
    pub fn tell(&self, event: Event) {
        self.order(Order::Tell(Timestamp::now(), event));
    }

    /// Posts the status, unless an older one still waits for the disk.
    pub fn post(&self, status: &Status) {
        if !self.desk.waiting.swap(true, Ordering::Relaxed) {
            self.order(Order::Post(Box::new(status.clone())));
        }
    }

    /// Waits until everything is written.
    pub fn finish(&self) {
        let (answer, answered) = channel();
        self.order(Order::Answer(answer));
        // A scribe that is gone has nothing more to write.
        let _ = answered.recv();
    }

    fn order(&self, order: Order) {
        match &self.orders {
            // It listens until this is dropped.
            Some(orders) => drop(orders.send(order)),
            None => self.desk.carry_out(order),
        }
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}

impl Desk {
    fn work(&self, orders: &Receiver<Order>) {
        orders.iter().for_each(|order| self.carry_out(order));
    }

    fn carry_out(&self, order: Order) {
        match order {
            Order::Tell(time, event) => self.journal.append_at(time, event),
            Order::Post(status) => {
                self.waiting.store(false, Ordering::Relaxed);
                self.board.post(&status);
            }
            // Whoever waited may have given up.
            Order::Answer(to) => drop(to.send(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rundir::RunDirectory;

    #[test]
    fn what_was_told_is_written_in_order_when_it_is_finished_or_dropped() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        let scribe = Scribe::new(Journal::new(&run, 3), StatusBoard::new(&run));
        let told = |n: u64| Event::OutputFailed { step: n, reason: "full".into() };
        (0..20).for_each(|n| scribe.tell(told(n)));
        scribe.finish();
        let read = || Journal::read(&run).unwrap().into_iter().map(|entry| entry.event).collect::<Vec<_>>();
        assert_eq!(read(), (0..20).map(told).collect::<Vec<_>>());
        scribe.tell(told(20));
        drop(scribe);
        assert_eq!(read().len(), 21);
    }
}
