//! What is known of a job, of a node, and of a partition.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The name of a job in its batch system, as in `1234`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub String);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// It waits for its nodes, for the first time or again.
    Pending,
    /// It has its nodes.
    Running,
    /// It is being ended: by its own end, by somebody's wish, or because its time is over.
    Ending,
    /// It ended by itself, well or not.
    Ended,
    /// Somebody ended it for good.
    Cancelled,
    /// Its time was over.
    TimedOut,
    /// Something that has no name here; the batch system's own word.
    Other(String),
}

impl JobState {
    /// Whether the job has nodes, or will have them.
    pub fn is_alive(&self) -> bool {
        matches!(self, JobState::Pending | JobState::Running | JobState::Ending | JobState::Other(_))
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JobState::Pending => "pending",
            JobState::Running => "running",
            JobState::Ending => "ending",
            JobState::Ended => "ended",
            JobState::Cancelled => "cancelled",
            JobState::TimedOut => "out of time",
            JobState::Other(word) => word,
        })
    }
}

/// What is known of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// How far it is.
    pub state: JobState,
    /// Why it waits or ended, in the batch system's word, if it says so.
    pub reason: Option<String>,
    /// The nodes that it has, without those that died.
    pub nodes: Vec<String>,
    /// The node on which its script runs.
    pub batch_host: Option<String>,
    /// How often it was put into the queue again.
    pub restarts: u32,
    /// The wall time that it may still run; none if there is no limit or it does not run.
    pub time_left: Option<Duration>,
}

/// Whether a node can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeState {
    /// It can.
    Up,
    /// It works, but is to take nothing new: somebody wants it for repair.
    Draining,
    /// It is down or does not answer; the batch system's own word.
    Down(String),
}

impl NodeState {
    /// Whether nothing can run there.
    pub fn is_down(&self) -> bool {
        matches!(self, NodeState::Down(_))
    }
}

/// What the nodes of a partition offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its name.
    pub name: String,
    /// The processors of its smallest node.
    pub cpus_a_node: usize,
    /// The memory of its smallest node, in bytes.
    pub memory_a_node: u64,
}
