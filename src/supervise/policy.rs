//! What comes after an attempt: a pure function of what was seen, so that every case can be tested without a process.
//!
//! The rules, in this order; the first that applies decides:
//!
//! 1. The completion record of this attempt is there: finished, whatever the exit code.
//! 2. The case or the command is bad (exit code 2 before any step, or the ranks say so): stop, never try again.
//! 3. A stop was asked for, or the ranks say that they saved and stopped: pause with 75, "run me again"; a person who stops the run
//!    means it for good, a warning or a limit of time does not.
//! 4. The ranks say something that no relaunch can mend (no good checkpoint, the run in other hands): stop.
//! 5. The same inadmissible state twice: it is in the physics, not in the machine: stop.
//! 6. An older checkpoint than a poisonous one was tried, and the run died again without progress: stop.
//! 7. As many failures in a row without progress as are allowed: stop.
//! 8. Otherwise relaunch; not from a checkpoint after which the run has died twice without progress, if there is another; rather not on
//!    nodes that fell silent or where ranks failed twice; after a pause that grows, if the launcher showed no rank.
//!
//! Progress is a checkpoint newer than all before, or a start further on than all before (from a node-local checkpoint): it
//! refills the budget and clears the suspicion. Steps computed and lost again are none.

use std::collections::BTreeSet;
use std::time::Duration;

pub use super::history::History;
pub use super::observation::{Asked, End, Observation, Start};
use crate::error::{Error, Kind};

/// The pause after a launcher's first failure to show a rank; it doubles with each failure,
const PAUSE: Duration = Duration::from_millis(500);
/// up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What to do next, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The run is finished.
    Finished,
    /// Launch the ranks again.
    Relaunch {
        /// The reason, as a sentence.
        why: String,
        /// How long to wait before.
        after: Duration,
    },
    /// Leave it for now: nobody wants it to end for good.
    Pause {
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
    let asked = seen.stop_asked.as_ref();
    if let Some(reason) = seen.saved.as_ref().or(asked.map(|asked| &asked.reason)) {
        let saved = if seen.saved.is_some() { "" } else { ", before the ranks could save" };
        let why = format!("stopped{saved} ({reason}); the run can go on from {}", place(seen.newest_checkpoint()));
        return if asked.is_some_and(|asked| asked.for_good) { stop(75, why) } else { Decision::Pause { why } };
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
    if next.failures >= next.failures_allowed {
        let failures = if next.failures == 1 { "failure" } else { "failures in a row" };
        return stop(1, format!("{} {failures} without a newer checkpoint{}", next.failures, told(seen)));
    }
    let mut why = if new_poison != poison {
        format!("the run died twice after {}: starting before it", places(&new_poison))
    } else if progress {
        format!("there is progress, up to {}", place(next.newest_checkpoint))
    } else {
        let (failures, allowed) = (next.failures, next.failures_allowed);
        format!("failure {failures} without a newer checkpoint; {allowed} in a row are too many")
    };
    let mut after = Duration::ZERO;
    if !seen.shown {
        after = (PAUSE * 2_u32.saturating_pow(next.failures.saturating_sub(1).min(10))).min(LONGEST_PAUSE);
        why.push_str("; no rank showed itself, so the launcher may be in trouble");
    }
    for node in &next.suspects() - &history.suspects() {
        let what = if seen.silent.contains(&node) { "fell silent" } else { "failed twice" };
        why.push_str(&format!("; node {node} {what}: others are taken where there are any"));
    }
    Decision::Relaunch { why, after }
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
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn died(start: Start, checkpoints: impl IntoIterator<Item = u64>) -> Observation {
        Observation { start, checkpoints: checkpoints.into_iter().collect(), ..Observation::in_test() }
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
            Decision::Pause { .. } => Some(75),
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
        let asked = || Some(Asked { reason: "SIGTERM".to_owned(), for_good: false });
        let told = || Some("SIGTERM".to_owned());
        for (seen, code, rule) in [
            (Observation { finished: true, ..fresh() }, Some(0), "a record counts, an exit code lies"),
            (Observation { end: End::Exited(0), ..fresh() }, None, "success without a record is none"),
            (Observation { end: End::Exited(2), ..fresh() }, Some(2), "a bad case is never retried"),
            (Observation { error: error(Kind::Case), ..fresh() }, Some(2), "nor if only the ranks say so"),
            (Observation { end: End::Exited(2), ..died(Start::From(7), []).at(7) }, Some(2), "going on is no step"),
            (Observation { end: End::Exited(2), ..died(Start::From(7), []).at(8) }, None, "a good case has steps"),
            (Observation { error: error(Kind::Case), ..fresh().at(8) }, Some(2), "unless the ranks call it bad"),
            (Observation { end: End::Exited(75), saved: told(), ..fresh() }, Some(75), "a saved stop is final"),
            (Observation { end: End::Exited(0), saved: told(), ..fresh() }, Some(75), "whatever the launcher says"),
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
    fn only_a_person_stops_a_run_for_good() {
        let asked = |for_good| Some(Asked { reason: "told".into(), for_good });
        let after = |seen| decide(&history(), &seen);
        let saved = Some("the limit of wall time is near".to_owned());
        assert!(matches!(after(Observation { saved: saved.clone(), ..fresh() }), Decision::Pause { .. }));
        assert!(matches!(after(Observation { stop_asked: asked(false), ..fresh() }), Decision::Pause { .. }));
        let both = Observation { saved, stop_asked: asked(true), ..fresh() };
        assert!(matches!(after(both), Decision::Stop { exit_code: 75, .. }));
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
    fn an_attempt_that_starts_further_on_than_the_one_before_is_progress_too() {
        let attempts = (1..100).map(|n| died(Start::From(10 * n), Some(10)));
        assert_eq!(play(&mut History::new(2, Some(10)), attempts), (99, None));
        let standing = (1..100).map(|_| died(Start::From(20), Some(10)));
        assert!(play(&mut History::new(2, Some(10)), standing).0 <= 2);
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
        let after_two_deaths = |left: &[u64]| {
            let mut history = History::new(9, left.last().copied());
            let seen = died(Start::From(100), left.iter().copied());
            assert_eq!(play(&mut history, [seen.clone(), seen]), (2, None));
            history.poison()
        };
        let poison = BTreeSet::from([100]);
        assert_eq!(
            after_two_deaths(&[100]),
            BTreeSet::new(),
            "the only checkpoint is tried until the budget is used up"
        );
        assert_eq!(after_two_deaths(&[50, 100]), poison, "the one before is worth a try");
        assert_eq!(after_two_deaths(&[100, 150]), poison, "so is a newer one, if the ranks passed over it");
        let seen = died(Start::From(100), [100]);
        let (relaunches, end) = play(&mut History::new(5, Some(100)), vec![seen; 9]);
        assert_eq!((relaunches, end.as_ref().and_then(exit_code)), (4, Some(1)));
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

    #[test]
    fn a_launcher_that_shows_no_rank_is_given_time() {
        let mut history = History::new(9, None);
        let seen = Observation { shown: false, ..died(Start::Never, None) };
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let Decision::Relaunch { after, why } = decide(&history, &seen) else { panic!("it is relaunched") };
            assert!(why.contains("launcher"), "{why}");
            pauses.push(after.as_secs_f64());
            history.add(&seen);
        }
        assert_eq!(pauses, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
        assert!(matches!(decide(&history, &fresh()), Decision::Stop { .. }));
        let Decision::Relaunch { after, .. } = decide(&self::history(), &fresh()) else { panic!("it is relaunched") };
        assert_eq!(after, Duration::ZERO, "ranks that died are launched again at once");
    }

    #[test]
    fn a_node_that_falls_silent_or_fails_twice_is_not_the_first_choice_any_more() {
        let node = |name: &str| BTreeSet::from([name.to_owned()]);
        let mut history = History::new(9, None);
        let why = |history: &History, seen: &Observation| match decide(history, seen) {
            Decision::Relaunch { why, .. } => why,
            other => panic!("{other:?}"),
        };
        let silent = Observation { silent: node("n1"), ..fresh() };
        assert!(why(&history, &silent).contains("; node n1 fell silent"));
        history.add(&silent);
        let faulty = Observation { faulty: Some("n2".into()), ..died(Start::Fresh, Some(5)) };
        assert!(!why(&history, &faulty).contains("node"), "once may happen anywhere");
        history.add(&faulty);
        assert_eq!(history.suspects(), node("n1"));
        assert!(why(&history, &faulty).contains("; node n2 failed twice"));
        history.add(&faulty);
        assert_eq!(history.suspects(), BTreeSet::from(["n1".into(), "n2".into()]));
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
            let fresh = usize::from(first == Some(Start::Fresh));
            // So does each start that is further on than all before.
            let starts = attempts.iter().filter_map(|seen| if let Start::From(step) = seen.start { Some(step) } else { None });
            let budgets = 1 + fresh + starts.collect::<BTreeSet<_>>().len();
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
        fn poison_is_what_was_died_after_twice_and_never_all_there_is(
            attempts in prop::collection::vec(any_failure(), 0..30),
        ) {
            let mut history = History::new(100, None);
            for seen in attempts {
                history.add(&seen);
                let poison = history.poison();
                prop_assert!(poison.iter().all(|step| history.deaths_after[step] >= 2));
                prop_assert!(poison.is_empty() || !seen.checkpoints.is_subset(&poison));
            }
        }
    }
}
