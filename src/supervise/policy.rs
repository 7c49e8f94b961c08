//! What comes after an attempt: a pure function of what was seen, so that every case can be tested without a process.
//!
//! The rules, in this order; the first that applies decides:
//!
//! 1. The completion record of this attempt is there: finished, whatever the exit code.
//! 2. The case or the command is bad (exit code 2 before any step, or the ranks say so): stop, never try again.
//! 3. A stop was asked for, or the ranks say that they saved and stopped: stop with 75, "run me again".
//! 4. The ranks say something that no relaunch can mend (no good checkpoint, the run in other hands): stop.
//! 5. The same inadmissible state twice: it is in the physics, not in the machine: stop.
//! 6. An older checkpoint than a poisonous one was tried, and the run died again without progress: stop.
//! 7. All checkpoints are poisonous: stop. To start over would discard them, and that is for the user to say.
//! 8. As many failures in a row without progress as are allowed: stop.
//! 9. Otherwise relaunch; not from a checkpoint after which the run has died twice without progress.
//!
//! Progress is a checkpoint newer than all before: it refills the budget and clears the suspicion. Steps computed and
//! lost again are none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::error::{Error, Kind};

/// Deaths after which a checkpoint is held to be poison.
const POISON: u32 = 2;

/// How the processes of an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// The launcher ended with this code.
    Exited(i32),
    /// The launcher was killed by this signal.
    Killed(i32),
    /// A rank died, hung, or stayed silent, and the others were ended; the sentence names it.
    Rank(String),
    /// The ranks did not save within the grace time, and were ended.
    Overdue,
    /// Somebody wanted the end at once.
    AtOnce,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // By the shells' convention, which Open MPI follows for a rank that a signal killed.
            End::Exited(code @ 129..=192) => write!(f, "the launcher ended with code {code} (signal {})", code - 128),
            End::Exited(code) => write!(f, "the launcher ended with code {code}"),
            End::Killed(signal) => write!(f, "the launcher was killed by signal {signal}"),
            End::Rank(sentence) => f.write_str(sentence),
            End::Overdue => f.write_str("the ranks did not save within the grace time and were ended"),
            End::AtOnce => f.write_str("ended at once, as asked"),
        }
    }
}

/// Where the ranks began to compute in an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// They did not get so far.
    Never,
    /// From the initial state.
    Fresh,
    /// From the checkpoint of this step.
    From(u64),
}

/// What was seen of one attempt, after its last process was gone.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// How it ended.
    pub end: End,
    /// Where it began.
    pub start: Start,
    /// The furthest step seen.
    pub step: u64,
    /// Whether the run is finished, by its completion record.
    pub finished: bool,
    /// The steps of the checkpoints that the run directory holds.
    pub checkpoints: BTreeSet<u64>,
    /// The error that the ranks agreed on, if they told one.
    pub error: Option<Error>,
    /// Why the ranks stopped after saving, if they say that they did.
    pub saved: Option<String>,
    /// Who asked for a stop, if anybody did.
    pub stop_asked: Option<String>,
}

impl Observation {
    /// Whether the ranks have done something that a start from the beginning would do away with; `before` are the
    /// checkpoints that were there before the attempt. The ranks' word for it may be lost, so any trace will do.
    pub fn has_begun(&self, before: &BTreeSet<u64>) -> bool {
        self.start != Start::Never || self.step > 0 || !self.checkpoints.is_subset(before)
    }

    /// Whether a step was done: whoever gets so far has a good case.
    fn has_stepped(&self) -> bool {
        self.step > if let Start::From(step) = self.start { step } else { 0 }
    }

    fn newest_checkpoint(&self) -> Option<u64> {
        self.checkpoints.last().copied()
    }
}

/// What to do next, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The run is finished.
    Finished,
    /// Launch the ranks again.
    Relaunch {
        /// The reason, as a sentence.
        why: String,
    },
    /// Leave it.
    Stop {
        /// The supervisor's exit code.
        exit_code: u8,
        /// The reason, as a sentence.
        why: String,
    },
}

/// What the attempts so far mean for the next.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    failures_allowed: u32,
    failures: u32,
    newest_checkpoint: Option<u64>,
    deaths_after: BTreeMap<u64, u32>,
    has_started: bool,
    last_error: Option<Error>,
}

impl History {
    /// The history of a run before its first attempt, which may go on from a checkpoint.
    pub fn new(failures_allowed: u32, newest_checkpoint: Option<u64>) -> Self {
        History {
            failures_allowed,
            failures: 0,
            newest_checkpoint,
            deaths_after: BTreeMap::new(),
            has_started: false,
            last_error: None,
        }
    }

    /// The checkpoints that the next attempt must not start from.
    pub fn poison(&self) -> BTreeSet<u64> {
        self.deaths_after.iter().filter(|&(_, &deaths)| deaths >= POISON).map(|(&step, _)| step).collect()
    }

    /// Takes up an attempt that failed.
    pub fn add(&mut self, failed: &Observation) {
        if failed.start == Start::Fresh && !self.has_started {
            // The user had the run start over, so what it had reached before counts no longer. Later the same means
            // that the run lost what it had: that is no progress.
            self.newest_checkpoint = None;
        }
        self.has_started |= failed.start != Start::Never;
        if failed.newest_checkpoint() > self.newest_checkpoint {
            self.newest_checkpoint = failed.newest_checkpoint();
            self.failures = 0;
            self.deaths_after.clear();
        } else {
            self.failures += 1;
            if let Start::From(step) = failed.start {
                *self.deaths_after.entry(step).or_default() += 1;
            }
        }
        self.last_error = failed.error.clone();
    }
}

/// Decides what comes after an attempt, by the rules above.
pub fn decide(history: &History, seen: &Observation) -> Decision {
    let stop = |exit_code, why: String| Decision::Stop { exit_code, why };
    let kind = seen.error.as_ref().map(Error::kind);
    if seen.finished {
        return Decision::Finished;
    }
    if (seen.end == End::Exited(2) && !seen.has_stepped()) || kind == Some(Kind::Case) {
        return stop(2, format!("the case or the command is bad{}; another try cannot help", told(seen)));
    }
    if seen.end == End::AtOnce {
        return stop(130, "asked twice to stop".into());
    }
    if let Some(reason) = seen.saved.as_ref().or(seen.stop_asked.as_ref()) {
        let saved = if seen.saved.is_some() { "" } else { ", before the ranks could save" };
        return stop(
            75,
            format!("stopped{saved} ({reason}); the run can go on from {}", place(seen.newest_checkpoint())),
        );
    }
    if let Some(Kind::Checkpoint | Kind::Run) = kind {
        return stop(1, format!("no relaunch can mend this{}", told(seen)));
    }
    if kind == Some(Kind::State) && history.last_error == seen.error {
        return stop(
            1,
            format!("the same state was inadmissible twice, so it is no fault of the machine{}", told(seen)),
        );
    }
    let poison = history.poison();
    let mut next = history.clone();
    next.add(seen);
    let progress = next.failures == 0;
    if !progress && seen.start != Start::Never && !poison.is_empty() {
        return stop(1, format!("the run died twice after {}, and again when started before it", places(&poison)));
    }
    let new_poison = next.poison();
    if !seen.checkpoints.is_empty() && seen.checkpoints.is_subset(&new_poison) {
        let why = format!("the run died twice after {}, and has no other to start from", places(&new_poison));
        return stop(1, format!("{why}{}; look at what ends it (nothing is discarded)", told(seen)));
    }
    if next.failures >= next.failures_allowed {
        let failures = if next.failures == 1 { "failure" } else { "failures in a row" };
        return stop(1, format!("{} {failures} without a newer checkpoint{}", next.failures, told(seen)));
    }
    if new_poison != poison {
        let why = format!("the run died twice after {}: starting before it", places(&new_poison));
        return Decision::Relaunch { why };
    }
    if progress {
        let why = format!("there is progress, up to {}", place(next.newest_checkpoint));
        return Decision::Relaunch { why };
    }
    let why = format!(
        "failure {} without a newer checkpoint; {} in a row are too many",
        next.failures, next.failures_allowed
    );
    Decision::Relaunch { why }
}

fn told(seen: &Observation) -> String {
    seen.error.as_ref().map_or_else(String::new, |error| format!(": {}", error.message()))
}

fn place(checkpoint: Option<u64>) -> String {
    checkpoint.map_or_else(|| "its start".to_owned(), |step| format!("the checkpoint of step {step}"))
}

fn places(steps: &BTreeSet<u64>) -> String {
    steps.iter().map(|&step| place(Some(step))).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn died(start: Start, checkpoints: impl IntoIterator<Item = u64>) -> Observation {
        Observation {
            end: End::Exited(137),
            start,
            step: 0,
            finished: false,
            checkpoints: checkpoints.into_iter().collect(),
            error: None,
            saved: None,
            stop_asked: None,
        }
    }

    impl Observation {
        fn at(self, step: u64) -> Self {
            Observation { step, ..self }
        }
    }

    fn fresh() -> Observation {
        died(Start::Fresh, None)
    }

    fn history() -> History {
        History::new(3, None)
    }

    fn exit_code(decision: &Decision) -> Option<u8> {
        match decision {
            Decision::Finished => Some(0),
            Decision::Stop { exit_code, .. } => Some(*exit_code),
            Decision::Relaunch { .. } => None,
        }
    }

    /// Decides attempt after attempt until the end; gives the number of relaunches and the last decision.
    fn play(history: &mut History, attempts: impl IntoIterator<Item = Observation>) -> (usize, Option<Decision>) {
        let mut relaunches = 0;
        for seen in attempts {
            let decision = decide(history, &seen);
            if exit_code(&decision).is_some() {
                return (relaunches, Some(decision));
            }
            history.add(&seen);
            relaunches += 1;
        }
        (relaunches, None)
    }

    #[test]
    fn each_way_to_end_has_its_answer() {
        let error = |kind| Some(Error::new(kind, "told"));
        let asked = || Some("SIGTERM".to_owned());
        for (seen, code, rule) in [
            (Observation { finished: true, ..fresh() }, Some(0), "a record counts, an exit code lies"),
            (Observation { end: End::Exited(0), ..fresh() }, None, "success without a record is none"),
            (Observation { end: End::Exited(2), ..fresh() }, Some(2), "a bad case is never retried"),
            (Observation { error: error(Kind::Case), ..fresh() }, Some(2), "nor if only the ranks say so"),
            (Observation { end: End::Exited(2), ..died(Start::From(7), []).at(7) }, Some(2), "going on is no step"),
            (Observation { end: End::Exited(2), ..died(Start::From(7), []).at(8) }, None, "a good case has steps"),
            (Observation { error: error(Kind::Case), ..fresh().at(8) }, Some(2), "unless the ranks call it bad"),
            (Observation { end: End::Exited(75), saved: asked(), ..fresh() }, Some(75), "a saved stop is final"),
            (Observation { end: End::Exited(0), saved: asked(), ..fresh() }, Some(75), "whatever the launcher says"),
            (Observation { stop_asked: asked(), ..fresh() }, Some(75), "nobody relaunches what was to stop"),
            (Observation { end: End::Overdue, stop_asked: asked(), ..fresh() }, Some(75), "nor what was too slow"),
            (Observation { end: End::Exited(75), ..fresh() }, None, "75 that nobody asked for is a failure"),
            (Observation { end: End::AtOnce, stop_asked: asked(), ..fresh() }, Some(130), "twice means at once"),
            (Observation { error: error(Kind::Checkpoint), ..fresh() }, Some(1), "no checkpoint, no relaunch"),
            (Observation { error: error(Kind::Run), ..fresh() }, Some(1), "a run in other hands is left alone"),
            (Observation { error: error(Kind::Io), ..fresh() }, None, "an I/O error may pass"),
            (Observation { error: error(Kind::State), ..fresh() }, None, "a bit may have flipped"),
            (Observation { end: End::Killed(9), ..fresh() }, None, "a dead launcher is replaced"),
            (Observation { end: End::Rank("rank 2 hung".into()), ..fresh() }, None, "a hung rank is replaced"),
        ] {
            assert_eq!(exit_code(&decide(&history(), &seen)), code, "{rule}: {seen:?}");
        }
    }

    #[test]
    fn the_same_inadmissible_state_twice_is_not_tried_a_third_time() {
        let seen = Observation { error: Some(Error::new(Kind::State, "u is not finite").in_step(7)), ..fresh() };
        let (relaunches, end) = play(&mut History::new(9, None), vec![seen; 5]);
        assert_eq!((relaunches, end.as_ref().and_then(exit_code)), (1, Some(1)));
    }

    #[test]
    fn progress_refills_the_budget() {
        let attempts = (1..100).flat_map(|n| [died(Start::Never, Some(n)), died(Start::Never, Some(n))]);
        assert_eq!(play(&mut history(), attempts), (198, None));
    }

    #[test]
    fn a_poisonous_checkpoint_is_passed_over_once_and_then_the_run_stops() {
        let mut history = History::new(9, Some(100));
        let attempts = [died(Start::From(100), [50, 100]), died(Start::From(100), [50, 100])];
        assert_eq!(play(&mut history, attempts), (2, None));
        assert_eq!(history.poison(), BTreeSet::from([100]));
        let decision = decide(&history, &died(Start::From(50), [50, 100]));
        let Decision::Stop { exit_code: 1, why } = decision else { panic!("{decision:?}") };
        assert!(why.contains("step 100"), "{why}");
    }

    #[test]
    fn a_run_that_gets_past_the_poison_is_trusted_again() {
        let mut history = History::new(9, Some(100));
        let attempts = [(100, 100), (100, 100), (50, 150)].map(|(step, newest)| died(Start::From(step), [50, newest]));
        assert_eq!(play(&mut history, attempts), (3, None));
        assert!(history.poison().is_empty());
    }

    #[test]
    fn nobody_is_sent_to_start_where_nothing_but_poison_is_left() {
        let twice_from = |step, left: &[u64]| {
            let seen = died(Start::From(step), left.iter().copied());
            play(&mut History::new(9, left.last().copied()), [seen.clone(), seen])
        };
        for (left, stops, rule) in [
            (&[100][..], true, "the only checkpoint is poison: the ranks would refuse to start over"),
            (&[50, 100][..], false, "the one before is worth a try"),
            (&[100, 150][..], false, "so is a newer one, if the ranks passed over it"),
            (&[][..], false, "with no checkpoint left the run begins at time 0 by itself"),
        ] {
            let (relaunches, end) = twice_from(100, left);
            assert_eq!((relaunches, end.is_some()), (if stops { 1 } else { 2 }, stops), "{rule}");
            if let Some(decision) = end {
                let Decision::Stop { exit_code: 1, why } = decision else { panic!("{decision:?}") };
                assert!(why.contains("step 100, and has no other") && why.contains("nothing is discarded"), "{why}");
            }
        }
    }

    #[test]
    fn any_trace_of_work_tells_that_a_run_has_begun() {
        let before = BTreeSet::from([10, 20]);
        for (seen, begun, rule) in [
            (died(Start::Never, [10, 20]), false, "nothing happened"),
            (died(Start::Never, [10]), false, "not all old checkpoints are discarded yet: the wish still stands"),
            (died(Start::Fresh, [10]), true, "the ranks say so"),
            (Observation { step: 1, ..died(Start::Never, []) }, true, "a step was seen"),
            (died(Start::Never, [10, 20, 30]), true, "there is a newer checkpoint"),
            (died(Start::Never, [5]), true, "there is a new one, though an older step's"),
        ] {
            assert_eq!(seen.has_begun(&before), begun, "{rule}");
        }
    }

    #[test]
    fn a_run_that_starts_over_counts_its_checkpoints_anew() {
        let mut history = History::new(1, Some(1000));
        assert_eq!(play(&mut history, [died(Start::Fresh, Some(10))]), (1, None));
    }

    fn any_end() -> impl Strategy<Value = End> {
        prop_oneof![
            (0..256).prop_map(End::Exited),
            (1..32).prop_map(End::Killed),
            Just(End::Rank("rank 1 died".into())),
            Just(End::Overdue),
        ]
    }

    fn any_start() -> impl Strategy<Value = Start> {
        prop_oneof![Just(Start::Never), Just(Start::Fresh), (0_u64..5).prop_map(Start::From)]
    }

    prop_compose! {
        fn any_failure()(end in any_end(), start in any_start(), newest in prop::option::of(0_u64..5)) -> Observation {
            Observation { end, ..died(start, newest) }
        }
    }

    proptest! {
        #[test]
        fn never_more_relaunches_without_progress_than_the_budget(
            allowed in 0_u32..6,
            newest in prop::option::of(0_u64..5),
            attempts in prop::collection::vec(any_failure(), 0..30),
        ) {
            let attempts: Vec<_> =
                attempts.into_iter().map(|seen| Observation { checkpoints: newest.into_iter().collect(), ..seen }).collect();
            // To start over, as the user may ask once, counts as progress once.
            let first = attempts.iter().map(|seen| seen.start).find(|&start| start != Start::Never);
            let budgets = if first == Some(Start::Fresh) { 2 } else { 1 };
            let (relaunches, _) = play(&mut History::new(allowed, newest), attempts);
            prop_assert!(relaunches < budgets * allowed.max(1) as usize);
        }

        #[test]
        fn a_bad_case_is_never_retried(
            before in prop::collection::vec(any_failure(), 0..10),
            last in any_failure(),
            allowed in 0_u32..100,
        ) {
            let mut history = History::new(allowed, None);
            before.iter().for_each(|seen| history.add(seen));
            let seen = Observation { end: End::Exited(2), ..last };
            prop_assert_eq!(exit_code(&decide(&history, &seen)), Some(2));
        }

        #[test]
        fn a_finished_run_is_finished_whatever_else_was_seen(
            before in prop::collection::vec(any_failure(), 0..10),
            last in any_failure(),
        ) {
            let mut history = History::new(3, None);
            before.iter().for_each(|seen| history.add(seen));
            prop_assert_eq!(decide(&history, &Observation { finished: true, ..last }), Decision::Finished);
        }

        #[test]
        fn whatever_is_relaunched_does_not_start_from_poison(
            attempts in prop::collection::vec(any_failure(), 0..30),
        ) {
            let mut history = History::new(100, None);
            for seen in attempts {
                let twice = history.deaths_after.values().filter(|&&deaths| deaths >= 2).count();
                prop_assert_eq!(history.poison().len(), twice);
                history.add(&seen);
            }
        }
    }
}
