//! `steadfast converge`: how fast the error of a scheme falls as its cells become smaller.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ndarray::{ArrayD, Dimension, IxDyn};
use serde::Serialize;

use super::plot::{self, Chart, Series};
use super::show;
use crate::checkpoint::{Header, Reader};
use crate::error::{Error, Kind, Result};
use crate::rundir::{CheckpointEntry, RunDirectory};

/// Measure orders of convergence from runs of one case on ever finer grids.
///
/// By default each run's last state is compared with that of the next finer run, averaged to its cells; with
/// --against start, with its own fields at step 0, for what returns to where it began (the case must write them:
/// an output of fields). The error of a field is the mean over all cells of the absolute difference (L1); errors of
/// several fields are put together as the root of the sum of their squares. Runs are given coarse to fine, each with the
/// name of its series if there are several: `steadfast converge plm=a32.run plm=a64.run ppm=b32.run ppm=b64.run -o orders.png`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run directories, or the names of series and run directories; a directory whose name has an = needs a series.
    #[arg(value_name = "[SERIES=]DIR", required = true, num_args = 2..)]
    pub runs: Vec<String>,

    /// What each run is compared with.
    #[arg(long, value_enum, default_value_t = Against::Finer)]
    pub against: Against,

    /// Compare only this field; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub field: Vec<String>,

    /// Draw the errors to this PNG file.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// The title of the picture.
    #[arg(long, value_name = "TEXT", default_value = "Convergence")]
    pub title: String,

    /// Print JSON for programs.
    #[arg(long)]
    pub json: bool,
}

/// What a run is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Against {
    /// The next finer run, averaged.
    Finer,
    /// Its own fields at step 0.
    Start,
}

/// The errors of one series, coarse to fine.
#[derive(Debug, PartialEq, Serialize)]
struct Measured {
    series: String,
    errors: Vec<Line>,
}

/// The error of one run.
#[derive(Debug, PartialEq, Serialize)]
struct Line {
    cells: Vec<usize>,
    error: f64,
    /// The largest difference in any cell of any field.
    largest: f64,
    /// The order between the run before and this one; none for the first.
    order: Option<f64>,
}

/// Measures, and prints or draws.
///
/// # Errors
/// If a run has no state that can be compared, or something cannot be read or written.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut series: Vec<(String, Vec<PathBuf>)> = Vec::new();
    for run in &args.runs {
        let (name, path) = run.split_once('=').unwrap_or(("error", run));
        match series.iter_mut().find(|(known, _)| known == name) {
            Some((_, paths)) => paths.push(path.into()),
            None => series.push((name.to_owned(), vec![path.into()])),
        }
    }
    let measured = series
        .iter()
        .map(|(name, paths)| Ok(Measured { series: name.clone(), errors: measure(args, paths)? }))
        .collect::<Result<Vec<_>>>()?;
    if let Some(path) = &args.output {
        draw(args, &measured, path)?;
    }
    match args.json {
        true => show::json(&measured)?,
        false => show::data(&text(&measured))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The errors of the runs of one series.
fn measure(args: &Args, paths: &[PathBuf]) -> Result<Vec<Line>> {
    let states = paths.iter().map(|path| last_state(path)).collect::<Result<Vec<_>>>()?;
    let mut lines: Vec<Line> = Vec::new();
    let compared = match args.against {
        Against::Start => states.len(),
        Against::Finer => states.len() - 1,
    };
    for (i, state) in states.iter().enumerate().take(compared) {
        let other = match args.against {
            Against::Start => first_fields(&paths[i])?,
            Against::Finer => Reader::open(states[i + 1].path())?,
        };
        if args.against == Against::Finer {
            alike(state, &other)?;
        }
        let (error, largest) = difference(args, state, &other)?;
        let cells = state.header().cells.clone();
        let order = lines.last().map(|before| Ok((before.error / error).ln() / refinement(before, state)?.ln()));
        let order = order.transpose()?;
        lines.push(Line { cells, error, largest, order });
    }
    Ok(lines)
}

/// Refuses states of different times or domains.
fn alike(state: &Reader, other: &Reader) -> Result<()> {
    let (here, there) = (state.header(), other.header());
    let differs = if here.time != there.time {
        format!("is at time {}, the coarser run at {}", there.time, here.time)
    } else if (&here.lower, &here.upper) != (&there.lower, &there.upper) {
        let domain = |header: &Header| format!("{:?} to {:?}", header.lower, header.upper);
        format!("is of the domain {}, the coarser run of {}", domain(there), domain(here))
    } else {
        return Ok(());
    };
    Err(Error::new(Kind::Case, format!("the finer run {differs}"))
        .at_path(other.path())
        .hint("compare runs of one case"))
}

/// How many times finer a run is than the one before, on the mean over the axes.
fn refinement(before: &Line, state: &Reader) -> Result<f64> {
    let count = |cells: &[usize]| cells.iter().map(|&n| n as f64).product::<f64>();
    let cells = &state.header().cells;
    let ratio = (count(cells) / count(&before.cells)).powf(1.0 / cells.len() as f64);
    if ratio > 1.0 {
        return Ok(ratio);
    }
    Err(Error::new(
        Kind::Case,
        format!("a run on {cells:?} cells is not finer than the one before it, on {:?}", before.cells),
    )
    .at_path(state.path())
    .hint("give the runs coarse to fine"))
}

/// The root of the sum of squares of the fields' L1 errors, and the largest difference.
fn difference(args: &Args, state: &Reader, other: &Reader) -> Result<(f64, f64)> {
    let names: Vec<String> = match args.field.is_empty() {
        true => other.header().components.iter().map(|component| component.name.clone()).collect(),
        false => args.field.clone(),
    };
    let (mut squares, mut largest) = (0.0, 0.0f64);
    for name in &names {
        let coarse = state.values(state.component(name)?, &state.all_cells())?;
        let fine = other.values(other.component(name)?, &other.all_cells())?;
        let averaged = average(&fine, coarse.shape()).ok_or_else(|| {
            let (here, there) = (&state.header().cells, &other.header().cells);
            Error::new(Kind::Case, format!("{there:?} cells are no whole multiple of {here:?} along every axis"))
                .at_path(other.path())
                .hint("give the runs coarse to fine, each finer by a whole number")
        })?;
        let differences = || coarse.iter().zip(&averaged).map(|(a, b)| (a - b).abs());
        squares += (differences().sum::<f64>() / coarse.len() as f64).powi(2);
        largest = differences().fold(largest, f64::max);
    }
    Ok((squares.sqrt(), largest))
}

/// The means of the cells of a fine grid that lie in each cell of a coarse one; `None` if the grids do not fit.
fn average(fine: &ArrayD<f64>, shape: &[usize]) -> Option<ArrayD<f64>> {
    let fits = fine.ndim() == shape.len() && fine.shape().iter().zip(shape).all(|(fine, coarse)| fine % coarse == 0);
    if !fits {
        return None;
    }
    let ratios: Vec<usize> = fine.shape().iter().zip(shape).map(|(fine, coarse)| fine / coarse).collect();
    let mut sums = ArrayD::zeros(IxDyn(shape));
    for (index, value) in fine.indexed_iter() {
        let coarse: Vec<usize> = index.as_array_view().iter().zip(&ratios).map(|(i, ratio)| i / ratio).collect();
        sums[IxDyn(&coarse)] += value;
    }
    Some(sums / ratios.iter().product::<usize>() as f64)
}

/// The newest checkpoint of a run.
fn last_state(path: &Path) -> Result<Reader> {
    let newest = RunDirectory::new(path).checkpoints()?.into_iter().next();
    open(newest, path, "has no checkpoint")
}

/// The fields that a run wrote at step 0.
fn first_fields(path: &Path) -> Result<Reader> {
    let first = RunDirectory::new(path).outputs()?.into_iter().find(|entry| entry.step == 0);
    open(first, path, "has no fields of step 0").map_err(|error| {
        error.hint(
            "its case must ask for them: [[output]] what = \"fields\", every = \"never\" for the first and last alone",
        )
    })
}

fn open(entry: Option<CheckpointEntry>, run: &Path, absent: &str) -> Result<Reader> {
    match entry {
        Some(entry) => Reader::open(&entry.path),
        None => Err(Error::new(Kind::Case, format!("the run {absent}")).at_path(run)),
    }
}

fn text(measured: &[Measured]) -> String {
    let mut table = show::Table::new(&["series", "cells", "error", "order", "largest"]);
    for Measured { series, errors } in measured {
        for line in errors {
            let cells = line.cells.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ");
            let order = line.order.map_or(String::new(), |order| format!("{order:.2}"));
            let [error, largest] = [line.error, line.largest].map(|x| format!("{x:.3e}"));
            table.row(vec![series.clone(), cells, error, order, largest]);
        }
    }
    table.text()
}

fn draw(args: &Args, measured: &[Measured], path: &Path) -> Result<()> {
    let series: Vec<Series> = measured
        .iter()
        .map(|Measured { series, errors }| {
            let order = errors.last().and_then(|line| line.order);
            let name = order.map_or(series.clone(), |order| format!("{series}: order {order:.2}"));
            let points = errors.iter().filter(|line| line.error > 0.0);
            Series { name, points: points.map(|line| (line.cells[0] as f64, line.error)).collect() }
        })
        .collect();
    let against = match args.against {
        Against::Finer => "the next finer grid",
        Against::Start => "the start",
    };
    let chart = Chart {
        title: &args.title,
        note: &format!("difference from {against}; orders between the two finest grids"),
        level: "cells along x",
        upright: "L1 error",
    };
    plot::write_chart(&chart, &series, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_over_the_cells_of_each_coarse_cell() {
        let fine = ArrayD::from_shape_fn(IxDyn(&[4, 6]), |i| (10 * i[0] + i[1]) as f64);
        let coarse = average(&fine, &[2, 3]).unwrap();
        assert_eq!(coarse[[0, 0]], 5.5);
        assert_eq!(coarse[[1, 2]], 29.5);
        assert_eq!(average(&fine, &[4, 6]).unwrap(), fine);
        assert!(average(&fine, &[3, 3]).is_none() && average(&fine, &[6]).is_none());
    }
}
