//! A checkpoint whose writer is killed, or whose disk fails, at any system call: what was committed before stays.
//!
//! The tests run themselves under strace, which kills the process, or makes the call fail, at the n-th call of a kind; n
//! grows until that call is not reached any more. Without strace they say so and pass.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use steadfast::checkpoint::{Header, Reader, save};
use steadfast::field::{Component, Field, ScalarKind};
use steadfast::grid::{Grid, Partition, Tiling, Vector};

/// Names the directory in which the program under strace writes a checkpoint.
const DIRECTORY: &str = "STEADFAST_CRASH_DIR";

/// If set, the program reads the checkpoint of step 2 instead.
const READ: &str = "STEADFAST_CRASH_READ";

/// Every call by which a checkpoint changes files or learns whether it did.
const CALLS: [&str; 11] = [
    "openat",
    "pwrite64",
    "write",
    "fsync",
    "ftruncate",
    "fallocate",
    "rename",
    "unlink",
    "close",
    "pread64",
    "fadvise64",
];

fn write(directory: &Path, step: u64) -> steadfast::Result<u64> {
    let grid = Grid::new([40, 24], Vector::ZERO, Vector([1.0; 2]), [false; 2])?;
    let tiling = Tiling::new(grid, [16, 8])?;
    let costs = vec![1.0; tiling.len()];
    let partition = Partition::by_cost(&costs, 1);
    let mut field = Field::<f64, 2>::new(&tiling, &partition, 0, 0, 1);
    for block in field.blocks_mut() {
        let id = block.id().index() as f64;
        block.data_mut().iter_mut().enumerate().for_each(|(i, x)| *x = step as f64 + id / (1.0 + i as f64));
    }
    let header = Header {
        program: "crash".into(),
        version: "0".into(),
        run_id: "run".into(),
        epoch: 0,
        step,
        time: step as f64,
        cells: vec![40, 24],
        lower: vec![0.0; 2],
        upper: vec![1.0; 2],
        periodic: vec![false; 2],
        block: vec![16, 8],
        components: vec![Component::scalar("u", "1")],
        scalar: ScalarKind::F64,
        case: String::new(),
        physics: String::new(),
        replicated: BTreeMap::new(),
    };
    save(path(directory, step), &header, &tiling, &field, &costs)
}

fn path(directory: &Path, step: u64) -> PathBuf {
    directory.join(steadfast::rundir::checkpoint_name(step))
}

fn is_sound(directory: &Path, step: u64) -> bool {
    Reader::open(path(directory, step)).and_then(|reader| reader.verify()).is_ok_and(|report| report.faults.is_empty())
}

/// What runs under strace: writes the checkpoint of step 2, and says on its last line how that ended.
#[test]
fn under_strace() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let directory = Path::new(&directory);
    let read = || Reader::open(path(directory, 2))?.fingerprint();
    match if std::env::var_os(READ).is_some() { read() } else { write(directory, 2) } {
        Ok(_) => println!("\nended: well"),
        Err(error) => println!("\nended: {error}"),
    }
}

/// Writes step 2 under strace, which looks only at calls that concern the checkpoint.
fn strace(directory: &Path, options: &[&str]) -> std::io::Result<Output> {
    let (last, partial) = (path(directory, 2), path(directory, 2).with_extension("h5.partial"));
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-y", "-o"]).arg(directory.join("trace"));
    for path in [directory, &last, &partial] {
        command.arg("-P").arg(path);
    }
    command.args(options).arg("--").arg(std::env::current_exe()?).args(["--exact", "under_strace", "--nocapture"]);
    command.env(DIRECTORY, directory).output()
}

fn strace_works() -> bool {
    let works = Command::new("strace").args(["-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success());
    if !works {
        eprintln!("not checked: strace cannot be run here");
    }
    works
}

/// A directory with a sound checkpoint of step 1.
fn with_one_checkpoint() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 1).unwrap();
    directory
}

#[test]
fn killed_at_any_call_the_checkpoint_before_stays_and_the_new_one_is_whole_or_absent() {
    if !strace_works() {
        return;
    }
    let (mut killed, mut whole) = (0, 0);
    for call in CALLS {
        for n in 1.. {
            assert!(n < 1000, "{call} never ends");
            let directory = with_one_checkpoint();
            let inject = format!("inject={call}:signal=KILL:when={n}");
            let output = strace(directory.path(), &["-e", &inject]).unwrap();
            assert!(is_sound(directory.path(), 1), "killed at {call} {n}");
            if String::from_utf8_lossy(&output.stdout).contains("ended: well") {
                assert!(is_sound(directory.path(), 2), "it ended before {call} {n}");
                break;
            }
            killed += 1;
            if path(directory.path(), 2).exists() {
                assert!(is_sound(directory.path(), 2), "killed at {call} {n}");
                whole += 1;
            }
            // The next attempt is not disturbed by what this one left.
            write(directory.path(), 2).unwrap();
            assert!(is_sound(directory.path(), 2), "written again after {call} {n}");
        }
    }
    println!("killed {killed} times; the new checkpoint was whole {whole} times, absent otherwise");
    assert!(killed > 20 && whole > 0, "killed {killed} times, whole {whole} times");
}

#[test]
fn a_call_that_fails_is_reported_and_leaves_nothing_behind() {
    if !strace_works() {
        return;
    }
    let mut failed = 0;
    for (call, errors) in [
        ("openat", &["EACCES", "ENOSPC"][..]),
        ("pwrite64", &["ENOSPC", "EIO", "EDQUOT"]),
        ("fsync", &["EIO", "ENOSPC"]),
        ("ftruncate", &["EIO", "ENOSPC"]),
        ("fallocate", &["ENOSPC", "EIO"]),
        ("rename", &["EIO", "EROFS"]),
        ("pread64", &["EIO"]),
    ] {
        for error in errors {
            for n in 1.. {
                assert!(n < 1000, "{call} never ends");
                let directory = with_one_checkpoint();
                let inject = format!("inject={call}:error={error}:when={n}");
                let output = strace(directory.path(), &["-e", &inject]).unwrap();
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                let trace = std::fs::read_to_string(directory.path().join("trace")).unwrap();
                assert!(is_sound(directory.path(), 1), "{error} at {call} {n}");
                assert!(said.contains("ended: "), "{error} at {call} {n}: {said}");
                if said.contains("ended: well") {
                    assert!(is_sound(directory.path(), 2), "{error} at {call} {n}");
                } else {
                    failed += 1;
                    let left = [path(directory.path(), 2), path(directory.path(), 2).with_extension("h5.partial")];
                    assert!(left.iter().all(|path| !path.exists()), "{error} at {call} {n}: {said}");
                    assert!(said.contains(directory.path().to_str().unwrap()), "the file is not named: {said}");
                }
                if !trace.contains("(INJECTED)") {
                    break;
                }
            }
        }
    }
    assert!(failed > 20, "only {failed} calls failed");
}

#[test]
fn a_read_that_fails_is_an_error_and_no_crash() {
    if !strace_works() {
        return;
    }
    let directory = with_one_checkpoint();
    write(directory.path(), 2).unwrap();
    let mut failed = 0;
    for call in ["openat", "pread64", "read", "newfstatat"] {
        for n in 1.. {
            let inject = format!("inject={call}:error=EIO:when={n}");
            let said = strace(directory.path(), &["-E", &format!("{READ}=1"), "-e", &inject]).unwrap().stdout;
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(said.contains("ended: "), "{call} {n}: {said}");
            if !std::fs::read_to_string(directory.path().join("trace")).unwrap().contains("(INJECTED)") {
                assert!(said.contains("ended: well"), "{call} {n}: {said}");
                break;
            }
            failed += usize::from(!said.contains("ended: well"));
        }
    }
    assert!(failed > 10, "only {failed} calls failed");
}

#[test]
fn the_rename_comes_when_everything_is_on_stable_storage_and_is_made_durable_itself() {
    if !strace_works() {
        return;
    }
    let directory = with_one_checkpoint();
    strace(directory.path(), &["-e", "trace=pwrite64,write,ftruncate,fallocate,fsync,rename"]).unwrap();
    let trace = std::fs::read_to_string(directory.path().join("trace")).unwrap();
    let calls: Vec<_> = trace.lines().filter(|line| line.contains('(')).collect();
    let rename = calls.iter().position(|line| line.contains("rename(")).expect("it is renamed");
    assert!(calls[rename - 1].contains("fsync(") && calls[rename - 1].contains(".partial>"), "{trace}");
    assert!(calls[rename + 1].contains("fsync(") && !calls[rename + 1].contains(".partial>"), "{trace}");
    assert_eq!(calls.len(), rename + 2, "nothing is written after the commit: {trace}");
}
