//! What the attempts so far mean for the next: the budget, the poison, the nodes to keep away from.

use std::collections::{BTreeMap, BTreeSet};

use super::observation::{Observation, Start};
use crate::error::Error;

/// Deaths after which a checkpoint is held to be poison.
const POISON: u32 = 2;

/// How many faults it counts that a node fell silent: it may take long to come back.
const SILENT: u32 = 4;

/// Faults on one node after which others are taken in its place, where there are others.
const SUSPICIOUS: u32 = 2;

/// What the attempts so far mean for the next.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    pub(super) failures_allowed: u32,
    pub(super) failures: u32,
    pub(super) newest_checkpoint: Option<u64>,
    furthest_start: Option<u64>,
    /// Those that were there after the last attempt.
    checkpoints: BTreeSet<u64>,
    pub(super) deaths_after: BTreeMap<u64, u32>,
    has_started: bool,
    pub(super) last_error: Option<Error>,
    faults: BTreeMap<String, u32>,
}

impl History {
    /// The history of a run before its first attempt, which may go on from a checkpoint.
    pub fn new(failures_allowed: u32, newest_checkpoint: Option<u64>) -> Self {
        History {
            failures_allowed,
            failures: 0,
            newest_checkpoint,
            furthest_start: newest_checkpoint,
            checkpoints: newest_checkpoint.into_iter().collect(),
            deaths_after: BTreeMap::new(),
            has_started: false,
            last_error: None,
            faults: BTreeMap::new(),
        }
    }

    /// Takes up what earlier lives of the run found out about a node.
    pub fn remember(&mut self, node: &str) {
        self.faults.insert(node.to_owned(), SUSPICIOUS);
    }

    /// Takes back a fault of this node's: another one is found to be dead, and its death looked like that.
    pub fn absolve(&mut self, node: &str) {
        if let Some(faults) = self.faults.get_mut(node) {
            *faults = faults.saturating_sub(1);
        }
    }

    /// The nodes that fell silent, or on which ranks failed again and again: others are better.
    pub fn suspects(&self) -> BTreeSet<String> {
        self.faults.iter().filter(|&(_, &faults)| faults >= SUSPICIOUS).map(|(node, _)| node.clone()).collect()
    }

    /// The checkpoints that the next attempt must not start from; none if there is no other: then the budget decides.
    pub fn poison(&self) -> BTreeSet<u64> {
        let deadly = self.deaths_after.iter().filter(|&(_, &deaths)| deaths >= POISON).map(|(&step, _)| step);
        let deadly: BTreeSet<u64> = deadly.collect();
        if self.checkpoints.is_subset(&deadly) { BTreeSet::new() } else { deadly }
    }

    /// Takes up an attempt that failed.
    pub fn add(&mut self, failed: &Observation) {
        if failed.start == Start::Fresh && !self.has_started {
            // The user had the run start over, so what it had reached before counts no longer. Later the same means
            // that the run lost what it had: that is no progress.
            self.newest_checkpoint = None;
            self.furthest_start = Some(0);
        }
        self.has_started |= failed.start != Start::Never;
        if let Start::From(step) = failed.start
            && self.furthest_start.is_some_and(|furthest| step > furthest)
        {
            // The attempt before got there, by a node-local checkpoint that only its heir could tell of.
            self.failures = 0;
            self.deaths_after.clear();
        }
        if let Start::From(step) = failed.start {
            self.furthest_start = self.furthest_start.max(Some(step));
        }
        if failed.newest_checkpoint() > self.newest_checkpoint {
            self.newest_checkpoint = failed.newest_checkpoint();
            self.failures = 0;
            // What happened long ago counts less.
            self.faults.values_mut().for_each(|faults| *faults = faults.saturating_sub(1));
            self.deaths_after.clear();
        } else {
            self.failures += 1;
            if let Start::From(step) = failed.start {
                *self.deaths_after.entry(step).or_default() += 1;
            }
        }
        self.checkpoints = failed.checkpoints.clone();
        self.last_error = failed.error.clone();
        let silent = failed.silent.iter().map(|node| (node, SILENT));
        for (node, weight) in failed.faulty.iter().map(|node| (node, 1)).chain(silent) {
            *self.faults.entry(node.clone()).or_default() += weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_whose_ranks_the_launcher_killed_is_absolved() {
        let mut history = History::new(9, None);
        let died = |node: &str| Observation { faulty: Some(node.into()), ..Observation::in_test() };
        history.add(&died("a"));
        history.absolve("a");
        history.add(&died("a"));
        assert!(history.suspects().is_empty());
        history.add(&died("a"));
        assert_eq!(history.suspects(), BTreeSet::from(["a".to_owned()]));
    }
}
