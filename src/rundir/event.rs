//! What can happen to a run, as the journal tells it: to programs by name and fields, to people by a sentence.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::lease::Holder;
use super::record::Phase;
use crate::error::Error;

/// One thing that happened; its `Display` is the sentence that stands beside it in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The ranks began to compute.
    Started {
        /// The run's own name, the same in all its attempts and checkpoints.
        run_id: String,
        /// How many ranks compute.
        ranks: usize,
        /// The program's name.
        program: String,
        /// The step of the checkpoint that the run goes on from; none for a fresh start.
        resumed_from: Option<u64>,
    },
    /// A checkpoint was committed: it is complete, verified, and on stable storage.
    CheckpointCommitted {
        /// The step after which it was taken.
        step: u64,
        /// The simulated time of that state; `time` in a line of the journal is the wall clock's.
        #[serde(rename = "simulated_time")]
        time: f64,
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        bytes: u64,
        /// From the first copy to the commit, in seconds.
        seconds: f64,
        /// How long the sweeps stood still for it, in seconds.
        stall: f64,
    },
    /// The time between two checkpoints was chosen by measurement.
    CheckpointInterval {
        /// The chosen time, in seconds.
        seconds: f64,
        /// How long the sweeps stand for a checkpoint on the average, in seconds.
        stall: f64,
        /// The mean time between failures that is reckoned with, in seconds.
        between_failures: f64,
    },
    /// A checkpoint was looked at for a restart, and refused.
    CheckpointRejected {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A checkpoint could not be written; the run goes on with the one before.
    CheckpointFailed {
        /// The step after which it was taken.
        step: u64,
        /// What went wrong.
        reason: String,
    },
    /// Node-local checkpoints are being saved, for the first time in an attempt or again after a failure; the status tells the
    /// newest.
    LocalSaved {
        /// The step after which this one was taken.
        step: u64,
        /// The nodes that they are saved on, each with the copies of another if there is one.
        nodes: usize,
        /// From the first copy to the last file, in seconds.
        seconds: f64,
        /// What it cost the slowest rank, in seconds.
        cost: f64,
    },
    /// A node-local checkpoint could not be saved; the run goes on without it.
    LocalFailed {
        /// The step after which it was taken.
        step: u64,
        /// What went wrong.
        reason: String,
    },
    /// A node-local checkpoint could not be used for a restart; an older one, or a shared one, is.
    LocalRejected {
        /// The step after which it was taken.
        step: u64,
        /// Why.
        reason: String,
    },
    /// The state was restored from a node-local checkpoint.
    LocalRestored {
        /// The step after which it was taken.
        step: u64,
        /// The blocks of the state.
        blocks: usize,
        /// How many of them came from a partner's copy.
        copies: usize,
        /// How many pieces' blocks were damaged, and taken from another piece.
        damaged: usize,
        /// How long it took, in seconds.
        seconds: f64,
    },
    /// Fields that the case asked for could not be written; the run goes on without them.
    OutputFailed {
        /// The step whose fields they are.
        step: u64,
        /// What went wrong.
        reason: String,
    },
    /// The run was asked to stop, and did, after saving.
    Stopped {
        /// Who or what asked.
        reason: String,
        /// The last step.
        step: u64,
    },
    /// The run reached its end.
    Finished {
        /// The last step.
        step: u64,
        /// The simulated time at the end.
        #[serde(rename = "simulated_time")]
        time: f64,
        /// The hash of the final state, 16 hexadecimal digits.
        hash: String,
    },
    /// The ranks ended with an error that they agreed on.
    Failed {
        /// The error.
        error: Error,
    },
    /// The supervisor launched the ranks.
    AttemptLaunched {
        /// The launcher, and how it was chosen.
        launcher: String,
        /// How many ranks were asked for.
        ranks: usize,
        /// The nodes that they were placed on, as `node:ranks`; none where the launcher knows.
        #[serde(default)]
        nodes: Vec<String>,
        /// The command line as it was called.
        command: Vec<String>,
    },
    /// All processes of an attempt are gone.
    AttemptEnded {
        /// How it ended.
        outcome: String,
        /// The furthest step seen.
        step: u64,
    },
    /// The supervisor decided what comes next.
    Decision {
        /// What it does.
        what: String,
        /// For which reason.
        why: String,
    },
    /// A rank died while the others still worked.
    RankDied {
        /// The rank.
        rank: usize,
        /// Its node.
        node: String,
        /// Its process.
        pid: u32,
        /// What it was doing when it was last seen, at most a beat before.
        phase: Phase,
        /// In which step it was then.
        step: u64,
        /// The signal that killed it, if that is known.
        signal: Option<i32>,
    },
    /// A rank no longer moved.
    RankHung {
        /// The rank.
        rank: usize,
        /// Its node.
        node: String,
        /// Its process.
        pid: u32,
        /// What it was doing.
        phase: Phase,
        /// In which step.
        step: u64,
        /// For how long it did not move, in seconds.
        seconds: f64,
    },
    /// A rank is slower than the others, which wait for it; the run goes on.
    RankSlow {
        /// The rank.
        rank: usize,
        /// Its node.
        node: String,
        /// Its process.
        pid: u32,
        /// In which step.
        step: u64,
        /// The part of the time in which it computes.
        busy: f64,
        /// The part of the time in which the others do, on the average.
        others: f64,
    },
    /// A fault was injected on purpose, as a test asked for.
    FaultInjected {
        /// The rank.
        rank: usize,
        /// What it was doing.
        phase: Phase,
        /// In which step.
        step: u64,
        /// The fault, as the plan has it.
        fault: String,
    },
    /// Somebody asked for a stop.
    StopRequested {
        /// Who or what asked.
        reason: String,
    },
    /// A job of a batch system took up the run.
    JobBegan {
        /// The batch system.
        scheduler: String,
        /// The job's name there.
        job: String,
        /// How often the job had been put into the queue again before.
        restart: u32,
        /// The nodes that it has.
        nodes: Vec<String>,
        /// The step of the newest checkpoint at that time.
        checkpoint: Option<u64>,
        /// The supervisor, as it stands in its lease.
        #[serde(default)]
        supervisor: Option<Holder>,
    },
    /// A node is kept away from: it is dead, fell silent, or ranks failed on it again and again.
    NodeAvoided {
        /// The node.
        node: String,
        /// What is known of it.
        why: String,
    },
    /// The job was put into the queue again, where the run waits for its next life.
    JobRequeued {
        /// The job's name.
        job: String,
        /// Why it could not go on at once.
        why: String,
    },
    /// Something that a later version wrote.
    #[serde(other)]
    Unknown,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Started { program, ranks, resumed_from: None, .. } => {
                write!(f, "{program} starts fresh on {}", Ranks(*ranks))
            }
            Event::Started { program, ranks, resumed_from: Some(step), .. } => {
                write!(f, "{program} goes on from step {step} on {}", Ranks(*ranks))
            }
            Event::CheckpointCommitted { step, seconds, stall, .. } => {
                write!(f, "the checkpoint of step {step} is committed after {seconds:.3} s (sweeps stood {stall:.3} s)")
            }
            Event::CheckpointInterval { seconds, stall, between_failures } => write!(
                f,
                "a checkpoint every {seconds:.1} s loses least: it costs {stall:.3} s, and a failure is expected every {:.1} h",
                between_failures / 3600.0
            ),
            Event::CheckpointRejected { path, reason } => {
                write!(f, "the checkpoint {} is refused: {reason}", path.display())
            }
            Event::CheckpointFailed { step, reason } => {
                write!(f, "the checkpoint of step {step} could not be written: {reason}")
            }
            Event::LocalSaved { step, nodes, seconds, cost } => {
                let nodes = if *nodes == 1 { "one node, without copies".into() } else { format!("{nodes} nodes") };
                write!(f, "node-local checkpoints are saved on {nodes}: that of step {step} after {seconds:.3} s")?;
                write!(f, " (cost {cost:.3} s)")
            }
            Event::LocalFailed { step, reason } => {
                write!(f, "the node-local checkpoint of step {step} could not be saved: {reason}")
            }
            Event::LocalRejected { step, reason } => {
                write!(f, "the node-local checkpoint of step {step} cannot be used: {reason}")
            }
            Event::LocalRestored { step, blocks, copies, damaged, seconds } => {
                write!(
                    f,
                    "restored from the node-local checkpoint of step {step} in {seconds:.3} s: {copies} of its "
                )?;
                write!(f, "{blocks} blocks from partners' copies, {damaged} damaged ones passed over")
            }
            Event::OutputFailed { step, reason } => write!(f, "the fields of step {step} are lost: {reason}"),
            Event::Stopped { reason, step } => write!(f, "stopped in step {step} after saving: {reason}"),
            Event::Finished { step, time, hash } => write!(f, "finished at time {time} in step {step}, state {hash}"),
            Event::Failed { error } => write!(f, "failed: {}", error.message()),
            Event::AttemptLaunched { launcher, ranks, .. } => write!(f, "{} launched by {launcher}", Ranks(*ranks)),
            Event::AttemptEnded { outcome, step } => write!(f, "{outcome}; the furthest step seen was {step}"),
            Event::Decision { what, why } => write!(f, "{what}: {why}"),
            Event::RankDied { rank, node, pid, phase, step, signal } => {
                write!(f, "rank {rank} on node {node} (pid {pid}) ")?;
                match signal {
                    Some(signal) => write!(f, "was killed by signal {signal}")?,
                    None => write!(f, "died")?,
                }
                write!(f, ", last seen in step {step} (phase {phase})")
            }
            Event::RankHung { rank, node, pid, phase, step, seconds } => write!(
                f,
                "rank {rank} on node {node} (pid {pid}) has not moved for {seconds:.1} s in step {step} (phase {phase})"
            ),
            Event::RankSlow { rank, node, pid, step, busy, others } => write!(
                f,
                "rank {rank} on node {node} (pid {pid}) is slow in step {step}: it computes {:.0} % of the time, the others {:.0} %",
                100.0 * busy,
                100.0 * others
            ),
            Event::FaultInjected { rank, phase, step, fault } => {
                write!(f, "the fault {fault} was injected on rank {rank} in step {step} (phase {phase})")
            }
            Event::StopRequested { reason } => write!(f, "asked to stop: {reason}"),
            Event::JobBegan { scheduler, job, restart, nodes, .. } => {
                write!(f, "{scheduler} job {job} has the run, on {}", nodes.join(","))?;
                match restart {
                    0 => Ok(()),
                    1 => write!(f, ", put into the queue again once"),
                    _ => write!(f, ", put into the queue again {restart} times"),
                }
            }
            Event::NodeAvoided { node, why } => write!(f, "node {node} is avoided: it {why}"),
            Event::JobRequeued { job, why } => write!(f, "job {job} goes into the queue again: {why}"),
            Event::Unknown => write!(f, "something that this version does not know"),
        }
    }
}

/// A number of ranks in words.
struct Ranks(usize);

impl fmt::Display for Ranks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rank{}", self.0, if self.0 == 1 { "" } else { "s" })
    }
}
