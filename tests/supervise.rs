//! The supervisor's promises, kept with a fake launcher and fake ranks: no MPI is needed.
//!
//! The fake launcher is a shell script called `mpirun`. The fake ranks are this very test binary, called again with
//! [`fake_rank`] as its only test: they use the crate's own heartbeats, journal and lease, keep step with each other by
//! files, and do at a chosen attempt, rank and step what `FAULT` says.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};
use serde_json::Value;
use steadfast::Error;
use steadfast::rundir::{Event, Finished, Heartbeat, Journal, Lease, Orders, Phase, RunDirectory};

/// The fake run's length, and how often it saves.
const STEPS: u64 = 40;
const SAVE_EVERY: u64 = 10;
const RANKS: usize = 3;

/// Nothing here should ever take so long; a wait that does names what was missing.
const LIMIT: Duration = Duration::from_secs(30);

const LAUNCHER: &str = r#"#!/bin/bash
[ "$1" = --version ] && { echo "mpirun (Open MPI) 4.1.4 (fake)"; exit; }
ranks=$2; shift 2
while [ "$1" = -x ]; do shift 2; done
for ((rank = 0; rank < ranks; rank++)); do FAKE_RANK=$rank "$@" & done
code=0
for ((rank = 0; rank < ranks; rank++)); do wait -n || { code=$?; break; }; done
if [ $code != 0 ]; then read -rt 0.1 <> <(:); kill -9 $(jobs -p) 2>/dev/null; fi
exit ${FAKE_LAUNCHER_CODE:-$code}
"#;

/// A place with a fake launcher and a fake program.
struct Room {
    directory: tempfile::TempDir,
}

impl Room {
    fn new() -> Room {
        let room = Room { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(room.path("bin")).unwrap();
        fs::create_dir(room.path("pids")).unwrap();
        room.script("mpirun", LAUNCHER);
        let this = std::env::current_exe().unwrap();
        let again = format!("exec {} fake_rank --exact --ignored --nocapture", this.display());
        room.script("heat", &format!("#!/bin/bash\nexport FAKE_ARGUMENTS=\"$*\"\n{again}\n"));
        room
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn script(&self, name: &str, text: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self) -> RunDirectory {
        RunDirectory::new(self.path("heat.run"))
    }

    /// `steadfast launch OPTIONS -- heat run heat.toml ARGUMENTS`, with the faults to happen.
    fn launch_with(&self, fault: &str, options: &[&str], arguments: &[&str]) -> Supervisor {
        let old_path = std::env::var("PATH").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast"));
        command
            .current_dir(self.directory.path())
            .env("PATH", format!("{}:{old_path}", self.path("bin").display()))
            .env("FAULT", fault)
            .env("FAKE_ROOM", self.directory.path())
            .args(["launch", "-n", &RANKS.to_string()])
            .args(options)
            .args(["--", "heat", "run", "heat.toml"])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Some(code) = fault.split(' ').find_map(|word| word.strip_prefix("code=")) {
            command.env("FAKE_LAUNCHER_CODE", code);
        }
        Supervisor { child: command.spawn().unwrap() }
    }

    fn launch(&self, fault: &str, options: &[&str]) -> Supervisor {
        self.launch_with(fault, options, &[])
    }

    /// `steadfast COMMAND heat.run OPTIONS`: its exit code and what it printed to stdout.
    fn tool(&self, command: &str, options: &[&str]) -> (Option<i32>, String) {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_steadfast"));
        let output =
            tool.current_dir(self.directory.path()).args([command, "heat.run"]).args(options).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }

    fn events(&self) -> Vec<Event> {
        Journal::read(&self.run()).unwrap().into_iter().map(|entry| entry.event).collect()
    }

    /// Where each attempt began, as the ranks journalled it.
    fn starts(&self) -> Vec<Option<u64>> {
        let start = |event| match event {
            Event::Started { resumed_from, .. } => Some(resumed_from),
            _ => None,
        };
        self.events().into_iter().filter_map(start).collect()
    }

    fn launches(&self) -> usize {
        self.events().iter().filter(|event| matches!(event, Event::AttemptLaunched { .. })).count()
    }

    /// The process ids of all ranks that ever lived here.
    fn pids(&self) -> Vec<i32> {
        let names = fs::read_dir(self.path("pids")).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.to_str().unwrap().parse().unwrap()).collect()
    }

    fn assert_nobody_lives(&self) {
        wait_until("the end of all ranks", || self.pids().into_iter().all(|pid| !lives(pid)));
    }
}

/// A running `steadfast launch`.
struct Supervisor {
    child: Child,
}

impl Supervisor {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits for the end; gives the exit status and what was told on stderr.
    fn end(mut self) -> (ExitStatus, String) {
        let mut told = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        (self.child.wait().unwrap(), told)
    }

    /// Waits for the end, which must have this exit code; gives what was told.
    fn ends_with(self, code: i32) -> String {
        let (status, told) = self.end();
        assert_eq!(status.code(), Some(code), "{told}");
        told
    }
}

fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next()).is_some_and(|state| state != 'Z')
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < end, "never seen: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_undisturbed_run_needs_one_attempt() {
    let room = Room::new();
    let told = room.launch("", &[]).ends_with(0);
    assert!(told.contains("mpirun (Open MPI; the first on PATH)"), "{told}");
    assert_eq!(room.starts(), [None]);
    assert_eq!(room.pids().len(), RANKS);
    room.assert_nobody_lives();
}

#[test]
fn a_dead_rank_is_named_and_the_run_goes_on_from_its_newest_checkpoint() {
    let room = Room::new();
    let told = room.launch("1:2:25:kill", &[]).ends_with(0);
    assert!(told.contains("attempt 1: rank 2 on node"), "{told}");
    assert!(told.contains("was killed by signal 9, last seen in step "), "{told}");
    assert!(told.contains("; relaunching from step 20"), "{told}");
    assert_eq!(room.starts(), [None, Some(20)]);
    assert!(room.events().iter().any(|event| matches!(event, Event::RankDied { rank: 2, signal: Some(9), .. })));
    room.assert_nobody_lives();
}

#[test]
fn a_dead_launcher_takes_its_ranks_along_and_is_replaced() {
    let room = Room::new();
    let told = room.launch("1:1:25:kill-launcher", &[]).ends_with(0);
    assert!(told.contains("the launcher was killed by signal 9"), "{told}");
    assert_eq!(room.starts(), [None, Some(20)]);
    room.assert_nobody_lives();
}

#[test]
fn a_stopped_rank_is_named_within_seconds() {
    let room = Room::new();
    let begin = Instant::now();
    let told = room.launch("1:1:25:stop", &["--hang-after", "30"]).ends_with(0);
    assert!(told.contains("rank 1 on node") && told.contains("has not moved for 3."), "{told}");
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    room.assert_nobody_lives();
}

#[test]
fn of_a_hung_run_the_rank_that_the_others_wait_for_is_named() {
    let room = Room::new();
    let told = room.launch("1:2:25:hang", &["--hang-after", "1"]).ends_with(0);
    assert!(told.contains("rank 2 on node") && told.contains("in step 25 (phase sweep); relaunching"), "{told}");
    let hung = |event: &Event| matches!(event, Event::RankHung { rank: 2, step: 25, phase: Phase::Sweep, .. });
    assert!(room.events().iter().any(hung));
    room.assert_nobody_lives();
}

#[test]
fn a_bad_case_is_never_retried() {
    let room = Room::new();
    let told = room.launch("1:0:0:exit=2", &[]).ends_with(2);
    assert!(told.contains("another try cannot help"), "{told}");
    assert_eq!(room.launches(), 1);
}

#[test]
fn a_case_that_has_done_steps_is_not_bad_whatever_the_exit_code() {
    let room = Room::new();
    room.launch("1:1:25:exit=2", &[]).ends_with(0);
    assert_eq!(room.starts(), [None, Some(20)]);
}

#[test]
fn an_error_of_the_ranks_is_told_in_their_words() {
    let room = Room::new();
    let told = room.launch("*:0:5:fail", &[]).ends_with(1);
    assert!(told.contains("the disk is full"), "{told}");
    assert_eq!(room.launches(), 3);
}

#[test]
fn a_launcher_that_calls_a_death_a_success_is_not_believed() {
    let room = Room::new();
    room.launch("1:2:25:kill code=0", &[]).ends_with(0);
    assert_eq!(room.starts(), [None, Some(20)]);
    let room = Room::new();
    room.launch("*:2:5:kill code=0", &[]).ends_with(1);
}

#[test]
fn a_launcher_that_calls_a_success_a_failure_is_not_believed() {
    let room = Room::new();
    room.launch("code=1", &[]).ends_with(0);
    assert_eq!(room.launches(), 1);
}

#[test]
fn failures_without_progress_use_the_budget_up() {
    let room = Room::new();
    let told = room.launch("*:1:5:kill", &["--max-failures-without-progress", "2"]).ends_with(1);
    assert!(told.contains("2 failures in a row without a newer checkpoint"), "{told}");
    assert_eq!(room.launches(), 2);
}

#[test]
fn progress_refills_the_budget() {
    let room = Room::new();
    room.launch("1:1:15:kill 2:0:25:kill 3:2:35:kill", &["--max-failures-without-progress", "1"]).ends_with(0);
    assert_eq!(room.starts(), [None, Some(10), Some(20), Some(30)]);
}

#[test]
fn a_poisonous_checkpoint_is_passed_over_and_then_the_run_stops() {
    let room = Room::new();
    let told = room.launch("*:1:25:kill", &["--max-failures-without-progress", "9"]).ends_with(1);
    assert!(told.contains("the run died twice after the checkpoint of step 20, and again"), "{told}");
    assert_eq!(room.starts(), [None, Some(20), Some(20), Some(10)]);
}

#[test]
fn starting_over_is_meant_for_the_first_attempt_alone() {
    let room = Room::new();
    room.launch_with("1:1:25:kill", &[], &["--fresh"]).ends_with(0);
    assert_eq!(room.starts(), [None, Some(20)]);
}

#[test]
fn nothing_new_is_started_over_even_if_the_journal_does_not_tell_of_it() {
    let room = Room::new();
    room.launch_with("mute=1 1:1:25:kill", &[], &["--fresh"]).ends_with(0);
    assert_eq!(room.starts(), [Some(20)], "the first start is not told");
}

#[test]
fn a_killed_supervisor_leaves_nobody_behind() {
    let room = Room::new();
    let supervisor = room.launch("*:0:25:hang", &["--hang-after", "1000"]);
    wait_until("the ranks", || room.pids().len() == RANKS);
    wait_until("the checkpoint", || room.run().checkpoint_path(20).exists());
    supervisor.signal(Signal::SIGKILL);
    let (status, _) = supervisor.end();
    assert_eq!(status.signal(), Some(9));
    room.assert_nobody_lives();
    room.launch("", &[]).ends_with(0);
    assert_eq!(room.starts(), [None, Some(20)]);
}

#[test]
fn a_killed_supervisor_takes_even_stopped_ranks_along() {
    let room = Room::new();
    let supervisor = room.launch("*:1:25:stop", &["--hang-after", "1000"]);
    wait_until("the checkpoint", || room.run().checkpoint_path(20).exists());
    supervisor.signal(Signal::SIGKILL);
    supervisor.end();
    room.assert_nobody_lives();
}

#[test]
fn sigterm_makes_the_ranks_save_and_the_same_command_goes_on() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1] {
        let room = Room::new();
        let supervisor = room.launch("*:*:11:wait-for-stop", &["--hang-after", "1000"]);
        wait_until("the checkpoint", || room.run().checkpoint_path(10).exists());
        supervisor.signal(signal);
        let told = supervisor.ends_with(75);
        assert!(told.contains(&format!("{signal}: asking the ranks to save")), "{told}");
        assert!(told.contains("the run can go on from the checkpoint of step 11"), "{told}");
        room.assert_nobody_lives();
        room.launch("", &[]).ends_with(0);
        assert_eq!(room.starts(), [None, Some(11)]);
    }
}

#[test]
fn ranks_that_do_not_save_in_time_are_ended() {
    let room = Room::new();
    let supervisor = room.launch("*:0:15:hang", &["--hang-after", "1000", "--grace", "0.5"]);
    wait_until("the checkpoint", || room.run().checkpoint_path(10).exists());
    supervisor.signal(Signal::SIGTERM);
    let told = supervisor.ends_with(75);
    assert!(told.contains("before the ranks could save"), "{told}");
    assert_eq!(room.launches(), 1);
    room.assert_nobody_lives();
}

#[test]
fn a_second_sigint_ends_all_at_once() {
    let room = Room::new();
    let mut supervisor = room.launch("*:0:15:hang", &["--hang-after", "1000"]);
    wait_until("the checkpoint", || room.run().checkpoint_path(10).exists());
    supervisor.signal(Signal::SIGINT);
    let mut lines = BufReader::new(supervisor.child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("SIGINT: asking")));
    supervisor.signal(Signal::SIGINT);
    assert_eq!(supervisor.child.wait().unwrap().code(), Some(130));
    room.assert_nobody_lives();
}

#[test]
fn two_supervisors_never_work_on_one_run() {
    let room = Room::new();
    let first = room.launch("*:*:11:wait-for-stop", &["--hang-after", "1000"]);
    wait_until("the checkpoint", || room.run().checkpoint_path(10).exists());
    let told = room.launch("", &[]).ends_with(1);
    assert!(told.contains(&format!("process {}", first.child.id())), "{told}");
    let status: Value = serde_json::from_str(&room.tool("status", &["--json"]).1).unwrap();
    assert_eq!(status["state"], "running");
    assert_eq!(status["supervisor"]["pid"], first.child.id());
    first.signal(Signal::SIGTERM);
    first.ends_with(75);
}

#[test]
fn what_cannot_be_started_is_a_bad_command() {
    let room = Room::new();
    let told = room.launch("", &["--launcher", "no-such-launcher"]).ends_with(2);
    assert!(told.contains("no-such-launcher"), "{told}");
    fs::remove_file(room.path("bin/heat")).unwrap();
    let told = room.launch("", &[]).ends_with(2);
    assert!(told.contains("the program \"heat\" is no executable file"), "{told}");
    assert_eq!(room.launches(), 0);
}

#[test]
fn the_commands_tell_what_a_run_has_left() {
    let room = Room::new();
    assert_eq!(room.tool("status", &[]).0, Some(2), "there is no run yet");
    room.launch("1:2:25:kill", &[]).ends_with(0);
    let (code, status) = room.tool("status", &[]);
    assert_eq!(code, Some(0));
    assert!(status.contains("finished") && status.contains("2, of which 1 failed"), "{status}");
    let list: Value = serde_json::from_str(&room.tool("list", &["--json"]).1).unwrap();
    let steps: Vec<_> = list.as_array().unwrap().iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [40, 30, 20, 10]);
    assert_eq!((&list[0]["latest"], &list[0]["time"]), (&Value::from(true), &Value::from(4.0)));
    assert_eq!(room.tool("prune", &["--keep", "1"]).0, Some(2), "fewer than two are never kept");
    let (code, removed) = room.tool("prune", &["--keep", "2"]);
    assert_eq!((code, removed.lines().count()), (Some(0), 2), "{removed}");
    assert_eq!(room.run().checkpoints().unwrap().len(), 2);
}

/// Not a test: the fake program, one rank of it.
#[test]
#[ignore = "the fake rank that the other tests launch"]
fn fake_rank() {
    let Ok(room) = std::env::var("FAKE_ROOM") else { return };
    let rank = std::env::var("FAKE_RANK").unwrap().parse().unwrap();
    let code = match (Rank { room: room.into(), rank }).compute() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("rank {rank}: {error}");
            i32::from(error.exit_code())
        }
    };
    std::process::exit(code);
}

struct Rank {
    room: PathBuf,
    rank: usize,
}

impl Rank {
    fn compute(&self) -> steadfast::Result<i32> {
        fs::write(self.room.join("pids").join(std::process::id().to_string()), "").unwrap();
        let run = RunDirectory::choose(None, Path::new("heat.toml"));
        let orders = Orders::from_environment(&run)?;
        orders.bind_to_supervisor();
        let lease = (self.rank == 0).then(|| Lease::of_attempt(&run)).transpose()?;
        let journal = Journal::new(&run, orders.attempt);
        // As in a real program: the holder of the lease prepares the directory before anybody else begins.
        let begun = self.room.join(format!("begun-{}", orders.attempt));
        if lease.is_some() {
            run.begin(&orders)?;
            fs::write(&begun, "").unwrap();
        }
        wait_until("rank 0 to prepare the run directory", || begun.exists());
        let heartbeat = Heartbeat::start(&run, self.rank, &orders)?;
        let fresh = std::env::var("FAKE_ARGUMENTS").unwrap().contains("--fresh");
        self.meet(&orders, 0, &heartbeat);
        let good = run.checkpoints()?.into_iter().map(|entry| entry.step);
        let resumed_from = good.filter(|step| !fresh && !orders.skip_checkpoints.contains(step)).max();
        self.meet(&orders, 1, &heartbeat);
        if lease.is_some() {
            Finished::remove(&run)?;
            let program = "heat".to_owned();
            let mute = format!("mute={}", orders.attempt);
            if !std::env::var("FAULT").unwrap().split(' ').any(|word| word == mute) {
                journal.append(Event::Started { run_id: "fake".into(), ranks: RANKS, program, resumed_from });
            }
        }
        self.misbehave(&orders, 0, &journal, &heartbeat);
        for step in resumed_from.unwrap_or(0) + 1..=STEPS {
            heartbeat.step(step);
            heartbeat.phase(Phase::Sweep);
            std::thread::sleep(Duration::from_millis(10));
            self.misbehave(&orders, step, &journal, &heartbeat);
            heartbeat.phase(Phase::Exchange);
            self.meet(&orders, step + 1, &heartbeat);
            let stop = heartbeat.stop_requested();
            if lease.is_some() && (step.is_multiple_of(SAVE_EVERY) || stop) {
                self.save(&run, &journal, step);
            }
            if stop {
                let saved = self.room.join(format!("saved-{}", orders.attempt));
                if lease.is_some() {
                    journal.append(Event::Stopped { reason: "a stop request".into(), step });
                    fs::write(&saved, "").unwrap();
                }
                // The launcher kills all others when the first one ends.
                wait_until("the save of rank 0", || saved.exists());
                return Ok(75);
            }
        }
        heartbeat.phase(Phase::Finishing);
        if lease.is_some() {
            let at = jiff::Timestamp::now();
            let attempt = orders.attempt;
            let record = Finished {
                run_id: "fake".into(),
                attempt,
                step: STEPS,
                time: 4.0,
                state_hash: 1,
                wall_seconds: 1.0,
                at,
            };
            record.write(&run)?;
        }
        Ok(0)
    }

    fn save(&self, run: &RunDirectory, journal: &Journal, step: u64) {
        let path = run.checkpoint_path(step);
        fs::write(&path, "a state").unwrap();
        let time = step as f64 / 10.0;
        journal.append(Event::CheckpointCommitted { step, time, path, bytes: 7, seconds: 0.0, stall: 0.0 });
    }

    /// Waits until all ranks of this attempt have come as far; a request to stop ends all waiting.
    fn meet(&self, orders: &Orders, step: u64, heartbeat: &Heartbeat) {
        let place = |rank: usize| self.room.join(format!("step-{}-{rank}", orders.attempt));
        fs::write(self.room.join(format!("new-{}", self.rank)), step.to_string()).unwrap();
        fs::rename(self.room.join(format!("new-{}", self.rank)), place(self.rank)).unwrap();
        let there = |rank| fs::read_to_string(place(rank)).is_ok_and(|text| text.parse::<u64>().unwrap() >= step);
        while !(0..RANKS).all(there) && !heartbeat.stop_requested() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Does what FAULT asks of this rank now: words `attempt:rank:step:what`, where * stands for any.
    fn misbehave(&self, orders: &Orders, step: u64, journal: &Journal, heartbeat: &Heartbeat) {
        let here = [u64::from(orders.attempt), self.rank as u64, step];
        for word in std::env::var("FAULT").unwrap().split(' ').filter(|word| word.contains(':')) {
            let parts: Vec<&str> = word.split(':').collect();
            if !parts.iter().zip(here).all(|(part, here)| *part == "*" || part.parse() == Ok(here)) {
                continue;
            }
            match parts[3] {
                "kill" => kill(Pid::this(), Signal::SIGKILL).unwrap(),
                "kill-launcher" => kill(getppid(), Signal::SIGKILL).unwrap(),
                "stop" => kill(Pid::this(), Signal::SIGSTOP).unwrap(),
                "hang" => loop {
                    std::thread::park();
                },
                "wait-for-stop" => {
                    while !heartbeat.stop_requested() {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
                "fail" => {
                    let error = Error::new(steadfast::error::Kind::Io, "the disk is full");
                    journal.append(Event::Failed { error });
                    std::process::exit(1);
                }
                other => std::process::exit(other.strip_prefix("exit=").unwrap().parse().unwrap()),
            }
        }
    }
}
