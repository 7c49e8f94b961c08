//! Records of a run directory that nobody would write: journal, status, completion record, heartbeats, lease.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use steadfast::rundir::{Finished, HeartbeatRecord, Journal, Lease, RunDirectory, Status};
use steadfast_fuzz::room;
use tempfile::TempDir;

static ROOM: LazyLock<TempDir> = LazyLock::new(room);

fuzz_target!(|bytes: &[u8]| {
    let run = RunDirectory::new(ROOM.path());
    for path in [run.journal(), run.status(), run.finished(), run.heartbeats(), run.lease()] {
        std::fs::write(path, bytes).expect("memory is writable");
    }
    // Who holds a lease is read only while somebody does.
    let held = std::fs::File::open(run.lease()).expect("it is there");
    held.lock().expect("nobody else has it");
    for entry in Journal::read(&run).into_iter().flatten() {
        let _ = entry.event.to_string();
    }
    let _ = (Journal::last_attempt(&run), Status::read(&run), Finished::read(&run));
    let _ = (HeartbeatRecord::read_all(&run, 1), Lease::holder_of(&run.lease()));
});
