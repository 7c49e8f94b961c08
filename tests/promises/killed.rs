//! Ranks are killed at random moments; the supervisor brings the run back, and the result is as if nothing had happened.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use steadfast::grid::{Cell, random};
use steadfast::rundir::{Event, RunDirectory};

use super::stage::{Room, events, gray_scott, hash, lives, ranks, starts, totals, wait_until};

const RANKS: usize = 4;
const KILLS: u64 = 5;
const STEPS: u64 = 15_000;

fn case() -> String {
    gray_scott(
        [96, 96],
        [24, 16],
        STEPS as f64,
        r#"
[[output]]
what = "totals"
every = { steps = 50 }
[checkpoint]
every = { steps = 200 }
"#,
    )
}

/// The same numbers in each test run, so that a failure can be met again.
const SEED: u64 = 20261122;

fn draw(what: u64, below: u64) -> u64 {
    (random::uniform(SEED, Cell([what.cast_signed()])) * below as f64) as u64
}

fn furthest_step(run: &RunDirectory, attempt: u32) -> u64 {
    ranks(run, attempt).iter().map(|rank| rank.step).max().unwrap_or(0)
}

#[test]
fn a_run_killed_at_five_random_moments_equals_an_undisturbed_one() {
    let room = Room::new();
    room.case("case.toml", &case());
    room.on(RANKS, "gray_scott").runs("case.toml", "whole").ends_with(0);

    let run = room.run("killed");
    let options = ["--max-failures-without-progress", "6"];
    let mut running = room.supervised(RANKS, &options, "gray_scott").runs("case.toml", "killed").start();
    let mut met = Vec::new();
    let mut killed = Vec::new();
    for k in 0..KILLS {
        let attempt = k as u32 + 1;
        // The moments are spread over the run, so that each attempt has something to lose; and each has saved something
        // before it is killed, since a run that dies again and again where it began is given up.
        let step = (k * STEPS + draw(2 * k, STEPS)) / (KILLS + 1);
        let newest = || run.checkpoints().unwrap().first().map_or(0, |entry| entry.step);
        let has_saved = || starts(&run).get(k as usize).is_some_and(|&begun| newest() > begun.unwrap_or(0));
        let victim = draw(2 * k + 1, RANKS as u64) as usize;
        running.wait_until(&format!("step {step} in attempt {attempt}"), || {
            ranks(&run, attempt).len() == RANKS && furthest_step(&run, attempt) >= step && (k == 0 || has_saved())
        });
        let pids: Vec<u32> = ranks(&run, attempt).iter().map(|rank| rank.pid).collect();
        kill(Pid::from_raw(pids[victim].cast_signed()), Signal::SIGKILL).unwrap();
        met.extend(pids);
        killed.push(victim);
        running.wait_until(&format!("attempt {}", attempt + 1), || {
            let launched = |event: &Event| matches!(event, Event::AttemptLaunched { .. });
            events(&run).iter().filter(|event| launched(event)).count() > attempt as usize
        });
    }
    let ended = running.ends_with(0);

    assert_eq!((hash(&run), totals(&run)), (hash(&room.run("whole")), totals(&room.run("whole"))), "{}", ended.err);
    let deaths: Vec<(usize, Option<i32>)> = events(&run)
        .into_iter()
        .filter_map(|event| match event {
            Event::RankDied { rank, signal, .. } => Some((rank, signal)),
            _ => None,
        })
        .collect();
    assert_eq!(deaths, killed.iter().map(|&rank| (rank, Some(9))).collect::<Vec<_>>(), "the journal names each");
    assert_eq!(starts(&run).len() as u64, KILLS + 1);
    assert!(starts(&run)[KILLS as usize].is_some(), "the last attempt goes on from a checkpoint");
    assert!(met.iter().all(|&pid| !lives(pid)), "nobody is left behind");
}

#[test]
fn killing_the_supervisor_leaves_no_rank_behind_and_the_run_can_go_on() {
    let room = Room::new();
    room.case("case.toml", &case());
    let run = room.run("orphaned");
    let mut running = room.supervised(RANKS, &[], "gray_scott").runs("case.toml", "orphaned").start();
    running.wait_until("a checkpoint", || !run.checkpoints().unwrap().is_empty() && ranks(&run, 1).len() == RANKS);
    let met = ranks(&run, 1);
    running.signal(Signal::SIGKILL);
    wait_until("the end of all ranks", || met.iter().all(|rank| !lives(rank.pid)));
    drop(running);
    room.on(2, "gray_scott").runs("case.toml", "orphaned").set(&["time.max_steps=1000"]).ends_with(0);
    assert!(starts(&run)[1].is_some(), "it goes on from a checkpoint");
}

#[test]
fn a_rank_that_no_longer_moves_is_named_and_the_run_comes_back() {
    let room = Room::new();
    room.case("case.toml", &case());
    let run = room.run("hung");
    let settings = ["time.max_steps=4000"];
    room.on(RANKS, "gray_scott").runs("case.toml", "whole").set(&settings).ends_with(0);
    let options = ["--hang-after", "2"];
    let mut running = room.supervised(RANKS, &options, "gray_scott").runs("case.toml", "hung").set(&settings).start();
    running.wait_until("a checkpoint", || !run.checkpoints().unwrap().is_empty() && ranks(&run, 1).len() == RANKS);
    kill(Pid::from_raw(ranks(&run, 1)[2].pid.cast_signed()), Signal::SIGSTOP).unwrap();
    running.ends_with(0);
    assert!(events(&run).iter().any(|event| matches!(event, Event::RankHung { rank: 2, .. })), "{:?}", events(&run));
    assert_eq!(hash(&run), hash(&room.run("whole")));
}
