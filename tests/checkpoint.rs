//! A checkpoint's promises that need no MPI: what is written is what is read, and no damage passes unnoticed.
//!
//! `STEADFAST_FLIPS` is how many bits are flipped (default 4000), and `STEADFAST_FLIPS_SEED` the first of their seeds.

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
    for block in field.patches_mut() {
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
        for (axis, &length) in cells.iter().enumerate() {
            for index in [0, length / 2, length - 1] {
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
    let number = |name: &str, default: i64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (first, flips) = (number("STEADFAST_FLIPS_SEED", 0), number("STEADFAST_FLIPS", 4000));
    for seed in first..first + flips {
        let word = (random::uniform(18, steadfast::grid::Cell([seed])) * (length * 8) as f64) as u64;
        let (byte, bit) = (word / 8, word % 8);
        let flip = |bytes: &mut [u8]| bytes[0] ^= 1 << bit;
        change(&path, byte, flip, 1);
        assert!(used(&path).is_err(), "seed {seed}: bit {bit} of byte {byte} of {length} passes unnoticed");
        change(&path, byte, flip, 1);
    }
    println!("{flips} bits flipped one by one, each noticed");
    assert_eq!(used(&path).unwrap(), before);
}

/// Where a field's first block lies, and the size of a block.
fn place(path: &Path, field: &str) -> (u64, u64) {
    let file = hdf5::File::open(path).unwrap();
    let chunk = file.dataset(&format!("fields/{field}")).unwrap().chunk_info(0).unwrap();
    (chunk.addr, chunk.size)
}

fn read_bytes(path: &Path, at: u64, length: u64) -> Vec<u8> {
    std::fs::read(path).unwrap()[at as usize..(at + length) as usize].to_vec()
}

#[test]
fn a_file_cut_off_anywhere_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = written::<f64, 2>(directory.path(), [40, 24], [16, 8]);
    let bytes = std::fs::read(&path).unwrap();
    for length in (0..bytes.len()).step_by(512).chain([bytes.len() - 1]) {
        std::fs::write(&path, &bytes[..length]).unwrap();
        assert!(used(&path).is_err(), "cut off after {length} of {} bytes", bytes.len());
    }
    let longer = [&bytes[..], &[0]].concat();
    std::fs::write(&path, longer).unwrap();
    assert!(used(&path).is_err(), "a byte longer");
}

#[test]
fn a_zeroed_range_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = written::<f64, 2>(directory.path(), [40, 24], [16, 8]);
    let bytes = std::fs::read(&path).unwrap();
    for start in (0..bytes.len()).step_by(512) {
        let end = (start + 512).min(bytes.len());
        if bytes[start..end].iter().any(|&byte| byte != 0) {
            let mut zeroed = bytes.clone();
            zeroed[start..end].fill(0);
            std::fs::write(&path, zeroed).unwrap();
            assert!(used(&path).is_err(), "zeros from {start} to {end}");
        }
    }
}

#[test]
fn swapped_blocks_are_noticed_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = written::<f64, 2>(directory.path(), [40, 24], [16, 8]);
    let ((u, size), (v, _)) = (place(&path, "u"), place(&path, "velocity_x"));
    for (a, b) in [(u, u + size), (u, v), (v + size, v + 3 * size)] {
        let (of_a, of_b) = (read_bytes(&path, a, size), read_bytes(&path, b, size));
        assert_ne!(of_a, of_b);
        change(&path, a, |bytes| bytes.copy_from_slice(&of_b), size as usize);
        change(&path, b, |bytes| bytes.copy_from_slice(&of_a), size as usize);
        let reader = Reader::open(&path).unwrap();
        assert_eq!(reader.verify().unwrap().faults.len(), 2);
        change(&path, a, |bytes| bytes.copy_from_slice(&of_a), size as usize);
        change(&path, b, |bytes| bytes.copy_from_slice(&of_b), size as usize);
    }
    used(&path).unwrap();
    change(&path, u + 4 * size, |bytes| bytes[0] ^= 1, 1);
    let reader = Reader::open(&path).unwrap();
    let report = reader.verify().unwrap();
    let [fault] = &report.faults[..] else { panic!("{report:?}") };
    assert_eq!((fault.field.as_str(), fault.block, &fault.cells[..]), ("u", 4, &[16..32, 8..16][..]));
    assert!(fault.error.to_string().contains("block 4 of field u (cells x 16..32, y 8..16)"), "{}", fault.error);
    assert!(reader.values(0, &[0..16, 0..24]).is_ok(), "what is sound can still be read");
    assert!(reader.values(0, &[15..17, 0..24]).is_err());
}

#[test]
fn a_block_of_another_step_or_run_is_noticed_even_if_it_is_equal() {
    let directory = tempfile::tempdir().unwrap();
    let (header, tiling, field) = state::<f64, 2>([40, 24], [16, 8], 2);
    let path = directory.path().join("a.h5");
    save(&path, &header, &tiling, &field, &costs(&tiling)).unwrap();
    let checksums = |path: &Path| Reader::open(path).unwrap().checksums(0).to_vec();
    let before = checksums(&path);
    for other in [Header { step: 43, ..header.clone() }, Header { run_id: "run-2".into(), ..header.clone() }] {
        save(&path, &other, &tiling, &field, &costs(&tiling)).unwrap();
        assert!(checksums(&path).iter().zip(&before).all(|(a, b)| a != b));
    }
}

#[test]
fn saving_the_same_state_twice_gives_the_same_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = written::<f64, 2>(directory.path(), [40, 24], [16, 8]);
    let first = std::fs::read(&path).unwrap();
    written::<f64, 2>(directory.path(), [40, 24], [16, 8]);
    assert!(first == std::fs::read(&path).unwrap());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no partial file is left");
}

/// HDF5 files with metadata of the kind that checkpoints have.
fn newer() -> hdf5::FileBuilder {
    use hdf5::plist::file_access::LibraryVersion;
    let mut builder = hdf5::File::with_options();
    builder.with_fapl(|access| access.libver_bounds(LibraryVersion::V110, LibraryVersion::latest()));
    builder
}

#[test]
fn what_is_no_checkpoint_is_refused_with_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.h5");
    let reason = |what: &str| {
        let error = read_header(&path).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("a.h5") && error.contains("hint:"), "{error}");
    };
    std::fs::write(&path, "").unwrap();
    reason("no HDF5 file");
    std::fs::write(&path, "a poem").unwrap();
    reason("no HDF5 file");
    drop(hdf5::File::create(&path).unwrap());
    reason("of a kind that checkpoints do not have");
    drop(newer().create(&path).unwrap());
    reason("no member checkpoint");
    let create = |fill: &dyn Fn(&hdf5::File)| {
        let file = newer().create(&path).unwrap();
        fill(&file);
    };
    create(&|file| file.link_soft("/nowhere", "checkpoint").unwrap());
    reason("link that leads elsewhere");
    create(&|file| file.link_external("/etc/passwd", "/", "checkpoint").unwrap());
    reason("link that leads elsewhere");
    create(&|file| file.link_hard("/", "checkpoint").unwrap());
    reason("format");
    create(&|file| {
        let group = file.create_group("checkpoint").unwrap();
        group.new_attr::<u32>().create("format").unwrap().write_scalar(&2u32).unwrap();
    });
    reason("format 2");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    reason("no regular file");
}

/// A file that looks like a checkpoint in all but one respect.
#[test]
fn hostile_shapes_are_refused_before_anything_is_allocated() {
    let directory = tempfile::tempdir().unwrap();
    let (good, ..) = state::<f64, 2>([40, 24], [16, 8], 2);
    let path = directory.path().join("a.h5");
    let craft = |header: &Header, tables: usize| {
        let json = serde_json::to_vec(header).unwrap();
        let file = newer().create(&path).unwrap();
        let own = file.create_group("checkpoint").unwrap();
        own.new_attr::<u32>().create("format").unwrap().write_scalar(&1u32).unwrap();
        let text = own.new_dataset_builder().empty_as(hdf5::types::TypeDescriptor::FixedUnicode(json.len()));
        let early = hdf5::plist::dataset_create::AllocTime::Early;
        let offset = text.alloc_time(Some(early)).create("header").unwrap().offset().unwrap();
        own.new_dataset::<u64>().shape([2, tables]).create("checksums").unwrap();
        own.new_dataset::<f64>().shape([tables]).create("costs").unwrap();
        own.new_dataset::<u64>().shape([1]).create("seal").unwrap();
        let fields = file.create_group("fields").unwrap();
        fields.new_dataset::<f64>().shape([24, 40]).chunk([8, 16]).create("u").unwrap();
        file.close().unwrap();
        drop((own, fields));
        OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&json, offset).unwrap();
        read_header(&path).unwrap_err().to_string()
    };
    let huge = Header { cells: vec![1 << 24, 1 << 24], block: vec![1, 1], ..good.clone() };
    assert!(craft(&huge, 1 << 48).contains("checksums"));
    assert!(craft(&Header { cells: vec![1 << 10, 1 << 10], ..huge.clone() }, 9).contains("checksums has"));
    assert!(craft(&Header { cells: vec![1 << 40, 1 << 40], ..good.clone() }, 9).contains("2^48"));
    assert!(craft(&Header { block: vec![0, 8], ..good.clone() }, 9).contains("cannot tile"));
    assert!(craft(&Header { cells: vec![], ..good.clone() }, 9).contains("0 dimensions"));
    assert!(craft(&good, 9).contains("checksums has no place"));
}

#[test]
fn a_rewritten_file_is_refused_and_the_tool_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = written::<f64, 2>(directory.path(), [40, 24], [16, 8]);
    if let Some(()) =
        tool("h5repack", &["-f".as_ref(), "GZIP=1".as_ref(), path.as_ref(), "b.h5".as_ref()], directory.path(), drop)
    {
        let error = read_header(directory.path().join("b.h5")).unwrap_err().to_string();
        assert!(error.contains("h5repack"), "{error}");
    }
    let file = hdf5::File::open_rw(&path).unwrap();
    file.new_attr::<f64>().create("note").unwrap().write_scalar(&1.0).unwrap();
    file.close().unwrap();
    let error = read_header(&path).unwrap_err().to_string();
    assert!(error.contains("seal") && error.contains("tool"), "{error}");
}

/// Runs one of the HDF5 tools and gives its output; tells if it is not installed.
fn tool<R>(name: &str, arguments: &[&std::ffi::OsStr], directory: &Path, look: impl Fn(String) -> R) -> Option<R> {
    match Command::new(name).args(arguments).current_dir(directory).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{name}: {text}{}", String::from_utf8_lossy(&output.stderr));
            Some(look(text))
        }
        Err(cause) => {
            eprintln!("not checked: {name} cannot be run ({cause}); install hdf5-tools");
            None
        }
    }
}

#[test]
fn the_tools_of_hdf5_read_what_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = written::<f64, 2>(directory.path(), [7, 5], [3, 2]);
    let file = path.as_os_str();
    let numbers: Vec<_> = (0..35).map(|i| value(&[i % 7, i / 7], 0).to_string()).collect();
    tool(
        "h5dump",
        &["-d".as_ref(), "/fields/u".as_ref(), "-y".as_ref(), "-w".as_ref(), "0".as_ref(), file],
        directory.path(),
        |text| {
            let data = text.split_once("DATA {").unwrap().1.split_once('}').unwrap().0.replace([',', '\n'], " ");
            assert_eq!(data.split_whitespace().collect::<Vec<_>>(), numbers);
        },
    );
    tool("h5dump", &["-d".as_ref(), "/checkpoint/header".as_ref(), file], directory.path(), |text| {
        assert!(text.contains("run_id") && text.contains("run-1"), "{text}");
    });
    tool("h5ls", &["-r".as_ref(), file], directory.path(), |text| {
        for line in ["/fields/u", "/fields/velocity_x", "/VTKHDF/CellData", "/checkpoint/seal", "/x", "/y"] {
            assert!(text.contains(line), "{text}");
        }
    });
    let other = directory.path().join("other.h5");
    std::fs::copy(&path, &other).unwrap();
    tool("h5diff", &[file, other.as_os_str(), "/fields".as_ref()], directory.path(), drop);
}

#[test]
fn fields_start_at_a_page_and_nothing_of_the_file_is_wasted() {
    let directory = tempfile::tempdir().unwrap();
    let (header, tiling, field) = state::<f64, 2>([256, 256], [64, 64], 3);
    let path = directory.path().join("a.h5");
    let bytes = save(&path, &header, &tiling, &field, &costs(&tiling)).unwrap();
    for component in &header.components {
        assert_eq!(place(&path, &component.name).0 % 4096, 0);
    }
    assert!(bytes < 3 * 256 * 256 * 8 + 32768, "{bytes} bytes");
}

#[test]
fn a_million_blocks_cost_little() {
    let directory = tempfile::tempdir().unwrap();
    let (header, tiling, field) = state::<u8, 3>([200, 200, 200], [2, 2, 2], 1);
    assert_eq!(tiling.len(), 1_000_000);
    let path = directory.path().join("a.h5");
    let bytes = save(&path, &header, &tiling, &field, &costs(&tiling)).unwrap();
    let data = 8_000_000;
    let tables = 16 * 1_000_000;
    assert!(bytes < data + tables + 32768, "{bytes} bytes");
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.verify().unwrap().faults, []);
    assert_eq!(reader.plane(0, 2, 100).unwrap().shape(), [200, 200]);
}
