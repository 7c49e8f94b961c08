//! What was injected, what became of it, and how long it took: a line a row.

use std::path::Path;

use super::judge::Outcome;
use super::matrix::Played;
use super::times::Times;

/// The account of one row.
pub struct Account {
    name: &'static str,
    fault: &'static str,
    runs: u64,
    injected: u64,
    same_bits: u64,
    agreed_stops: u64,
    amiss: u64,
    silent: u64,
    hung: u64,
    torn: u64,
    left_behind: u64,
    skipped: u64,
    detected: Vec<f64>,
    recovered: Vec<f64>,
    pub seconds: f64,
}

impl Account {
    pub fn new(name: &'static str, fault: &'static str) -> Account {
        Account {
            name,
            fault,
            runs: 0,
            injected: 0,
            same_bits: 0,
            agreed_stops: 0,
            amiss: 0,
            silent: 0,
            hung: 0,
            torn: 0,
            left_behind: 0,
            skipped: 0,
            detected: Vec::new(),
            recovered: Vec::new(),
            seconds: 0.0,
        }
    }

    pub fn add(&mut self, played: &Played, times: &Times) {
        self.count(&played.outcome);
        if !matches!(played.outcome, Outcome::Skipped(_)) {
            self.injected += played.injected + times.struck;
            self.detected.extend(times.detected.iter().chain(&played.detected));
            self.recovered.extend(&times.recovered);
        }
    }

    /// So many tests of their own passed; none is as bad as one that did not.
    pub fn tests(&mut self, passed: u64, ok: bool) {
        (self.runs, self.same_bits) = (passed, passed);
        if !ok || passed == 0 {
            self.count(&Outcome::Amiss("a test failed, or none was found".into()));
        }
    }

    fn count(&mut self, outcome: &Outcome) {
        self.runs += 1;
        *match outcome {
            Outcome::SameBits => &mut self.same_bits,
            Outcome::AgreedStop(..) => &mut self.agreed_stops,
            Outcome::Amiss(_) => &mut self.amiss,
            Outcome::Silent(_) => &mut self.silent,
            Outcome::Hung(_) => &mut self.hung,
            Outcome::Torn(_) => &mut self.torn,
            Outcome::LeftBehind(_) => &mut self.left_behind,
            Outcome::Skipped(_) => &mut self.skipped,
        } += 1;
        if let Outcome::Skipped(why) = outcome {
            eprintln!("{}: skipped: {why}", self.name);
        }
    }

    /// Says what was not survived, and how to meet it again.
    pub fn blame(&mut self, seed: u64, outcome: &Outcome, evidence: Option<&Path>) {
        if evidence.is_none() {
            self.count(outcome);
        }
        eprintln!("{}: {outcome}\n  again:    scripts/chaos --row {} --seed {seed}", self.name, self.name);
        if let Some(evidence) = evidence {
            eprintln!("  evidence: {}", evidence.display());
        }
    }

    /// Says in a line that the row is done.
    pub fn tell(&self) {
        let Account { name, runs, injected, seconds, .. } = self;
        let word = if self.is_survived() { "survived" } else { "NOT SURVIVED" };
        eprintln!("{name}: {word} ({runs} runs, {injected} faults, {seconds:.1} s)");
    }

    fn is_survived(&self) -> bool {
        self.same_bits + self.agreed_stops + self.skipped == self.runs
    }

    fn cells(&self) -> [String; 14] {
        let counts = [
            self.runs,
            self.injected,
            self.same_bits,
            self.agreed_stops,
            self.amiss,
            self.silent,
            self.hung,
            self.torn,
            self.left_behind,
        ];
        let [runs, injected, same, stops, amiss, silent, hung, torn, left] = counts.map(|count| count.to_string());
        let times = [median(&self.detected), worst(&self.detected), median(&self.recovered), worst(&self.recovered)];
        let [d, dw, r, rw] = times.map(|time| time.map_or("–".into(), |time| format!("{time:.2}")));
        [self.name.into(), runs, injected, same, stops, amiss, silent, hung, torn, left, d, dw, r, rw]
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "row": self.name, "fault": self.fault, "runs": self.runs, "injected": self.injected,
            "same_bits": self.same_bits, "agreed_stops": self.agreed_stops, "amiss": self.amiss,
            "silent": self.silent, "hung": self.hung, "torn": self.torn, "left_behind": self.left_behind,
            "skipped": self.skipped, "seconds": self.seconds,
            "detected": { "count": self.detected.len(), "median": median(&self.detected), "worst": worst(&self.detected) },
            "recovered": { "count": self.recovered.len(), "median": median(&self.recovered), "worst": worst(&self.recovered) },
        })
    }
}

fn sorted(times: &[f64]) -> Vec<f64> {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times
}

fn median(times: &[f64]) -> Option<f64> {
    sorted(times).get(times.len() / 2).copied()
}

fn worst(times: &[f64]) -> Option<f64> {
    sorted(times).last().copied()
}

/// The account of all rows.
pub struct Report {
    /// The first seed of each row.
    pub seed: u64,
    rows: Vec<Account>,
}

const HEADS: [&str; 14] = [
    "row",
    "runs",
    "faults",
    "same bits",
    "stops",
    "amiss",
    "silent",
    "hung",
    "torn",
    "left",
    "found",
    "worst",
    "again",
    "worst",
];

impl Report {
    pub fn new(seed: u64) -> Report {
        Report { seed, rows: Vec::new() }
    }

    pub fn add(&mut self, account: Account) {
        self.rows.push(account);
    }

    pub fn is_survived(&self) -> bool {
        self.rows.iter().all(Account::is_survived)
    }

    /// Prints the table; times are in seconds, from the fault to its detection and to the next attempt's first step.
    pub fn print(&self) {
        let mut lines = vec![HEADS.map(String::from)];
        lines.extend(self.rows.iter().map(Account::cells));
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
        println!();
        for line in &lines {
            let pad = |(column, cell): (usize, &String)| match column {
                0 => format!("{cell:<w$}", w = widths[0]),
                _ => format!("{cell:>w$}", w = widths[column]),
            };
            println!("{}", line.iter().enumerate().map(pad).collect::<Vec<_>>().join("  "));
        }
        let total = |count: fn(&Account) -> u64| self.rows.iter().map(count).sum::<u64>();
        println!(
            "\n{} runs, {} faults injected, {} rows, first seed {}; found, again: seconds from the fault to its detection and \
             to the next attempt's first step",
            total(|row| row.runs),
            total(|row| row.injected),
            self.rows.len(),
            self.seed
        );
    }

    /// Writes the numbers as JSON.
    pub fn write(&self, path: &str) {
        let rows: Vec<_> = self.rows.iter().map(Account::json).collect();
        let text = serde_json::json!({ "seed": self.seed, "rows": rows });
        if let Err(cause) = std::fs::write(path, format!("{text:#}\n")) {
            eprintln!("error: cannot write {path}: {cause}");
        }
    }
}
