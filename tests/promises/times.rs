//! At its end a run tells where the time went: the parts are the whole, and what is counted is exact.

use std::time::Instant;

use nix::sys::signal::Signal;
use steadfast::rundir::{Memory, Part, Spread, State, Times, Updates};

use super::stage::{Ended, Room, example, gray_scott, ranks, starts};

const STEPS: u64 = 40;

fn case(steps: u64) -> String {
    gray_scott(
        [48, 32],
        [16, 16],
        steps as f64,
        r#"
[boundary]
x = "periodic"
y = "periodic"
[[output]]
what = "totals"
every = { steps = 5 }
[checkpoint]
every = { steps = 8 }
"#,
    )
}

/// What a run told as JSON, which must be what it left.
fn told(room: &Room, ended: &Ended, directory: &str) -> Times {
    let times: Times = serde_json::from_str(&ended.out).unwrap_or_else(|cause| panic!("{cause}:\n{}", ended.out));
    assert_eq!(Times::read(&room.run(directory)).unwrap().as_ref(), Some(&times));
    is_whole(&times);
    times
}

/// The parts are the whole, whatever they are.
fn is_whole(times: &Times) {
    let spreads = times.parts.values().chain([&times.wall, &times.exchanges, &times.bytes_sent]);
    for spread in spreads {
        assert!(0.0 <= spread.min && spread.min <= spread.mean && spread.mean <= spread.max, "{times:#?}");
    }
    assert_eq!(times.parts.len(), Part::ALL.len());
    // Each rank's clock counts whole nanoseconds; only their means are rounded.
    let sum: f64 = times.parts.values().map(|part| part.mean).sum();
    assert!((sum - times.wall.mean).abs() <= 1e-12 * times.wall.mean, "{sum} of {times:#?}");
}

fn same(count: u64) -> Spread {
    Spread { min: count as f64, mean: count as f64, max: count as f64 }
}

#[test]
fn the_parts_of_the_time_add_up_and_counts_are_exact_on_one_and_three_ranks() {
    let room = Room::new();
    room.case("case.toml", &case(STEPS));
    for ranks in [1, 3] {
        let plan =
            room.alone("gray_scott").args(&["plan", "case.toml", "-n", &ranks.to_string(), "--json"]).ends_with(0);
        let plan: serde_json::Value = serde_json::from_str(&plan.out).unwrap();
        let halo = plan["halo_bytes"].as_u64().unwrap();

        let begun = Instant::now();
        let directory = format!("on-{ranks}");
        let call = room.on(ranks, "gray_scott").runs("case.toml", &directory).args(&["--json"]);
        let ended = call.ends_with(0);
        let elapsed = begun.elapsed().as_secs_f64();
        let times = told(&room, &ended, &directory);
        assert!(times.wall.max < elapsed, "{} s of {elapsed}", times.wall.max);
        assert_eq!((times.state, times.attempt, times.step, times.steps), (State::Finished, 1, STEPS, STEPS));
        assert_eq!((times.ranks, times.threads), (ranks, 1));
        assert_eq!(times.exchanges, same(STEPS));
        let sent = (times.bytes_sent.mean * ranks as f64).round() as u64;
        assert_eq!(sent, STEPS * halo, "what is sent is what is received");
        for part in [Part::Start, Part::Sweeps, Part::Packing, Part::Reductions, Part::Checkpoints, Part::Output] {
            assert!(times.parts[&part].min > 0.0, "{part:?} takes some time: {times:#?}");
        }
        let imbalance = times.imbalance.unwrap();
        assert!((0.0..ranks as f64).contains(&imbalance) && (ranks > 1 || imbalance == 0.0), "{imbalance}");
        let Updates { cells, sweeps_a_step, per_second, per_second_of_rank, per_second_of_sweeps, memory } =
            times.updates.unwrap();
        assert_eq!((cells, sweeps_a_step), (48 * 32 * STEPS, Some(1)));
        assert!(per_second_of_sweeps >= per_second / ranks as f64 && per_second_of_rank.min > 0.0);
        // Two components of eight bytes, of which each is read once, read to be overwritten, and written.
        assert!(matches!(memory, Some(Memory { bytes_a_cell: 48, limit: None, .. })), "{memory:?}");
    }
}

#[test]
fn a_rank_that_is_slow_shows_in_the_longest_sweeps() {
    let room = Room::new();
    room.case("case.toml", &case(STEPS));
    let call = room.on(2, "gray_scott").runs("case.toml", "slow").args(&["--json"]);
    let ended = call.env("STEADFAST_FAULT", "slow@rank=1,phase=sweep,ms=5,attempt=any").ends_with(0);
    let sweeps = told(&room, &ended, "slow").parts[&Part::Sweeps];
    assert!(sweeps.max >= STEPS as f64 * 5e-3, "it slept so long at least: {sweeps:?}");
}

#[test]
fn the_bandwidth_of_memory_is_measured_for_whoever_asks() {
    let room = Room::new();
    room.case("case.toml", &case(STEPS));
    let call = room.on(2, "gray_scott").runs("case.toml", "run").args(&["--json", "--measure-bandwidth"]);
    let memory = told(&room, &call.ends_with(0), "run").updates.unwrap().memory.unwrap();
    let [limit, share] = [memory.limit.unwrap(), memory.share().unwrap()];
    assert!(limit > 0.0 && share > 0.0 && limit.is_finite() && share.is_finite(), "{memory:?}");
}

#[test]
fn an_attempt_tells_of_its_own_steps_and_one_without_steps_leaves_the_record_alone() {
    let room = Room::new();
    room.case("case.toml", &case(20_000));
    let run = room.run("run");
    let runs = || room.alone("gray_scott").runs("case.toml", "run").args(&["--json", "--measure-bandwidth"]);
    let mut running = runs().start();
    running.wait_until("a step", || ranks(&run, 1).iter().any(|rank| rank.step > 0));
    running.signal(Signal::SIGTERM);
    let first = told(&room, &running.ends_with(75), "run");
    assert_eq!((first.state, first.attempt, first.step), (State::Stopped, 1, first.steps));
    let limit = |times: &Times| times.updates.and_then(|updates| updates.memory?.limit);
    assert_eq!(limit(&first), None, "whoever is asked to stop measures nothing");

    let second = told(&room, &runs().ends_with(0), "run");
    assert_eq!((second.state, second.attempt, second.step), (State::Finished, 2, 20_000));
    assert_eq!(first.steps + second.steps, 20_000);
    assert!(limit(&second).is_some());

    let third: Times = serde_json::from_str(&runs().ends_with(0).out).unwrap();
    is_whole(&third);
    assert_eq!((third.steps, third.updates, third.imbalance), (0, None, None));
    assert_eq!(Times::read(&run).unwrap(), Some(second));
}

#[test]
fn a_table_follows_the_last_line_unless_it_must_be_quiet() {
    let room = Room::new();
    room.case("case.toml", &case(STEPS));
    let ended = room.on(2, "gray_scott").args(&["run", "case.toml", "--dir", "aloud"]).ends_with(0);
    let (before, table) = ended.err.split_once("MIN").unwrap_or_else(|| panic!("no table:\n{}", ended.err));
    assert!(before.lines().any(|line| line.starts_with("finished at")), "{before}");
    for word in ["sweeps", "in all", "updates", "memory"] {
        assert!(table.contains(word), "{word}:\n{table}");
    }
    assert!(table.lines().all(|line| line.chars().count() <= 48), "{table}");
    assert_eq!(ended.out, "");
    let status = room.tool().args(&["status", "aloud"]).ends_with(0);
    assert!(status.out.lines().any(|line| line.starts_with("time spent")), "{}", status.out);

    let ended = room.on(2, "gray_scott").runs("case.toml", "quiet").ends_with(0);
    assert!(ended.err.is_empty() && ended.out.is_empty(), "{}{}", ended.err, ended.out);
    assert!(room.run("quiet").times().exists());
}

#[test]
fn a_supervised_run_tells_of_its_last_attempt() {
    let room = Room::new();
    room.case("case.toml", &case(STEPS));
    let call = room.supervised(2, &[], "gray_scott").args(&["run", "case.toml", "--dir", "run"]);
    let ended = call.env("STEADFAST_FAULT", "kill@rank=1,step=20").ends_with(0);
    let tables = ended.err.matches("s, where the time went").count();
    assert_eq!(tables, 1, "{}", ended.err);
    let times = Times::read(&room.run("run")).unwrap().unwrap();
    is_whole(&times);
    let resumed = starts(&room.run("run"))[1].unwrap_or(0);
    assert_eq!((times.attempt, times.steps, times.step), (2, STEPS - resumed, STEPS));
}

#[test]
fn ranks_without_blocks_have_their_part_in_it() {
    let room = Room::new();
    room.case("case.toml", &case(STEPS).replace("block = [16, 16]", "block = [48, 16]"));
    let ended = room.on(3, "gray_scott").runs("case.toml", "run").args(&["--json"]).ends_with(0);
    let times = told(&room, &ended, "run");
    let updates = times.updates.unwrap();
    assert_eq!((updates.cells, updates.per_second_of_rank.min), (48 * 32 * STEPS, 0.0));
    assert_eq!((times.bytes_sent.min, times.exchanges), (0.0, same(STEPS)));
    assert!(times.imbalance.unwrap() > 0.0, "one of three has nothing to do");
}

#[test]
fn programs_with_steps_of_their_own_tell_what_they_waited_for() {
    let room = Room::new();
    let json = |program: &str, case: &str, settings: &[&str]| {
        let ended = room.on(2, program).runs(case, program).args(&["--json"]).set(settings).ends_with(0);
        told(&room, &ended, program)
    };
    let kmeans = json("kmeans", &example("kmeans"), &[]);
    let updates = kmeans.updates.unwrap();
    assert_eq!((updates.cells, updates.memory, updates.sweeps_a_step), (1797 * kmeans.steps, None, None));
    assert!(kmeans.parts[&Part::Reductions].min > 0.0 && kmeans.exchanges == same(0));

    // A step hands orders round and then payments; both travel to where the accounts are.
    let ledger =
        json("ledger", &example("ledger"), &["grid.cells=[1000]", "grid.block=100", "model.batch=500", "time.end=30"]);
    assert_eq!(ledger.exchanges, same(2 * ledger.steps));
    assert!(ledger.bytes_sent.min > 0.0 && ledger.parts[&Part::Waiting].min > 0.0);

    // The exchanges and sums of the solver are those of a step, too: one before it, and at least one within.
    let tealeaf = json("tealeaf", &example("tealeaf"), &["grid.cells=[10, 10]", "grid.block=5"]);
    assert!(tealeaf.exchanges.min >= 2.0 * tealeaf.steps as f64 && tealeaf.parts[&Part::Waiting].min > 0.0);

    // The steps of a farm are rounds, in which no cell is advanced.
    let settings = ["grid.cells=[4, 4]", "grid.block=2", "model.points=8", "model.end=10"];
    let sweep = json("sweep", &example("sweep"), &settings);
    assert_eq!((sweep.updates, sweep.imbalance), (None, None));
    assert!(sweep.parts[&Part::Sweeps].min > 0.0);
}

#[test]
fn checksums_of_memory_are_a_part_of_their_own() {
    let room = Room::new();
    room.case("case.toml", &(case(STEPS) + "[guard]\nchecksums = \"all\"\n"));
    let ended = room.on(2, "gray_scott").runs("case.toml", "run").args(&["--json"]).ends_with(0);
    assert!(told(&room, &ended, "run").parts[&Part::Checks].min > 0.0);
}
