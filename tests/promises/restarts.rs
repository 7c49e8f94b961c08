//! A run goes on from its checkpoint on any other number of ranks, with other blocks and sweeps: the same bits.

use super::stage::{Room, copy, hash, starts, totals};

const CASE: &str = r#"
[grid]
cells = [26, 21]
upper = [1.3, 1.05]
[boundary]
x = { low = "reflecting", high = "outflow" }
y = "periodic"
[model]
speed = 1.0
width = 0.1
[time]
end = 0.6
cfl = 0.5
integrator = "rk4"
[[output]]
what = "totals"
every = { time = 0.05 }
[checkpoint]
every = { steps = 8 }
"#;

const BLOCKS: [&str; 3] = ["[6, 5]", "[4, 21]", "[9, 8]"];

#[test]
fn every_pair_of_numbers_of_ranks_gives_the_result_of_an_undisturbed_run() {
    let room = Room::new();
    room.case("wave.toml", CASE);
    room.alone("wave").runs("wave.toml", "whole").ends_with(0);
    let whole = room.run("whole");
    for before in 1..=8 {
        let name = format!("{before}");
        let block = format!("grid.block={}", BLOCKS[before % 3]);
        room.on(before, "wave").runs("wave.toml", &name).set(&["time.max_steps=13", &block]).ends_with(0);
        for after in 1..=8 {
            let pair = format!("{before}-{after}");
            copy(&room.run(&name), &room.run(&pair));
            let block = format!("grid.block={}", BLOCKS[(before + after) % 3]);
            let sweeps = format!("run.sweeps_per_exchange={}", 1 + 3 * (after % 2));
            room.on(after, "wave").runs("wave.toml", &pair).set(&[&block, &sweeps]).ends_with(0);
            let run = room.run(&pair);
            assert_eq!(starts(&run), [None, Some(13)]);
            assert_eq!((hash(&run), totals(&run)), (hash(&whole), totals(&whole)), "{before} ranks, then {after}");
        }
    }
}

#[test]
fn a_run_that_is_prolonged_equals_one_that_was_long_from_the_start() {
    let room = Room::new();
    room.case("wave.toml", CASE);
    room.alone("wave").runs("wave.toml", "long").set(&["time.end=10.0", "time.max_steps=40"]).ends_with(0);
    room.alone("wave").runs("wave.toml", "short").set(&["time.end=10.0", "time.max_steps=20"]).ends_with(0);
    room.alone("wave").runs("wave.toml", "short").set(&["time.end=20.0", "time.max_steps=40"]).ends_with(0);
    assert_eq!(hash(&room.run("short")), hash(&room.run("long")));
    assert_eq!(totals(&room.run("short")).lines().last(), totals(&room.run("long")).lines().last());
}

#[test]
fn a_finished_run_that_is_run_again_stays_as_it_is() {
    let room = Room::new();
    room.case("wave.toml", CASE);
    room.on(2, "wave").runs("wave.toml", "again").ends_with(0);
    let run = room.run("again");
    let before = (hash(&run), totals(&run));
    room.on(3, "wave").runs("wave.toml", "again").ends_with(0);
    assert_eq!((hash(&run), totals(&run)), before);
    room.supervised(2, &[], "wave").runs("wave.toml", "again").ends_with(0);
    assert_eq!((hash(&run), totals(&run)), before);
}
