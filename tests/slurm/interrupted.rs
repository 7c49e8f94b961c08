//! Story 0, of the test itself: a cluster that nobody takes down is gone with the test that started it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cluster::Cluster;
use super::draw::Draw;
use super::mode::{self, Mode};
use super::times::Times;

/// The word by which this program knows that it is to hold a cluster until it is killed.
pub const ROLE: &str = "__hold";

/// How long a cluster may take to vanish.
const BURIAL: Duration = Duration::from_secs(20);

/// Starts a cluster with a job, tells where it is, and waits for the end.
pub fn hold() -> ExitCode {
    // A shell that started the tests in the background has them ignore what the keyboard sends.
    let always = Arc::new(AtomicBool::new(true));
    if signal_hook::flag::register_conditional_shutdown(signal_hook::consts::SIGINT, 130, always).is_err() {
        return ExitCode::FAILURE;
    }
    let Ok(cluster) = Mode::here().and_then(Cluster::start) else { return ExitCode::FAILURE };
    let id = cluster.ask("sbatch", &["--parsable", "--output=/dev/null", "--wrap=sleep 1000"]);
    let id = id.trim().parse().expect("sbatch prints a number");
    cluster.see("a job that sleeps", BURIAL, || cluster.job(id).is_running());
    println!("{}", cluster.shared().display());
    loop {
        std::thread::park();
    }
}

/// Killed, and interrupted at the keyboard, a test leaves no process and no file; meanwhile another has a cluster too.
pub fn nothing_is_left(cluster: &Cluster, _: &Draw) -> Times {
    for signal in [Signal::SIGKILL, Signal::SIGINT] {
        let this = std::env::current_exe().expect("this test has a path");
        let mut command = Command::new(this);
        command.arg(ROLE).env(mode::WISH, cluster.mode.to_string()).process_group(0);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("this test starts again");
        let mut line = String::new();
        let read = BufReader::new(child.stdout.take().expect("it was asked for")).read_line(&mut line);
        let directory = Path::new(line.trim()).parent().filter(|_| read.is_ok()).map(Path::to_owned);
        let pid = child.id().cast_signed();
        // A terminal sends its signal to the whole group.
        let whom = if signal == Signal::SIGINT { -pid } else { pid };
        kill(Pid::from_raw(whom), signal).expect("it lives");
        child.wait().expect("it is a child");
        let directory = directory.expect("the other test told where its cluster is");
        let vanished = cluster.is_seen(BURIAL, || !directory.exists() && mentioning(&directory).is_empty());
        assert!(vanished, "after {signal} {} is left, with {:?}", directory.display(), mentioning(&directory));
    }
    Times::default()
}

/// The processes of this machine whose command lines or environments name a directory.
fn mentioning(directory: &Path) -> Vec<String> {
    let name = directory.as_os_str().as_encoded_bytes();
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let names = |file: &Path| {
        let bytes = fs::read(file).unwrap_or_default();
        bytes.windows(name.len()).any(|window| window == name)
    };
    let marked = entries.filter(|process| names(&process.join("cmdline")) || names(&process.join("environ")));
    marked.map(|process| fs::read_to_string(process.join("comm")).unwrap_or_default().trim().to_owned()).collect()
}
