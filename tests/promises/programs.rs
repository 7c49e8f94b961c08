//! Programs that are no stencil keep the same promises: one result on any number of ranks, nothing lost, nothing done twice.

use std::collections::BTreeSet;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use steadfast::checkpoint::Reader;
use steadfast::grid::{Cell, random};

use super::stage::{Room, component, hash, ranks, starts, totals};

const RANKS: [usize; 3] = [1, 2, 4];

const LEDGER: &str = r#"
grid = { cells = [1000], upper = 1000.0, block = 70 }
boundary.x = "outflow"
model = { opening = 1000, largest = 900, batch = 2000, seed = 11 }
time.end = 400
checkpoint.every = { steps = 20 }
[[output]]
what = "totals"
every = { steps = 25 }
"#;

/// The rule of the ledger in a plain loop: what is received can be spent from the next batch on.
fn replay(accounts: i64, opening: i64, largest: i64, batch: i64, seed: u64, batches: i64) -> (Vec<i64>, [i64; 3]) {
    let mut balances = vec![opening; accounts as usize];
    let (mut booked, mut refused, mut moved) = (0, 0, 0);
    for b in 0..batches {
        let mut received = vec![0; accounts as usize];
        for number in b * batch..(b + 1) * batch {
            let draw = |what, below: i64| (random::uniform(seed, Cell([number, what])) * below as f64) as i64;
            let (from, cents) = (draw(0, accounts), 1 + draw(2, largest));
            let to = (from + 1 + draw(1, accounts - 1)) % accounts;
            if balances[from as usize] >= cents {
                balances[from as usize] -= cents;
                received[to as usize] += cents;
                (booked, moved) = (booked + 1, moved + cents);
            } else {
                refused += 1;
            }
        }
        balances.iter_mut().zip(received).for_each(|(balance, cents)| *balance += cents);
    }
    (balances, [booked, refused, moved])
}

#[test]
fn a_ledger_equals_a_serial_replay_on_any_ranks_and_after_a_kill() {
    let room = Room::new();
    room.case("case.toml", LEDGER);
    let (balances, books) = replay(1000, 1000, 900, 2000, 11, 400);
    assert!(books.iter().all(|&count| count > 10_000), "both kinds of transfer occur often: {books:?}");
    let check = |name: &str| {
        let run = room.run(name);
        let found: Vec<i64> = component(&run, "balance").iter().map(|&cents| cents as i64).collect();
        assert_eq!(found, balances, "{name}");
        let newest = run.checkpoints().unwrap().remove(0);
        let header = Reader::open(&newest.path).unwrap().header().clone();
        let kept = &header.replicated[steadfast::checkpoint::Header::SHARED];
        assert_eq!(["booked", "refused", "moved"].map(|key| kept[key].as_i64().unwrap()), books, "{name}");
        for row in totals(&run).lines().skip(1) {
            assert_eq!(row.split(',').nth(2), Some("1000000.0"), "{name}: every cent is there in {row}");
        }
        hash(&run)
    };
    let hashes = RANKS.map(|ranks| {
        let name = format!("on-{ranks}");
        room.on(ranks, "ledger").runs("case.toml", &name).ends_with(0);
        check(&name)
    });
    assert!(hashes.iter().all(|hash| *hash == hashes[0]));

    let run = room.run("killed");
    let mut running = room.supervised(4, &[], "ledger").runs("case.toml", "killed").start();
    for attempt in 1..=2 {
        running.wait_until("a new checkpoint", || {
            let newest = run.checkpoints().unwrap().first().map_or(0, |entry| entry.step);
            ranks(&run, attempt).len() == 4 && newest >= 100 * u64::from(attempt)
        });
        let victim = ranks(&run, attempt)[attempt as usize].pid;
        kill(Pid::from_raw(victim.cast_signed()), Signal::SIGKILL).unwrap();
    }
    running.ends_with(0);
    assert_eq!(starts(&run).len(), 3, "two attempts were killed");
    assert_eq!(check("killed"), hashes[0]);
}

#[test]
fn a_ledger_refuses_what_makes_no_sense() {
    let room = Room::new();
    room.case("case.toml", LEDGER);
    for (setting, told) in [
        ("model.batch=0", "model.batch = 0 must be at least 1"),
        (
            "model.opening=9000000000000000",
            "model.opening = 9000000000000000 must be at least 1, at most 1099511627776",
        ),
        ("grid={ cells = [1], upper = 1.0 }", "a transfer needs two accounts"),
        ("time.cfl=0.5", "time.cfl = 0.5 asks for a part of a timescale, but this program has none"),
        ("time.integrator=rk4", "time.integrator = \"rk4\" is of no use"),
        ("run.sweeps_per_exchange=2", "run.sweeps_per_exchange = 2 is of no use"),
        ("scheme.riemann=hll", "is of no use: this program is no conservation law"),
        ("grid.cells=[10, 10]", "grid.cells has 2 entries; this program needs 1"),
    ] {
        let ended = room.alone("ledger").runs("case.toml", "refused").set(&[setting]).ends_with(2);
        assert!(ended.err.contains(told), "{setting}: {}", ended.err);
    }
}

const SWEEP: &str = r#"
grid = { cells = [8, 4], lower = [0.045, 0.01], upper = [0.065, 0.05], block = [3, 2] }
boundary = { x = "outflow", y = "outflow" }
model = { points = 48, end = 1500.0 }
checkpoint.every = "never"
"#;

/// The tasks that a log says were begun, in order.
fn begun(log: &str) -> Vec<usize> {
    let number = |line: &str| line.split("task ").nth(1)?.split(" begins on rank ").next()?.parse().ok();
    log.lines().filter(|line| line.contains(" begins on rank ")).filter_map(number).collect()
}

#[test]
fn a_farm_has_one_result_on_any_ranks_and_does_each_task_once() {
    let room = Room::new();
    room.case("case.toml", SWEEP);
    let mut hashes = BTreeSet::new();
    for (ranks, threads) in [(1, 1), (2, 1), (4, 1), (2, 3)] {
        let name = format!("on-{ranks}-{threads}");
        let threads = format!("run.threads={threads}");
        let call = room.on(ranks, "sweep").runs("case.toml", &name).set(&[&threads]).env("RUST_LOG", "info");
        let mut tasks = begun(&call.ends_with(0).err);
        tasks.sort_unstable();
        assert_eq!(tasks, (0..32).collect::<Vec<_>>());
        hashes.insert(hash(&room.run(&name)));
        assert_eq!(component(&room.run(&name), "done"), [1.0; 32]);
    }
    assert_eq!(hashes.len(), 1);
    // Once finished, nothing is left to do.
    let ended = room.on(2, "sweep").runs("case.toml", "on-2-1").env("RUST_LOG", "info").ends_with(0);
    assert!(begun(&ended.err).is_empty(), "{}", ended.err);
    let means = component(&room.run("on-1-1"), "mean");
    assert!(means.contains(&0.0) && means.iter().any(|&mean| mean > 0.1), "{means:?}");
}

#[test]
fn a_farm_cannot_be_asked_to_end_before_it_is_done() {
    let room = Room::new();
    room.case("case.toml", SWEEP);
    for (setting, told) in [
        ("time.end=3", "time.end = 3 counts steps"),
        ("time.max_steps=3", "time.max_steps = 3 counts steps"),
        ("checkpoint.every={ steps = 2 }", "counts steps"),
        ("model.end=5.0", "model.end = 5 must be at least 10"),
        ("model.points=100000", "model.points = 100000 must be from 8 to 4096"),
    ] {
        let ended = room.alone("sweep").runs("case.toml", "refused").set(&[setting]).ends_with(2);
        assert!(ended.err.contains(told), "{setting}: {}", ended.err);
    }
}

#[test]
fn tasks_of_a_killed_rank_are_done_again_and_finished_ones_are_not() {
    let room = Room::new();
    room.case("case.toml", SWEEP);
    room.on(2, "sweep").runs("case.toml", "whole").ends_with(0);
    let run = room.run("killed");
    let mut running = room.supervised(3, &[], "sweep").runs("case.toml", "killed").env("RUST_LOG", "info").start();
    let done = || {
        let newest = run.checkpoints().ok().and_then(|entries| entries.into_iter().next());
        // It may be superseded and removed while it is looked at.
        let reader = newest.and_then(|entry| Reader::open(&entry.path).ok());
        reader.map_or(0, |reader| {
            let values = reader.values(0, &reader.all_cells()).unwrap_or_default();
            values.iter().filter(|&&done| done == 1.0).count()
        })
    };
    running.wait_until("six finished tasks", || ranks(&run, 1).len() == 3 && done() >= 6);
    kill(Pid::from_raw(ranks(&run, 1)[1].pid.cast_signed()), Signal::SIGKILL).unwrap();
    let log = running.ends_with(0).err;
    assert_eq!(hash(&run), hash(&room.run("whole")));

    // What each attempt found done already, and what it then began.
    let mut parts = log.split(" of 32 tasks are done already");
    let found: Vec<usize> = log
        .split(" of 32 tasks are done already")
        .filter_map(|part| part.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
        .collect();
    let _before = parts.next();
    let each: Vec<BTreeSet<usize>> = parts.map(|part| begun(part).into_iter().collect()).collect();
    let [first, second] = &each[..] else { panic!("two attempts: {log}") };
    assert_eq!(found[0], 0);
    assert!(found[1] >= 6, "finished tasks stay: {found:?}");
    assert_eq!(second.len(), 32 - found[1], "the second attempt does what was not finished, and nothing else");
    let again = first.intersection(second).count();
    assert!(again >= 1, "what was under way is done again: {first:?} {second:?}");
}
