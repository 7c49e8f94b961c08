//! What the whole room promises: good cases are read as written, and bad ones are explained.

use std::time::Duration;

use proptest::prelude::*;
use serde::Deserialize;

use super::check::KEYS;
use super::*;
use crate::error::{Error, Kind};
use crate::field::{Component, ScalarKind};
use crate::grid::Boundary;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Heat {
    diffusivity: f64,
    #[serde(default)]
    source: Heating,
    reaction: Option<Reaction>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Heating {
    #[default]
    None,
    Uniform,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reaction {
    rate: f64,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Life;

const FULL: &str = r#"title = "Heat conduction in a bar"
[grid]
cells = [64, 32, 16]
lower = 0.0
upper = [1.0, 2.0, 3.0]
block = [32, 16, 16]
[boundary]
x = "periodic"
y = { low = "outflow", high = { fixed_value = 1.0 } }
z = { fixed_gradient = { u = 0.5, v = -1 } }
[model]
diffusivity = 1
source = "uniform"
[model.reaction]
rate = 2.5
[initial]
file = "terrain.h5"
dataset = "elevation"
interpolation = "linear"
component = "v"
scale = 1.0
offset = 0.5
[time]
end = 1.0
cfl = 0.4
integrator = "rk4"
max_steps = 1000
[[output]]
what = "fields"
fields = ["v"]
every = { time = 0.01, exact = true }
[[output]]
what = "totals"
every = { steps = 10 }
[checkpoint]
every = { wall = "5 min" }
keep = 3
verify = "sample"
[run]
threads = 2
sweeps_per_exchange = 4
exchange = "point_to_point"
[guard]
checksums = "all"
every = { steps = 5 }
[recovery]
hang_after = "30 s"
failures_without_progress = 5
fewest_ranks = 2
stop_signals = ["SIGUSR2", "SIGTERM"]
"#;

const LEAST: &str = "[grid]\ncells = [8]\n[model]\ndiffusivity = 1.0\n[time]\nend = 0\ncfl = 0.4\n";

fn components() -> Vec<Component> {
    vec![Component::scalar("u", "K"), Component::scalar("v", "K")]
}

fn seconds(at_least: u64, at_most: u64) -> Bounds {
    Bounds { at_least: Duration::from_secs(at_least), at_most: Duration::from_secs(at_most) }
}

fn heat(text: &str) -> Result<(Case, Heat), Error> {
    check(&Source::from_text("heat.toml", text)?, &Subject::model(&components(), ScalarKind::F64))
}

/// The message of a case whose line `from` is replaced by `to`; line numbers stay as they are.
fn message(from: &str, to: &str) -> String {
    assert!(FULL.contains(from), "{from}");
    heat(&FULL.replacen(from, to, 1)).map(|(case, _)| case).unwrap_err().to_string()
}

#[test]
fn a_full_case_is_read_as_written() {
    let (case, model) = heat(FULL).unwrap();
    assert_eq!(model, Heat { diffusivity: 1.0, source: Heating::Uniform, reaction: Some(Reaction { rate: 2.5 }) });
    assert_eq!((case.name.as_str(), case.dimension()), ("heat", 3));
    assert_eq!(case.cells, [64, 32, 16]);
    assert_eq!((&case.lower, &case.upper), (&vec![0.0; 3], &vec![1.0, 2.0, 3.0]));
    assert_eq!(case.block::<3>().unwrap(), Some([32, 16, 16]));
    assert_eq!(case.periodic, [true, false, false]);
    assert_eq!(case.boundaries[1], [Boundary::Outflow, Boundary::FixedValue(vec![1.0, 1.0])]);
    assert_eq!(case.boundaries[2][1], Boundary::FixedGradient(vec![0.5, -1.0]));
    let initial = case.initial.as_ref().unwrap();
    assert_eq!((initial.component, initial.interpolation, initial.offset), (1, Interpolation::Linear, 0.5));
    assert_eq!(
        case.time,
        Time { end: 1.0, steps: Some(1000), step: StepSize::Cfl(0.4), integrator: Some(Integrator::Rk4) }
    );
    assert_eq!(case.outputs[0].thing, Thing::Fields { components: vec![1] });
    assert_eq!(case.outputs[0].every, Schedule::Time { interval: 0.01, exact: true });
    assert_eq!(case.outputs[1], Output { thing: Thing::Totals, every: Schedule::Steps(10) });
    assert_eq!(
        case.checkpoint,
        Checkpoint {
            every: Some(Schedule::Wall(Duration::from_secs(300))),
            interval: seconds(10, 3600),
            keep: 3,
            verify: Verify::Sample,
            local: None,
        }
    );
    assert_eq!(case.run, Run { threads: 2, sweeps_per_exchange: 4, exchange: Exchange::PointToPoint });
    assert_eq!(case.guard, Guard { checksums: Checksums::All, steps: 5 });
    assert_eq!(
        case.recovery,
        Recovery {
            hang_after: seconds(30, 600),
            failures_without_progress: 5,
            fewest_ranks: Some(2),
            stop_signals: vec![StopSignal::Usr2, StopSignal::Term],
        }
    );
    assert_eq!(case.grid::<3>().unwrap().cells(), [64, 32, 16]);
    assert!(case.grid::<2>().is_err());
}

#[test]
fn the_least_case_gets_the_defaults_of_the_documentation() {
    let (case, _) = heat(LEAST).unwrap();
    assert_eq!((&case.lower, &case.upper, case.block), (&vec![0.0], &vec![1.0], None));
    assert_eq!((case.periodic, case.initial, case.outputs), (vec![true], None, vec![]));
    assert_eq!(case.time.integrator, Some(Integrator::SspRk2));
    assert_eq!(case.time.end, 0.0);
    assert_eq!(
        case.checkpoint,
        Checkpoint { every: None, interval: seconds(10, 3600), keep: 2, verify: Verify::All, local: None }
    );
    assert_eq!(case.run, Run { threads: 1, sweeps_per_exchange: 1, exchange: Exchange::SharedMemory });
    assert_eq!(case.guard, Guard { checksums: Checksums::None, steps: 1 });
    assert_eq!(
        case.recovery,
        Recovery {
            hang_after: seconds(10, 600),
            failures_without_progress: 3,
            fewest_ranks: None,
            stop_signals: StopSignal::DEFAULT.to_vec(),
        }
    );
}

#[test]
fn the_documentation_has_a_line_for_every_key_and_no_other() {
    let documented: Vec<&str> =
        include_str!("mod.rs").lines().filter_map(|line| line.strip_prefix("//! | `")?.split('`').next()).collect();
    let is_table = |key: &str| key != "model" && KEYS.iter().any(|(table, _)| *table == key);
    let keys = KEYS.iter().flat_map(|(table, keys)| {
        keys.iter().map(move |key| if table.is_empty() { key.to_string() } else { format!("{table}.{key}") })
    });
    let known: Vec<String> = keys.filter(|key| !is_table(key)).collect();
    for key in &known {
        assert!(documented.contains(&key.as_str()), "{key} is not documented");
    }
    assert_eq!(documented.len(), known.len(), "{documented:?}\n{known:?}");
}

#[test]
fn the_case_of_the_documentation_is_a_good_one() {
    let lines = include_str!("mod.rs").lines().skip_while(|line| *line != "//! ```toml").skip(1);
    let text: Vec<&str> = lines.take_while(|line| *line != "//! ```").map(|l| l[3..].trim_start()).collect();
    heat(&text.join("\n")).unwrap();
}

#[test]
fn every_wrong_value_is_explained_with_line_key_value_and_rule() {
    for (from, to, expected) in [
        ("cells = [64, 32, 16]", "cells = 64", "heat.toml:3: grid.cells = 64 must be a list"),
        ("cells = [64, 32, 16]", "cells = [64, 0, 16]", "heat.toml:3: grid.cells.1 = 0 must be at least 1"),
        ("cells = [64, 32, 16]", "cells = [64, -3, 16]", "heat.toml:3: grid.cells.1 = -3 must be at least 1"),
        (
            "cells = [64, 32, 16]",
            "cells = [64, 99999999999999999999, 16]",
            "grid.cells.1 = 99999999999999999999 is too large",
        ),
        (
            "cells = [64, 32, 16]",
            "cells = [64, 32.5, 16]",
            "heat.toml:3: grid.cells.1 = 32.5 is a float; it must be a whole",
        ),
        (
            "cells = [64, 32, 16]",
            "cells = [1, 2, 3, 4]",
            "grid.cells = [1, 2, 3, 4] has 4 entries; a grid has 1, 2 or 3",
        ),
        ("cells = [64, 32, 16]", "cells = []", "heat.toml:3: grid.cells = [] has 0 entries"),
        ("cells = [64, 32, 16]", "cells = [9000000, 9000000, 16]", "are more than 2^48 cells"),
        (
            "lower = 0.0",
            "lower = [0.0, 0.0]",
            "heat.toml:4: grid.lower = [0.0, 0.0] has 2 entries, but grid.cells has 3",
        ),
        ("lower = 0.0", "lower = nan", "heat.toml:4: grid.lower = nan is not finite"),
        (
            "lower = 0.0",
            "lower = 2.0",
            "heat.toml:5: grid.upper = [1.0, 2.0, 3.0] leaves no room along x, from 2 to 1; grid.lower must be below grid.upper",
        ),
        ("lower = 0.0", "lower = 0.9999999999999999", "64 bits do not resolve"),
        ("block = [32, 16, 16]", "block = 0", "heat.toml:6: grid.block = 0 must be at least 1"),
        ("x = \"periodic\"", "x = \"periodc\"", "did you mean periodic?"),
        ("low = \"outflow\"", "low = \"periodic\"", "heat.toml:9: boundary.y.low = \"periodic\" joins both faces"),
        ("low = \"outflow\", ", "", "heat.toml:9: [boundary.y] has no key low: both faces"),
        ("low = ", "lo = ", "heat.toml:9: boundary.y.lo is not a key of [boundary.y]; its keys are low, high"),
        ("{ u = 0.5, v = -1 }", "{ u = 0.5 }", "has no key v: every component needs a number"),
        ("{ u = 0.5, v = -1 }", "{ u = 0.5, w = -1 }", "boundary.z.fixed_gradient.w is not a key"),
        ("{ u = 0.5, v = -1 }", "inf", "boundary.z.fixed_gradient = inf is not finite"),
        (
            "diffusivity = 1",
            "difusivity = 1",
            "heat.toml:12: model.difusivity is not a key of [model]; its keys are diffusivity, source, reaction\n\nhint: did you mean diffusivity?",
        ),
        ("diffusivity = 1", "", "heat.toml:11: [model] has no key diffusivity, which the model needs"),
        (
            "diffusivity = 1",
            "diffusivity = \"1\"",
            "heat.toml:12: model.diffusivity = \"1\" does not fit the model: invalid type: string \"1\", expected f64",
        ),
        ("diffusivity = 1", "diffusivity = -inf", "heat.toml:12: model.diffusivity = -inf is not finite"),
        (
            "source = \"uniform\"",
            "source = \"unifrom\"",
            "heat.toml:13: model.source = \"unifrom\" is not one of none, uniform\n\nhint: did you mean uniform?",
        ),
        (
            "rate = 2.5",
            "rat = 2.5",
            "heat.toml:15: model.reaction.rat is not a key of [model.reaction]; its keys are rate\n\nhint: did you mean rate?",
        ),
        ("rate = 2.5", "", "heat.toml:14: [model.reaction] has no key rate"),
        ("file = \"terrain.h5\"", "file = ''", "heat.toml:17: initial.file = '' is empty"),
        (
            "component = \"v\"",
            "component = \"z\"",
            "initial.component = \"z\" is not a component of the model; one of u, v",
        ),
        ("interpolation = \"linear\"", "", "heat.toml:16: [initial] has no key interpolation"),
        ("end = 1.0", "end = -1.0", "heat.toml:24: time.end = -1.0 is before the start"),
        ("end = 1.0", "end = \"one\"", "heat.toml:24: time.end = \"one\" is a string; it must be a number"),
        ("end = 1.0", "", "heat.toml:23: [time] has no key end: the time at which the run ends"),
        ("cfl = 0.4", "cfl = 0", "heat.toml:25: time.cfl = 0 must be above 0"),
        ("cfl = 0.4", "step = -1e-3", "heat.toml:25: time.step = -1e-3 must be above 0"),
        ("cfl = 0.4", "", "[time] needs one of cfl, step"),
        ("cfl = 0.4", "cfl = 0.4\nstep = 1", "heat.toml:26: time.step = 1 stands beside cfl; only one of"),
        (
            "cfl = 0.4",
            "clf = 0.4",
            "time.clf is not a key of [time]; its keys are end, cfl, step, integrator, max_steps\n\nhint: did you mean cfl?",
        ),
        (
            "\"rk4\"",
            "\"rk5\"",
            "heat.toml:26: time.integrator = \"rk5\" is not an integrator; one of forward_euler, ssp_rk2, vl2, ssp_rk3, rk4\n\nhint: did you mean rk4?",
        ),
        ("max_steps = 1000", "max_steps = -1", "heat.toml:27: time.max_steps = -1 must be at least 0"),
        (
            "[[output]]\nwhat = \"totals\"",
            "[[output]]\nwhat = \"total\"",
            "heat.toml:33: output.1.what = \"total\" is not an output; one of fields, totals\n\nhint: did you mean totals?",
        ),
        (
            "[[output]]\nwhat = \"totals\"",
            "[[output]]\nwhat = \"totals\"\nfields = [\"u\"]",
            "heat.toml:34: output.1.fields = [\"u\"] cannot go with",
        ),
        ("fields = [\"v\"]", "fields = [\"v\", \"v\"]", "heat.toml:30: output.0.fields.1 = \"v\" is there twice"),
        ("fields = [\"v\"]", "fields = []", "heat.toml:30: output.0.fields = [] is empty"),
        ("every = { steps = 10 }", "every = { steps = 1.5 }", "heat.toml:34: output.1.every.steps = 1.5 is a float"),
        (
            "every = { wall = \"5 min\" }",
            "every = { wall = \"5 min\", exact = true }",
            "wall time must not change the result",
        ),
        ("keep = 3", "keep = 1", "heat.toml:37: checkpoint.keep = 1 is too few; it must be at least 2: if the newest"),
        (
            "verify = \"sample\"",
            "verify = true",
            "heat.toml:38: checkpoint.verify = true is a boolean; it must be a text",
        ),
        ("threads = 2", "threads = 0", "heat.toml:40: run.threads = 0 must be at least 1"),
        ("threads = 2", "threads = 1000000", "run.threads = 1000000 is too many"),
        ("sweeps_per_exchange = 4", "sweeps_per_exchange = 0", "run.sweeps_per_exchange = 0 must be at least 1"),
        (
            "checksums = \"all\"",
            "checksums = \"halos\"",
            "heat.toml:44: guard.checksums = \"halos\" is not a choice of checksums",
        ),
        ("checksums = \"all\"", "checksums = \"messages\"", "heat.toml:45: guard.every = { steps = 5 } is of no use"),
        ("every = { steps = 5 }", "every = { time = 5 }", "heat.toml:45: guard.every = { time = 5 } must count steps"),
        (
            "hang_after = \"30 s\"",
            "hang_after = \"30\"",
            "heat.toml:47: recovery.hang_after = \"30\" is no span of time",
        ),
        ("failures_without_progress = 5", "failures_without_progress = 0", "must be at least 1"),
        ("fewest_ranks = 2", "fewest_ranks = 0", "recovery.fewest_ranks = 0 must be at least 1"),
        ("\"SIGUSR2\"", "\"SIGKILL\"", "recovery.stop_signals.0 = \"SIGKILL\" is not a signal to stop at"),
        ("\"30 s\"", "{ at_least = \"2 min\", at_most = \"1 min\" }", "at_least = 2 min is above at_most = 1 min"),
        ("keep = 3", "interval = { at_most = \"1 h\" }", "is of no use beside a schedule"),
        ("every = { wall = \"5 min\" }", "interval = { at_most = \"1 s\" }", "at_least = 10 s is above at_most = 1 s"),
        (
            "title = \"Heat conduction in a bar\"",
            "titel = \"x\"",
            "heat.toml:1: titel is not a key of a case; its keys are",
        ),
        ("[recovery]", "[recover]", "heat.toml:46: recover is not a key of a case"),
        ("[recovery]", "[recovery", "heat.toml:46:10: this is not TOML"),
        ("[recovery]", "[run]", "this is not TOML: duplicate key"),
    ] {
        let message = message(from, to);
        assert!(message.contains(expected), "{to}:\n{message}\nshould be\n{expected}");
    }
}

#[test]
fn a_case_without_its_tables_names_them() {
    let missing = |text| heat(text).unwrap_err().to_string();
    assert!(missing("title = 'x'\n").contains("heat.toml:1: [grid], which is not there, has no key cells"));
    assert!(
        missing("[grid]\ncells = [8]\n[time]\nend = 1\ncfl = 1\n")
            .contains("heat.toml:5: [model], which is not there, has no key diffusivity")
    );
    assert!(
        missing("[grid]\ncells = [8]\n[model]\ndiffusivity = 1\n")
            .contains("heat.toml:4: [time], which is not there, has no key end")
    );
    assert!(missing("grid = 3\n").contains("heat.toml:1: grid = 3 is an integer; it must be a table"));
    assert!(
        missing("output = 3\n[grid]\ncells = [8]\n[model]\ndiffusivity = 1\n[time]\nend = 1\nstep = 1")
            .contains("heat.toml:1: output = 3 must be a list")
    );
    assert!(missing("[[grid]]\ncells = [8]\n").contains("heat.toml:1: grid is an array; it must be a table"));
    assert!(missing("model = 3\n[grid]\ncells = [8]\n").contains("heat.toml:1: model = 3 must be a table"));
}

#[test]
fn a_setting_is_named_in_the_place_of_the_line_and_moves_no_other_line() {
    let source = Source::from_text("heat.toml", FULL).unwrap();
    let set = |settings: &[&str]| {
        let (case, _) = check::<Heat>(&source.set(settings)?, &Subject::model(&components(), ScalarKind::F64))?;
        Ok::<Case, Error>(case)
    };
    assert_eq!(set(&["time.end=2"]).unwrap().time.end, 2.0);
    assert_eq!(set(&["time.cfl=", "time.step=0.5"]).unwrap().time.step, StepSize::Fixed(0.5));
    assert_eq!(set(&["output.1.every.steps=7"]).unwrap().outputs[1].every, Schedule::Steps(7));
    for (settings, expected) in [
        (vec!["time.integrator=rk5"], "--set time.integrator=rk5: time.integrator = \"rk5\" is not an integrator"),
        (vec!["tiem.end=2"], "--set tiem.end=2: tiem is not a key of a case"),
        (vec!["time.ned=2"], "--set time.ned=2: time.ned is not a key of [time]"),
        (vec!["model.diffusivty=2"], "--set model.diffusivty=2: model.diffusivty is not a key of [model]"),
        (vec!["model.diffusivity=two"], "--set model.diffusivity=two: model.diffusivity = \"two\" does not fit"),
        (
            vec!["checkpoint={ every = 'never', keep = 1 }"],
            "--set checkpoint={ every = 'never', keep = 1 }: checkpoint.keep = 1",
        ),
        (vec!["time.integrator=rk5", "time.integrator=rk6"], "--set time.integrator=rk6: "),
        (vec!["grid.more=1", "grid.more=", "run.threads=0"], "--set run.threads=0: "),
    ] {
        let message = set(&settings).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{settings:?}: {message}");
    }
    let shifted = Source::from_text("heat.toml", FULL.replace("keep = 3", "keep = 0")).unwrap();
    let shifted = shifted.set(&["time.max_steps=", "model.reaction.rate=1"]).unwrap();
    let error = check::<Heat>(&shifted, &Subject::model(&components(), ScalarKind::F64)).unwrap_err();
    assert!(error.message().starts_with("heat.toml:37: checkpoint.keep = 0"), "{error}");
}

#[test]
fn integers_go_on_by_whole_steps() {
    let life = |text: &str| {
        let source = Source::from_text("life.toml", text).unwrap();
        check::<Life>(&source, &Subject::model(&[Component::scalar("alive", "1")], ScalarKind::U8))
            .map_err(|error| error.to_string())
    };
    let (case, _) = life("[grid]\ncells = [8, 8]\n[time]\nend = 10\n").unwrap();
    assert_eq!((case.time.step, case.time.integrator), (StepSize::Fixed(1.0), Some(Integrator::ForwardEuler)));
    for (time, more, expected) in [
        ("end = 10\ncfl = 0.5", "", "time.cfl = 0.5 asks for steps of any length, but cells of type u8"),
        ("end = 10\nstep = 2", "", "time.step = 2 must be 1"),
        ("end = 10.5", "", "time.end = 10.5 is not whole"),
        ("end = 10\nintegrator = 'rk4'", "", "time.integrator = 'rk4' has stages between steps"),
        ("end = 10", "[checkpoint]\nevery = { time = 0.5, exact = true }", "is not whole"),
        (
            "end = 10",
            "[boundary]\nx = { fixed_value = 256 }",
            "boundary.x.fixed_value = 256 does not fit into cells of type u8",
        ),
        ("end = 10", "[boundary]\nx = { fixed_value = 0.5 }", "must be a whole number from 0 to 255"),
        ("end = 10", "[boundary]\nx = { fixed_gradient = 0 }", "is a slope"),
        ("end = 10", "[boundary]\nz = 'outflow'", "boundary.z = 'outflow' has no axis to be for: grid.cells has 2"),
        ("end = 10", "[model]\nrule = 3", "life.toml:5: "),
    ] {
        let message = life(&format!("[grid]\ncells = [8, 8]\n[time]\n{time}\n{more}\n")).unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn the_dimension_is_known_before_the_model() {
    let dimension = |text| Source::from_text("c.toml", text).unwrap().dimension();
    assert_eq!(dimension(FULL), Ok(3));
    assert_eq!(dimension("[grid]\ncells = [4]\n[model]\nany = 'thing'"), Ok(1));
    assert_eq!(dimension("[time]\nend = 1").unwrap_err().kind(), Kind::Case);
}

#[test]
fn the_canonical_text_gives_the_same_case_again() {
    for text in [FULL, LEAST] {
        let (case, model) = heat(text).unwrap();
        let (again, model_again) = heat(&case.canonical()).unwrap();
        assert_eq!((&again, &model_again), (&case, &model), "{}", case.canonical());
        assert_eq!(again.canonical(), case.canonical());
    }
}

#[test]
fn the_physics_is_what_changes_the_bits_and_nothing_else() {
    let (case, _) = heat(FULL).unwrap();
    let same = [
        ("title = \"Heat", "title = \"Cold"),
        ("block = [32, 16, 16]", "block = 8"),
        ("diffusivity = 1", "diffusivity = 1.0"),
        ("end = 1.0", "end = 9.0"),
        ("max_steps = 1000", ""),
        ("every = { steps = 10 }", "every = { time = 0.5 }"),
        ("threads = 2", "threads = 7"),
        ("keep = 3", "keep = 9"),
        ("hang_after = \"30 s\"", "hang_after = 1"),
        ("lower = 0.0", "lower = [0, 0, 0]"),
    ];
    for (from, to) in same {
        let (other, _) = heat(&FULL.replacen(from, to, 1)).unwrap();
        assert_eq!(other.physics_difference(&case.physics()), None, "{to}");
    }
    let different = [
        ("cells = [64, 32, 16]", "cells = [64, 32, 8]", "grid.cells is [64, 32, 8], was [64, 32, 16]"),
        ("diffusivity = 1", "diffusivity = 2", "model.diffusivity is 2, was 1"),
        ("source = \"uniform\"", "", "model.source is not there, was \"uniform\""),
        ("cfl = 0.4", "step = 0.1", "time.cfl is not there, was 0.4; time.step is 0.1, was not there"),
        ("\"rk4\"", "\"ssp_rk3\"", "time.integrator is \"ssp_rk3\", was \"rk4\""),
        ("exact = true", "exact = false", "time.exact_every is [], was [0.01]"),
        ("low = \"outflow\"", "low = \"reflecting\"", "boundary.y.low is \"reflecting\", was \"outflow\""),
        ("offset = 0.5", "offset = 0.0", "initial.offset is 0.0, was 0.5"),
    ];
    for (from, to, expected) in different {
        let (other, _) = heat(&FULL.replacen(from, to, 1)).unwrap();
        assert_eq!(other.physics_difference(&case.physics()).as_deref(), Some(expected));
    }
    assert!(case.physics_difference("no [ toml").is_some());
}

/// A valid case, or an error that says on which line.
fn is_valid_or_explained(text: &str) -> Result<(), TestCaseError> {
    let Ok(source) = Source::from_text("heat.toml", text) else { return Ok(()) };
    let _ = source.dimension();
    if let Err(error) = check::<Heat>(&source, &Subject::model(&components(), ScalarKind::F64)) {
        prop_assert_eq!(error.kind(), Kind::Case);
        let place = error.message().strip_prefix("heat.toml:").unwrap_or_default();
        let line: String = place.chars().take_while(char::is_ascii_digit).collect();
        let line: usize = line.parse().unwrap_or(0);
        prop_assert!((1..=text.lines().count().max(1) + 1).contains(&line), "{}", error);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_case_without_one_of_its_lines_is_valid_or_explained(line in 0..FULL.lines().count()) {
        let kept: Vec<&str> = FULL.lines().enumerate().filter(|(i, _)| *i != line).map(|(_, text)| text).collect();
        is_valid_or_explained(&kept.join("\n"))?;
    }

    #[test]
    fn a_case_with_one_letter_changed_is_valid_or_explained(place in 0..FULL.len(), letter in "\\PC|\n") {
        let mut text = FULL.to_owned();
        text.replace_range(place..place + 1, &letter);
        is_valid_or_explained(&text)?;
    }

    #[test]
    fn a_case_with_one_value_of_another_type_is_valid_or_explained(
        line in 0..FULL.lines().count(),
        value in prop::sample::select(vec!["1", "-1", "0", "1.5", "nan", "-inf", "true", "''", "'x'", "[]", "[1]", "[[1]]", "{}",
            "{ a = 1 }", "1979-05-27", "9223372036854775808", "0xff", "1e400", "['u']", "{ steps = 1 }"]),
    ) {
        let mut lines: Vec<String> = FULL.lines().map(str::to_owned).collect();
        if let Some((key, _)) = lines[line].clone().split_once('=') {
            lines[line] = format!("{key}= {value}");
        }
        is_valid_or_explained(&lines.join("\n"))?;
    }

    #[test]
    fn no_setting_makes_the_check_panic(key in "[a-z_]{0,10}(\\.[a-z0-9_]{0,10}){0,3}", value in "\\PC{0,12}") {
        let source = Source::from_text("heat.toml", FULL).unwrap();
        if let Ok(source) = source.set(&[format!("{key}={value}")]) {
            let _ = check::<Heat>(&source, &Subject::model(&components(), ScalarKind::F64));
        }
    }

    #[test]
    fn no_text_makes_the_check_panic(text in "\\PC{0,80}") {
        is_valid_or_explained(&text)?;
    }
}
