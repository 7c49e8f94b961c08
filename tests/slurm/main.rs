//! What happens to jobs on a cluster, told on a real Slurm of five nodes that the test starts by itself and takes down
//! again, however it ends.
//!
//! Each story hurts a job in one way and has it judged like every other: by the bits of an undisturbed run on one machine,
//! with no process left on any node and no job in the queue. Where no cluster can be started the test says why, and is
//! skipped.
//!
//! `cargo test --test slurm` tells all stories once, with the same blows each time.
//!
//! - A word on the command line tells only the stories whose names contain it.
//! - `--full`, or `STEADFAST_SLURM=long`, tells them again and again, with blows at moments drawn from a seed, and some
//!   that take too long for every run of the tests.
//! - `--seed N` begins with this seed; `--rounds N` plays so many.
//! - `--at-once N` tells so many at a time, each on a cluster of its own (4 unless told otherwise); with 1 the times that
//!   are reported are undisturbed by others.
//! - `--keep` keeps logs and run directories of all stories, not only of those that break off.
//! - `--list` names the stories.
//! - `STEADFAST_SLURM_MODE` asks for `network` (a world of its own for each node; only root may) or `plain`.
//!
//! The examples must be there: `cargo test` builds them, `cargo build --example gray_scott` does.

mod cluster;
mod conf;
#[allow(dead_code)] // The faults use the rest.
#[path = "../faults/draw.rs"]
mod draw;
mod ends;
mod fenced;
mod finished;
mod interrupted;
mod job;
mod keeper;
mod mode;
mod network;
mod node;
mod nodes;
mod processes;
mod ranks;
mod report;
mod scene;
#[allow(dead_code)] // The promises use the rest.
#[path = "../promises/stage.rs"]
mod stage;
mod stories;
mod templates;
mod times;
mod warned;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use cluster::Cluster;
use draw::Draw;
use mode::Mode;
use report::{Outcome, Report};
use stories::{STORIES, Story};

/// The first seed of a form that asks for none: the same blows in every run of the tests.
const SEED: u64 = 20_261_123;
/// How often the long form tells each story, unless it is told otherwise.
const LONG: u64 = 10;

/// How many stories are told at a time.
const AT_ONCE: usize = 4;

const NO_NETWORK: &str = "only root may give each node a network of its own";

/// What is to be told.
struct Wish {
    words: Vec<String>,
    full: bool,
    seed: u64,
    rounds: u64,
    at_once: usize,
    keep: bool,
    list: bool,
}

impl Wish {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Wish, String> {
        let full = std::env::var("STEADFAST_SLURM").is_ok_and(|form| form == "long");
        let mut wish =
            Wish { words: Vec::new(), full, seed: SEED, rounds: 0, at_once: AT_ONCE, keep: false, list: false };
        let mut rounds = None;
        while let Some(argument) = arguments.next() {
            let mut number = || -> Result<u64, String> {
                let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
                value.parse().map_err(|_| format!("{argument} cannot be \"{value}\": it is no number"))
            };
            match argument.as_str() {
                "--list" => wish.list = true,
                "--keep" => wish.keep = true,
                "--full" => wish.full = true,
                "--seed" => wish.seed = number()?,
                "--at-once" => wish.at_once = number()?.max(1) as usize,
                "--rounds" => rounds = Some(number()?),
                // What cargo test hands to every test program.
                "--quiet" | "--nocapture" | "--exact" | "--ignored" | "--include-ignored" => {}
                "--test-threads" | "--skip" => drop(arguments.next()),
                word if !word.starts_with('-') => wish.words.push(word.to_owned()),
                _ => return Err(format!("{argument} is not known")),
            }
        }
        wish.rounds = rounds.unwrap_or(if wish.full { LONG } else { 1 });
        Ok(wish)
    }

    fn wants(&self, story: &Story) -> bool {
        let named = |word: &String| story.name.contains(word.as_str());
        if self.words.is_empty() { self.full || !story.is_long } else { self.words.iter().any(named) }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((role, rest)) if role == keeper::ROLE => return keeper::keep(rest),
        Some((role, rest)) if role == node::ROLE => return node::live(rest),
        Some((role, _)) if role == interrupted::ROLE => return interrupted::hold(),
        _ => {}
    }
    let wish = match Wish::parse(arguments.into_iter()) {
        Ok(wish) => wish,
        Err(problem) => {
            eprintln!("error: {problem}");
            return ExitCode::from(2);
        }
    };
    if wish.list {
        STORIES.iter().for_each(|story| println!("{:<20}  {}", story.name, story.promise));
        return ExitCode::SUCCESS;
    }
    let mode = match Mode::here() {
        Ok(mode) => mode,
        Err(reason) => {
            println!("skipped: stories on a real Slurm: {reason}");
            return ExitCode::SUCCESS;
        }
    };
    let begin = Instant::now();
    println!("stories on a real Slurm of {} nodes ({mode}), first seed {}", conf::NODES, wish.seed);
    let stories: Vec<&Story> = STORIES.iter().filter(|story| wish.wants(story)).collect();
    let plays =
        (wish.seed..).take(wish.rounds as usize).flat_map(|seed| stories.iter().map(move |story| (*story, seed)));
    let report = tell_all(plays.collect(), mode, &wish);
    report.print(begin.elapsed());
    if report.is_as_promised() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Tells the stories, some at a time: most of their time they wait for Slurm.
fn tell_all(plays: Vec<(&Story, u64)>, mode: Mode, wish: &Wish) -> Report {
    let (plays, report) = (Mutex::new(plays.into_iter()), Mutex::new(Report::default()));
    let next = || plays.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        for _ in 0..wish.at_once {
            scope.spawn(|| {
                while let Some((story, seed)) = next() {
                    let begin = Instant::now();
                    let outcome = match (story.needs, mode) {
                        (Mode::Network, Mode::Plain) => Outcome::Skipped(NO_NETWORK.into()),
                        _ => tell(story, mode, seed, wish.keep),
                    };
                    report.lock().unwrap_or_else(PoisonError::into_inner).add(story, seed, outcome, begin.elapsed());
                }
            });
        }
    });
    report.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Tells one story, on a cluster of its own.
fn tell(story: &Story, mode: Mode, seed: u64, keeps: bool) -> Outcome {
    let cluster = match catch_unwind(|| Cluster::start(mode)) {
        Ok(Ok(cluster)) => cluster,
        Ok(Err(problem)) => return Outcome::Broken(format!("no cluster: {problem}")),
        Err(_) => return Outcome::Broken("the cluster did not come up, as told above".into()),
    };
    match catch_unwind(AssertUnwindSafe(|| (story.play)(&cluster, &Draw::new(seed)))) {
        Ok(times) => {
            if keeps {
                cluster.keep(&format!("{}-{seed}", story.name));
            }
            Outcome::AsPromised(times)
        }
        Err(_) => {
            let kept = cluster.keep(&format!("{}-{seed}", story.name));
            Outcome::Broken(format!("as told above; what it left is kept in {}", kept.display()))
        }
    }
}
