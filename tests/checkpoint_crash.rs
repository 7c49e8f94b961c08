//! A checkpoint whose writer is killed, or whose disk fails, at any system call: what was committed before stays.
//!
//! The tests run themselves under strace, which kills the process, or makes the call fail, at the n-th call of a kind; n
//! grows until that call is not reached any more. Without strace they say so and pass.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use steadfast::checkpoint::{Header, Reader, save, store};
use steadfast::field::{Component, Field, ScalarKind};
use steadfast::grid::{Grid, Partition, Tiling, Vector};
use steadfast::rundir::checkpoints_in;

/// Names the directory in which the program under strace writes a checkpoint.
const DIRECTORY: &str = "STEADFAST_CRASH_DIR";

/// If set, the program reads the newest checkpoint instead.
const READ: &str = "STEADFAST_CRASH_READ";

/// The checkpoints that are there before; the first two are too old when the new one is committed.
const OLD: [u64; 3] = [1, 2, 3];

/// The checkpoint that is written.
const NEW: u64 = 4;

/// Every call by which a checkpoint changes files or learns whether it did.
const CALLS: [&str; 14] = [
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
    "statfs",
    "statx",
    "getdents64",
];

fn write(directory: &Path, step: u64) -> steadfast::Result<u64> {
    let grid = Grid::new([40, 24], Vector::ZERO, Vector([1.0; 2]), [false; 2])?;
    let tiling = Tiling::new(grid, [16, 8])?;
    let costs = vec![1.0; tiling.len()];
    let partition = Partition::by_cost(&costs, 1);
    let mut field = Field::<f64, 2>::new(&tiling, &partition, 0, 0, 1);
    for patch in field.patches_mut() {
        patch.data_mut().iter_mut().enumerate().for_each(|(i, x)| *x = step as f64 + 1.0 / (1.0 + i as f64));
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

/// What runs under strace: writes the new checkpoint, removes what is too old, and says on its last line how that ended.
#[test]
fn under_strace() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let directory = Path::new(&directory);
    let read = || Reader::open(path(directory, NEW - 1))?.fingerprint().map(drop);
    let write = || {
        write(directory, NEW)?;
        println!("\ncommitted");
        store::retain(directory, NEW, 2)
    };
    match if std::env::var_os(READ).is_some() { read() } else { write() } {
        Ok(()) => println!("\nended: well"),
        Err(error) => println!("\nended: {error}"),
    }
}

/// Writes the new checkpoint under strace, which looks only at calls that concern checkpoints.
fn strace(directory: &Path, options: &[&str]) -> std::io::Result<Output> {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-y", "-o"]).arg(directory.join("trace"));
    let checkpoints = OLD.iter().chain([&NEW]).map(|&step| path(directory, step));
    for path in checkpoints.chain([directory.to_owned(), partial(directory)]) {
        command.arg("-P").arg(path);
    }
    command.args(options).arg("--").arg(std::env::current_exe()?).args(["--exact", "under_strace", "--nocapture"]);
    command.env(DIRECTORY, directory).output()
}

/// The same while a call meets a fault; tells what was said, and whether the call was reached.
fn with_fault(directory: &Path, fault: &str) -> (String, bool) {
    let output = strace(directory, &["-e", &format!("inject={fault}")]).unwrap();
    let trace = std::fs::read_to_string(directory.join("trace")).unwrap();
    (String::from_utf8_lossy(&output.stdout).into_owned(), trace.contains("(INJECTED)") || !output.status.success())
}

fn strace_works() -> bool {
    let works = Command::new("strace").args(["-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success());
    if !works {
        eprintln!("not checked: strace cannot be run here");
    }
    works
}

/// The new checkpoint while it is written.
fn partial(directory: &Path) -> PathBuf {
    path(directory, NEW).with_extension("h5.0.partial")
}

/// The checkpoints that are there before, to be copied from.
fn old() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for step in OLD {
        write(directory.path(), step).unwrap();
    }
    directory
}

/// Another directory with the same checkpoints.
fn copy_of(old: &tempfile::TempDir) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for step in OLD {
        std::fs::copy(path(old.path(), step), path(directory.path(), step)).unwrap();
    }
    directory
}

/// The checkpoints of a directory, newest first; each must be sound.
fn sound(directory: &Path, place: &str) -> Vec<u64> {
    let steps: Vec<u64> = checkpoints_in(directory).unwrap().into_iter().map(|entry| entry.step).collect();
    for &step in &steps {
        assert!(is_sound(directory, step), "step {step}, {place}");
    }
    steps
}

#[test]
fn killed_at_any_call_the_checkpoints_before_stay_and_the_new_one_is_whole_or_absent() {
    if !strace_works() {
        return;
    }
    let (old, mut killed, mut whole, mut in_retention) = (old(), 0, 0, 0);
    for call in CALLS {
        for n in 1.. {
            assert!(n < 1000, "{call} never ends");
            let (directory, place) = (copy_of(&old), format!("killed at {call} {n}"));
            let (said, _) = with_fault(directory.path(), &format!("{call}:signal=KILL:when={n}"));
            let left = sound(directory.path(), &place);
            if said.contains("ended: well") {
                assert_eq!(left, [4, 3], "it ended before {call} {n}");
                break;
            }
            assert!([&[3, 2, 1][..], &[4, 3, 2, 1], &[4, 3, 2], &[4, 3]].contains(&&left[..]), "{left:?}, {place}");
            assert!(left[0] == 4 || !said.contains("committed"), "{left:?}, {place}");
            killed += 1;
            whole += usize::from(left[0] == 4);
            in_retention += usize::from(said.contains("committed"));
            // The next attempt is not disturbed by what this one left.
            write(directory.path(), NEW).unwrap();
            store::retain(directory.path(), NEW, 2).unwrap();
            assert_eq!(sound(directory.path(), &place), [4, 3], "written again, {place}");
        }
    }
    println!(
        "killed {killed} times, {in_retention} of them in retention; the new one was whole {whole} times, else absent"
    );
    assert!(killed > 30 && whole > in_retention && in_retention > 3, "{killed}, {whole}, {in_retention}");
}

#[test]
fn a_call_that_fails_is_reported_and_leaves_nothing_half_done() {
    if !strace_works() {
        return;
    }
    let (old, mut failed) = (old(), 0);
    for (call, errors) in [
        ("openat", &["EACCES", "ENOSPC", "EDQUOT"][..]),
        ("pwrite64", &["ENOSPC", "EIO", "EDQUOT"]),
        ("fsync", &["EIO", "ENOSPC", "EDQUOT"]),
        ("ftruncate", &["EIO", "ENOSPC"]),
        ("fallocate", &["ENOSPC", "EIO", "EDQUOT"]),
        ("rename", &["EIO", "EROFS", "EDQUOT"]),
        ("unlink", &["EIO", "EROFS"]),
        ("pread64", &["EIO"]),
        ("statfs", &["EIO"]),
        ("statx", &["EIO"]),
        ("getdents64", &["EIO"]),
    ] {
        for error in errors {
            for n in 1.. {
                assert!(n < 1000, "{call} never ends");
                let (directory, place) = (copy_of(&old), format!("{error} at {call} {n}"));
                let (said, reached) = with_fault(directory.path(), &format!("{call}:error={error}:when={n}"));
                let left = sound(directory.path(), &place);
                assert!(said.contains("ended: "), "{place}: {said}");
                if said.contains("ended: well") {
                    assert_eq!(left, [4, 3], "{place}");
                } else {
                    failed += 1;
                    // A name that may not last is no commit, but its file is whole.
                    let named = said.contains("committed") || said.contains("name on stable storage");
                    assert_eq!(left[0], if named { 4 } else { 3 }, "{place}: {said}");
                    assert!(said.contains("committed") || left.ends_with(&OLD.map(|step| 4 - step)), "{place}: {said}");
                    assert!(said.contains(directory.path().to_str().unwrap()), "the file is not named: {said}");
                    // Who cannot even learn whether a file is his own leaves it to the next owner of the lease.
                    assert!(
                        !partial(directory.path()).exists() || call == "statx" || call == "unlink",
                        "{place}: {said}"
                    );
                }
                if !reached {
                    break;
                }
            }
        }
    }
    assert!(failed > 40, "only {failed} calls failed");
}

#[test]
fn an_interrupted_call_gives_the_same_file() {
    if !strace_works() {
        return;
    }
    let old = old();
    let undisturbed = copy_of(&old);
    write(undisturbed.path(), NEW).unwrap();
    let bytes = std::fs::read(path(undisturbed.path(), NEW)).unwrap();
    let mut interrupted = 0;
    for call in CALLS {
        for n in 1.. {
            assert!(n < 1000, "{call} never ends");
            let directory = copy_of(&old);
            let (said, reached) = with_fault(directory.path(), &format!("{call}:error=EINTR:when={n}"));
            if !reached {
                break;
            }
            interrupted += 1;
            assert!(said.contains("ended: well"), "{call} {n}: {said}");
            assert_eq!(sound(directory.path(), call), [4, 3], "{call} {n}");
            assert!(std::fs::read(path(directory.path(), NEW)).unwrap() == bytes, "another file: {call} {n}");
        }
    }
    println!("interrupted {interrupted} times");
    assert!(interrupted > 30, "only {interrupted} calls were interrupted");
}

#[test]
fn a_read_that_fails_is_an_error_and_no_crash() {
    if !strace_works() {
        return;
    }
    let directory = old();
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
    let directory = old();
    strace(directory.path(), &["-e", "trace=pwrite64,write,ftruncate,fallocate,fsync,rename,unlink"]).unwrap();
    let trace = std::fs::read_to_string(directory.path().join("trace")).unwrap();
    let calls: Vec<_> = trace.lines().filter(|line| line.contains('(')).collect();
    let rename = calls.iter().position(|line| line.contains("rename(")).expect("it is renamed");
    assert!(calls[rename - 1].contains("fsync(") && calls[rename - 1].contains(".partial>"), "{trace}");
    assert!(calls[rename + 1].contains("fsync(") && !calls[rename + 1].contains(".partial>"), "{trace}");
    let rest: Vec<_> = calls[rename + 2..].iter().map(|line| line.contains("unlink(")).collect();
    assert_eq!(rest, [true, true, false], "the old ones go after the commit, and that is made durable: {trace}");
}
