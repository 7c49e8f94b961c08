//! TeaLeaf: implicit heat conduction against the values that the benchmark checks itself with.
//!
//! Source: UK-MAC TeaLeaf, the table of its QA check (<https://github.com/UK-MAC/TeaLeaf>): the "temperature" after ten steps. The
//! benchmark allows 1e-5 relative; here it is 1e-10.

use super::stage::{Room, hash, shared};

const CASE: &str = include_str!("../../examples/tealeaf.toml");

/// Checks the temperature on each number of ranks with its blocks, and that the bits are the same.
fn temperature_of(cells: usize, expected: f64, jobs: &[(usize, &str)]) {
    let room = Room::new();
    room.case("case.toml", CASE);
    let cells = format!("grid.cells=[{cells}, {cells}]");
    for (ranks, block) in jobs {
        let (name, block) = (format!("on-{ranks}"), format!("grid.block={block}"));
        room.on(*ranks, "tealeaf").runs("case.toml", &name).set(&[&cells, &block]).ends_with(0);
        let found = shared(&room.run(&name))["temperature"].as_f64().unwrap();
        let error = (found / expected - 1.0).abs();
        assert!(error < 1e-10, "{found} instead of {expected}: off by {error:e}");
        assert_eq!(hash(&room.run(&name)), hash(&room.run("on-1")), "{ranks} ranks, {block}");
    }
}

#[test]
fn tealeaf_on_100_cells_has_the_temperature_of_the_benchmark_on_all_ranks() {
    temperature_of(10, 157.55084183279294, &[(1, "10"), (2, "[5, 10]"), (3, "[4, 3]"), (4, "2"), (8, "1")]);
}

#[test]
fn tealeaf_on_62500_cells_has_the_temperature_of_the_benchmark_on_all_ranks() {
    temperature_of(250, 106.27221178646569, &[(1, "250"), (2, "[33, 64]"), (4, "[50, 125]")]);
}
