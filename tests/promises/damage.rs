//! A damaged checkpoint is refused, and the one before it is used; when all are, the run stops and says what to do.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use steadfast::checkpoint::Reader;
use steadfast::rundir::{Event, RunDirectory};

use super::stage::{Room, copy, events, flip_bit, hash, starts};

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

const LONGER: [&str; 1] = ["time.max_steps=40"];

/// A run of 30 steps that has the checkpoints of steps 10, 20 and 30, and the hash of one of 40 steps.
fn prepare(room: &Room) -> (RunDirectory, u64) {
    room.case("heat.toml", CASE);
    room.on(2, "heat").runs("heat.toml", "good").ends_with(0);
    room.alone("heat").runs("heat.toml", "whole").set(&LONGER).ends_with(0);
    let good = room.run("good");
    let steps: Vec<u64> = good.checkpoints().unwrap().iter().map(|entry| entry.step).collect();
    assert_eq!(steps, [30, 20, 10]);
    (good, hash(&room.run("whole")))
}

fn rejected(run: &RunDirectory) -> Vec<PathBuf> {
    let path = |event| match event {
        Event::CheckpointRejected { path, .. } => path.file_name().map(PathBuf::from),
        _ => None,
    };
    events(run).into_iter().filter_map(path).collect()
}

/// One place in each block's bytes, as they lie in the file.
fn places_in_all_blocks(checkpoint: &Path) -> Vec<u64> {
    let reader = Reader::open(checkpoint).unwrap();
    let bytes = fs::read(checkpoint).unwrap();
    let place = |cells: Vec<Range<usize>>| {
        // The first numbers of a block lie side by side in no other.
        let first = reader.values(0, &cells).unwrap().into_iter().take(4);
        let row: Vec<u8> = first.flat_map(f64::to_le_bytes).collect();
        let found = bytes.windows(row.len()).position(|window| window == row);
        found.expect("a block lies in the file as it is in memory") as u64 + 13
    };
    reader.blocks().map(place).collect()
}

#[test]
fn one_flipped_bit_in_any_block_sends_the_run_back_to_the_checkpoint_before() {
    let room = Room::new();
    let (good, expected) = prepare(&room);
    let places = places_in_all_blocks(&good.checkpoint_path(30));
    assert_eq!(places.len(), 12);
    for (block, byte) in places.into_iter().enumerate() {
        let run = room.run(&format!("flipped-{block}"));
        copy(&good, &run);
        flip_bit(&run.checkpoint_path(30), byte);
        let name = run.root().to_str().unwrap();
        room.on(1 + block % 3, "heat").runs("heat.toml", name).set(&LONGER).ends_with(0);
        assert_eq!(rejected(&run), [PathBuf::from("step-0000000030.h5")]);
        assert_eq!(starts(&run), [None, Some(20)], "the one before is named too");
        assert_eq!(hash(&run), expected, "block {block}");
        let aside = run.checkpoint_directory().join("step-0000000030.h5.bad");
        assert!(aside.exists() && Reader::open(run.checkpoint_path(30)).unwrap().verify().unwrap().faults.is_empty());
    }
}

#[test]
fn a_truncated_checkpoint_sends_the_run_back_to_the_one_before() {
    let room = Room::new();
    let (good, expected) = prepare(&room);
    let length = fs::metadata(good.checkpoint_path(30)).unwrap().len();
    for kept in [0, 1, 100, length / 2, length - 4096, length - 1] {
        let run = room.run(&format!("cut-{kept}"));
        copy(&good, &run);
        fs::OpenOptions::new().write(true).open(run.checkpoint_path(30)).unwrap().set_len(kept).unwrap();
        let name = run.root().to_str().unwrap();
        room.alone("heat").runs("heat.toml", name).set(&LONGER).ends_with(0);
        assert_eq!(rejected(&run), [PathBuf::from("step-0000000030.h5")], "{kept} of {length} bytes");
        assert_eq!(starts(&run), [None, Some(20)]);
        assert_eq!(hash(&run), expected);
    }
}

#[test]
fn when_every_checkpoint_is_bad_the_run_stops_and_only_fresh_starts_over() {
    let room = Room::new();
    let (run, expected) = prepare(&room);
    for (step, byte) in [(10, 5000), (20, 6000), (30, 7000)] {
        flip_bit(&run.checkpoint_path(step), byte);
    }
    let refused = room.on(3, "heat").runs("heat.toml", "good").set(&LONGER).ends_with(1);
    let error = refused.error();
    assert!(error.contains("none of the run's 3 checkpoints is good") && error.contains("hint: "), "{error}");
    assert!(error.contains("--fresh"), "the way out is named: {error}");
    assert_eq!(rejected(&run).len(), 3, "each is named in the journal");
    assert_eq!(run.checkpoints().unwrap().len(), 3, "nothing is discarded unasked");

    let supervised = room.supervised(2, &[], "heat").runs("heat.toml", "good").set(&LONGER).ends_with(1);
    assert!(supervised.err.contains("no relaunch can mend this"), "{}", supervised.err);

    let fresh = room.on(2, "heat").runs("heat.toml", "good").set(&LONGER).args(&["--fresh"]).ends_with(0);
    assert!(fresh.err.contains("--fresh discards 3 checkpoints"), "{}", fresh.err);
    assert_eq!(hash(&run), expected);
}
