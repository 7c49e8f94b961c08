//! The fault matrix: a small case under the supervisor, hurt again and again in every way that is known, and judged by
//! one definition of survival ([`judge`]).
//!
//! `cargo test --test faults` plays the short form. `scripts/chaos` plays more, and rows or seeds of one's choice:
//!
//! - `--full` plays the long form, and the tests that rows refer to, in theirs.
//! - `--row NAME` (or a word, for all rows that contain it) plays some rows only.
//! - `--seed N` begins with this seed; with `--row` it plays this one alone, unless `--rounds N` asks for more.
//! - `--minutes M` begins no new round after this time.
//! - `--list` names the rows.
//! - `--json FILE` writes the numbers for programs.
//!
//! The examples must be there: `cargo test` builds them, `cargo build --example gray_scott` does.

mod draw;
mod files;
mod judge;
mod matrix;
mod people;
mod ranks;
mod report;
mod scene;
#[allow(dead_code)] // The promises use the rest.
#[path = "../promises/stage.rs"]
mod stage;
mod times;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use draw::Draw;
use judge::Outcome;
use matrix::{How, ROWS, Row};
use report::{Account, Report};
use times::Times;

/// The first seed of a form that asks for none: the same plans in every run of the tests.
const SEED: u64 = 20_261_122;

/// What is to be played.
#[derive(Default)]
struct Wish {
    full: bool,
    rows: Vec<String>,
    seed: Option<u64>,
    rounds: Option<u64>,
    minutes: Option<f64>,
    json: Option<String>,
    list: bool,
}

impl Wish {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Wish, String> {
        let mut wish = Wish::default();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            let sense = |text: String| format!("{argument} cannot be \"{text}\"");
            match argument.as_str() {
                "--list" => wish.list = true,
                "--full" => wish.full = true,
                "--row" => {
                    let word = value()?;
                    if !ROWS.iter().any(|row| row.name.contains(word.as_str())) {
                        return Err(format!("no row has \"{word}\" in its name; --list names them"));
                    }
                    wish.rows.push(word);
                }
                "--seed" => wish.seed = Some(value()?.parse().map_err(|_| sense("no number".into()))?),
                "--rounds" => wish.rounds = Some(value()?.parse().map_err(|_| sense("no number".into()))?),
                "--minutes" => wish.minutes = Some(value()?.parse().map_err(|_| sense("no number".into()))?),
                "--json" => wish.json = Some(value()?),
                // What cargo test hands to every test program.
                "--quiet" | "--nocapture" | "--exact" | "--ignored" | "--include-ignored" => {}
                "--test-threads" | "--skip" => drop(value()?),
                word if !word.starts_with('-') => wish.rows.push(word.to_owned()),
                _ => return Err(format!("{argument} is not known")),
            }
        }
        Ok(wish)
    }

    /// Whether a row was asked for: by its name, or by a word of it if there is no such name.
    fn wants(&self, row: &Row) -> bool {
        let named = |word: &String| match ROWS.iter().any(|row| row.name == word) {
            true => row.name == word,
            false => row.name.contains(word.as_str()),
        };
        self.rows.is_empty() || self.rows.iter().any(named)
    }

    /// Whether a row was asked for by its very name.
    fn names(&self, row: &Row) -> bool {
        self.rows.iter().any(|word| row.name == word)
    }

    fn rounds(&self, short: u64, long: u64) -> u64 {
        let one = self.seed.is_some() && !self.rows.is_empty();
        self.rounds.unwrap_or(if one {
            1
        } else if self.full {
            long
        } else {
            short
        })
    }
}

fn main() -> ExitCode {
    let wish = match Wish::parse(std::env::args().skip(1)) {
        Ok(wish) => wish,
        Err(problem) => {
            eprintln!("error: {problem}\n\nhint: scripts/chaos --help tells what can be asked for");
            return ExitCode::from(2);
        }
    };
    if wish.list {
        ROWS.iter().for_each(|row| println!("{:<20}  {}", row.name, row.fault));
        return ExitCode::SUCCESS;
    }
    let begin = Instant::now();
    let over = || wish.minutes.is_some_and(|minutes| begin.elapsed() > Duration::from_secs_f64(60.0 * minutes));
    let mut report = Report::new(wish.seed.unwrap_or(SEED));
    for row in ROWS.iter().filter(|row| wish.wants(row)) {
        let account = match row.how {
            _ if over() => continue,
            How::Play(_, short, long) => play(row, &report, wish.rounds(short, long), &over),
            How::Tests { target, filter, long } if wish.full || wish.names(row) => run_tests(row, target, filter, long),
            How::Tests { .. } => continue,
        };
        report.add(account);
    }
    report.print();
    if let Some(path) = &wish.json {
        report.write(path);
    }
    if report.is_survived() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays the rounds of a row, each with a seed of its own.
fn play(row: &Row, report: &Report, rounds: u64, over: &impl Fn() -> bool) -> Account {
    let How::Play(fault, ..) = row.how else { unreachable!("rows of tests are not played") };
    let mut account = Account::new(row.name, row.fault);
    let begin = Instant::now();
    for seed in (report.seed..).take(rounds as usize).take_while(|_| !over()) {
        let draw = Draw::new(seed);
        match catch_unwind(AssertUnwindSafe(|| fault(&draw))) {
            Ok(played) => {
                account.add(&played, &Times::of(&played.scene.run()));
                if !played.outcome.is_survived() && !matches!(played.outcome, Outcome::Skipped(_)) {
                    let evidence = played.scene.keep(&format!("{}-{seed}", row.name));
                    account.blame(seed, &played.outcome, Some(&evidence));
                }
            }
            Err(_) => account.blame(seed, &Outcome::Amiss("the play itself broke off, as told above".into()), None),
        }
    }
    account.seconds = begin.elapsed().as_secs_f64();
    account.tell();
    account
}

/// Runs the tests that prove a row elsewhere.
fn run_tests(row: &Row, target: &str, filter: &str, long: &[(&str, &str)]) -> Account {
    let mut account = Account::new(row.name, row.fault);
    let begin = Instant::now();
    let cargo = std::env::var("CARGO").unwrap_or("cargo".into());
    let mut command = Command::new(cargo);
    match target {
        "lib" => command.args(["test", "--quiet", "--lib"]),
        target => command.args(["test", "--quiet", "--test", target]),
    };
    command.args(["--", filter]).envs(long.iter().copied());
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().expect("cargo starts, as it has started this");
    let told = String::from_utf8_lossy(&output.stdout);
    let ok = output.status.success();
    if !ok {
        eprintln!("{told}{}", String::from_utf8_lossy(&output.stderr));
    }
    let counts = told.split(" passed").filter_map(|before| before.rsplit(' ').next()?.parse::<u64>().ok());
    account.tests(counts.sum(), ok);
    account.seconds = begin.elapsed().as_secs_f64();
    account.tell();
    account
}
