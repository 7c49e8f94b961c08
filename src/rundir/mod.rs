//! The run directory: what a run leaves on disk for those who watch it, and for its own next life.
//!
//! ```text
//! NAME.run/
//!   case.toml                         the case as submitted
//!   checkpoints/step-0000001000.h5    complete checkpoints; `….h5.EPOCH.partial` while they are written
//!   output/                           what the case asked to be written
//!   journal.jsonl                     what happened, one JSON object a line, only ever appended to
//!   status.json                       what the run does now, replaced about once a second
//!   heartbeats                        one line of fixed size a rank, rewritten in place four times a second
//!   lease                             held by rank 0 of the running attempt; carries the epoch
//!   supervisor.lock                   the same for the supervisor
//!   stop-request                      asks whoever has the run to save and to end with code 75; stop-request.7 asks attempt 7
//!   job.json                          the batch job that has the run; job.sh and job-ID.log are its script and its log
//!   finished.json                     the completion record; nothing else says that a run is finished
//!   times.json                        where the time went in the last attempt that ended well ([`Times`])
//! ```
//!
//! It promises that a reader never meets half a file: small files are replaced by rename, journal and heartbeats are
//! written a whole line at a time, and a line torn by a power loss is passed over. What only watchers need (journal,
//! status, heartbeats) never ends a run when it cannot be written: it warns.
//!
//! It knows neither MPI nor physics, and not what is inside a checkpoint: the ranks on one side and the supervisor on
//! the other meet here and nowhere else.
//!
//! Read [`directory`] first, then [`orders`] (what the supervisor tells the ranks), [`journal`] and [`heartbeat`].

pub mod directory;
pub mod event;
pub mod fault;
pub mod finished;
pub mod heartbeat;
pub mod job;
pub mod journal;
pub mod lease;
pub mod orders;
pub mod record;
mod replace;
pub mod status;
pub mod tally;
pub mod times;

pub use directory::{CheckpointEntry, RunDirectory, case_in, checkpoint_name, checkpoints_in, partial_of, step_of};
pub use event::Event;
pub use fault::Spoil;
pub use finished::Finished;
pub use heartbeat::Heartbeat;
pub use job::JobRecord;
pub use journal::{Entry, Journal};
pub use lease::{Holder, Lease};
pub use orders::Orders;
pub use record::{HeartbeatRecord, Phase};
pub use status::{Checkpointing, LastCheckpoint, NextCheckpoint, State, Status, StatusBoard};
pub use tally::Tally;
pub use times::{Memory, Part, Spread, Times, Updates};
