//! Every example keeps the promise of the same bits: on 1, 2 and 4 ranks, and after a rank was killed.

use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::stage::{Room, hash, ranks, starts};

/// The examples, with what makes their cases last about a second or two and save often.
const GALLERY: &[(&str, &[&str])] = &[
    ("heat", &["grid.cells=[32, 32, 32]", "checkpoint.every.steps=20", "time.end=0.1"]),
    ("hillslope", &["grid.cells=[403, 344]", "time.cfl=0.05", "checkpoint.every.steps=20"]),
    ("advection", &["grid.cells=[96, 96]", "checkpoint.every={ steps = 50 }"]),
    ("wave", &["grid.cells=[96, 96]", "checkpoint.every={ steps = 50 }"]),
    (
        "gray_scott",
        &["grid.cells=[96, 96]", "time.end=3000.0", "checkpoint.every.steps=200", "output.0.every.time=1000.0"],
    ),
    (
        "life",
        &["grid.cells=[256, 256]", "grid.upper=[256.0, 256.0]", "checkpoint.every={ steps = 100 }", "time.end=2000"],
    ),
    ("tealeaf", &["grid.cells=[120, 120]", "time.step=4e-4", "checkpoint.every.steps=5"]),
    ("kmeans", &["model.clusters=40", "checkpoint.every.steps=1"]),
    ("logistic", &["checkpoint.every.steps=10"]),
    ("euler", &["grid.cells=[64, 128]", "time.end=1.0", "checkpoint.every={ steps = 20 }", "output=[]"]),
    ("tsunami", &["grid.cells=[120, 91]", "checkpoint.every={ steps = 20 }", "output=[]"]),
    ("ledger", &["time.end=100", "checkpoint.every.steps=10"]),
    ("sweep", &["grid.cells=[8, 4]", "grid.block=[3, 2]", "model.points=48", "model.end=2000.0"]),
];

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn case_of(name: &str) -> String {
    examples().join(name).with_extension("toml").to_str().unwrap().to_owned()
}

#[test]
fn every_example_has_one_result_on_1_2_and_4_ranks_and_after_a_kill() {
    for (name, settings) in GALLERY {
        let room = Room::new();
        let mut expected = None;
        for n in [1, 2, 4] {
            let directory = format!("on-{n}");
            room.on(n, name).args(&["run", &case_of(name), "--dir", &directory, "--quiet"]).set(settings).ends_with(0);
            let found = hash(&room.run(&directory));
            assert_eq!(*expected.get_or_insert(found), found, "{name} on {n} ranks");
        }
        let run = room.run("killed");
        let mut running = room
            .supervised(4, &[], name)
            .args(&["run", &case_of(name), "--dir", "killed", "--quiet"])
            .set(settings)
            .start();
        running.wait_until("a checkpoint", || ranks(&run, 1).len() == 4 && !run.checkpoints().unwrap().is_empty());
        kill(Pid::from_raw(ranks(&run, 1)[2].pid.cast_signed()), Signal::SIGKILL).unwrap();
        running.ends_with(0);
        assert_eq!(starts(&run).len(), 2, "{name} was launched again");
        assert!(starts(&run)[1].is_some(), "{name} went on from a checkpoint");
        assert_eq!(Some(hash(&run)), expected, "{name} after a kill");
    }
}

#[test]
fn no_example_is_left_out_of_the_gallery() {
    let mut programs: Vec<String> = std::fs::read_dir(examples())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name != "by_hand")
        .collect();
    programs.sort();
    let mut shown: Vec<_> = GALLERY.iter().map(|(name, _)| name.to_string()).collect();
    shown.sort();
    assert_eq!(programs, shown, "by_hand alone has no case file");
}

#[test]
fn an_example_has_at_most_150_lines() {
    for entry in std::fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let lines = std::fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= 150, "{} has {lines} lines", path.display());
        }
    }
}
