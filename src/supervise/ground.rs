//! Where the next attempt runs: on which nodes, and until when.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::allocation::{Allocation, Survey};
use super::nodes::Placement;
use super::policy::History;
use super::supervisor::Plan;

/// Where an attempt runs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ground {
    /// How many ranks, on which nodes.
    pub placement: Placement,
    /// When the ranks must have saved and ended, if there is a limit.
    pub deadline: Option<Timestamp>,
}

/// A node that cannot be used, and why.
pub(super) type Dead = BTreeMap<String, String>;

impl Ground {
    /// The ground for an attempt outside of batch jobs.
    ///
    /// # Errors
    /// The sentence that says why there is none.
    pub fn of_plan(plan: &Plan, history: &History) -> Result<Ground, String> {
        let placement = plan.nodes.place(plan.ranks, plan.fewest_ranks, &history.suspects())?;
        Ok(Ground { placement, deadline: plan.deadline })
    }

    /// The ground for an attempt in an allocation of which this is known; `is_first` tells whether it is the first of this
    /// supervisor. Who was found dead is in `dead`, whatever comes of it.
    ///
    /// # Errors
    /// The sentence that says why there is none.
    pub fn of_allocation(
        plan: &Plan,
        allocation: &Allocation,
        survey: &Survey,
        history: &History,
        is_first: bool,
        dead: &mut Dead,
    ) -> Result<Ground, String> {
        let suspects = history.suspects();
        dead.clear();
        dead.extend(survey.dead.clone());
        let placement = place(plan, allocation, survey, &suspects, is_first, dead)?;
        let deadlines = [plan.deadline, survey.deadline];
        Ok(Ground { placement, deadline: deadlines.into_iter().flatten().min() })
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
        if allocation.is_here(&silent) {
            // This node lives, so it is the batch system that is in trouble.
            return Err("nothing can be started, not even on this node".to_owned());
        }
        dead.extend(silent.into_iter().map(|node| (node, "does not answer".to_owned())));
    }
}

#[cfg(test)]
mod tests {
    use super::super::launcher::Launcher;
    use super::*;

    /// The placement of 4 ranks, of which so few are enough, on nodes of two each; those that Slurm calls down, those that do
    /// not answer, those that are suspected.
    fn found(
        fewest: usize,
        down: &[&str],
        silent: &[&'static str],
        suspects: &[&str],
        is_first: bool,
    ) -> Result<String, String> {
        let room = tempfile::tempdir().unwrap();
        let plan = Plan { fewest_ranks: fewest, ..Plan::in_test(Launcher::in_test(), 4, room.path()) };
        let allocation = Allocation::in_test("a,b,c", "2(x3)", silent);
        let mut survey = allocation.as_given(None);
        survey.dead = down.iter().map(|&node| (node.to_owned(), "is down".to_owned())).collect();
        survey.nodes = survey.nodes.filtered(|name| !down.contains(&name));
        let mut history = History::new(3, None);
        suspects.iter().for_each(|node| history.remember(node));
        let mut dead = Dead::new();
        let ground = Ground::of_allocation(&plan, &allocation, &survey, &history, is_first, &mut dead);
        ground.map(|ground| ground.placement.list())
    }

    fn placed(fewest: usize, down: &[&str], silent: &[&'static str], suspects: &[&str]) -> Result<String, String> {
        found(fewest, down, silent, suspects, false)
    }

    #[test]
    fn a_spare_node_takes_the_place_of_a_dead_one_whoever_knows_it() {
        assert_eq!(placed(4, &[], &[], &[]).as_deref(), Ok("a:2,b:2"));
        assert_eq!(placed(4, &["b"], &[], &[]).as_deref(), Ok("a:2,c:2"), "the batch system does");
        assert_eq!(placed(4, &[], &["b"], &[]).as_deref(), Ok("a:2,c:2"), "nobody does but the roll call");
        assert_eq!(placed(4, &[], &[], &["b"]).as_deref(), Ok("a:2,c:2"), "it fell silent");
    }

    #[test]
    fn without_spare_nodes_the_run_shrinks_as_far_as_it_may() {
        assert_eq!(placed(2, &["b"], &["c"], &[]).as_deref(), Ok("a:2"));
        assert_eq!(placed(4, &["b"], &["c"], &[]), Err("the nodes take 2 ranks, and 4 are needed".to_owned()));
    }

    #[test]
    fn a_suspect_that_is_needed_is_taken_if_it_answers() {
        assert_eq!(placed(4, &["b"], &[], &["c"]).as_deref(), Ok("a:2,c:2"));
        assert!(placed(4, &["b"], &["c"], &["c"]).is_err());
        assert!(found(4, &["b"], &["c"], &["c"], true).is_err(), "a suspect is called at first, too");
        assert!(found(4, &[], &["a"], &[], true).is_ok(), "at first the batch system is believed");
    }
}
