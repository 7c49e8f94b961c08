//! `steadfast diff`: whether two checkpoints hold the same state, and where not.

use std::path::PathBuf;
use std::process::ExitCode;

use ndarray::Dimension;
use serde::Serialize;

use super::plot::{AXES, centre, number};
use super::show;
use crate::checkpoint::{Header, Reader};
use crate::error::Result;

/// Compare the states of two checkpoints.
///
/// Bit by bit, or within a tolerance. The state is the grid, the step, the time and the fields; the shape of the blocks and the run may differ. Exit code 0
/// if the states are equal, 1 if they differ, 2 if they cannot be compared. Example:
/// `steadfast diff a.run/checkpoints/step-0000001000.h5 b.run/checkpoints/step-0000001000.h5`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One checkpoint.
    #[arg(value_name = "A")]
    pub first: PathBuf,

    /// The other.
    #[arg(value_name = "B")]
    pub second: PathBuf,

    /// Compare this field alone, and neither step nor time.
    #[arg(long, value_name = "NAME")]
    pub field: Option<String>,

    /// Take values for equal that are no farther apart than this.
    #[arg(long, value_name = "DIFFERENCE", value_parser = tolerance)]
    pub tolerance: Option<f64>,

    /// Take values for equal that are no farther apart than this part of the larger one, as in --relative 1e-12.
    #[arg(long, value_name = "PART", value_parser = tolerance)]
    pub relative: Option<f64>,

    /// Print JSON for programs.
    #[arg(long)]
    pub json: bool,
}

/// The result of a comparison.
#[derive(Debug, Serialize)]
struct Comparison {
    equal: bool,
    /// What differs besides the values of fields.
    differences: Vec<String>,
    /// The fields that both have; none if the grids differ.
    fields: Vec<FieldDifference>,
}

/// How a field differs.
#[derive(Debug, PartialEq, Serialize)]
struct FieldDifference {
    name: String,
    cells: u64,
    /// How many cells differ; a cell that is not a number in both, with other bits, differs.
    differing: u64,
    /// Where the values are farthest apart.
    largest: Option<Spot>,
    /// Where they are farthest apart in parts of the larger one.
    largest_relative: Option<Spot>,
}

/// A cell in which two values differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Spot {
    difference: f64,
    /// The cell, in the order x, y, z.
    cell: Vec<usize>,
    /// Its centre.
    position: Vec<f64>,
    values: [f64; 2],
}

/// Compares two checkpoints.
///
/// # Errors
/// If the comparison cannot be printed; what cannot be compared ends with code 2, so that 1 means different and nothing
/// else.
pub fn run(args: &Args) -> Result<ExitCode> {
    let comparison = match compare(args) {
        Ok(comparison) => comparison,
        Err(error) => {
            super::report(&error);
            return Ok(ExitCode::from(2));
        }
    };
    match args.json {
        true => show::json(&comparison)?,
        false => show::data(&comparison.text())?,
    }
    Ok(if comparison.equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn compare(args: &Args) -> Result<Comparison> {
    let (first, second) = (Reader::open(&args.first)?, Reader::open(&args.second)?);
    let mut differences = grids(first.header(), second.header());
    let comparable = differences.is_empty();
    let mut fields = Vec::new();
    match &args.field {
        Some(name) => fields.push((first.component(name)?, second.component(name)?)),
        None => {
            differences.extend(moments(first.header(), second.header()));
            if first.header().shared_fingerprint() != second.header().shared_fingerprint() {
                differences.push("what all ranks hold alike: it is not the same".to_owned());
            }
            let names = |reader: &Reader| reader.header().components.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
            let (here, there) = (names(&first), names(&second));
            for (mine, theirs, file) in [(&here, &there, &args.first), (&there, &here, &args.second)] {
                let alone = mine.iter().filter(|name| !theirs.contains(name));
                differences.extend(alone.map(|name| format!("only {} has a field {name}", file.display())));
            }
            let both = here.iter().enumerate();
            fields.extend(both.filter_map(|(i, name)| Some((i, there.iter().position(|other| other == name)?))));
        }
    }
    if first.header().scalar != second.header().scalar {
        let kinds = [&first, &second].map(|reader| reader.header().scalar.name());
        differences.push(format!("numbers: {} and {}", kinds[0], kinds[1]));
    }
    let fields = match comparable {
        true => fields.into_iter().map(|(a, b)| values(args, &first, a, &second, b)).collect::<Result<Vec<_>>>()?,
        false => Vec::new(),
    };
    let equal = differences.is_empty() && fields.iter().all(|field| field.differing == 0);
    Ok(Comparison { equal, differences, fields })
}

/// Differences that leave no cell to compare with another.
fn grids(a: &Header, b: &Header) -> Vec<String> {
    let mut differences = Vec::new();
    if a.cells != b.cells {
        differences.push(format!("cells: {:?} and {:?}", a.cells, b.cells));
    } else if (&a.lower, &a.upper) != (&b.lower, &b.upper) {
        let domain = |header: &Header| format!("{:?} to {:?}", header.lower, header.upper);
        differences.push(format!("domain: {} and {}", domain(a), domain(b)));
    }
    differences
}

/// Differences of when the states were taken.
fn moments(a: &Header, b: &Header) -> Vec<String> {
    let mut differences = Vec::new();
    if a.step != b.step {
        differences.push(format!("step: {} and {}", a.step, b.step));
    }
    if a.time.to_bits() != b.time.to_bits() {
        differences.push(format!("time: {} and {}", a.time, b.time));
    }
    differences
}

/// Compares a field block by block, so that it may be larger than the memory.
fn values(args: &Args, first: &Reader, a: usize, second: &Reader, b: usize) -> Result<FieldDifference> {
    let header = first.header();
    let mut result = FieldDifference {
        name: header.components[a].name.clone(),
        cells: 0,
        differing: 0,
        largest: None,
        largest_relative: None,
    };
    let exact = args.tolerance.is_none() && args.relative.is_none() && header.scalar == second.header().scalar;
    for cells in first.blocks() {
        let (bits, other_bits) = (first.bits(a, &cells)?, second.bits(b, &cells)?);
        result.cells += bits.len() as u64;
        if exact && bits == other_bits {
            continue;
        }
        let (here, there) = (first.values(a, &cells)?, second.values(b, &cells)?);
        for (at, &x) in here.indexed_iter() {
            let y = there[at.clone()];
            let same = if exact { bits[at.clone()] == other_bits[at.clone()] } else { close(args, x, y) };
            if same {
                continue;
            }
            result.differing += 1;
            // Array axes run z, y, x.
            let cell: Vec<usize> =
                cells.iter().zip(at.as_array_view().iter().rev()).map(|(r, i)| r.start + i).collect();
            let difference = distance(x, y);
            let spot = |difference| Spot {
                difference,
                position: cell.iter().enumerate().map(|(axis, &index)| centre(header, axis, index)).collect(),
                cell: cell.clone(),
                values: [x, y],
            };
            let farther =
                |spot: &Option<Spot>, difference: f64| spot.as_ref().is_none_or(|s| difference > s.difference);
            if farther(&result.largest, difference) {
                result.largest = Some(spot(difference));
            }
            let relative = part(x, y, difference);
            if farther(&result.largest_relative, relative) {
                result.largest_relative = Some(spot(relative));
            }
        }
    }
    Ok(result)
}

/// Whether two values are equal within the tolerances.
fn close(args: &Args, x: f64, y: f64) -> bool {
    let difference = distance(x, y);
    x == y
        || (x.is_nan() && y.is_nan())
        || args.tolerance.is_some_and(|most| difference <= most)
        || args.relative.is_some_and(|most| part(x, y, difference) <= most)
}

/// How far two values are apart: infinitely if only one of them is a number.
fn distance(x: f64, y: f64) -> f64 {
    match (x - y).abs() {
        difference if !difference.is_nan() => difference,
        _ if x.to_bits() == y.to_bits() => 0.0,
        _ => f64::INFINITY,
    }
}

/// The distance in parts of the larger value.
fn part(x: f64, y: f64, difference: f64) -> f64 {
    let larger = x.abs().max(y.abs());
    if difference == 0.0 || difference.is_infinite() || larger == 0.0 { difference } else { difference / larger }
}

impl Comparison {
    fn text(&self) -> String {
        let mut text = String::new();
        for difference in &self.differences {
            text += &format!("differ in {difference}\n");
        }
        for field in &self.fields {
            text += &field.text();
        }
        text + if self.equal { "the states are equal\n" } else { "the states differ\n" }
    }
}

impl FieldDifference {
    fn text(&self) -> String {
        let cells = show::count(self.cells);
        let Some(spot) = &self.largest else { return format!("{}: all {cells} cells are equal\n", self.name) };
        let relative = self.largest_relative.as_ref().map_or(0.0, |spot| spot.difference);
        let place: Vec<String> =
            AXES.iter().zip(&spot.position).map(|(axis, &x)| format!("{axis} = {}", number(x, 6))).collect();
        format!(
            "{}: {} of {cells} cells differ\n  by at most {} (relative: {})\n  in cell {:?}, {}: {} and {}\n",
            self.name,
            show::count(self.differing),
            number(spot.difference, 6),
            number(relative, 3),
            spot.cell,
            place.join(", "),
            spot.values[0],
            spot.values[1],
        )
    }
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value >= 0.0 => Ok(value),
        _ => Err("a tolerance is a number that is not negative".to_owned()),
    }
}
