//! Where the time of an attempt went, as people read it: within forty columns, for narrow terminals and for logs.

use super::show::{self, Table};
use crate::rundir::{Part, Times};

/// A part that takes less of the longest wall time is left out of the table.
const LEAST_SHARE: f64 = 5e-4;

/// The least share that is worth a word in a line.
const WORTH_A_WORD: f64 = 0.01;

/// A table of the parts, and beneath it what they came to.
pub fn table(times: &Times) -> String {
    let mut table = Table::new(&["MIN", "MEAN", "MAX", "%", "s, where the time went"]);
    let parts = times.parts.iter().filter(|(_, spent)| spent.max >= LEAST_SHARE * times.wall.max);
    let rows = parts.map(|(part, spent)| (*spent, times.share(*part), part.name()));
    for (spent, share, name) in rows.chain([(times.wall, 1.0, "in all")]) {
        let [min, mean, max] = [spent.min, spent.mean, spent.max].map(seconds);
        table.row(vec![min, mean, max, format!("{:.1}", 100.0 * share), name.to_owned()]);
    }
    table.text() + &show::pairs(&facts(times))
}

/// The greatest parts, in a line.
pub fn line(times: &Times) -> String {
    let mut shares: Vec<(f64, Part)> = times.parts.keys().map(|&part| (times.share(part), part)).collect();
    shares.sort_by(|a, b| b.0.total_cmp(&a.0));
    let words = shares.iter().filter(|(share, _)| *share >= WORTH_A_WORD).take(4);
    words.map(|(share, part)| format!("{} {:.0} %", part.name(), 100.0 * share)).collect::<Vec<_>>().join(", ")
}

fn facts(times: &Times) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(imbalance) = times.imbalance.filter(|_| times.ranks > 1) {
        facts.push(("imbalance", format!("{:.1} % in sweeps", 100.0 * imbalance)));
    }
    if let Some(updates) = times.updates {
        facts.push(("updates", format!("{}cells/s in all", show::rate(updates.per_second))));
        facts.push(("", format!("{}cells/s a rank", show::rate(updates.per_second_of_rank.mean))));
        facts.push(("", format!("{}cells/s in its sweeps", show::rate(updates.per_second_of_sweeps))));
        if let Some(memory) = updates.memory {
            facts.push(("memory", format!("{}B/s at {} B a cell", show::rate(memory.per_second), memory.bytes_a_cell)));
            if let (Some(limit), Some(share)) = (memory.limit, memory.share()) {
                facts.push(("", format!("{:.0} % of {}B/s measured", 100.0 * share, show::rate(limit))));
            }
        }
    }
    if times.bytes_sent.max > 0.0 {
        let sent = show::bytes(times.bytes_sent.mean as u64);
        facts.push(("exchanges", format!("{:.0}, {sent} sent a rank", times.exchanges.max)));
    }
    facts
}

/// Seconds in five characters, up to a day.
fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 9.9995 => format!("{s:.3}"),
        s if s < 99.995 => format!("{s:.2}"),
        s if s < 999.95 => format!("{s:.1}"),
        s => format!("{s:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::rundir::{Memory, Spread, State, Updates};

    fn times() -> Times {
        let spread = |min, mean, max| Spread { min, mean, max };
        let mut parts: Vec<_> = Part::ALL.into_iter().map(|part| (part, Spread::default())).collect();
        parts[Part::Start as usize].1 = spread(0.5, 0.5, 0.5);
        parts[Part::Sweeps as usize].1 = spread(70.0, 75.0, 90.0);
        parts[Part::Waiting as usize].1 = spread(8.4, 23.5, 28.5);
        parts[Part::Checkpoints as usize].1 = spread(1.0, 1.0, 1.0);
        Times {
            run_id: "r".into(),
            program: "heat".into(),
            attempt: 1,
            state: State::Finished,
            step: 10,
            time: 0.5,
            at: Timestamp::UNIX_EPOCH,
            ranks: 4,
            threads: 1,
            steps: 10,
            wall: spread(100.0, 100.0, 100.0),
            parts: parts.into_iter().collect(),
            imbalance: Some(0.2),
            updates: Some(Updates {
                cells: 1 << 30,
                sweeps_a_step: Some(1),
                per_second: 5.123e8,
                per_second_of_rank: spread(1.281e8, 1.281e8, 1.281e8),
                per_second_of_sweeps: 1.7e8,
                memory: Some(Memory { bytes_a_cell: 24, per_second: 1.12e10, limit: Some(1.333e10) }),
            }),
            exchanges: spread(124.0, 124.0, 124.0),
            bytes_sent: spread(0.0, 1.5 * 1048576.0, 2e6),
        }
    }

    #[test]
    fn a_table_tells_the_parts_that_matter_and_what_they_came_to() {
        let told = "  MIN   MEAN    MAX      %  s, where the time went
0.500  0.500  0.500    0.5  start
70.00  75.00  90.00   75.0  sweeps
8.400  23.50  28.50   23.5  waiting
1.000  1.000  1.000    1.0  checkpoints
100.0  100.0  100.0  100.0  in all
imbalance  20.0 % in sweeps
updates    512.3 Mcells/s in all
           128.1 Mcells/s a rank
           170.0 Mcells/s in its sweeps
memory     11.20 GB/s at 24 B a cell
           84 % of 13.33 GB/s measured
exchanges  124, 1.5 MiB sent a rank
";
        assert_eq!(table(&times()), told);
    }

    #[test]
    fn a_program_that_sweeps_no_cells_on_one_rank_has_its_parts_alone() {
        let spread = Spread::default();
        let alone = Times { ranks: 1, updates: None, imbalance: None, bytes_sent: spread, ..times() };
        assert!(table(&alone).ends_with("100.0  in all\n"), "{}", table(&alone));
    }

    #[test]
    fn a_line_has_the_greatest_parts() {
        assert_eq!(line(&times()), "sweeps 75 %, waiting 24 %, checkpoints 1 %");
    }

    #[test]
    fn seconds_keep_their_places() {
        for (value, text) in
            [(0.0, "0.000"), (9.9996, "10.00"), (99.996, "100.0"), (999.96, "1000"), (86_400.0, "86400")]
        {
            assert_eq!(seconds(value), text);
        }
    }
}
