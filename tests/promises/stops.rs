//! Whoever is asked to stop saves first and ends with 75; the same command then goes on, to the same bits.

use nix::sys::signal::Signal;
use steadfast::rundir::{Event, RunDirectory};

use super::stage::{Room, Running, events, gray_scott, hash, starts, totals};

/// Long enough to be interrupted, on any machine: a few seconds of work.
fn case() -> String {
    gray_scott(
        [128, 96],
        [32, 16],
        4000.0,
        r#"
[[output]]
what = "totals"
every = { steps = 100 }
[checkpoint]
every = { steps = 250 }
"#,
    )
}

fn undisturbed(room: &Room) -> (u64, String) {
    room.case("case.toml", &case());
    room.on(2, "gray_scott").runs("case.toml", "whole").ends_with(0);
    (hash(&room.run("whole")), totals(&room.run("whole")))
}

fn stopped(run: &RunDirectory) -> Vec<String> {
    let reason = |event| match event {
        Event::Stopped { reason, .. } => Some(reason),
        _ => None,
    };
    events(run).into_iter().filter_map(reason).collect()
}

/// Starts the same command again and again, and interrupts each in its turn; then lets it go on to its end.
fn interrupt(run: &RunDirectory, signals: &[Signal], start: impl Fn() -> Running) {
    for (number, &signal) in signals.iter().enumerate() {
        let mut running = start();
        running.wait_until("the start of the attempt", || run.journal().exists() && starts(run).len() == number + 1);
        running.signal(signal);
        running.ends_with(75);
        assert_eq!(stopped(run).len(), number + 1, "{:?}", events(run));
        assert!(!run.finished().exists());
    }
    start().ends_with(0);
    assert!(starts(run)[1..].iter().all(Option::is_some), "each goes on from where the one before stopped");
}

#[test]
fn a_run_alone_saves_on_every_signal_and_goes_on() {
    let room = Room::new();
    let expected = undisturbed(&room);
    let run = room.run("alone");
    let signals = [Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGINT];
    interrupt(&run, &signals, || room.alone("gray_scott").runs("case.toml", "alone").start());
    assert_eq!((hash(&run), totals(&run)), expected);
    for (reason, signal) in stopped(&run).iter().zip(signals) {
        assert!(reason.contains(signal.as_str()), "{reason}");
    }
}

#[test]
fn a_supervised_run_saves_on_every_signal_and_goes_on() {
    let room = Room::new();
    let expected = undisturbed(&room);
    let run = room.run("supervised");
    let signals = [Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGINT];
    interrupt(&run, &signals, || room.supervised(3, &[], "gray_scott").runs("case.toml", "supervised").start());
    assert_eq!((hash(&run), totals(&run)), expected);
    for signal in signals {
        let asked =
            |event: &Event| matches!(event, Event::StopRequested { reason } if reason.contains(signal.as_str()));
        assert!(events(&run).iter().any(asked), "{signal}: {:?}", events(&run));
    }
}

#[test]
fn an_interrupt_while_a_checkpoint_is_written_loses_nothing() {
    let room = Room::new();
    room.case("case.toml", &case());
    let settings = ["time.max_steps=600", "checkpoint.every.steps=10"];
    room.on(2, "gray_scott").runs("case.toml", "whole").set(&settings).ends_with(0);
    let run = room.run("interrupted");
    let start = || room.alone("gray_scott").runs("case.toml", "interrupted").set(&settings).start();
    let mut running = start();
    running.wait_until("a checkpoint that is being written", || !run.partials().unwrap().is_empty());
    running.signal(Signal::SIGINT);
    running.ends_with(75);
    assert!(run.partials().unwrap().is_empty(), "nothing half written is left");
    start().ends_with(0);
    assert_eq!(hash(&run), hash(&room.run("whole")));
}

#[test]
fn a_run_saves_before_its_limit_of_wall_time() {
    let room = Room::new();
    let expected = undisturbed(&room);
    let run = room.run("limited");
    let arguments = ["--time-limit", "300 ms"];
    let mut attempts = 0;
    loop {
        attempts += 1;
        assert!(attempts < 200, "no attempt moves on");
        let ended = room.on(2, "gray_scott").runs("case.toml", "limited").args(&arguments).end();
        match ended.code {
            Some(75) => assert!(stopped(&run).last().unwrap().contains("limit"), "{:?}", stopped(&run)),
            code => {
                assert_eq!(code, Some(0), "{}", ended.err);
                break;
            }
        }
    }
    assert!(attempts > 1, "the limit was never met");
    assert_eq!((hash(&run), totals(&run)), expected);
}

#[test]
fn the_limit_of_a_supervised_run_is_that_of_all_its_attempts_together() {
    let room = Room::new();
    let expected = undisturbed(&room);
    let run = room.run("limited");
    let mut launches = 0;
    let options = ["--time-limit", "3 s"];
    while room.supervised(2, &options, "gray_scott").runs("case.toml", "limited").end().code == Some(75) {
        launches += 1;
        assert!(launches < 100, "no launch moves on");
        assert!(stopped(&run).last().unwrap().contains("limit"), "{:?}", stopped(&run));
    }
    assert_eq!((hash(&run), totals(&run)), expected);
}

#[test]
fn a_stop_request_in_the_run_directory_is_heard() {
    let room = Room::new();
    room.case("case.toml", &case());
    let run = room.run("asked");
    let mut running = room.on(2, "gray_scott").runs("case.toml", "asked").start();
    running.wait_until("the start", || run.journal().exists() && starts(&run).len() == 1);
    run.request_stop("the test asks").unwrap();
    running.ends_with(75);
    assert_eq!(stopped(&run).len(), 1);
    // It was meant for that attempt and no other.
    room.on(2, "gray_scott").runs("case.toml", "asked").ends_with(0);
}

#[test]
fn a_time_limit_that_is_over_at_once_is_heard_at_once() {
    let room = Room::new();
    room.case("case.toml", &case());
    let run = room.run("early");
    let arguments = ["--time-limit", "1 ms"];
    room.on(2, "gray_scott").runs("case.toml", "early").args(&arguments).ends_with(75);
    let checkpoints = run.checkpoints().unwrap();
    assert_eq!(checkpoints.len(), 1);
    // A quick machine computes a step or two in a millisecond.
    assert!(checkpoints[0].step < 10, "the run went on to step {}", checkpoints[0].step);
}
