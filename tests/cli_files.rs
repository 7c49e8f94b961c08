//! What the commands that work on checkpoints promise: what they say, where they say it, and their exit codes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;
use steadfast::checkpoint::{Header, save};
use steadfast::field::{Component, Field, ScalarKind};
use steadfast::grid::{Cell, Grid, Partition, Tiling, Vector};

/// A checkpoint of a field u (K) with blocks of the given shape.
fn checkpoint<const N: usize>(
    path: PathBuf,
    cells: [usize; N],
    block: [usize; N],
    step: u64,
    u: impl Fn(Cell<N>) -> f64,
) -> PathBuf {
    let grid = Grid::new(cells, Vector::ZERO, Vector([2.0; N]), [true; N]).unwrap();
    let tiling = Tiling::new(grid, block).unwrap();
    let partition = Partition::by_cost(&vec![1.0; tiling.len()], 1);
    let mut field = Field::<f64, N>::new(&tiling, &partition, 0, 1, 1);
    for block in field.patches_mut() {
        for cell in block.interior().cells() {
            block.set(cell, u(cell));
        }
    }
    let header = Header {
        program: "heat".into(),
        version: "0.1.0".into(),
        run_id: "run-1".into(),
        epoch: 1,
        step,
        time: 0.25,
        cells: cells.into(),
        lower: vec![0.0; N],
        upper: vec![2.0; N],
        periodic: vec![true; N],
        block: tiling.shape().into(),
        components: vec![Component::scalar("u", "K")],
        scalar: ScalarKind::F64,
        case: "name = \"heat\"\n".into(),
        physics: String::new(),
        replicated: BTreeMap::new(),
    };
    save(&path, &header, &tiling, &field, &vec![1.0; tiling.len()]).unwrap();
    path
}

fn bump(cell: Cell<2>) -> f64 {
    cell.0[0] as f64 + 0.125 * cell.0[1] as f64
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

/// Runs the tool in a directory.
fn steadfast(room: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::cargo_bin("steadfast").unwrap();
    let output = command.args(arguments).current_dir(room).output().unwrap();
    Said {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Flips a bit of the only place that holds a number.
fn damage(path: &Path, number: f64) {
    let mut bytes = std::fs::read(path).unwrap();
    let places: Vec<usize> = (0..bytes.len() - 8).filter(|&at| bytes[at..at + 8] == number.to_le_bytes()).collect();
    assert_eq!(places.len(), 1);
    bytes[places[0]] ^= 16;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn inspect_tells_what_a_checkpoint_holds() {
    let room = tempfile::tempdir().unwrap();
    checkpoint(room.path().join("a.h5"), [6, 5], [4, 2], 7, bump);
    let said = steadfast(room.path(), &["inspect", "a.h5"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    for part in ["6 × 5 cells, periodic along x, y", "step", "every block is sound", "u (K)", "5.5"] {
        assert!(said.out.contains(part), "{part:?} is not in\n{}", said.out);
    }
    let json: Value = serde_json::from_str(&steadfast(room.path(), &["inspect", "--json", "a.h5"]).out).unwrap();
    assert_eq!(json["fields"][0]["max"], 5.5);
    assert_eq!(json["fields"][0]["sum"], 82.5);
    assert_eq!(json["fields"][0]["shape"], serde_json::json!([5, 6]));
    assert_eq!(json["header"]["step"], 7);
    assert_eq!(steadfast(room.path(), &["inspect", "--case", "a.h5"]).out, "name = \"heat\"\n");
}

#[test]
fn inspect_shows_the_same_state_hash_for_any_blocks() {
    let room = tempfile::tempdir().unwrap();
    let hashes = [[6, 5], [4, 2], [1, 1]].map(|block| {
        checkpoint(room.path().join("a.h5"), [6, 5], block, 7, bump);
        let said = steadfast(room.path(), &["inspect", "--json", "a.h5"]);
        serde_json::from_str::<Value>(&said.out).unwrap()["state_hash"].clone()
    });
    assert!(hashes[0] == hashes[1] && hashes[1] == hashes[2], "{hashes:?}");
}

#[test]
fn verify_gives_each_sound_file_a_line() {
    let room = tempfile::tempdir().unwrap();
    checkpoint(room.path().join("a.h5"), [6, 5], [4, 2], 7, bump);
    checkpoint(room.path().join("b.h5"), [6], [4], 8, |cell| cell.0[0] as f64);
    let said = steadfast(room.path(), &["verify", "a.h5", "b.h5"]);
    assert_eq!((said.code, said.out.lines().count()), (0, 2));
}

#[test]
fn verify_names_the_damaged_block_and_fails() {
    let room = tempfile::tempdir().unwrap();
    let good = checkpoint(room.path().join("a.h5"), [6, 5], [4, 2], 7, bump);
    let bad = checkpoint(room.path().join("b.h5"), [6, 5], [4, 2], 8, bump);
    damage(&bad, 5.375);
    let said = steadfast(room.path(), &["verify", "a.h5", "b.h5"]);
    assert_eq!(said.code, 1);
    assert!(said.out.contains("field u, block 3, cells x 4..6, y 2..4"), "{}", said.out);
    let json: Value = serde_json::from_str(&steadfast(room.path(), &["verify", "--json", "a.h5", "b.h5"]).out).unwrap();
    assert_eq!((&json[0]["sound"], &json[1]["sound"]), (&Value::Bool(true), &Value::Bool(false)));
    assert_eq!(json[1]["damaged"][0]["cells"], serde_json::json!([[4, 6], [2, 4]]));
    let bytes = std::fs::read(&good).unwrap();
    std::fs::write(&good, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(steadfast(room.path(), &["verify", "a.h5"]).code, 1);
    assert_eq!(steadfast(room.path(), &["verify", "absent.h5"]).code, 1);
}

#[test]
fn a_damaged_checkpoint_is_neither_plotted_nor_summed_up() {
    let room = tempfile::tempdir().unwrap();
    let bad = checkpoint(room.path().join("a.h5"), [6, 5], [4, 2], 7, bump);
    damage(&bad, 5.375);
    for command in ["inspect", "plot"] {
        let said = steadfast(room.path(), &[command, "a.h5"]);
        assert!(said.code == 1 && said.err.starts_with("error: "), "{command}: {} {}", said.code, said.err);
    }
    assert!(!room.path().join("a-u.png").exists());
}

#[test]
fn diff_of_equal_states_in_other_blocks_is_zero() {
    let room = tempfile::tempdir().unwrap();
    checkpoint(room.path().join("a.h5"), [6, 5], [4, 2], 7, bump);
    checkpoint(room.path().join("b.h5"), [6, 5], [3, 5], 7, bump);
    let said = steadfast(room.path(), &["diff", "a.h5", "b.h5"]);
    assert_eq!(said.code, 0, "{}", said.out);
    assert!(said.out.contains("all 30 cells are equal"));
}

#[test]
fn diff_finds_a_single_bit_and_says_where() {
    let room = tempfile::tempdir().unwrap();
    checkpoint(room.path().join("a.h5"), [6, 5], [4, 2], 7, bump);
    let other = |cell: Cell<2>| if cell == Cell([4, 3]) { bump(cell).next_up() } else { bump(cell) };
    checkpoint(room.path().join("b.h5"), [6, 5], [4, 2], 7, other);
    let said = steadfast(room.path(), &["diff", "a.h5", "b.h5"]);
    assert_eq!(said.code, 1);
    assert!(said.out.contains("1 of 30 cells differ") && said.out.contains("[4, 3], x = 1.5, y = 1.4"), "{}", said.out);
    assert_eq!(steadfast(room.path(), &["diff", "--tolerance", "1e-9", "a.h5", "b.h5"]).code, 0);
    assert_eq!(steadfast(room.path(), &["diff", "--relative", "1e-15", "a.h5", "b.h5"]).code, 0);
    assert_eq!(steadfast(room.path(), &["diff", "--relative", "0", "a.h5", "b.h5"]).code, 1);
    let json: Value = serde_json::from_str(&steadfast(room.path(), &["diff", "--json", "a.h5", "b.h5"]).out).unwrap();
    assert_eq!(json["fields"][0]["largest"]["cell"], serde_json::json!([4, 3]));
}

#[test]
fn diff_tells_zero_from_minus_zero_and_finds_equal_values_that_are_no_numbers_equal() {
    let room = tempfile::tempdir().unwrap();
    checkpoint(room.path().join("a.h5"), [2], [2], 7, |_| 0.0);
    checkpoint(room.path().join("b.h5"), [2], [2], 7, |_| -0.0);
    checkpoint(room.path().join("c.h5"), [2], [2], 7, |_| f64::NAN);
    assert_eq!(steadfast(room.path(), &["diff", "a.h5", "b.h5"]).code, 1);
    assert_eq!(steadfast(room.path(), &["diff", "--tolerance", "0", "a.h5", "b.h5"]).code, 0);
    assert_eq!(steadfast(room.path(), &["diff", "c.h5", "c.h5"]).code, 0);
    assert_eq!(steadfast(room.path(), &["diff", "--tolerance", "1", "a.h5", "c.h5"]).code, 1);
}

#[test]
fn diff_explains_other_steps_and_shapes_and_keeps_code_two_for_what_cannot_be_compared() {
    let room = tempfile::tempdir().unwrap();
    checkpoint(room.path().join("a.h5"), [6, 5], [4, 2], 7, bump);
    checkpoint(room.path().join("b.h5"), [6, 5], [4, 2], 8, bump);
    checkpoint(room.path().join("c.h5"), [6, 6], [4, 2], 7, bump);
    let said = steadfast(room.path(), &["diff", "a.h5", "b.h5"]);
    assert!(said.code == 1 && said.out.contains("step: 7 and 8"), "{}", said.out);
    assert_eq!(steadfast(room.path(), &["diff", "--field", "u", "a.h5", "b.h5"]).code, 0);
    let said = steadfast(room.path(), &["diff", "a.h5", "c.h5"]);
    assert!(said.code == 1 && said.out.contains("cells: [6, 5] and [6, 6]"), "{}", said.out);
    assert_eq!(steadfast(room.path(), &["diff", "a.h5", "absent.h5"]).code, 2);
    assert_eq!(steadfast(room.path(), &["diff", "--field", "v", "a.h5", "b.h5"]).code, 2);
}

#[test]
fn plot_draws_one_two_and_three_dimensions_and_says_where() {
    let room = tempfile::tempdir().unwrap();
    checkpoint(room.path().join("a.h5"), [60], [16], 7, |cell| cell.0[0] as f64);
    checkpoint(room.path().join("b.h5"), [60, 50], [16, 16], 7, bump);
    checkpoint(room.path().join("c.h5"), [6, 5, 4], [2, 2, 2], 7, |cell| cell.0[2] as f64);
    for (options, name) in [
        (&["a.h5"][..], "a-u.png"),
        (&["b.h5", "--colours", "balance", "--symmetric"], "b-u.png"),
        (&["b.h5", "--axis", "x", "--at", "3"], "b-u-x3.png"),
        (&["c.h5", "--axis", "y", "--position", "1.9"], "c-u-y4.png"),
        (&["c.h5", "--field", "u", "--output", "mine.png", "--width", "300"], "mine.png"),
    ] {
        let said = steadfast(room.path(), &[&["plot"], options].concat());
        assert_eq!((said.code, said.out, said.err), (0, format!("{name}\n"), String::new()));
        let bytes = std::fs::read(room.path().join(name)).unwrap();
        assert!(bytes.starts_with(b"\x89PNG\r\n") && bytes.len() > 1000, "{name}");
    }
}

#[test]
fn plot_shows_a_preview_without_escape_sequences_where_there_are_no_colours() {
    let room = tempfile::tempdir().unwrap();
    checkpoint(room.path().join("b.h5"), [60, 50], [16, 16], 7, bump);
    let said = steadfast(room.path(), &["plot", "b.h5", "--preview"]);
    assert!(said.out.contains('@') && !said.out.contains('\x1b'), "{}", said.out);
    assert!(said.out.lines().count() > 10 && said.out.lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn plot_refuses_what_is_not_there_with_code_two_and_says_what_is() {
    let room = tempfile::tempdir().unwrap();
    checkpoint(room.path().join("b.h5"), [6, 5], [4, 2], 7, bump);
    for (options, part) in [
        (["--field", "v"], "its fields are u"),
        (["--axis", "z"], "it has x, y"),
        (["--at", "2"], "name the axis"),
        (["--range", "2:1"], "lower first"),
    ] {
        let said = steadfast(room.path(), &["plot", "b.h5", options[0], options[1]]);
        assert!(said.code == 2 && said.err.contains(part), "{options:?}: {} {}", said.code, said.err);
    }
}

#[test]
fn commands_on_a_missing_file_fail_and_name_it() {
    let room = tempfile::tempdir().unwrap();
    for command in ["inspect", "plot"] {
        let said = steadfast(room.path(), &[command, "absent.h5"]);
        assert!(said.code == 1 && said.err.contains("absent.h5"), "{}", said.err);
    }
}
