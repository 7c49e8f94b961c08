//! A state that runs away stops the run with the place where it does, and the last good checkpoint stays.

use super::stage::Room;

/// Four times the longest stable step: the highest mode grows by an order of magnitude in each.
const CASE: &str = r#"
[grid]
cells = [32, 24]
block = [8, 8]
[boundary]
x = { fixed_value = 1.0 }
[model]
diffusivity = 0.1
[time]
end = 1000.0
step = 0.0125
integrator = "forward_euler"
[checkpoint]
every = { steps = 20 }
"#;

#[test]
fn an_unstable_step_is_stopped_with_the_same_words_on_any_number_of_ranks_and_sweeps_at_once() {
    let room = Room::new();
    room.case("heat.toml", CASE);
    let mut first = None;
    for (ranks, sweeps) in [(1, 1), (2, 1), (3, 1), (8, 1), (1, 4), (2, 3), (3, 4), (8, 7)] {
        let name = format!("{ranks}-{sweeps}");
        let sweeps = format!("run.sweeps_per_exchange={sweeps}");
        let ended = room.on(ranks, "heat").runs("heat.toml", &name).set(&[&sweeps]).ends_with(1);
        let error = ended.error().split("\n\n").next().unwrap();
        for part in ["error: field temperature is ", " in cell [", " at [", "rank ", "step "] {
            assert!(error.contains(part), "{part:?} is missing: {error}");
        }
        assert!(ended.error().contains("hint: a smaller time.cfl or time.step"), "{}", ended.error());
        let (before, after) = error.split_once("rank ").unwrap();
        let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
        let words = format!("{before}rank {rest}");
        assert_eq!(first.get_or_insert_with(|| words.clone()), &words);

        let kept: Vec<_> = room.run(&name).checkpoints().unwrap();
        assert!(kept.len() == 2 && kept[0].step.is_multiple_of(20), "{kept:?}");
        steadfast::checkpoint::Reader::open(&kept[0].path).unwrap().verify().unwrap();
    }
}

#[test]
fn the_supervisor_does_not_try_an_inadmissible_state_for_ever() {
    let room = Room::new();
    room.case("heat.toml", CASE);
    let ended = room.supervised(2, &[], "heat").runs("heat.toml", "watched").ends_with(1);
    assert!(ended.err.contains("the same state was inadmissible twice"), "{}", ended.err);
}
