//! A full disk costs a checkpoint, never the run, and never leaves anything torn under a final name.

use std::fs;

use steadfast::rundir::Event;

use super::stage::{Disk, Room, events, gray_scott, hash};

fn case() -> String {
    gray_scott(
        [128, 96],
        [32, 16],
        3000.0,
        r#"
[checkpoint]
every = { steps = 250 }
"#,
    )
}

fn failures(run: &steadfast::rundir::RunDirectory) -> usize {
    events(run).iter().filter(|event| matches!(event, Event::CheckpointFailed { .. })).count()
}

#[test]
fn when_no_checkpoint_can_be_written_the_run_goes_on_and_says_so_at_its_end() {
    let room = Room::new();
    room.case("case.toml", &case());
    room.on(2, "gray_scott").runs("case.toml", "whole").ends_with(0);
    let run = room.run("full");
    // No file may grow beyond 100 000 bytes; a checkpoint has 200 000. The signal that comes with it is ignored, so that
    // the write fails. One rank alone, and Open MPI without the larger files that it shares memory by.
    let limit =
        ["-c", "trap '' XFSZ; export OMPI_MCA_btl=self PMIX_MCA_gds=hash; exec prlimit --fsize=100000 \"$@\"", "sh"];
    let ended = room.alone("gray_scott").runs("case.toml", "full").under("sh", &limit).ends_with(1);
    let error = ended.error();
    assert!(error.contains("hint: ") && error.contains("run the same command again"), "{error}");
    assert_eq!(failures(&run), 12, "each is in the journal, and the run goes on: {:?}", events(&run));
    assert!(error.contains("File too large"), "the system's cause is named: {error}");
    assert!(run.checkpoints().unwrap().is_empty() && run.partials().unwrap().is_empty());
    assert!(!run.finished().exists(), "a run whose result is not saved is not finished");

    room.on(3, "gray_scott").runs("case.toml", "full").ends_with(0);
    assert_eq!(hash(&run), hash(&room.run("whole")));
}

#[test]
fn a_disk_that_is_too_small_costs_every_checkpoint_on_all_ranks_alike() {
    let room = Room::new();
    let Some(_disk) = Disk::mount(&room.path("tiny/checkpoints"), 100_000) else { return };
    room.case("case.toml", &case());
    let run = room.run("tiny");
    let ended = room.on(3, "gray_scott").runs("case.toml", "tiny").ends_with(1);
    assert!(ended.error().contains("run the same command again"), "{}", ended.error());
    assert_eq!(failures(&run), 12, "each is in the journal, and the run goes on: {:?}", events(&run));
    assert!(run.checkpoints().unwrap().is_empty() && run.partials().unwrap().is_empty());
    assert!(!run.finished().exists(), "a run whose result is not saved is not finished");
}

#[test]
fn a_disk_that_fills_up_and_is_cleared_costs_only_the_checkpoints_between() {
    let room = Room::new();
    let place = room.path("small/checkpoints");
    let Some(_disk) = Disk::mount(&place, 800_000) else { return };
    room.case("case.toml", &case());
    room.on(2, "gray_scott").runs("case.toml", "whole").ends_with(0);
    let run = room.run("small");
    let mut running = room.supervised(2, &[], "gray_scott").runs("case.toml", "small").start();
    running.wait_until("a checkpoint", || !run.checkpoints().unwrap().is_empty());
    let filler = place.join("filler");
    // As much as there is room for: the write of the rest fails, and what was written stays.
    let _ = fs::write(&filler, vec![1; 800_000]);
    running.wait_until("a checkpoint that fails", || failures(&run) > 0);
    let kept = run.checkpoints().unwrap();
    assert!(!kept.is_empty(), "the last good one stays");
    fs::remove_file(&filler).unwrap();
    running.ends_with(0);
    assert_eq!(hash(&run), hash(&room.run("whole")));
    let launches = events(&run).iter().filter(|event| matches!(event, Event::AttemptLaunched { .. })).count();
    assert_eq!(launches, 1, "no relaunch was needed");
    assert!(run.partials().unwrap().is_empty());
}
