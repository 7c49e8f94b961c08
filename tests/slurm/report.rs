//! The account of all stories: how long things took, and what was not as promised.

use std::path::Path;
use std::time::Duration;

use super::stories::{Row, Story};

#[derive(Default)]
pub struct Report {
    lines: Vec<[String; 6]>,
    broken: Vec<String>,
    stories: usize,
    skipped: usize,
}

const HEADS: [&str; 6] = ["story", "", "known", "relaunched", "first step", "whole"];

impl Report {
    pub fn told(&mut self, story: &Story, rows: Vec<Row>, whole: Duration) {
        self.stories += 1;
        println!("{:<12} as promised, {:.1} s", story.name, whole.as_secs_f64());
        let seconds = |time: Option<f64>| time.map_or("–".to_owned(), |time| format!("{time:.1} s"));
        for (place, row) in rows.into_iter().enumerate() {
            let first = place == 0;
            self.lines.push([
                if first { story.name.to_owned() } else { String::new() },
                row.what,
                seconds(row.times.known),
                seconds(row.times.relaunched),
                seconds(row.times.stepped),
                if first { seconds(Some(whole.as_secs_f64())) } else { String::new() },
            ]);
        }
    }

    pub fn broken(&mut self, story: &Story, seed: u64, kept: &Path, whole: Duration) {
        self.stories += 1;
        let again = format!("cargo test --test slurm {} -- --seed {seed}", story.name);
        let line =
            format!("{}: NOT as promised: {}; kept in {}; again: {again}", story.name, story.promise, kept.display());
        println!("{line} ({:.1} s)", whole.as_secs_f64());
        self.broken.push(line);
    }

    pub fn skipped(&mut self, story: &Story, reason: &str) {
        println!("{:<12} skipped: {reason}", story.name);
        self.skipped += 1;
    }

    pub fn is_as_promised(&self) -> bool {
        self.broken.is_empty()
    }

    /// Prints the table; times are seconds from the blow.
    pub fn print(&self, whole: Duration) {
        let mut lines = vec![HEADS.map(String::from)];
        lines.extend(self.lines.iter().cloned());
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
        println!();
        for line in &lines {
            let pad = |(column, cell): (usize, &String)| match column {
                0 | 1 => format!("{cell:<width$}", width = widths[column]),
                _ => format!("{cell:>width$}", width = widths[column]),
            };
            println!("{}", line.iter().enumerate().map(pad).collect::<Vec<_>>().join("  ").trim_end());
        }
        self.broken.iter().for_each(|line| println!("{line}"));
        println!(
            "\n{} stories, {} not as promised, {} skipped, {:.0} s; known, relaunched, first step: seconds from the blow",
            self.stories,
            self.broken.len(),
            self.skipped,
            whole.as_secs_f64()
        );
    }
}
