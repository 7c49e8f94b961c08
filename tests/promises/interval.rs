//! Where the case leaves it open, the time between checkpoints follows from what they cost; it is told, and changes no bit.

use steadfast::rundir::{Event, Status};

use super::stage::{Room, events, gray_scott, hash};

fn case() -> String {
    gray_scott([96, 96], [32, 32], 3000.0, "")
}

#[test]
fn the_interval_is_measured_told_and_changes_no_bit() {
    let room = Room::new();
    room.case("case.toml", &case());
    room.on(2, "gray_scott").runs("case.toml", "never").set(&["checkpoint.every=never"]).ends_with(0);
    let bounds = ["checkpoint.every=auto", "checkpoint.interval={ at_least = '1 ms', at_most = '20 ms' }"];
    room.on(2, "gray_scott").runs("case.toml", "measured").set(&bounds).ends_with(0);
    let run = room.run("measured");
    assert_eq!(hash(&run), hash(&room.run("never")));
    let committed = events(&run).iter().filter(|event| matches!(event, Event::CheckpointCommitted { .. })).count();
    assert!(committed > 2, "{committed} checkpoints");
    let chosen = events(&run).into_iter().find_map(|event| match event {
        Event::CheckpointInterval { seconds, stall, between_failures } => Some((seconds, stall, between_failures)),
        _ => None,
    });
    let (seconds, stall, between_failures) = chosen.expect("the chosen interval stands in the journal");
    assert!((0.001..=0.02).contains(&seconds) && stall > 0.0 && between_failures > 80_000.0, "{seconds} {stall}");
    let status = Status::read(&run).unwrap().unwrap().checkpointing.expect("the status tells what it came to");
    assert_eq!(status.committed as usize, committed);
    assert!(status.share > 0.0 && status.share < 1.0 && status.interval.is_some(), "{status:?}");
}
