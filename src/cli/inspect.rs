//! `steadfast inspect`: what a checkpoint holds.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::plot::number;
use super::show;
use crate::checkpoint::{Header, Reader};
use crate::comm::ExactSum;
use crate::error::Result;

/// Show what a checkpoint holds: grid, fields, extremes, exact sums.
///
/// Every block is read and compared with its checksum. Example: `steadfast inspect heat.run/checkpoints/step-0000001000.h5`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The checkpoint.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Print the case that it was made from, as it was checked, and nothing else.
    #[arg(long, conflicts_with = "json")]
    pub case: bool,

    /// Print JSON for programs.
    #[arg(long)]
    pub json: bool,
}

/// Everything there is to say about a checkpoint.
#[derive(Serialize)]
struct Report<'a> {
    file: PathBuf,
    file_bytes: u64,
    blocks: usize,
    header: &'a Header,
    fields: Vec<Summary>,
    /// As in the completion record of a run: 16 hexadecimal digits.
    state_hash: String,
}

/// What a field holds, in numbers.
#[derive(Debug, PartialEq, Serialize)]
struct Summary {
    name: String,
    unit: String,
    /// The dataset in the file.
    dataset: String,
    /// The shape of its array, `[z, y, x]`.
    shape: Vec<usize>,
    /// The least finite value; none if no value is finite.
    min: Option<f64>,
    /// The greatest finite value.
    max: Option<f64>,
    /// The mean of all values; none if one is not finite.
    mean: Option<f64>,
    /// The sum of all values, rounded once; none if one is not finite.
    sum: Option<f64>,
    /// How many values are not finite.
    not_finite: u64,
}

/// Shows a checkpoint.
///
/// # Errors
/// If the file is no sound checkpoint.
pub fn run(args: &Args) -> Result<ExitCode> {
    let reader = Reader::open(&args.file)?;
    let header = reader.header();
    if args.case {
        show::data(&header.case)?;
        return Ok(ExitCode::SUCCESS);
    }
    let fields = (0..header.components.len()).map(|component| summary(&reader, component)).collect::<Result<Vec<_>>>();
    let state = fields.and_then(|fields| Ok((fields, format!("{:016x}", reader.fingerprint()?))));
    if !args.json {
        // What is known without the blocks is shown even if one of them is damaged.
        show::data(&text(&reader, state.as_ref().ok()))?;
    }
    let (fields, state_hash) = state?;
    if args.json {
        show::json(&Report {
            file: args.file.clone(),
            file_bytes: reader.file_bytes(),
            blocks: header.blocks(),
            header,
            fields,
            state_hash,
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// All that is known, for people.
fn text(reader: &Reader, state: Option<&(Vec<Summary>, String)>) -> String {
    let mut lines = overview(reader);
    let Some((fields, hash)) = state else { return show::pairs(&lines) };
    lines.push(("checksums", "every block is sound".to_owned()));
    lines.push(("state hash", hash.clone()));
    format!("{}\n{}", show::pairs(&lines), table(fields))
}

/// What the header says, for people.
fn overview(reader: &Reader) -> Vec<(&'static str, String)> {
    let header = reader.header();
    let times = |counts: &[usize]| counts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" × ");
    let corner = |corner: &[f64]| corner.iter().map(|&x| number(x, 6)).collect::<Vec<_>>().join(", ");
    let rings = super::plot::AXES.iter().zip(&header.periodic).filter(|(_, periodic)| **periodic);
    let rings: Vec<&str> = rings.map(|(name, _)| *name).collect();
    let rings = if rings.is_empty() { String::new() } else { format!(", periodic along {}", rings.join(", ")) };
    vec![
        ("program", format!("{}, with Steadfast {}", header.program, header.version)),
        ("run", format!("{}, epoch {}", header.run_id, header.epoch)),
        ("step", show::count(header.step)),
        ("time", header.time.to_string()),
        ("grid", format!("{} cells{rings}", times(&header.cells))),
        ("domain", format!("({}) to ({})", corner(&header.lower), corner(&header.upper))),
        ("blocks", format!("{} of {} cells", show::count(header.blocks() as u64), times(&header.block))),
        ("numbers", header.scalar.name().to_owned()),
        ("file", show::bytes(reader.file_bytes())),
    ]
}

/// Goes through a field block by block, so that it may be larger than the memory.
fn summary(reader: &Reader, component: usize) -> Result<Summary> {
    let header = reader.header();
    let (mut min, mut max, mut not_finite) = (f64::INFINITY, f64::NEG_INFINITY, 0);
    let mut sum = ExactSum::default();
    for cells in reader.blocks() {
        for &value in &reader.values(component, &cells)? {
            sum.add(value);
            if value.is_finite() {
                (min, max) = (min.min(value), max.max(value));
            } else {
                not_finite += 1;
            }
        }
    }
    let sum = Some(sum.value()).filter(|sum| sum.is_finite());
    let volume: usize = header.cells.iter().product();
    let description = &header.components[component];
    Ok(Summary {
        name: description.name.clone(),
        unit: description.unit.clone(),
        dataset: format!("/fields/{}", description.name),
        shape: header.cells.iter().rev().copied().collect(),
        min: (min <= max).then_some(min),
        max: (min <= max).then_some(max),
        mean: sum.map(|sum| sum / volume as f64),
        sum,
        not_finite,
    })
}

fn table(fields: &[Summary]) -> String {
    let mut table = show::Table::new(&["MIN", "MAX", "MEAN", "SUM", "NOT FINITE", "FIELD"]);
    let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| number(value, 6));
    for field in fields {
        let name = if field.unit == "1" { field.name.clone() } else { format!("{} ({})", field.name, field.unit) };
        let numbers = [field.min, field.max, field.mean, field.sum].map(shown);
        table.row(numbers.into_iter().chain([show::count(field.not_finite), name]).collect());
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample::checkpoint;

    #[test]
    fn a_field_is_summed_up_over_all_blocks() {
        let room = tempfile::tempdir().unwrap();
        let reader = Reader::open(checkpoint(room.path(), "a", &[3, 2])).unwrap();
        let summary = summary(&reader, 0).unwrap();
        assert_eq!((summary.min, summary.max), (Some(0.0), Some(12.0)));
        assert_eq!((summary.sum, summary.mean, summary.not_finite), (Some(36.0), Some(6.0), 0));
        assert_eq!((summary.dataset.as_str(), summary.shape.as_slice()), ("/fields/u", &[2, 3][..]));
    }

    #[test]
    fn the_overview_fits_eighty_columns() {
        let room = tempfile::tempdir().unwrap();
        let reader = Reader::open(checkpoint(room.path(), "a", &[3, 2, 4])).unwrap();
        let text = show::pairs(&overview(&reader)) + &table(&[summary(&reader, 0).unwrap()]);
        assert!(text.contains("3 × 2 × 4 cells") && text.contains("u (m)"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
