//! `steadfast sentry`: watches over the node of a supervisor from another one; the supervisor starts it by itself.
//!
//! A job that outlives the death of its nodes outlives that of its batch host as well, and then stands there without
//! anybody who would launch ranks: Slurm does nothing about it.

use std::process::ExitCode;
use std::time::Duration;

use crate::batch::{Job, JobId, JobState, Scheduler, Slurm};
use crate::error::Result;

/// The time between two looks; each asks the controller of the batch system twice.
const LOOK: Duration = Duration::from_secs(5);

/// So many looks in a row must find the node dead.
const CERTAIN: u32 = 2;

/// Watch a node, and put the job into the queue again if it dies.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The job.
    #[arg(long, value_name = "ID")]
    job: String,

    /// How often the job had been put into the queue again when its present life began.
    #[arg(long, value_name = "N")]
    restart: u32,

    /// The node to watch.
    #[arg(long, value_name = "NAME")]
    node: String,
}

/// Watches until the job ends, has another life, or its node is dead.
///
/// # Errors
///
/// None: whatever fails is tried again.
pub fn run(args: &Args) -> Result<ExitCode> {
    let slurm = Slurm::new();
    let job = JobId(args.job.clone());
    let mut dead = 0;
    loop {
        std::thread::sleep(LOOK);
        match look(&slurm, &job, args) {
            Ok(Look::Over) => return Ok(ExitCode::SUCCESS),
            Ok(Look::Alive) => dead = 0,
            Ok(Look::Dead) => dead += 1,
            // Whether the controller cannot be reached from here says nothing about the node.
            Err(error) => log::info!("{error}"),
        }
        if dead >= CERTAIN {
            match slurm.requeue(&job, std::slice::from_ref(&args.node)) {
                Ok(()) => return Ok(ExitCode::SUCCESS),
                Err(error) => log::info!("{error}"),
            }
        }
    }
}

enum Look {
    /// The life of the job that we belong to is over.
    Over,
    Alive,
    Dead,
}

fn look(scheduler: &dyn Scheduler, id: &JobId, args: &Args) -> Result<Look> {
    let is_ours = |job: &Job| {
        let goes = matches!(job.state, JobState::Running | JobState::Other(_));
        goes && job.restarts == args.restart
    };
    let Some(job) = scheduler.job(id)?.filter(is_ours) else {
        return Ok(Look::Over);
    };
    let node = job.batch_host.unwrap_or_else(|| args.node.clone());
    let states = scheduler.nodes(&[node])?;
    Ok(if states.iter().any(|state| state.is_down()) { Look::Dead } else { Look::Alive })
}
