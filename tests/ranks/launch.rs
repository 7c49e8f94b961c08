//! How the checks are run under the launcher, and what is reported.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The argument that makes this program a rank that checks.
pub const CHECK: &str = "--as-rank";
/// The argument that makes it a rank of a job in which one panics.
pub const PANIC: &str = "--as-rank-that-panics";
/// The argument that makes it a rank of a job in which the disk of one fails; the failing call follows.
pub const BROKEN_DISK: &str = "--as-rank-with-a-broken-disk";
/// The argument that makes it a rank of a program that does something wrong; what follows.
pub const PROGRAM: &str = "--as-rank-of-a-program";
/// Starts the line of a check that begins.
pub const BEGUN: &str = "begun: ";
/// Starts the line of a check that has passed.
pub const PASSED: &str = "passed: ";

/// No check takes longer, even with many ranks on few cores; a launcher that is silent for longer hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// Whether a check is asked for on the command line.
pub fn selected(name: &str, words: &[String]) -> bool {
    words.is_empty() || words.iter().any(|word| name.contains(word.as_str()))
}

/// Runs all checks with each number of ranks.
pub fn all(arguments: &[String]) -> ExitCode {
    let words: Vec<String> = arguments.iter().filter(|word| !word.starts_with('-')).cloned().collect();
    let names: Vec<_> = super::checks().into_iter().map(|(name, _)| name).filter(|n| selected(n, &words)).collect();
    if arguments.iter().any(|word| word == "--list") {
        names.iter().for_each(|name| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut failed = Vec::new();
    let mut passed = 0;
    let mut report = |name: String, outcome: Result<(), String>| match outcome {
        Ok(()) => {
            println!("test {name} ... ok");
            passed += 1;
        }
        Err(reason) => {
            println!("test {name} ... FAILED: {reason}");
            failed.push(name);
        }
    };
    for ranks in numbers_of_ranks().into_iter().filter(|_| !names.is_empty()) {
        let mut outcomes = run_checks(ranks, &words);
        for name in &names {
            let outcome = outcomes.remove(name.to_owned()).unwrap_or(Err("was not reached".into()));
            report(format!("{name} (ranks: {ranks})"), outcome);
        }
    }
    for (name, test) in [
        ("a_panic_on_one_rank_ends_all", a_panic_on_one_rank_ends_all as fn() -> Result<(), String>),
        ("the_launcher_of_another_mpi_is_refused", the_launcher_of_another_mpi_is_refused),
        ("a_disk_that_fails_on_one_rank_discards_on_all", a_disk_that_fails_on_one_rank_discards_on_all),
        ("what_a_program_does_wrong_on_one_rank_ends_all", what_a_program_does_wrong_on_one_rank_ends_all),
    ] {
        if selected(name, &words) {
            report(name.to_owned(), test());
        }
    }
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    println!("\ntest result: {verdict}. {passed} passed; {} failed", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn numbers_of_ranks() -> Vec<usize> {
    let list = std::env::var("STEADFAST_TEST_RANKS").unwrap_or("1 2 3 4 5 6 7 8".into());
    list.split_whitespace().map(|n| n.parse().expect("STEADFAST_TEST_RANKS is a list of numbers")).collect()
}

/// This program under the launcher.
fn command(ranks: usize, mode: &str) -> Command {
    let launcher = std::env::var("MPIEXEC").unwrap_or("mpirun".into());
    let mut command = Command::new(launcher);
    command.args(["-n", &ranks.to_string()]).arg(std::env::current_exe().expect("this program has a path")).arg(mode);
    // Open MPI refuses root and more ranks than cores unless it is told; others ignore this.
    for variable in ["ALLOW_RUN_AS_ROOT", "ALLOW_RUN_AS_ROOT_CONFIRM", "MCA_rmaps_base_oversubscribe"] {
        command.env(format!("OMPI_{variable}"), "1");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// What became of each check that was begun.
fn run_checks(ranks: usize, words: &[String]) -> BTreeMap<String, Result<(), String>> {
    let mut child = command(ranks, CHECK).args(words).spawn().expect("the launcher starts; MPIEXEC may name another");
    let lines = lines(child.stdout.take().expect("the output is piped"));
    let mut outcomes = BTreeMap::new();
    let mut current = None;
    let reason = loop {
        match lines.recv_timeout(LIMIT) {
            Ok(line) => {
                if let Some(name) = line.strip_prefix(BEGUN) {
                    current = Some(name.to_owned());
                } else if let Some(name) = line.strip_prefix(PASSED) {
                    outcomes.insert(name.to_owned(), Ok(()));
                    current = None;
                } else {
                    println!("{line}");
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                end(&mut child);
                break format!("did not end within {LIMIT:?}");
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = child.wait().expect("a child can be waited for");
                if !status.success() && current.is_none() {
                    current = outcomes.keys().next_back().cloned();
                }
                break format!("the job ended with {status}");
            }
        }
    };
    if let Some(name) = current {
        outcomes.insert(name, Err(reason));
    }
    outcomes
}

/// The lines of a stream, as they come.
fn lines(stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || BufReader::new(stream).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    receiver
}

/// Asks the launcher to end its ranks and waits for it.
fn end(child: &mut Child) {
    let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM);
    let _ = child.wait();
}

/// The code and the standard error of a command that must end by itself.
fn output(mut command: Command) -> Result<(Option<i32>, String), String> {
    let mut child = command.stderr(Stdio::piped()).spawn().map_err(|cause| cause.to_string())?;
    let lines = lines(child.stderr.take().expect("the errors are piped"));
    let mut text = String::new();
    loop {
        match lines.recv_timeout(LIMIT) {
            Ok(line) => text += &(line + "\n"),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                end(&mut child);
                return Err(format!("did not end within {LIMIT:?}"));
            }
        }
    }
    Ok((child.wait().map_err(|cause| cause.to_string())?.code(), text))
}

fn a_panic_on_one_rank_ends_all() -> Result<(), String> {
    let (code, text) = output(command(2, PANIC))?;
    let told = text.contains("rank 1 stops all ranks") && text.contains("this rank panics on purpose");
    if code != Some(0) && told { Ok(()) } else { Err(format!("exit code {code:?}, errors:\n{text}")) }
}

/// Under the launcher of another MPI each process is alone, and only the environment knows better.
fn the_launcher_of_another_mpi_is_refused() -> Result<(), String> {
    let mut alone = Command::new(std::env::current_exe().expect("this program has a path"));
    alone.arg(CHECK).env("OMPI_COMM_WORLD_SIZE", "4").stdin(Stdio::null()).stdout(Stdio::null());
    let (code, text) = output(alone)?;
    let told = text.contains("OMPI_COMM_WORLD_SIZE=4") && text.contains("finds 1") && text.contains("hint:");
    if code == Some(2) && told { Ok(()) } else { Err(format!("exit code {code:?}, errors:\n{text}")) }
}

/// Each rank ends with success if the checkpoint was discarded for the reason that rank 1 has.
fn a_disk_that_fails_on_one_rank_discards_on_all() -> Result<(), String> {
    if Command::new("strace").args(["-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success()) {
        for fault in ["pwrite64:error=ENOSPC", "fsync:error=EIO", "openat:error=EACCES", "pread64:error=EIO"] {
            let mut job = command(2, BROKEN_DISK);
            job.arg(fault);
            let (code, text) = output(job)?;
            if code != Some(0) {
                return Err(format!("{fault}: exit code {code:?}, errors:\n{text}"));
            }
        }
    } else {
        println!("not checked: strace cannot be run here");
    }
    Ok(())
}

/// Each rank ends with success if it got the error that it should.
fn what_a_program_does_wrong_on_one_rank_ends_all() -> Result<(), String> {
    for what in super::programs::WRONGS {
        let mut job = command(3, PROGRAM);
        job.arg(what);
        let (code, text) = output(job)?;
        if code != Some(0) {
            return Err(format!("{what}: exit code {code:?}, errors:\n{text}"));
        }
    }
    Ok(())
}
