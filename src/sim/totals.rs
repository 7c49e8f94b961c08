//! The table of totals: for each component its integral over the domain, its minimum and its maximum.
//!
//! The integrals are exact sums, rounded once: they are the same bits on any number of ranks, so that a conserved
//! quantity is seen to be conserved, or not, to the last bit.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::clock::Instant;
use crate::comm::{Communicator, ExactSum};
use crate::error::{Error, Result};
use crate::field::{Component, Field, Scalar};
use crate::grid::Tiling;

/// Integral, minimum and maximum of one component over the domain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Total {
    /// The sum over all cells times the volume of a cell.
    pub integral: f64,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
}

/// The totals of every component.
///
/// # Collective
/// All ranks must call it; all get the same.
pub(super) fn totals<T: Scalar, const N: usize>(
    field: &Field<T, N>,
    tiling: &Tiling<N>,
    comm: &Communicator,
) -> Result<Vec<Total>> {
    let components = field.components();
    let volume = tiling.grid().spacing().product();
    let mut totals = Vec::with_capacity(components);
    for component in 0..components {
        let mut sum = ExactSum::new();
        let mut extremes = [f64::INFINITY; 2];
        for patch in field.patches() {
            let values = &patch.data()[component * patch.plane()..];
            for row in patch.rows(&patch.interior()) {
                for value in &values[row] {
                    let value = value.to_f64();
                    sum.add(value);
                    // In total order, where −0 is less than 0: the same bits in any order.
                    extremes = [least(extremes[0], value), least(extremes[1], -value)];
                }
            }
        }
        let sum = sum.reduce(comm)?;
        comm.min_f64(&mut extremes)?;
        totals.push(Total { integral: sum * volume, min: extremes[0], max: -extremes[1] });
    }
    Ok(totals)
}

fn least(a: f64, b: f64) -> f64 {
    if b.total_cmp(&a).is_lt() { b } else { a }
}

/// The file `totals.csv` of a run; only rank 0 has one.
///
/// A run that goes on from a checkpoint writes the rows after it again. Until it has, the rows of the attempt before stay:
/// another attempt may go on from a later checkpoint, and the table must have no hole.
#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
    /// Up to this step the rows are of this attempt or from before the checkpoint that it goes on from.
    settled: Option<u64>,
    /// Whether there may be rows of the attempt before beyond that.
    overlaps: bool,
}

impl Table {
    /// Opens the table of an earlier attempt, or begins one; the run goes on from `start`.
    pub fn open(directory: &Path, components: &[Component], start: Instant) -> Result<Table> {
        let path = directory.join("totals.csv");
        let names = components.iter().map(|c| format!("{0} integral,{0} min,{0} max", c.name));
        let header = ["step", "time"].map(String::from).into_iter().chain(names).collect::<Vec<_>>().join(",");
        let settled = start.step.checked_sub(1);
        let earlier = match fs::read_to_string(&path) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => String::new(),
            read => read.map_err(|cause| Error::io("read the table of totals", &path, &cause))?,
        };
        let keeps = settled.is_some() && earlier.lines().next() == Some(header.as_str());
        let table = Table { path, settled, overlaps: keeps };
        // A line that a power loss tore has no step or no end.
        let whole = |row: &&str| step_of(row).is_some() && row.split(',').count() == header.split(',').count();
        let rows = earlier.lines().filter(whole).filter(|_| keeps).map(|row| format!("{row}\n"));
        table.replace(std::iter::once(header.clone() + "\n").chain(rows))?;
        Ok(table)
    }

    /// Adds the row of a step; it takes the place of those that the attempt before had from the last row on to this step.
    pub fn append(&mut self, now: Instant, totals: &[Total]) -> Result<()> {
        let numbers = totals.iter().flat_map(|total| [total.integral, total.min, total.max]);
        let cells =
            [now.step.to_string(), format!("{:?}", now.time)].into_iter().chain(numbers.map(|x| format!("{x:?}")));
        let row = cells.collect::<Vec<_>>().join(",") + "\n";
        if self.overlaps {
            let text = fs::read_to_string(&self.path)
                .map_err(|cause| Error::io("read the table of totals", &self.path, &cause))?;
            let is_before =
                |line: &&str| step_of(line).is_none_or(|step| self.settled.is_some_and(|settled| step <= settled));
            let is_after = |line: &&str| step_of(line).is_some_and(|step| step > now.step);
            let before = text.lines().filter(is_before).map(|line| format!("{line}\n"));
            let after: Vec<_> = text.lines().filter(is_after).map(|line| format!("{line}\n")).collect();
            self.overlaps = !after.is_empty();
            self.replace(before.chain([row]).chain(after))?;
        } else {
            let write = || {
                let mut file = fs::OpenOptions::new().append(true).open(&self.path)?;
                file.write_all(row.as_bytes())?;
                file.sync_data()
            };
            write().map_err(|cause| Error::io("append to the table of totals", &self.path, &cause))?;
        }
        self.settled = Some(now.step);
        Ok(())
    }

    /// Puts a new table in the place of the old one, whole and on stable storage.
    fn replace(&self, lines: impl Iterator<Item = String>) -> Result<()> {
        let temporary = self.path.with_extension("csv.partial");
        let write = || {
            let mut file = fs::File::create(&temporary)?;
            file.write_all(lines.collect::<String>().as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &self.path)
        };
        write().map_err(|cause| Error::io("write the table of totals", &self.path, &cause))
    }
}

/// The step that a row is of; none for the header.
fn step_of(row: &str) -> Option<u64> {
    row.split(',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_keeps_the_rows_before_it_and_writes_the_others_anew() {
        let room = tempfile::tempdir().unwrap();
        let components = [Component::scalar("u", "K")];
        let total = |x| [Total { integral: x, min: -x, max: x }];
        let mut table = Table::open(room.path(), &components, Instant { step: 0, time: 0.0 }).unwrap();
        for step in 0..4 {
            table.append(Instant { step, time: 0.5 * step as f64 }, &total(step as f64)).unwrap();
        }
        let whole = fs::read_to_string(room.path().join("totals.csv")).unwrap();
        assert_eq!(whole.lines().nth(2), Some("1,0.5,1.0,-1.0,1.0"));
        let mut again = Table::open(room.path(), &components, Instant { step: 2, time: 1.0 }).unwrap();
        for step in 2..4 {
            again.append(Instant { step, time: 0.5 * step as f64 }, &total(step as f64)).unwrap();
        }
        assert_eq!(fs::read_to_string(room.path().join("totals.csv")).unwrap(), whole);
    }

    #[test]
    fn rows_of_the_attempt_before_stay_until_they_are_written_again() {
        let room = tempfile::tempdir().unwrap();
        let components = [Component::scalar("u", "K")];
        let at = |step: u64| Instant { step, time: step as f64 };
        let total = [Total { integral: 1.0, min: 1.0, max: 1.0 }];
        let steps = || -> Vec<u64> {
            fs::read_to_string(room.path().join("totals.csv")).unwrap().lines().filter_map(step_of).collect()
        };
        let mut first = Table::open(room.path(), &components, at(0)).unwrap();
        // Step 7 is there only because the attempt stopped then.
        for step in [0, 2, 4, 6, 7] {
            first.append(at(step), &total).unwrap();
        }
        let mut second = Table::open(room.path(), &components, at(3)).unwrap();
        assert_eq!(steps(), [0, 2, 4, 6, 7]);
        second.append(at(4), &total).unwrap();
        assert_eq!(steps(), [0, 2, 4, 6, 7]);
        second.append(at(8), &total).unwrap();
        assert_eq!(steps(), [0, 2, 4, 8]);
        Table::open(room.path(), &components, at(0)).unwrap();
        assert!(steps().is_empty(), "a run from the start begins a new table");
    }
}
