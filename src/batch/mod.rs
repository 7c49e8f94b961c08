//! The batch system: what it knows of a job and its nodes, and what can be asked of it.
//!
//! It promises that no question hangs (each has a limit of time), that states which a later version invents are shown and
//! not errors, and that whoever asks needs to know no batch system: [`Scheduler`] is the door, [`Slurm`] stands behind it,
//! and others may follow. It knows nothing of runs, ranks or checkpoints.
//!
//! ```text
//!   submit, status ──▶ Scheduler ──▶ sbatch, scontrol, squeue, sinfo, scancel, srun
//!   supervisor ──────▶    │
//!                         └──▶ Job { state, nodes, time left }, NodeState, Partition
//! ```
//!
//! Read [`job`] for the words, [`slurm`] for how they are learnt.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::error::Result;

mod ask;
pub mod job;
pub mod script;
pub mod site;
pub mod slurm;

pub use job::{Job, JobId, JobState, NodeState, Partition};
pub use script::Script;
pub use slurm::Slurm;

/// A batch system, as far as a run needs it.
///
/// # Errors
/// All methods: a run error that says which command failed and with what words, or that it gave no answer in time.
pub trait Scheduler: fmt::Debug {
    /// Its name, for people and for records.
    fn name(&self) -> &'static str;

    /// Hands a job script in; what it asks for counts, whatever the environment says.
    fn submit(&self, script: &Path) -> Result<JobId>;

    /// What is known of a job; none if it is forgotten, as jobs are some minutes after their end.
    fn job(&self, id: &JobId) -> Result<Option<Job>>;

    /// The state of some nodes, in the same order; a name that is not known is an error.
    fn nodes(&self, names: &[String]) -> Result<Vec<NodeState>>;

    /// What a partition's nodes offer; the default one, if none is named.
    fn partition(&self, name: Option<&str>) -> Result<Partition>;

    /// The nodes that a list of the batch system's own kind stands for.
    fn names(&self, list: &str) -> Result<Vec<String>>;

    /// Ends the job, and puts it into the queue again under the same name, to be given other nodes than these, as long as
    /// there are enough others.
    fn requeue(&self, id: &JobId, avoid: &[String]) -> Result<()>;

    /// Ends the job for good.
    fn cancel(&self, id: &JobId) -> Result<()>;

    /// Ends the processes that the job has started with this mark, on whatever nodes they are.
    fn end_marked(&self, id: &JobId, mark: &str) -> Result<()>;

    /// The nodes among these, of the job that we are in, on which nothing can be started within the time.
    fn silent_among(&self, nodes: &[String], limit: Duration) -> BTreeSet<String>;
}
