//! A small checkpoint for the tests of the commands that read one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::checkpoint::{Header, save};
use crate::field::{Component, Field, ScalarKind};
use crate::grid::{Grid, Partition, Tiling, Vector};

/// Writes a checkpoint of a field u, m, whose cells hold x + 10 y + 100 z, on a grid from 0 to 1 in blocks of 2.
pub fn checkpoint(room: &Path, name: &str, cells: &[usize]) -> PathBuf {
    let path = room.join(format!("{name}.h5"));
    match *cells {
        [x] => write(&path, [x]),
        [x, y] => write(&path, [x, y]),
        [x, y, z] => write(&path, [x, y, z]),
        _ => panic!("a sample has one to three dimensions"),
    }
    path
}

fn write<const N: usize>(path: &Path, cells: [usize; N]) {
    let grid = Grid::new(cells, Vector::ZERO, Vector([1.0; N]), [false; N]).unwrap();
    let tiling = Tiling::new(grid, [2; N]).unwrap();
    let partition = Partition::by_cost(&vec![1.0; tiling.len()], 1);
    let mut field = Field::<f64, N>::new(&tiling, &partition, 0, 0, 1);
    for block in field.patches_mut() {
        for cell in block.interior().cells() {
            block.set(cell, cell.0.iter().rev().fold(0.0, |sum, &index| 10.0 * sum + index as f64));
        }
    }
    let header = Header {
        program: "sample".into(),
        version: "0.1.0".into(),
        run_id: "run-1".into(),
        epoch: 1,
        step: 42,
        time: 0.5,
        cells: cells.into(),
        lower: vec![0.0; N],
        upper: vec![1.0; N],
        periodic: vec![false; N],
        block: tiling.shape().into(),
        components: vec![Component::scalar("u", "m")],
        scalar: ScalarKind::F64,
        case: "name = \"sample\"\n".into(),
        physics: String::new(),
        replicated: BTreeMap::new(),
    };
    save(path, &header, &tiling, &field, &vec![1.0; tiling.len()]).unwrap();
}
