//! A bit that flips in a field or a message is noticed where the guard looks, named, and rolled back; nothing of it stays.

use steadfast::rundir::{Event, RunDirectory};

use super::stage::{Call, Room, events, hash, starts};

const CASE: &str = r#"
[grid]
cells = [24, 18]
block = [6, 6]
[model]
diffusivity = 0.1
[time]
end = 1.0
cfl = 0.5
max_steps = 30
[checkpoint]
every = { steps = 10 }
keep = 3
"#;

/// The factor of a field's first number on rank 1 becomes another, before the step that follows 15.
const FIELD: &str = "flip_field@rank=1,step=15,block=2,byte=6";
const MESSAGE: &str = "flip_message@rank=1,step=15";

fn guarded<'r>(call: Call<'r>, name: &str, settings: &[&str], fault: &str) -> Call<'r> {
    call.runs("heat.toml", name).set(settings).env("STEADFAST_FAULT", fault)
}

/// What the ranks said that a failed attempt died of.
fn failures(run: &RunDirectory) -> Vec<String> {
    let failure = |event| match event {
        Event::Failed { error, .. } => Some(error.to_string()),
        _ => None,
    };
    events(run).into_iter().filter_map(failure).collect()
}

#[test]
fn a_flipped_bit_is_rolled_back_and_the_result_has_the_bits_of_a_run_without_it() {
    let room = Room::new();
    room.case("heat.toml", CASE);
    room.on(3, "heat").runs("heat.toml", "whole").ends_with(0);
    let expected = hash(&room.run("whole"));
    for (name, setting, fault, said) in [
        ("field", "guard.checksums=blocks", FIELD, "are not in memory as step 15 left it"),
        ("message", "guard.checksums=messages", MESSAGE, "from rank 1 to rank 0"),
        (
            "both",
            "guard.checksums=all",
            "flip_field@rank=2,step=29; flip_message@rank=2,step=29",
            "from rank 2 to rank 0",
        ),
    ] {
        for exchange in ["shared_memory", "neighbourhood", "point_to_point"] {
            let name = format!("{name}-{exchange}");
            let exchange = format!("run.exchange={exchange}");
            guarded(room.supervised(3, &[], "heat"), &name, &[setting, &exchange], fault).ends_with(0);
            let run = room.run(&name);
            let failures = failures(&run);
            assert!(failures.len() == 1 && failures[0].contains(said), "{name}: {failures:?}");
            let newest = if fault.contains("29") { 20 } else { 10 };
            assert_eq!(starts(&run), [None, Some(newest)], "{name}");
            assert_eq!(hash(&run), expected, "{name}");
        }
    }
}

#[test]
fn without_a_supervisor_all_ranks_stop_and_name_what_has_flipped() {
    let room = Room::new();
    room.case("heat.toml", CASE);
    let ended = guarded(room.on(3, "heat"), "field", &["guard.checksums=all"], FIELD).ends_with(1);
    let error = ended.error();
    for part in ["the cells x ", "rank 1", "step 15", "hint: a bit flipped in memory"] {
        assert!(error.contains(part), "{part:?} is missing in {error}");
    }
    let run = room.run("field");
    let steps: Vec<u64> = run.checkpoints().unwrap().iter().map(|entry| entry.step).collect();
    assert_eq!(steps, [10], "nothing of it is saved");
    room.on(2, "heat").runs("heat.toml", "field").ends_with(0);
    assert_eq!(starts(&run), [None, Some(10)], "the same command goes on");
}

#[test]
fn what_the_guard_does_not_look_at_is_computed_with() {
    let room = Room::new();
    room.case("heat.toml", CASE);
    room.on(3, "heat").runs("heat.toml", "whole").set(&["guard.checksums=all"]).ends_with(0);
    let expected = hash(&room.run("whole"));
    let every = ["guard.checksums=blocks", "guard.every={ steps = 4 }"];
    for (name, settings) in [("none", &[][..]), ("messages", &["guard.checksums=messages"]), ("between", &every)] {
        guarded(room.on(3, "heat"), name, settings, FIELD).ends_with(0);
        assert_ne!(hash(&room.run(name)), expected, "{name}: the fault is one");
    }
    let at_16 = FIELD.replace("15", "16");
    guarded(room.on(3, "heat"), "sixteen", &every, &at_16).ends_with(1);
}
