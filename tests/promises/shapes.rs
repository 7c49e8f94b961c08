//! Grids and numbers of ranks that fit badly still run, or are refused with a reason.

use steadfast::checkpoint::Reader;

use super::stage::{Room, hash, totals};

fn case(cells: &str, block: &str, periodic: &str) -> String {
    format!(
        r#"
[grid]
cells = {cells}
block = {block}
{periodic}
[model]
diffusivity = 0.1
[time]
end = 1e9
max_steps = 9
cfl = 0.7
[[output]]
what = "totals"
every = {{ steps = 3 }}
[checkpoint]
every = {{ steps = 4 }}
"#
    )
}

/// The result must be the same on one rank and on more ranks than there are blocks.
fn same_on(ranks: usize, cells: &str, block: &str, periodic: &str) -> String {
    let room = Room::new();
    room.case("heat.toml", &case(cells, block, periodic));
    room.alone("heat").runs("heat.toml", "one").ends_with(0);
    let arguments = ["run", "heat.toml", "--dir", "many"];
    let ended = room.on(ranks, "heat").args(&arguments).ends_with(0);
    let (one, many) = (room.run("one"), room.run("many"));
    assert_eq!((hash(&many), totals(&many)), (hash(&one), totals(&one)), "{cells} in {block}");
    ended.err
}

#[test]
fn ranks_without_blocks_take_part_and_are_named_in_a_warning() {
    let told = same_on(5, "[12, 12]", "[6, 12]", "");
    let warnings: Vec<&str> = told.lines().filter(|line| line.contains("too few for")).collect();
    assert_eq!(warnings.len(), 1, "one voice warns:\n{told}");
    assert!(warnings[0].contains("ranks 2, 3, 4 own none"), "{}", warnings[0]);
}

#[test]
fn a_grid_of_one_cell_runs() {
    for cells in ["[1]", "[1, 1]", "[1, 1, 1]"] {
        same_on(2, cells, "1", "");
    }
}

#[test]
fn a_ring_of_one_cell_is_its_own_neighbour() {
    same_on(2, "[1, 4]", "1", "[boundary]\nx = \"periodic\"\ny = \"periodic\"");
}

#[test]
fn blocks_that_do_not_divide_the_grid_run() {
    same_on(3, "[17, 1]", "[5, 1]", "[boundary]\nx = \"periodic\"");
    same_on(3, "[1, 23]", "[1, 7]", "");
    same_on(4, "[7, 5, 3]", "[3, 2, 2]", "[boundary]\nz = \"periodic\"");
}

#[test]
fn fields_that_a_case_asks_for_are_files_of_their_own() {
    let room = Room::new();
    let text = case("[14, 9]", "[5, 4]", "").replace("diffusivity = 0.1", "speed = 1.0\nwidth = 0.1");
    let output = "[[output]]\nwhat = \"fields\"\nfields = [\"v\"]\nevery = { steps = 4 }\n";
    room.case("wave.toml", &format!("{text}{output}"));
    room.on(3, "wave").runs("wave.toml", "wave").ends_with(0);
    let run = room.run("wave");
    for step in [0, 4, 8, 9] {
        let name = format!("step-{step:010}.h5");
        let reader = Reader::open(run.output_directory().join(&name)).unwrap();
        assert_eq!(reader.header().components.len(), 1);
        assert_eq!(reader.header().step, step);
        if let Ok(checkpoint) = Reader::open(run.checkpoint_directory().join(&name)) {
            let velocity =
                |reader: &Reader| reader.values(reader.component("v").unwrap(), &reader.all_cells()).unwrap();
            assert_eq!(velocity(&reader), velocity(&checkpoint), "step {step}");
        }
    }
}

#[test]
fn a_plan_is_printed_for_people_and_for_programs() {
    let room = Room::new();
    room.case("heat.toml", &case("[64, 64, 64]", "16", ""));
    let plan = room.alone("heat").args(&["plan", "heat.toml", "-n", "6"]).ends_with(0);
    for line in ["64 × 64 × 64 = 262144 cells", "64 of 16 × 16 × 16 cells", "imbalance"] {
        assert!(plan.out.contains(line), "{line}: {}", plan.out);
    }
    let plan = room.alone("heat").args(&["plan", "heat.toml", "-n", "6", "--json"]).ends_with(0);
    let plan: serde_json::Value = serde_json::from_str(&plan.out).unwrap();
    assert_eq!(plan["blocks"], 64);
    assert_eq!(plan["checkpoint_bytes"], 64 * 64 * 64 * 8);
    assert_eq!(plan["exchange"], "shared_memory");
    // 64 blocks on 6 ranks: 9 to 11 each.
    assert_eq!(plan["staging_bytes_a_rank"], serde_json::json!([9 * 16 * 16 * 16 * 8, 11 * 16 * 16 * 16 * 8]));
    assert!(!room.path("heat.run").exists(), "nothing runs");
}

#[test]
fn a_plan_tells_the_limit_of_sweeps_that_go_together_where_they_can() {
    let room = Room::new();
    room.case("heat.toml", &case("[64, 64, 64]", "16", ""));
    let fixed = ["time.cfl=", "time.step=1e-6", "time.integrator=forward_euler"];
    let plan = |settings: &[&str]| {
        let set = settings.iter().flat_map(|setting| ["--set", setting]);
        let args: Vec<&str> = ["plan", "heat.toml", "--json"].into_iter().chain(set).collect();
        let plan: serde_json::Value = serde_json::from_str(&room.alone("heat").args(&args).ends_with(0).out).unwrap();
        (plan["bytes_a_cell_a_step"].clone(), plan["together"].clone())
    };
    let of =
        |sweeps: usize, bytes: f64| serde_json::json!({"sweeps_per_exchange": sweeps, "bytes_a_cell_a_step": bytes});
    assert_eq!(plan(&fixed), (24.into(), of(4, 8.0)), "another number is told where there is one sweep to an exchange");
    let with = |sweeps| [&fixed[..], &[sweeps]].concat();
    assert_eq!(plan(&with("run.sweeps_per_exchange=8")), (24.into(), of(8, 4.0)));
    assert_eq!(
        plan(&["time.integrator=forward_euler"]).1,
        serde_json::Value::Null,
        "one sweep a step, one step at a time"
    );
    let guarded = with("guard={ checksums = 'all' }");
    assert_eq!(plan(&guarded).1, serde_json::Value::Null, "checksums look after every step");
}
