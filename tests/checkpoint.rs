//! A checkpoint's promises that need no MPI: what is written is what is read, and no damage passes unnoticed.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use steadfast::checkpoint::{Header, Reader, read_header, save};
use steadfast::field::{Component, Field, Scalar};
use steadfast::grid::{Grid, Partition, Region, Tiling, Vector, random};

/// A field whose every number tells its cell and component, its header, and its blocks.
fn state<T: Scalar, const N: usize>(
    cells: [usize; N],
    block: [usize; N],
    components: usize,
) -> (Header, Tiling<N>, Field<T, N>) {
    let grid = Grid::new(cells, Vector([-1.0; N]), Vector::from_fn(|a| 1.0 + a.index() as f64), [false; N]).unwrap();
    let tiling = Tiling::new(grid, block).unwrap();
    let partition = Partition::by_cost(&vec![1.0; tiling.len()], 1);
    let mut field = Field::<T, N>::new(&tiling, &partition, 0, 2, components);
    for block in field.blocks_mut() {
        block.data_mut().fill(T::from_f64(99.0));
        for component in 0..components {
            for cell in block.interior().cells() {
                let at = block.position(cell) + component * block.plane();
                block.data_mut()[at] = T::from_f64(value(&cell.0, component));
            }
        }
    }
    let header = Header {
        program: "test".into(),
        version: "0.1.0".into(),
        run_id: "run-1".into(),
        epoch: 3,
        step: 42,
        time: 0.1 + 0.2,
        cells: cells.into(),
        lower: tiling.grid().lower().0.into(),
        upper: tiling.grid().upper().0.into(),
        periodic: vec![false; N],
        block: tiling.shape().into(),
        components: ["u", "velocity_x", "w"][..components]
            .iter()
            .map(|name| Component::scalar(*name, "m/s²"))
            .collect(),
        scalar: T::KIND,
        case: "name = \"test\"\n".into(),
        physics: "none".into(),
        replicated: BTreeMap::from([("clock".to_owned(), serde_json::json!({ "step": 42 }))]),
    };
    (header, tiling, field)
}

/// The value of a cell, small enough for every type of number.
fn value(cell: &[i64], component: usize) -> f64 {
    let place = cell.iter().rev().fold(7 * component as i64, |place, x| place * 5 + x);
    place.rem_euclid(251) as f64
}

fn costs<const N: usize>(tiling: &Tiling<N>) -> Vec<f64> {
    (0..tiling.len()).map(|i| 0.5 + i as f64).collect()
}

fn written<T: Scalar, const N: usize>(directory: &Path, cells: [usize; N], block: [usize; N]) -> PathBuf {
    let (header, tiling, field) = state::<T, N>(cells, block, 2);
    let path = directory.join(format!("step-{}-{N}.h5", T::KIND.name()));
    save(&path, &header, &tiling, &field, &costs(&tiling)).unwrap();
    path
}

fn check_round_trip<T: Scalar, const N: usize>(cells: [usize; N], block: [usize; N]) {
    let directory = tempfile::tempdir().unwrap();
    let (header, tiling, field) = state::<T, N>(cells, block, 3);
    let path = directory.path().join("a.h5");
    let bytes = save(&path, &header, &tiling, &field, &costs(&tiling)).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), bytes);
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.header(), &header);
    assert_eq!(reader.file_bytes(), bytes);
    assert_eq!(reader.fingerprint().unwrap(), field.fingerprint(&tiling));
    let report = reader.verify().unwrap();
    assert_eq!((report.blocks, report.faults.len()), (3 * tiling.len(), 0));
    for (chunk, cost) in reader.costs().iter().enumerate() {
        assert_eq!(*cost, costs(&tiling)[tiling.block_of_chunk(chunk).index()]);
    }
    for component in 0..3 {
        let all = reader.values(component, &reader.all_cells()).unwrap();
        let expected = tiling.grid().region().cells().map(|cell| value(&cell.0, component));
        assert!(all.iter().copied().eq(expected));
        for axis in 0..N {
            for index in [0, cells[axis] / 2, cells[axis] - 1] {
                let plane = reader.plane(component, axis, index).unwrap();
                let mut region: Region<N> = tiling.grid().region();
                (region.lower[axis], region.upper[axis]) = (index as i64, index as i64 + 1);
                assert!(plane.iter().copied().eq(region.cells().map(|cell| value(&cell.0, component))));
            }
        }
    }
}

#[test]
fn what_is_written_is_what_is_read_for_every_type_of_number() {
    check_round_trip::<f64, 2>([7, 5], [3, 2]);
    check_round_trip::<f32, 2>([7, 5], [3, 2]);
    check_round_trip::<i64, 2>([7, 5], [3, 2]);
    check_round_trip::<i32, 2>([7, 5], [3, 2]);
    check_round_trip::<u8, 2>([7, 5], [3, 2]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_grid_and_blocks_in_one_dimension_come_back(n in 1usize..300, b in 1usize..300) {
        check_round_trip::<f64, 1>([n], [b]);
    }

    #[test]
    fn any_grid_and_blocks_in_two_dimensions_come_back(n in prop::array::uniform2(1usize..20), b in prop::array::uniform2(1usize..20)) {
        check_round_trip::<u8, 2>(n, b);
    }

    #[test]
    fn any_grid_and_blocks_in_three_dimensions_come_back(n in prop::array::uniform3(1usize..9), b in prop::array::uniform3(1usize..9)) {
        check_round_trip::<i32, 3>(n, b);
    }
}

/// The files that tests/python/interop.py reads, in a directory that is named from outside; nothing without it.
#[test]
fn leave_for_python() {
    let Some(directory) = std::env::var_os("STEADFAST_INTEROP_DIR").map(PathBuf::from) else { return };
    std::fs::create_dir_all(&directory).unwrap();
    written::<f64, 1>(&directory, [100], [32]);
    written::<f64, 2>(&directory, [40, 24], [16, 8]);
    written::<f32, 3>(&directory, [9, 7, 5], [4, 3, 5]);
    written::<i64, 3>(&directory, [9, 7, 5], [9, 7, 5]);
    written::<i32, 2>(&directory, [40, 24], [40, 1]);
    written::<u8, 2>(&directory, [40, 24], [7, 7]);
}

/// What a restart would use of a file; an error if any of it is known to be damaged.
fn used(path: &Path) -> steadfast::Result<(Header, u64, Vec<f64>)> {
    let reader = Reader::open(path)?;
    let report = reader.verify()?;
    if let Some(fault) = report.faults.into_iter().next() {
        return Err(fault.error);
    }
    Ok((reader.header().clone(), reader.fingerprint()?, reader.costs().to_vec()))
}

fn change(path: &Path, at: u64, change: impl Fn(&mut [u8]), length: usize) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at).unwrap();
    change(&mut bytes);
    file.write_all_at(&bytes, at).unwrap();
}

#[test]
fn every_flipped_bit_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = written::<f64, 2>(directory.path(), [40, 24], [16, 8]);
    let length = std::fs::metadata(&path).unwrap().len();
    let before = used(&path).unwrap();
    for i in 0..4000u64 {
        let word = (random::uniform(18, steadfast::grid::Cell([i as i64])) * (length * 8) as f64) as u64;
        let (byte, bit) = (word / 8, word % 8);
        let flip = |bytes: &mut [u8]| bytes[0] ^= 1 << bit;
        change(&path, byte, flip, 1);
        assert!(used(&path).is_err(), "bit {bit} of byte {byte} of {length} passes unnoticed");
        change(&path, byte, flip, 1);
    }
    assert_eq!(used(&path).unwrap(), before);
}
