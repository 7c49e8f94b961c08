//! The result is a function of the case file alone: one hash and one table of totals, however the work is shared out.

use super::stage::{Room, hash, totals};

/// Every kind of face, steps that end at exact times, and a grid that no block divides.
const HEAT: &str = r#"
[grid]
cells = [20, 14, 17]
upper = [1.0, 0.7, 0.85]
[boundary]
x = "periodic"
y = { low = { fixed_value = 0.5 }, high = { fixed_gradient = -1.0 } }
z = { low = "outflow", high = "reflecting" }
[model]
diffusivity = 0.1
[time]
end = 0.05
cfl = 0.8
integrator = "ssp_rk2"
[[output]]
what = "totals"
every = { time = 0.005, exact = true }
[checkpoint]
every = { steps = 7 }
"#;

const GRAY_SCOTT: &str = r#"
[grid]
cells = [61, 48]
lower = -0.5
upper = 0.5
[model]
diffusivity = [2e-5, 1e-5]
feed = 0.037
kill = 0.060
seed = 1
[time]
end = 30.0
step = 1.0
integrator = "forward_euler"
[[output]]
what = "totals"
every = { steps = 10 }
[checkpoint]
every = { steps = 20 }
"#;

const RANKS: [usize; 5] = [1, 2, 3, 4, 8];

/// Runs a case on all ranks, threads, blocks and sweeps.
fn one_result(program: &str, case: &str, blocks: [&str; 3]) {
    let room = Room::new();
    room.case("case.toml", case);
    let mut expected = None;
    let mut seen = 0;
    for (r, ranks) in RANKS.into_iter().enumerate() {
        for threads in [1, 2] {
            for (b, block) in blocks.into_iter().enumerate() {
                for sweeps in [1, 4] {
                    let name = format!("{ranks}-{threads}-{b}-{sweeps}");
                    let exchange = ["shared_memory", "neighbourhood", "point_to_point"][(r + b + threads) % 3];
                    let settings = [
                        format!("grid.block={block}"),
                        format!("run.threads={threads}"),
                        format!("run.sweeps_per_exchange={sweeps}"),
                        format!("run.exchange={exchange}"),
                    ];
                    let settings = settings.each_ref().map(String::as_str);
                    room.on(ranks, program).runs("case.toml", &name).set(&settings).ends_with(0);
                    let found = (hash(&room.run(&name)), totals(&room.run(&name)));
                    let expected = expected.get_or_insert_with(|| found.clone());
                    assert_eq!(&found, expected, "{ranks} ranks, {settings:?}");
                    seen += 1;
                }
            }
        }
    }
    assert_eq!(seen, 60);
}

#[test]
fn heat_in_three_dimensions_has_one_result_on_all_ranks_threads_blocks_and_sweeps() {
    one_result("heat", HEAT, ["[8, 8, 8]", "[5, 4, 6]", "[20, 7, 9]"]);
}

#[test]
fn gray_scott_in_two_dimensions_has_one_result_on_all_ranks_threads_blocks_and_sweeps() {
    one_result("gray_scott", GRAY_SCOTT, ["[16, 16]", "[7, 12]", "[61, 5]"]);
}

#[test]
fn a_field_too_large_for_the_caches_has_the_same_result_as_its_parts_that_fit() {
    // 34 MB in two buffers: more than a core has of most caches, so that each rank tries to write past them, and to let sweeps
    // go together. An eighth of it fits.
    let room = Room::new();
    let case = r#"
grid = { cells = [128, 128, 128] }
boundary = { x = "periodic", y = "periodic", z = "periodic" }
model = { diffusivity = 1.0 }
time = { end = 1.0, max_steps = 60, step = 5e-6, integrator = "forward_euler" }
checkpoint = { every = "never" }
"#;
    room.case("case.toml", case);
    let result = |ranks, threads, sweeps| {
        let settings = [format!("run.threads={threads}"), format!("run.sweeps_per_exchange={sweeps}")];
        let name = format!("{ranks}-{threads}-{sweeps}");
        room.on(ranks, "heat").runs("case.toml", &name).set(&settings.each_ref().map(String::as_str)).ends_with(0);
        hash(&room.run(&name))
    };
    let fits = result(8, 1, 1);
    for (ranks, threads, sweeps) in [(1, 1, 1), (1, 2, 1), (2, 1, 1), (1, 1, 4), (2, 1, 4)] {
        assert_eq!(
            result(ranks, threads, sweeps),
            fits,
            "{ranks} ranks, {threads} threads, {sweeps} sweeps an exchange"
        );
    }
}
