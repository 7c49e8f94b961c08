//! The table of totals: for each component its integral over the domain, its minimum and its maximum.
//!
//! The integrals are exact sums, rounded once: they are the same bits on any number of ranks, so that a conserved
//! quantity is seen to be conserved, or not, to the last bit.

use std::fs;
use std::io::Write;
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
        for block in field.blocks() {
            let values = &block.data()[component * block.plane()..];
            for row in block.rows(&block.interior()) {
                for value in &values[row] {
                    let value = value.to_f64();
                    sum.add(value);
                    extremes = [extremes[0].min(value), extremes[1].min(-value)];
                }
            }
        }
        let sum = sum.reduce(comm)?;
        comm.min_f64(&mut extremes)?;
        totals.push(Total { integral: sum * volume, min: extremes[0], max: -extremes[1] });
    }
    Ok(totals)
}

/// The file `totals.csv` of a run; only rank 0 has one.
#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
}

impl Table {
    /// Opens the table, with the rows of an earlier attempt up to the step that the run goes on from.
    pub fn open(directory: &Path, components: &[Component], start: Instant) -> Result<Table> {
        let path = directory.join("totals.csv");
        let names = components.iter().map(|c| format!("{0} integral,{0} min,{0} max", c.name));
        let header = ["step", "time"].map(String::from).into_iter().chain(names).collect::<Vec<_>>().join(",");
        let earlier = fs::read_to_string(&path).unwrap_or_default();
        let kept = |row: &&str| {
            row.split(',').next().and_then(|step| step.parse::<u64>().ok()).is_some_and(|step| step < start.step)
        };
        let rows: String = earlier.lines().filter(kept).map(|row| format!("{row}\n")).collect();
        let temporary = path.with_extension("csv.new");
        fs::write(&temporary, format!("{header}\n{rows}"))
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(|cause| Error::io("begin the table of totals", &path, &cause))?;
        Ok(Table { path })
    }

    /// Appends one row.
    pub fn append(&self, now: Instant, totals: &[Total]) -> Result<()> {
        let numbers = totals.iter().flat_map(|total| [total.integral, total.min, total.max]);
        let cells =
            [now.step.to_string(), format!("{:?}", now.time)].into_iter().chain(numbers.map(|x| format!("{x:?}")));
        let row = cells.collect::<Vec<_>>().join(",") + "\n";
        let write = || {
            let mut file = fs::OpenOptions::new().append(true).open(&self.path)?;
            file.write_all(row.as_bytes())?;
            file.sync_data()
        };
        write().map_err(|cause| Error::io("append to the table of totals", &self.path, &cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_keeps_the_rows_before_it_and_writes_the_others_anew() {
        let room = tempfile::tempdir().unwrap();
        let components = [Component::scalar("u", "K")];
        let total = |x| [Total { integral: x, min: -x, max: x }];
        let table = Table::open(room.path(), &components, Instant { step: 0, time: 0.0 }).unwrap();
        for step in 0..4 {
            table.append(Instant { step, time: 0.5 * step as f64 }, &total(step as f64)).unwrap();
        }
        let whole = fs::read_to_string(room.path().join("totals.csv")).unwrap();
        assert_eq!(whole.lines().nth(2), Some("1,0.5,1.0,-1.0,1.0"));
        let again = Table::open(room.path(), &components, Instant { step: 2, time: 1.0 }).unwrap();
        for step in 2..4 {
            again.append(Instant { step, time: 0.5 * step as f64 }, &total(step as f64)).unwrap();
        }
        assert_eq!(fs::read_to_string(room.path().join("totals.csv")).unwrap(), whole);
    }
}
