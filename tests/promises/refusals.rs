//! What cannot be is refused: one message, from one rank, with line, key, value, rule and a way out.

use std::fs;

use super::stage::{Room, hash};

const HEAT: &str = r#"title = "Refused"
[grid]
cells = [16, 12]
block = [8, 6]
[boundary]
x = "periodic"
[model]
diffusivity = 0.1
[time]
end = 0.01
cfl = 0.5
[checkpoint]
every = { steps = 2 }
"#;

/// What is replaced in the case, by what, and what the message must say.
const BAD_CASES: &[(&str, &str, &[&str])] = &[
    ("diffusivity = 0.1", "difusivity = 0.1", &["heat.toml:8: ", "difusivity", "did you mean diffusivity?"]),
    ("diffusivity = 0.1", "diffusivity = \"big\"", &["heat.toml:8: model.diffusivity = \"big\"", "expected f64"]),
    ("diffusivity = 0.1", "diffusivity = nan", &["heat.toml:8: model.diffusivity = nan", "finite"]),
    ("diffusivity = 0.1\n", "", &["heat.toml:7: [model]", "diffusivity"]),
    ("[grid]", "[gird]", &["heat.toml:2: ", "gird", "did you mean grid?"]),
    ("[16, 12]", "[16, 0]", &["heat.toml:3: grid.cells", "0", "at least 1"]),
    ("[16, 12]", "[16, -12]", &["heat.toml:3: grid.cells", "-12"]),
    ("[16, 12]", "[16, 12.5]", &["heat.toml:3: grid.cells", "12.5"]),
    ("[16, 12]", "\"many\"", &["heat.toml:3: grid.cells = \"many\"", "hint: "]),
    ("[16, 12]", "[4, 4, 4, 4]", &["heat.toml:3: grid.cells", "4 entries"]),
    ("[16, 12]", "[1000000000, 1000000000]", &["heat.toml:3: grid.cells", "2^48", "hint: "]),
    ("[16, 12]", "[16, 12", &["heat.toml:4:1: this is not TOML"]),
    ("[8, 6]", "[8]", &["heat.toml:4: grid.block = [8]", "must agree"]),
    ("[8, 6]", "0", &["heat.toml:4: grid.block = 0"]),
    ("x = \"periodic\"", "x = \"periodik\"", &["heat.toml:6: boundary.x", "periodik", "did you mean periodic?"]),
    ("x = \"periodic\"", "w = \"periodic\"", &["heat.toml:6: ", "boundary.w"]),
    ("x = \"periodic\"", "z = \"periodic\"", &["heat.toml:6: ", "boundary.z"]),
    ("cfl = 0.5", "cfl = -0.5", &["heat.toml:11: time.cfl = -0.5 must be above 0"]),
    ("cfl = 0.5", "cfl = 0.5\nstep = 0.1", &["heat.toml:1", "time.", "cfl"]),
    ("cfl = 0.5\n", "", &["heat.toml:9: ", "cfl", "step", "hint: "]),
    ("cfl = 0.5", "cfl = 0.5\nintegrator = \"rk5\"", &["heat.toml:12: time.integrator = \"rk5\"", "did you mean rk4?"]),
    ("end = 0.01", "end = -1", &["heat.toml:10: time.end = -1"]),
    ("end = 0.01", "end = \"soon\"", &["heat.toml:10: time.end = \"soon\""]),
    ("{ steps = 2 }", "{ step = 2 }", &["heat.toml:13: ", "step", "did you mean steps?"]),
    ("{ steps = 2 }", "{ wall = \"ten\" }", &["heat.toml:13: checkpoint.every.wall = \"ten\"", "hint: "]),
    ("{ steps = 2 }", "{ steps = 2 }\nkeep = 1", &["heat.toml:14: checkpoint.keep = 1", "at least 2"]),
];

/// What is set on the command line, and what the message must say.
const BAD_SETTINGS: &[(&str, &[&str])] = &[
    ("grid.blok=4", &["--set grid.blok=4", "did you mean block?"]),
    ("run.threads=0", &["--set run.threads=0", "run.threads = 0"]),
    ("run.sweeps_per_exchange=7", &["run.sweeps_per_exchange = 7", "do not fit blocks of 6 cells along y", "hint: "]),
    ("time.cfl=fast", &["--set time.cfl=fast", "time.cfl = \"fast\""]),
    ("time=1", &["--set time=1"]),
    ("nonsense", &["--set nonsense"]),
];

#[test]
fn a_bad_case_is_refused_with_line_key_value_and_rule() {
    let room = Room::new();
    for (good, bad, parts) in BAD_CASES {
        let text = HEAT.replacen(good, bad, 1);
        assert_ne!(text, HEAT, "{good} is in the case");
        room.case("heat.toml", &text);
        let ended = room.alone("heat").runs("heat.toml", "refused").ends_with(2);
        let error = ended.error();
        for part in *parts {
            assert!(error.contains(part), "{bad}: {part:?} is missing in {error}");
        }
        assert!(!room.path("refused").exists(), "{bad}: nothing is touched before the case is good");
    }
}

#[test]
fn a_bad_setting_is_refused_by_its_own_name() {
    let room = Room::new();
    room.case("heat.toml", HEAT);
    for (setting, parts) in BAD_SETTINGS {
        let ended = room.alone("heat").runs("heat.toml", "refused").set(&[setting]).ends_with(2);
        for part in *parts {
            assert!(ended.error().contains(part), "{setting}: {part:?} is missing in {}", ended.error());
        }
    }
}

#[test]
fn several_ranks_refuse_with_one_voice_and_the_supervisor_does_not_try_again() {
    let room = Room::new();
    room.case("heat.toml", HEAT);
    let bad = [
        (vec!["run", "heat.toml", "--set", "time.cfl=-1"], "time.cfl = -1 must be above 0"),
        (vec!["run", "heat.toml", "--set", "run.sweeps_per_exchange=7"], "do not fit blocks"),
        (vec!["run", "missing.toml"], "there is no case file missing.toml"),
        (vec!["run", "."], "is a directory"),
        (vec!["run", "heat.toml", "--frehs"], "--frehs"),
        (vec!["walk", "heat.toml"], "walk"),
        (vec!["run", "heat.toml", "--time-limit", "soon"], "soon"),
    ];
    for (arguments, part) in &bad {
        let ended = room.on(4, "heat").args(arguments).ends_with(2);
        assert!(ended.error().contains(part), "{part:?} is missing in {}", ended.error());
    }
    for (arguments, part) in &bad[..3] {
        let ended = room.supervised(4, &["--dir", "watched"], "heat").args(arguments).ends_with(2);
        assert!(ended.err.contains(part) && ended.err.contains("another try cannot help"), "{}", ended.err);
        assert!(!ended.err.contains("relaunching"), "{}", ended.err);
    }
}

#[test]
fn a_model_refuses_parameters_that_do_not_fit_the_grid() {
    let room = Room::new();
    room.case("case.toml", &HEAT.replace("diffusivity = 0.1", "velocity = [1.0]"));
    let ended = room.on(4, "advection").runs("case.toml", "refused").ends_with(2);
    assert!(ended.error().contains("model.velocity has 1 numbers"), "{}", ended.error());
    room.case("case.toml", &HEAT.replace("[16, 12]", "[16]").replace("block = [8, 6]\n", ""));
    let ended = room.on(4, "hillslope").runs("case.toml", "refused").ends_with(2);
    assert!(ended.error().contains("this program needs 2"), "{}", ended.error());
}

#[test]
fn what_no_machine_can_hold_is_refused_with_a_better_choice() {
    let room = Room::new();
    room.case("heat.toml", &HEAT.replace("block = [8, 6]\n", ""));
    let refused = |settings: &[&str]| {
        let ended = room.on(2, "heat").runs("heat.toml", "refused").set(settings).ends_with(2);
        let error = ended.error().to_owned();
        assert!(error.contains("hint: "), "{error}");
        error
    };
    let blocks = refused(&["grid.cells=[4000, 4000]", "grid.block=1"]);
    assert!(blocks.contains("16000000 blocks") && blocks.contains("the default for this grid"), "{blocks}");
    let many = refused(&["grid.cells=[2000, 2000]", "grid.block=2"]);
    assert!(many.contains("1000000 blocks of [2, 2] cells on 2 ranks give a rank 500000"), "{many}");
    let memory = refused(&["grid.cells=[8000000, 8000000]", "grid.block=20000"]);
    assert!(memory.contains("on this node, of whose") && memory.contains("GiB"), "{memory}");
}

#[test]
fn an_initial_dataset_that_is_not_there_is_refused_with_what_is() {
    let room = Room::new();
    let file = hdf5::File::create(room.path("data.h5")).unwrap();
    file.new_dataset_builder().with_data(&[1.0, 2.0]).create("line").unwrap();
    drop(file);
    let text = |file: &str, dataset: &str| {
        format!("{HEAT}\n[initial]\nfile = \"{file}\"\ndataset = \"{dataset}\"\ninterpolation = \"linear\"\n")
    };
    for (file, dataset, parts) in [
        ("none.h5", "line", ["none.h5", "does not exist"]),
        ("data.h5", "plane", ["\"plane\" is not in the file", "it has: line"]),
        ("data.h5", "line", ["has shape [2]", "2 axes"]),
        ("heat.toml", "line", ["heat.toml", "as HDF5"]),
    ] {
        room.case("heat.toml", &text(file, dataset));
        let ended = room.on(4, "heat").runs("heat.toml", "refused").ends_with(2);
        for part in parts {
            assert!(ended.error().contains(part), "{part:?} is missing in {}", ended.error());
        }
    }
}

#[test]
fn a_path_in_a_case_starts_at_the_cases_own_directory() {
    let room = Room::new();
    fs::create_dir_all(room.path("cases/data")).unwrap();
    let file = hdf5::File::create(room.path("cases/data/plane.h5")).unwrap();
    file.new_dataset_builder().with_data(&ndarray::array![[1.0, 2.0], [3.0, 4.0]]).create("plane").unwrap();
    drop(file);
    let initial = "[initial]\nfile = \"data/plane.h5\"\ndataset = \"plane\"\ninterpolation = \"linear\"\n";
    room.case("cases/heat.toml", &format!("{HEAT}{initial}"));
    room.on(2, "heat").runs("cases/heat.toml", "from_here").ends_with(0);
    let absolute = room.path("cases/heat.toml");
    room.on(2, "heat").runs(absolute.to_str().unwrap(), "from_there").ends_with(0);
    assert_eq!(hash(&room.run("from_there")), hash(&room.run("from_here")));
    // However the case is named, it is the same run.
    room.on(2, "heat").runs(absolute.to_str().unwrap(), "from_here").set(&["time.end=0.02"]).ends_with(0);
}

#[test]
fn a_run_directory_that_cannot_be_written_is_named() {
    let room = Room::new();
    room.case("heat.toml", HEAT);
    let ended = room.on(4, "heat").runs("heat.toml", "heat.toml/inside").ends_with(1);
    let error = ended.error();
    assert!(error.contains("heat.toml/inside") && error.contains("hint: choose a directory"), "{error}");
}

#[test]
fn the_checkpoints_of_another_run_are_left_alone() {
    let room = Room::new();
    room.case("heat.toml", HEAT);
    room.on(2, "heat").runs("heat.toml", "heat").ends_with(0);
    let expected = hash(&room.run("heat"));
    let kept = room.run("heat").checkpoints().unwrap();
    let refused = |program: &str, setting: &str| {
        let ended = room.on(2, program).runs("heat.toml", "heat").set(&[setting]).ends_with(1);
        assert_eq!(room.run("heat").checkpoints().unwrap(), kept, "nothing is discarded");
        let error = ended.error().to_owned();
        assert!(error.contains("a checkpoint of another run") && error.contains("--fresh"), "{error}");
        error
    };
    assert!(refused("heat", "model.diffusivity=0.2").contains("model.diffusivity is 0.2, was 0.1"));
    assert!(refused("heat", "time.cfl=0.4").contains("time.cfl is 0.4, was 0.5"));
    assert!(refused("heat", "grid.cells=[16, 24]").contains("[16, 12] cells, the case has [16, 24]"));
    assert!(refused("heat", "boundary.x=\"outflow\"").contains("boundary.x"));
    assert!(refused("hillslope", "title=x").contains("its program is \"heat\", this one is \"hillslope\""));
    room.on(2, "heat").runs("heat.toml", "heat").set(&["grid.block=4"]).ends_with(0);
    assert_eq!(hash(&room.run("heat")), expected, "blocks are no physics");
}

#[test]
fn a_run_directory_has_one_run_at_a_time() {
    let room = Room::new();
    room.case("heat.toml", HEAT);
    let settings = ["time.end=1e9", "checkpoint.every.steps=1000"];
    let run = room.run("shared");
    let mut first = room.supervised(2, &[], "heat").runs("heat.toml", "shared").set(&settings).start();
    first.wait_until("a checkpoint", || !run.checkpoints().unwrap().is_empty());
    let second = room.on(3, "heat").runs("heat.toml", "shared").set(&settings).ends_with(1);
    assert!(second.error().contains("hint: "), "{}", second.error());
    let third = room.supervised(2, &[], "heat").runs("heat.toml", "shared").set(&settings).ends_with(1);
    assert!(third.error().contains("hint: "), "{}", third.error());
    assert!(!first.has_ended(), "the first goes on");
    first.signal(nix::sys::signal::Signal::SIGTERM);
    first.ends_with(75);
}
