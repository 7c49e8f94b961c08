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
//! - `--full`, or `STEADFAST_SLURM=long`, tells them again and again, with blows at moments drawn from a seed.
//! - `--seed N` begins with this seed; `--rounds N` plays so many.
//! - `--list` names the stories.
//! - `STEADFAST_SLURM_MODE` asks for `network` (a world of its own for each node; only root may) or `plain`.
//!
//! The examples must be there: `cargo test` builds them, `cargo build --example gray_scott` does.

mod cluster;
mod conf;
#[allow(dead_code)] // The faults use the rest.
#[path = "../faults/draw.rs"]
mod draw;
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
mod times;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use cluster::Cluster;
use draw::Draw;
use mode::Mode;
use report::Report;
use stories::{STORIES, Story};

/// The first seed of a form that asks for none: the same blows in every run of the tests.
const SEED: u64 = 20_261_123;
/// How often the long form tells each story, unless it is told otherwise.
const LONG: u64 = 10;

/// What is to be told.
struct Wish {
    words: Vec<String>,
    seed: u64,
    rounds: u64,
    list: bool,
}

impl Wish {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Wish, String> {
        let mut full = std::env::var("STEADFAST_SLURM").is_ok_and(|form| form == "long");
        let (mut words, mut seed, mut rounds, mut list) = (Vec::new(), SEED, None, false);
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
                value.parse().map_err(|_| format!("{argument} cannot be \"{value}\": it is no number"))
            };
            match argument.as_str() {
                "--list" => list = true,
                "--full" => full = true,
                "--seed" => seed = number()?,
                "--rounds" => rounds = Some(number()?),
                // What cargo test hands to every test program.
                "--quiet" | "--nocapture" | "--exact" | "--ignored" | "--include-ignored" => {}
                "--test-threads" | "--skip" => drop(arguments.next()),
                word if !word.starts_with('-') => words.push(word.to_owned()),
                _ => return Err(format!("{argument} is not known")),
            }
        }
        Ok(Wish { words, seed, rounds: rounds.unwrap_or(if full { LONG } else { 1 }), list })
    }

    fn wants(&self, story: &Story) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| story.name.contains(word.as_str()))
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
    let cluster = match Cluster::start(mode) {
        Ok(cluster) => cluster,
        Err(problem) => {
            eprintln!("error: no cluster: {problem}");
            return ExitCode::FAILURE;
        }
    };
    println!(
        "a cluster of {} nodes ({mode}) after {:.1} s, first seed {}",
        conf::NODES,
        begin.elapsed().as_secs_f64(),
        wish.seed
    );
    let mut report = Report::default();
    for seed in (wish.seed..).take(wish.rounds as usize) {
        for story in STORIES.iter().filter(|story| wish.wants(story)) {
            match (story.needs, mode) {
                (Mode::Network, Mode::Plain) => {
                    report.skipped(story, "only root may give each node a network of its own")
                }
                _ => tell(story, &cluster, seed, &mut report),
            }
        }
    }
    report.print(begin.elapsed());
    if report.is_as_promised() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Tells one story, with all nodes back before and nothing left of it for the next.
fn tell(story: &Story, cluster: &Cluster, seed: u64, report: &mut Report) {
    let begin = Instant::now();
    let draw = Draw::new(seed);
    let told = catch_unwind(AssertUnwindSafe(|| {
        cluster.repair();
        (story.play)(cluster, &draw)
    }));
    match told {
        Ok(rows) => report.told(story, rows, begin.elapsed()),
        Err(_) => {
            let kept = cluster.keep(&format!("{}-{seed}", story.name));
            report.broken(story, seed, &kept, begin.elapsed());
            cluster.clear();
        }
    }
}
