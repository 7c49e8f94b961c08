//! What a rank holds, and what `plan` can tell, does not depend on how many ranks there are; and `scripts/scale`, which prices
//! what `plan` tells for machines that are not here, adds up.
//!
//! Every rank once had tables of all blocks of all ranks, and sorted them at each start.
//!
//! The example heat must be there: `cargo test` builds it, `cargo test --test scale` alone does not. Without python3 the test
//! of the script says so and passes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use allocation_counter::AllocationInfo;
use serde::Deserialize;
use serde_json::Value;
use steadfast::config::{Source, Subject, check};
use steadfast::field::{Component, Record, Stencil};
use steadfast::grid::{Partition, Vector};
use steadfast::halo::Plan;
use steadfast::sim::{Evolution, Layout, Model, Pointwise};

#[derive(Deserialize)]
struct Still {}

impl<const N: usize> Model<N> for Still {
    type State = f64;
    const REACH: usize = 1;

    fn components() -> Vec<Component> {
        vec![Component::scalar("temperature", "K")]
    }

    fn initial(&self, _x: Vector<N>) -> f64 {
        0.0
    }

    fn rate(&self, _u: Stencil<'_, f64, N>, _time: f64) -> f64 {
        0.0
    }

    fn timescale(&self, _u: f64, _spacing: Vector<N>) -> f64 {
        1.0
    }
}

/// What is allocated to lay a periodic cube of `side`³ blocks out on `ranks` ranks, and to plan the exchange of one of them.
fn laid_out(side: usize, ranks: usize, rank: usize) -> (AllocationInfo, Plan<3>) {
    let cells = 8 * side;
    let text = format!(
        r#"
grid = {{ cells = [{cells}, {cells}, {cells}], block = 8 }}
boundary = {{ x = "periodic", y = "periodic", z = "periodic" }}
time = {{ end = 1.0, step = 1.0 }}
model = {{}}
"#
    );
    let source = Source::from_text("still.toml", text).unwrap();
    let (case, model) =
        check::<Still>(&source, &Subject::model(&<Still as Model<3>>::components(), f64::kind())).unwrap();
    let program = Evolution::<_, 3>::new(Pointwise(model), &case);
    let mut plan = None;
    let counted = allocation_counter::measure(|| {
        let layout = Layout::<3>::new(&case, &program).unwrap();
        let partition = layout.partition(ranks, None).unwrap();
        plan = Some(Plan::new(&layout.tiling, &partition, rank, layout.width));
    });
    (counted, plan.unwrap())
}

#[test]
fn a_rank_allocates_the_same_bytes_among_64_ranks_and_among_262144() {
    let (few, among_few) = laid_out(8, 64, 20);
    let (many, among_many) = laid_out(128, 262_144, 100_020);
    // A cube of 2³ blocks, which lie together: one layer of ghosts is all round them.
    for plan in [&among_few, &among_many] {
        assert_eq!((plan.patches().len(), plan.sends().len(), plan.cells_sent()), (1, 26, 18 * 18 * 18 - 16 * 16 * 16));
    }
    assert_eq!(many.bytes_max, few.bytes_max, "{many:?} is not {few:?}");
    assert_eq!(many.bytes_current, few.bytes_current, "{many:?} is not {few:?}");
}

#[test]
fn blocks_of_unequal_cost_take_four_bytes_a_rank_and_nothing_a_block() {
    let costs: Vec<f64> = (0..1_000_000).map(|block| f64::from(block % 7 + 1)).collect();
    let mut partition = None;
    let counted = allocation_counter::measure(|| partition = Some(Partition::by_cost(&costs, 100_000)));
    assert_eq!(counted.bytes_current, 4 * (100_000 + 1));
    assert_eq!(partition.unwrap().range(99_999).end, 1_000_000);
}

fn house() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn heat() -> PathBuf {
    let this = std::env::current_exe().expect("this test has a path");
    let path = this.ancestors().nth(2).expect("tests lie in PROFILE/deps").join("examples/heat");
    assert!(path.is_file(), "{} is not there; `cargo build --examples` builds it", path.display());
    path
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_million_blocks_are_planned_for_a_hundred_thousand_ranks() {
    // The last layer of blocks is thinner by a cell, so that the curve is cut by cost and not by formula.
    let settings = ["--set", "grid.cells=[3200, 3200, 3199]", "--set", "grid.block=32"];
    let case = house().join("examples/heat.toml");
    let plan = Command::new(heat()).arg("plan").arg(case).args(["-n", "100000", "--json"]).args(settings).output();
    let plan = json(&plan.unwrap());
    assert_eq!(
        (&plan["blocks"], &plan["ranks"], &plan["spare_ranks"]),
        (&1_000_000.into(), &100_000.into(), &0.into())
    );
    // Ten blocks a rank lie together in a few patches: less than if each had ghosts of its own, but for the ends of rows, and
    // more than without any.
    let bytes = |ghosts: u64| 2 * 8 * (3200 + 100 * ghosts).pow(2) * (3199 + 100 * ghosts);
    assert!((bytes(0)..bytes(2) * 9 / 8).contains(&plan["memory_bytes"].as_u64().unwrap()), "{plan}");
    let imbalance = plan["imbalance"].as_f64().unwrap();
    assert!((1.0..1.001).contains(&imbalance), "{plan}");
    let ([least, most], all) = ([0, 1].map(|i| plan["halo_bytes_a_rank"][i].as_f64().unwrap()), &plan["halo_bytes"]);
    assert!((least * 1e5..=most * 1e5).contains(&all.as_f64().unwrap()), "{plan}");
    let [fewest, most] = [0, 1].map(|i| plan["messages_a_rank"][i].as_u64().unwrap());
    assert!(0 < fewest && most < 200, "{plan}");
}

/// Plays a small case on up to 512 ranks; none, if there is no Python.
fn scale(more: &[&str]) -> Option<Output> {
    let settings = "--most 512 --points 1 --block 16 --weak-cells 32 --strong-cells 128 --program";
    let script = house().join("scripts/scale");
    let play = Command::new("python3").arg(script).args(settings.split(' ')).arg(heat()).args(more).output();
    play.map_err(|cause| eprintln!("scripts/scale is not played: python3: {cause}")).ok()
}

#[test]
fn the_terms_of_a_step_are_told_for_each_number_of_ranks_and_add_up() {
    let room = tempfile::tempdir().unwrap();
    let picture = room.path().join("scale.svg");
    let Some(played) = scale(&["--json", "--svg", picture.to_str().unwrap()]) else { return };
    let played = json(&played);
    for mode in ["weak", "strong"] {
        let points = played[mode].as_array().unwrap();
        let number = |point: &Value, key: &str| point[key].as_f64().unwrap_or_else(|| panic!("{key}: {point}"));
        assert_eq!(points.iter().map(|point| number(point, "ranks")).collect::<Vec<_>>(), [64.0, 512.0], "{mode}");
        for point in points {
            let terms: Vec<f64> = point["terms"].as_object().unwrap().values().map(|s| s.as_f64().unwrap()).collect();
            assert!(terms.len() == 6 && terms.iter().all(|&term| term >= 0.0), "{point}");
            assert!((terms.iter().sum::<f64>() / number(point, "step") - 1.0).abs() < 1e-12, "{point}");
            assert!(number(point, "efficiency") > 0.0 && number(point, "efficiency") <= 1.0, "{point}");
        }
        let [first, last] = [&points[0], points.last().unwrap()];
        let ratio = |term: &str| number(&last["terms"], term) / number(&first["terms"], term);
        assert_eq!(number(first, "efficiency"), 1.0);
        assert!((ratio("sweep") - if mode == "weak" { 1.0 } else { 0.125 }).abs() < 1e-12, "{mode}");
        // Six levels of a tree on one node; three more between eight.
        assert!((ratio("all-reduce") - (6.0 * 0.5 + 3.0 * 2.0) / (6.0 * 0.5)).abs() < 1e-12, "{mode}");
    }
    // A rank's cube of 2³ blocks of 16³ cells and its 26 neighbours.
    let point = &played["weak"][1];
    assert_eq!((&point["messages"], &point["halo_bytes"]), (&26.into(), &(8 * (34 * 34 * 34 - 32 * 32 * 32)).into()));
    let drawn = std::fs::read_to_string(picture).unwrap();
    assert!(drawn.starts_with("<svg") && drawn.ends_with("</svg>\n") && drawn.matches("<polygon").count() == 12);
}

#[test]
fn people_are_told_the_machine_the_shares_and_what_grows() {
    let Some(told) = scale(&["--weak", "--latency", "3"]) else { return };
    let told = String::from_utf8(told.stdout).unwrap();
    for words in [
        "latency 3 us",
        "weak scaling, 32³ cells a rank",
        "all-reduce %",
        "tables of all blocks on rank 0",
        "ranks^+1.00",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let refused = scale(&["--interval", "0"]).unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--interval must be greater than 0"));
}
