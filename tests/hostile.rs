//! Files that somebody made to do harm: each is refused with a reason, or read; none crashes, hangs, or leads to another file.
//!
//! - `STEADFAST_HOSTILE` is how many random files are tried (default 400);
//! - `STEADFAST_HOSTILE_SEED` is the first of their seeds (default 0). A seed that fails is named.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use hdf5::plist::dataset_create::AllocTime;
use proptest::prelude::*;
use steadfast::checkpoint::{Header, Reader, save};
use steadfast::error::{Error, Kind};
use steadfast::field::{Component, Field, Scalar};
use steadfast::grid::{Cell, Grid, Partition, Tiling, Vector, random};
use steadfast::rundir::{Event, Finished, Heartbeat, HeartbeatRecord, Journal, Lease, Orders, RunDirectory, Status};

/// Writes a sound checkpoint of two fields on 24 × 10 cells.
fn sound(path: &Path) -> Header {
    sound_of(path, &["u", "v"])
}

/// Writes a sound checkpoint of these fields on 24 × 10 cells.
fn sound_of(path: &Path, fields: &[&str]) -> Header {
    let grid = Grid::new([24, 10], Vector::ZERO, Vector([1.0; 2]), [true, false]).unwrap();
    let tiling = Tiling::new(grid, [8, 5]).unwrap();
    let partition = Partition::by_cost(&vec![1.0; tiling.len()], 1);
    let mut field = Field::<f64, 2>::new(&tiling, &partition, 0, 1, fields.len());
    for (i, number) in field.patches_mut().iter_mut().flat_map(|block| block.data_mut()).enumerate() {
        *number = i as f64;
    }
    let header = Header {
        program: "test".into(),
        version: "0.1.0".into(),
        run_id: "run-1".into(),
        epoch: 3,
        step: 42,
        time: 0.5,
        cells: vec![24, 10],
        lower: vec![0.0; 2],
        upper: vec![1.0; 2],
        periodic: vec![true, false],
        block: vec![8, 5],
        components: fields.iter().map(|name| Component::scalar(*name, "1")).collect(),
        scalar: f64::KIND,
        case: "title = \"test\"\n".into(),
        physics: "none".into(),
        replicated: BTreeMap::from([("clock".to_owned(), serde_json::json!({ "step": 42 }))]),
    };
    save(path, &header, &tiling, &field, &vec![1.0; tiling.len()]).unwrap();
    header
}

/// All that a restart and the tools read of a checkpoint.
fn read_all(path: &Path) -> steadfast::Result<(Header, u64)> {
    let reader = Reader::open(path)?;
    let report = reader.verify()?;
    if let Some(fault) = report.faults.into_iter().next() {
        return Err(fault.error);
    }
    Ok((reader.header().clone(), reader.fingerprint()?))
}

#[test]
fn a_checkpoint_of_any_number_of_fields_is_read() {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("a.h5");
    for count in (1..40).chain([100, 400, 1500]) {
        let names: Vec<String> = (0..count).map(|i| format!("{}_{i}", "x".repeat(i * 7 % 60))).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let header = sound_of(&path, &names);
        let (read, _) = read_all(&path).unwrap_or_else(|error| panic!("{count} fields: {error}"));
        assert_eq!(read, header);
    }
}

/// HDF5 files with metadata of the kind that checkpoints have.
fn newer() -> hdf5::FileBuilder {
    use hdf5::plist::file_access::LibraryVersion;
    let mut builder = hdf5::File::with_options();
    builder.with_fapl(|access| access.libver_bounds(LibraryVersion::V110, LibraryVersion::latest()));
    builder
}

/// A dataset that has its place in the file from birth.
fn at_once<T: hdf5::H5Type>(group: &hdf5::Group) -> hdf5::DatasetBuilderEmpty {
    group.new_dataset::<T>().alloc_time(Some(AllocTime::Early))
}

/// Replaces one member of a sound checkpoint by what `make` makes of that name, and expects a refusal that says why.
fn refused(member: &str, make: impl Fn(&hdf5::Group, &str), why: &str) {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("step-0000000042.h5");
    sound(&path);
    let file = newer().open_as(&path, hdf5::OpenMode::ReadWrite).unwrap();
    let (group, name) = member.rsplit_once('/').unwrap_or(("/", member));
    let group = file.group(group).unwrap();
    group.unlink(name).unwrap();
    make(&group, name);
    drop(group);
    file.close().unwrap();
    let (before, files) = (fs::read(&path).unwrap(), fs::read_dir(room.path()).unwrap().count());
    let error = read_all(&path).unwrap_err();
    assert_eq!(error.kind(), Kind::Checkpoint, "{error}");
    assert!(error.to_string().contains(why), "{member}: {error}\nshould say {why:?}");
    assert!(fs::read(&path).unwrap() == before, "nothing is written");
    assert_eq!(fs::read_dir(room.path()).unwrap().count(), files, "no file is made");
}

#[test]
fn no_link_of_a_checkpoint_leads_anywhere() {
    let room = tempfile::tempdir().unwrap();
    let other = room.path().join("other.h5");
    sound(&other);
    let other = other.to_str().unwrap();
    for member in ["fields", "fields/u", "checkpoint", "checkpoint/header", "checkpoint/checksums", "checkpoint/seal"] {
        let target = format!("/{member}");
        let elsewhere = "leads elsewhere";
        refused(member, |group, name| group.link_external(other, &target, name).unwrap(), elsewhere);
        refused(member, |group, name| group.link_soft("/VTKHDF/CellData/v", name).unwrap(), elsewhere);
        refused(member, |group, name| group.link_soft(&target, name).unwrap(), elsewhere);
    }
}

#[test]
fn a_group_that_holds_itself_is_refused() {
    refused("fields", |group, name| group.link_hard("/", name).unwrap(), "has no member u");
    refused("checkpoint", |group, name| group.link_hard("/fields", name).unwrap(), "format");
    let cycle = |group: &hdf5::Group, name: &str| {
        group.create_group(name).unwrap().link_hard("/fields", "u").unwrap();
    };
    refused("fields", cycle, "u is no dataset");
}

#[test]
fn a_field_that_is_not_stored_plainly_in_the_file_itself_is_refused() {
    let room = tempfile::tempdir().unwrap();
    let other = room.path().join("other");
    fs::write(&other, [0; 24 * 10 * 8]).unwrap();
    let other = other.to_str().unwrap();
    let plainly = "u is not stored plainly";
    let dataset = |group: &hdf5::Group| at_once::<f64>(group).shape([10, 24]);
    refused("fields/u", |group, name| drop(dataset(group).external(other, 0, 1920).create(name).unwrap()), plainly);
    let virtual_map = |group: &hdf5::Group, name: &str| {
        drop(dataset(group).virtual_map(other, "u", [10, 24], .., [10, 24], ..).create(name).unwrap());
    };
    refused("fields/u", virtual_map, plainly);
    refused("fields/u", |group, name| drop(dataset(group).chunk([5, 8]).deflate(1).create(name).unwrap()), plainly);
    refused("fields/u", |group, name| drop(dataset(group).chunk([5, 8]).fletcher32().create(name).unwrap()), plainly);
    refused("fields/u", |group, name| drop(dataset(group).create(name).unwrap()), "chunks of field u");
    let later = |group: &hdf5::Group| group.new_dataset::<f64>().shape([10, 24]);
    refused("fields/u", |group, name| drop(later(group).create(name).unwrap()), "no place in the file");
    refused("fields/u", |group, name| drop(later(group).chunk([5, 8]).create(name).unwrap()), plainly);
    refused("fields/u", |group, name| drop(dataset(group).chunk([5, 4]).create(name).unwrap()), "chunks of field u");
    refused("fields/u", |group, name| drop(dataset(group).chunk([10, 24]).create(name).unwrap()), "chunks of field u");
    let resizable = |group: &hdf5::Group, name: &str| {
        drop(group.new_dataset::<f64>().shape([10.., 24..]).chunk([5, 8]).create(name).unwrap());
    };
    refused("fields/u", resizable, "no fixed shape");
}

#[test]
fn other_types_and_shapes_than_the_header_says_are_refused() {
    let of = |group: &hdf5::Group, name: &str| {
        drop(at_once::<f32>(group).shape([10, 24]).chunk([5, 8]).create(name).unwrap());
    };
    refused("fields/u", of, "u has f32 of shape [10, 24], not f64 of shape [10, 24]");
    let across = |group: &hdf5::Group, name: &str| {
        drop(at_once::<f64>(group).shape([24, 10]).chunk([8, 5]).create(name).unwrap());
    };
    refused("fields/u", across, "u has f64 of shape [24, 10], not f64 of shape [10, 24]");
    let huge = |group: &hdf5::Group, name: &str| drop(at_once::<u64>(group).shape([1 << 20]).create(name).unwrap());
    refused("checkpoint/checksums", huge, "checksums has u64 of shape [1048576]");
    refused("checkpoint/costs", huge, "costs has u64 of shape [1048576]");
    refused("checkpoint/seal", huge, "seal has u64 of shape [1048576]");
    refused("fields/u", |group, name| drop(group.create_group(name)), "u is no dataset");
    refused("checkpoint/header", |group, name| drop(group.create_group(name)), "header is no dataset");
}

#[test]
fn a_header_that_is_too_long_or_of_no_fixed_length_is_refused() {
    use hdf5::types::TypeDescriptor;
    let of = |kind: TypeDescriptor| {
        move |group: &hdf5::Group, name: &str| {
            let builder = group.new_dataset_builder().empty_as(kind.clone());
            drop(builder.alloc_time(Some(AllocTime::Early)).create(name).unwrap());
        }
    };
    refused("checkpoint/header", of(TypeDescriptor::FixedUnicode((64 << 20) + 1)), "not one text");
    refused("checkpoint/header", of(TypeDescriptor::FixedUnicode(1 << 20)), "the header cannot be understood");
    refused("checkpoint/header", of(TypeDescriptor::FixedAscii(100)), "of a type that no checkpoint has");
    refused("checkpoint/header", of(TypeDescriptor::VarLenUnicode), "of a type that no checkpoint has");
}

/// The checksum of HDF5's metadata: Bob Jenkins' lookup3, hashlittle (2006, public domain), from 0.
fn lookup3(bytes: &[u8]) -> u32 {
    let [mut a, mut b, mut c] = [0xdead_beef_u32.wrapping_add(bytes.len() as u32); 3];
    let mut rest = bytes;
    while rest.len() > 12 {
        [a, b, c] = add(rest, [a, b, c]);
        // a −= c; a ^= rot(c, k); c += b; … in turn.
        a = a.wrapping_sub(c) ^ c.rotate_left(4);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(6);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(8);
        b = b.wrapping_add(a);
        a = a.wrapping_sub(c) ^ c.rotate_left(16);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(19);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(4);
        b = b.wrapping_add(a);
        rest = &rest[12..];
    }
    if rest.is_empty() {
        return c;
    }
    [a, b, c] = add(rest, [a, b, c]);
    for (i, k) in [14, 11, 25, 16, 4, 14, 24].into_iter().enumerate() {
        match i % 3 {
            0 => c = (c ^ b).wrapping_sub(b.rotate_left(k)),
            1 => a = (a ^ c).wrapping_sub(c.rotate_left(k)),
            _ => b = (b ^ a).wrapping_sub(a.rotate_left(k)),
        }
    }
    c
}

/// Adds the next twelve bytes, with zeros beyond the end, to the state of the hash.
fn add(bytes: &[u8], state: [u32; 3]) -> [u32; 3] {
    let mut twelve = [0; 12];
    let length = bytes.len().min(12);
    twelve[..length].copy_from_slice(&bytes[..length]);
    std::array::from_fn(|i| {
        let word = u32::from_le_bytes([twelve[4 * i], twelve[4 * i + 1], twelve[4 * i + 2], twelve[4 * i + 3]]);
        state[i].wrapping_add(word)
    })
}

/// The parts of HDF5's metadata that have a checksum: the superblock and the first chunks of object headers. The checksum
/// stands behind the part.
///
/// # Sources
/// HDF5 File Format Specification Version 3.0, II.A (superblock, version 3) and IV.A.1.b (object header, version 2).
fn parts(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let superblock = 0..44;
    let mut parts = vec![superblock];
    for at in (0..bytes.len() - 16).filter(|&at| bytes[at..].starts_with(b"OHDR\x02")) {
        let flags = bytes[at + 5];
        let before = at + 6 + if flags & 0x20 == 0 { 0 } else { 16 } + if flags & 0x10 == 0 { 0 } else { 4 };
        let width = 1 << (flags & 3);
        let size = bytes[before..before + width].iter().rev().fold(0usize, |size, &byte| size << 8 | usize::from(byte));
        if let Some(end) = (before + width).checked_add(size).filter(|&end| end + 4 <= bytes.len()) {
            parts.push(at..end);
        }
    }
    parts
}

#[test]
fn the_parts_of_the_metadata_are_known_with_their_checksums() {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("a.h5");
    sound(&path);
    let bytes = fs::read(&path).unwrap();
    let parts = parts(&bytes);
    assert!(parts.len() > 8, "superblock, groups, datasets");
    for part in parts {
        assert_eq!(lookup3(&bytes[part.clone()]).to_le_bytes(), bytes[part.end..part.end + 4], "{part:?}");
    }
}

/// A sound checkpoint with some bytes of its metadata changed and HDF5's own checksums made to fit, so that HDF5 believes it.
fn hostile(sound: &[u8], seed: u64) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    let mut drawn = 0;
    let mut draw = |below: usize| {
        drawn += 1;
        (random::uniform(seed, Cell([drawn])) * below as f64) as usize
    };
    let all = parts(sound);
    let part = &all[draw(all.len())];
    for _ in 0..1 + draw(3) {
        let at = part.start + draw(part.len());
        match draw(4) {
            0 => bytes[at] ^= 1 << draw(8),
            1 => bytes[at] = draw(256) as u8,
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][draw(5)],
            _ => {
                let end = (at + 8).min(part.end);
                bytes[at..end].fill([0, 0xff][draw(2)]);
            }
        }
    }
    let sum = lookup3(&bytes[part.clone()]);
    bytes[part.end..part.end + 4].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Names the seeds that the child reads, as `from..to`.
const CHILD: &str = "STEADFAST_HOSTILE_CHILD";

/// Reads hostile files, in a process of its own; nothing unless the parent asks for it.
#[test]
fn child_that_reads_hostile_files() {
    let Ok(seeds) = std::env::var(CHILD) else { return };
    let (from, to) = seeds.split_once("..").unwrap();
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("a.h5");
    let header = sound(&path);
    let bytes = fs::read(&path).unwrap();
    let fingerprint = read_all(&path).unwrap().1;
    for seed in from.parse::<u64>().unwrap()..to.parse().unwrap() {
        println!("\nseed {seed}");
        fs::write(&path, hostile(&bytes, seed)).unwrap();
        match read_all(&path) {
            Err(_) => println!("\nrefused"),
            Ok(read) => {
                assert_eq!(
                    read,
                    (header.clone(), fingerprint),
                    "seed {seed}: the seal does not let another state pass"
                );
                println!("\nread");
            }
        }
    }
    println!("\nover");
}

/// A child that reads hostile files from a seed on, and what it says.
fn child(from: u64, to: u64) -> (Child, mpsc::Receiver<String>) {
    let this: PathBuf = std::env::current_exe().unwrap();
    let mut child = Command::new(this)
        .args(["--exact", "child_that_reads_hostile_files", "--nocapture", "--test-threads", "1"])
        .env(CHILD, format!("{from}..{to}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (send, receive) = mpsc::channel();
    let out = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || out.lines().map_while(Result::ok).for_each(|line| drop(send.send(line))));
    (child, receive)
}

/// No file takes so long to refuse, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn no_metadata_however_hostile_crashes_or_hangs_the_reader() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (mut seed, count) = (number("STEADFAST_HOSTILE_SEED", 0), number("STEADFAST_HOSTILE", 400));
    let (end, mut refused, mut read, mut failed) = (seed + count, 0, 0, Vec::new());
    while seed < end {
        let (mut child, said) = child(seed, end);
        let hangs = loop {
            match said.recv_timeout(LIMIT).as_deref() {
                Ok("refused") => refused += 1,
                Ok("read") => read += 1,
                Ok("over") => {
                    seed = end;
                    break false;
                }
                Ok(line) => seed = line.strip_prefix("seed ").map_or(seed, |now| now.parse().unwrap()),
                Err(mpsc::RecvTimeoutError::Disconnected) => break false,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    child.kill().unwrap();
                    break true;
                }
            }
        };
        let status = child.wait().unwrap();
        if seed < end {
            failed.push(format!("seed {seed}: {}", if hangs { "hangs".into() } else { status.to_string() }));
            seed += 1;
        }
    }
    println!("{count} hostile files: {refused} refused, {read} read as they were, {} failed", failed.len());
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(refused + read, count);
}

/// The records of a run directory as a run leaves them.
fn records() -> Vec<Vec<u8>> {
    let room = tempfile::tempdir().unwrap();
    let run = RunDirectory::new(room.path());
    run.create().unwrap();
    let journal = Journal::new(&run, 2);
    journal.append(Event::StopRequested { reason: "SIGTERM".into() });
    journal.append(Event::Failed { error: Error::new(Kind::State, "u is NaN").on_rank(1).in_step(2).hint("none") });
    let at = "2026-01-02T03:04:05Z".parse().unwrap();
    let finished =
        Finished { run_id: "r".into(), attempt: 2, step: 100, time: 1.5, state_hash: 1 << 60, wall_seconds: 3.0, at };
    finished.write(&run).unwrap();
    let _lease = Lease::of_attempt(&run).unwrap();
    drop(Heartbeat::start(&run, 0, &Orders::from_environment(&run).unwrap()).unwrap());
    let files = [run.journal(), run.finished(), run.lease(), run.heartbeats()];
    files.map(|path| fs::read(path).unwrap()).into()
}

/// A record with some of its bytes replaced, removed, or repeated.
fn record() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), 0..4u8, any::<u8>());
    (prop::sample::select(records()), prop::collection::vec(change, 0..6)).prop_map(|(mut bytes, changes)| {
        for (place, what, byte) in changes {
            let at = place.index(bytes.len() + 1);
            match what {
                0 => bytes.iter_mut().skip(at).take(1).for_each(|old| *old = byte),
                1 => bytes.truncate(at),
                2 => bytes.insert(at, byte),
                _ => bytes.extend_from_within(at..),
            }
        }
        bytes
    })
}

fn read_records(bytes: &[u8]) {
    let room = tempfile::tempdir().unwrap();
    let run = RunDirectory::new(room.path());
    for path in [run.journal(), run.status(), run.finished(), run.heartbeats(), run.lease()] {
        fs::write(path, bytes).unwrap();
    }
    // Who holds a lease is read only while somebody does.
    let held = fs::File::open(run.lease()).unwrap();
    held.lock().unwrap();
    let _ = Journal::read(&run).map(|entries| entries.iter().map(|entry| entry.event.to_string()).collect::<Vec<_>>());
    let _ = (Journal::last_attempt(&run), Status::read(&run), Finished::read(&run));
    let _ = (HeartbeatRecord::read_all(&run, 1), Lease::holder_of(&run.lease()));
}

proptest! {
    #[test]
    fn no_record_of_a_run_directory_crashes_its_reader(bytes in record()) {
        read_records(&bytes);
    }

    #[test]
    fn no_bytes_in_the_place_of_a_record_crash_its_reader(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        read_records(&bytes);
    }
}
