//! The account of all stories: how long things took, and what was not as promised.

use std::time::Duration;

use super::stories::{STORIES, Story};
use super::times::Times;

/// How a story ended.
pub enum Outcome {
    AsPromised(Times),
    Broken(String),
    Skipped(String),
}

/// One story with one seed.
struct Told {
    name: &'static str,
    outcome: Outcome,
    whole: Duration,
}

#[derive(Default)]
pub struct Report {
    told: Vec<Told>,
}

const HEADS: [&str; 5] = ["story", "known", "relaunched", "first step", "whole"];

impl Report {
    /// Takes note of an end, and tells it at once: the others take their time.
    pub fn add(&mut self, story: &Story, seed: u64, outcome: Outcome, whole: Duration) {
        let (name, seconds) = (story.name, whole.as_secs_f64());
        match &outcome {
            Outcome::AsPromised(_) => println!("{name}: as promised, {seconds:.1} s"),
            Outcome::Skipped(reason) => println!("{name}: skipped: {reason}"),
            Outcome::Broken(what) => {
                println!("{name}: NOT as promised ({}), {seconds:.1} s: {what}", story.promise);
                println!("{name}: again: cargo test --test slurm {name} -- --seed {seed}");
            }
        }
        self.told.push(Told { name, outcome, whole });
    }

    pub fn is_as_promised(&self) -> bool {
        !self.told.iter().any(|told| matches!(told.outcome, Outcome::Broken(_)))
    }

    /// Prints the table, in the order of the stories; times are seconds from the blow.
    pub fn print(&self, whole: Duration) {
        let mut lines = vec![HEADS.map(String::from)];
        for story in &STORIES {
            lines.extend(self.told.iter().filter(|told| told.name == story.name).map(Told::cells));
        }
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
        println!();
        for line in &lines {
            let pad = |(column, cell): (usize, &String)| match column {
                0 => format!("{cell:<width$}", width = widths[column]),
                _ => format!("{cell:>width$}", width = widths[column]),
            };
            println!("{}", line.iter().enumerate().map(pad).collect::<Vec<_>>().join("  "));
        }
        let count = |is: fn(&Outcome) -> bool| self.told.iter().filter(|told| is(&told.outcome)).count();
        println!(
            "\n{} stories: {} passed, {} failed, {} skipped, {:.0} s; known, relaunched, first step: seconds from the blow",
            self.told.len(),
            count(|outcome| matches!(outcome, Outcome::AsPromised(_))),
            count(|outcome| matches!(outcome, Outcome::Broken(_))),
            count(|outcome| matches!(outcome, Outcome::Skipped(_))),
            whole.as_secs_f64()
        );
    }
}

impl Told {
    fn cells(&self) -> [String; 5] {
        let seconds = |time: Option<f64>| time.map_or("–".to_owned(), |time| format!("{time:.1} s"));
        let whole = seconds(Some(self.whole.as_secs_f64()));
        let [known, relaunched, stepped] = match &self.outcome {
            Outcome::AsPromised(times) => [times.known, times.relaunched, times.stepped].map(seconds),
            Outcome::Broken(_) => ["not as promised", "", ""].map(str::to_owned),
            Outcome::Skipped(_) => ["skipped", "", ""].map(str::to_owned),
        };
        [self.name.to_owned(), known, relaunched, stepped, whole]
    }
}
