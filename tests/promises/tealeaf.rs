//! TeaLeaf: implicit heat conduction against the values that the benchmark checks itself with.
//!
//! Source: UK-MAC TeaLeaf, the table of its QA check (<https://github.com/UK-MAC/TeaLeaf>): the "temperature" after ten steps. The
//! benchmark allows 1e-5 relative; here it is 1e-10.

use super::stage::{CheckOfExample, Room, shared};

const CASE: &str = include_str!("../../examples/tealeaf.toml");

fn temperature_of(cells: usize, expected: f64) {
    let room = Room::new();
    room.case("case.toml", CASE);
    let cells = format!("grid.cells=[{cells}, {cells}]");
    room.alone("tealeaf").runs("case.toml", "run").set(&[&cells]).ends_with(0);
    let found = shared(&room.run("run"))["temperature"].as_f64().unwrap();
    let error = (found / expected - 1.0).abs();
    assert!(error < 1e-10, "{found} instead of {expected}: off by {error:e}");
}

#[test]
fn tealeaf_on_100_cells_has_the_temperature_of_the_benchmark() {
    temperature_of(10, 157.55084183279294);
}

#[test]
fn tealeaf_on_62500_cells_has_the_temperature_of_the_benchmark() {
    temperature_of(250, 106.27221178646569);
}

#[test]
fn tealeaf_has_one_result_on_all_ranks_and_blocks_and_after_a_kill() {
    CheckOfExample {
        program: "tealeaf",
        case: CASE,
        files: &[],
        settings: &[],
        blocks: ["[250, 250]", "[33, 64]", "[50, 125]"],
        some_steps: 3,
    }
    .holds();
}
