//! Where the next attempt runs: on which nodes, until when, and whom it need not wait for.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::allocation::{Allocation, Fate, Survey};
use super::nodes::Placement;
use super::policy::History;
use super::supervisor::Plan;
use crate::rundir::{Lease, RunDirectory};

/// Where an attempt runs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ground {
    /// How many ranks, on which nodes.
    pub placement: Placement,
    /// The nodes whose processes are not waited for, alive or not.
    pub lost: BTreeSet<String>,
    /// When the ranks must have saved and ended, if there is a limit.
    pub deadline: Option<Timestamp>,
}

/// A node that cannot be used, and why.
pub(super) type Dead = BTreeMap<String, String>;

impl Ground {
    /// Finds the ground for an attempt; `is_first` tells whether it is the first of this supervisor. Who was found dead is
    /// added to `dead`, whatever comes of it, and `tell` gets what people should know.
    ///
    /// # Errors
    /// The sentence that says why there is none.
    pub fn find(
        plan: &Plan,
        history: &History,
        is_first: bool,
        dead: &mut Dead,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Ground, String> {
        let suspects = history.suspects();
        let Some(allocation) = &plan.allocation else {
            let placement = plan.nodes.place(plan.ranks, plan.fewest_ranks, &suspects)?;
            return Ok(Ground { placement, lost: BTreeSet::new(), deadline: plan.deadline });
        };
        let (fate, doubt) = allocation.survey();
        if let Some(error) = doubt {
            tell(&format!("{error}; going on with what is known"));
        }
        let survey = match fate {
            Fate::Goes(survey) => survey,
            Fate::Ends(why) => return Err(why),
        };
        dead.clear();
        dead.extend(survey.dead.clone());
        let placement = place(plan, allocation, &survey, &suspects, is_first, dead)?;
        let mut lost: BTreeSet<String> = dead.keys().cloned().chain(suspects).collect();
        if is_first && allocation.restart() > 0 {
            lost.extend(holder_of_the_last_life(&plan.directory));
        }
        lost.retain(|node| !placement.nodes.iter().any(|placed| placed.name == *node));
        let deadlines = [plan.deadline, survey.deadline];
        Ok(Ground { placement, lost, deadline: deadlines.into_iter().flatten().min() })
    }
}

/// Places the ranks on nodes that answer when they are called.
fn place(
    plan: &Plan,
    allocation: &Allocation,
    survey: &Survey,
    suspects: &BTreeSet<String>,
    is_first: bool,
    dead: &mut Dead,
) -> Result<Placement, String> {
    loop {
        let nodes = survey.nodes.filtered(|name| !dead.contains_key(name));
        let placement = nodes.place(plan.ranks, plan.fewest_ranks, suspects)?;
        // At first the batch system's word is enough, unless there is a suspicion.
        let is_doubtful = !is_first || placement.nodes.iter().any(|node| suspects.contains(&node.name));
        let silent = if is_doubtful { allocation.roll_call(&placement) } else { BTreeSet::new() };
        if silent.is_empty() {
            return Ok(placement);
        }
        dead.extend(silent.into_iter().map(|node| (node, "does not answer".to_owned())));
    }
}

/// The node that still holds the lease of the attempt before, though the batch system has ended that life of the job.
fn holder_of_the_last_life(run: &RunDirectory) -> Option<String> {
    Lease::holder_of(&run.lease()).map(|holder| holder.host)
}
