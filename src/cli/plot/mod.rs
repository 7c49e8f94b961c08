//! `steadfast plot`: a picture of a field, as a PNG and in the terminal.
//!
//! `cut` says which part of the checkpoint is shown, `resample` makes pixels of cells, `colours` gives them their colours
//! and `ticks` the axes their marks; `picture` puts it all on a `canvas`, `preview` into the terminal. `chart` draws the
//! curves of other commands in the same manner.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

mod canvas;
mod chart;
mod colours;
mod cut;
mod picture;
mod preview;
mod resample;
mod shared;
mod ticks;

use canvas::Canvas;
use colours::{Colours, Scale, Spread};
use cut::{Cut, Place, Values};
use picture::Frame;

use super::show;
use super::terminal::Terminal;
use crate::checkpoint::Reader;
use crate::error::{Error, Result};

pub use chart::Series;
pub use cut::{AXES, centre};
pub use ticks::number;

/// Draw a field of a checkpoint, as a PNG and in the terminal.
///
/// Three dimensions are cut by a plane, as in
/// `steadfast plot step-0000001000.h5 --field u --axis z --position 0.5 --output u.png`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The checkpoint.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The field to show [default: the first].
    #[arg(long, value_name = "NAME")]
    pub field: Option<String>,

    /// Show, instead of a field, a table that a program's ranks hold alike, as the centres of clusters.
    #[arg(long, value_name = "KEY", conflicts_with_all = ["field", "axis", "at", "position"])]
    pub shared: Option<String>,

    /// Show each row of that table as a picture so many numbers wide.
    #[arg(long, value_name = "NUMBERS", requires = "shared")]
    pub across: Option<usize>,

    /// The axis to cut across: x, y or z [default: z in three dimensions, no cut in fewer].
    #[arg(long, value_name = "AXIS", value_parser = axis)]
    pub axis: Option<usize>,

    /// Cut through the cell of this index, counted from 0 [default: the middle].
    #[arg(long, value_name = "INDEX", conflicts_with = "position")]
    pub at: Option<usize>,

    /// Cut through the cell at this coordinate.
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub position: Option<f64>,

    /// The PNG to write [default: named after checkpoint, field and cut, in the current directory].
    #[arg(long, short, value_name = "F.png")]
    pub output: Option<PathBuf>,

    /// The most pixels across.
    #[arg(long, value_name = "PIXELS", default_value_t = 1200, value_parser = clap::value_parser!(u32).range(200..=20_000))]
    pub width: u32,

    /// The most pixels down.
    #[arg(long, value_name = "PIXELS", default_value_t = 960, value_parser = clap::value_parser!(u32).range(150..=20_000))]
    pub height: u32,

    /// The values at the ends of the scale, as in --range 0:1 [default: the least and the greatest value].
    #[arg(long, value_name = "MIN:MAX", value_parser = range, allow_hyphen_values = true)]
    pub range: Option<(f64, f64)>,

    /// The colour map.
    #[arg(long, value_name = "MAP", value_enum, default_value_t = Colours::Viridis)]
    pub colours: Colours,

    /// Spread the colours by the logarithm of the value.
    #[arg(long)]
    pub log: bool,

    /// Put 0 in the middle of the scale.
    #[arg(long, conflicts_with_all = ["log", "range"])]
    pub symmetric: bool,

    /// Show the preview even where stdout is not a terminal.
    #[arg(long)]
    pub preview: bool,

    /// Show no preview.
    #[arg(long, conflicts_with = "preview")]
    pub no_preview: bool,
}

/// Draws a checkpoint.
///
/// # Errors
/// A bad command, if the field or the cut does not exist; if the checkpoint is damaged, or the picture cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    let reader = Reader::open(&args.file)?;
    if let Some(key) = &args.shared {
        return run_shared(args, &reader, key);
    }
    let component = args.field.as_deref().map_or(Ok(0), |name| reader.component(name))?;
    let place = match (args.at, args.position) {
        (Some(index), _) => Place::Index(index),
        (_, Some(x)) => Place::Position(x),
        _ => Place::Middle,
    };
    let cut = Cut::new(reader.header(), args.axis, place)?;
    let values = cut.read(&reader, component)?;
    let scale = match &values {
        Values::Line(values) => roomy(scale(args, values.iter())?, args),
        Values::Plane(values) => scale(args, values.iter())?,
    };
    let frame = frame(args, &reader, component, &cut, scale);
    let output = args.output.clone().unwrap_or_else(|| name(&args.file, &reader, component, &cut));
    let level = cut.side(reader.header(), 0);
    let terminal = Terminal::stdout();
    let wanted = args.preview || (terminal.interactive && !args.no_preview);
    let (canvas, preview) = match &values {
        Values::Line(values) => {
            let preview = wanted.then(|| preview::curve(&terminal, values.view(), &scale));
            (picture::curve(&frame, &level, values.view()), preview)
        }
        Values::Plane(values) => {
            let upright = cut.side(reader.header(), 1);
            let proportion = (upright.upper - upright.lower) / (level.upper - level.lower);
            let show = || preview::map(&terminal, values.view(), proportion, &scale, args.colours);
            (picture::map(&frame, &level, &upright, values.view()), wanted.then(show))
        }
    };
    write(&canvas, &output)?;
    if let Some(preview) = preview {
        let ends = format!("{} … {}", number(scale.lower, 5), number(scale.upper, 5));
        show::data(&format!("{preview}{} · {} · {ends}\n", frame.value, frame.note))?;
    }
    show::data(&format!("{}\n", output.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Draws a table of what all ranks hold alike.
fn run_shared(args: &Args, reader: &Reader, key: &str) -> Result<ExitCode> {
    let header = reader.header();
    let table = shared::table(header, key, args.across).map_err(|error| error.at_path(reader.path()))?;
    let frame = Frame {
        title: format!("{}: {key}", header.program),
        note: moment(reader),
        value: key.to_owned(),
        scale: scale(args, table.iter())?,
        colours: args.colours,
        most: [args.width as usize, args.height as usize],
    };
    let canvas = picture::map(&frame, &shared::side(table.ncols()), &shared::side(table.nrows()), table.view());
    let stem = args.file.file_stem().unwrap_or_default().to_string_lossy();
    let output = args.output.clone().unwrap_or_else(|| format!("{stem}-{key}.png").into());
    write(&canvas, &output)?;
    show::data(&format!("{}\n", output.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// When a state was taken.
fn moment(reader: &Reader) -> String {
    let header = reader.header();
    format!("step {} · t = {}", show::count(header.step), number(header.time, 6))
}

/// What stands round the data.
fn frame(args: &Args, reader: &Reader, component: usize, cut: &Cut, scale: Scale) -> Frame {
    let header = reader.header();
    let component = &header.components[component];
    let mut note = moment(reader);
    if let Some((axis, index)) = cut.across {
        note += &format!(" · {} = {}", AXES[axis], number(centre(header, axis, index), 5));
    }
    let value = match component.unit.as_str() {
        "1" | "" => component.name.clone(),
        unit => format!("{} ({unit})", component.name),
    };
    Frame {
        title: format!("{}: {}", header.program, component.name),
        note,
        value,
        scale,
        colours: args.colours,
        most: [args.width as usize, args.height as usize],
    }
}

/// The scale that is asked for, or that fits the values; never empty.
fn scale<'a>(args: &Args, values: impl Iterator<Item = &'a f64>) -> Result<Scale> {
    let spread = if args.log { Spread::Logarithmic } else { Spread::Linear };
    if let Some((lower, upper)) = args.range {
        if args.log && lower <= 0.0 {
            return Err(Error::case(format!("a logarithmic scale cannot begin at {lower}; its ends must be positive")));
        }
        return Ok(Scale { lower, upper, spread });
    }
    let shown = values.copied().filter(|x| x.is_finite() && (!args.log || *x > 0.0));
    let (mut lower, mut upper) =
        shown.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    if lower > upper {
        if args.log {
            return Err(Error::case("no value is positive; a logarithmic scale needs one").hint("leave --log out"));
        }
        (lower, upper) = (0.0, 1.0);
    }
    if args.symmetric {
        upper = upper.abs().max(lower.abs());
        lower = -upper;
    }
    if lower == upper {
        // A constant: as much room on both sides as shows its size.
        let room = if args.log {
            lower / 2.0
        } else if lower == 0.0 {
            1.0
        } else {
            lower.abs() / 10.0
        };
        (lower, upper) = (lower - room, upper + room);
    }
    Ok(Scale { lower, upper, spread })
}

/// A little more than the values need, so that a curve does not touch the edge; what was asked for stays as it is.
fn roomy(scale: Scale, args: &Args) -> Scale {
    match (args.range, scale.spread) {
        (Some(_), _) => scale,
        (None, Spread::Linear) => {
            let room = 0.04 * (scale.upper / 2.0 - scale.lower / 2.0) * 2.0;
            Scale { lower: (scale.lower - room).max(f64::MIN), upper: (scale.upper + room).min(f64::MAX), ..scale }
        }
        (None, Spread::Logarithmic) => {
            let room = (scale.upper / scale.lower).powf(0.04);
            Scale { lower: scale.lower / room, upper: scale.upper * room, ..scale }
        }
    }
}

/// A name in the current directory that tells what the picture shows.
fn name(file: &Path, reader: &Reader, component: usize, cut: &Cut) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let field = &reader.header().components[component].name;
    let place = cut.across.map_or(String::new(), |(axis, index)| format!("-{}{index}", AXES[axis]));
    PathBuf::from(format!("{stem}-{field}{place}.png"))
}

/// What stands round a chart.
pub struct Chart<'a> {
    /// The line on top.
    pub title: &'a str,
    /// The line below it.
    pub note: &'a str,
    /// What the level axis shows.
    pub level: &'a str,
    /// What the upright axis shows.
    pub upright: &'a str,
}

/// Draws curves over logarithmic axes to a PNG file.
///
/// # Errors
/// If there is no point to draw, or the picture cannot be written.
pub fn write_chart(chart: &Chart<'_>, series: &[Series], path: &Path) -> Result<()> {
    if series.iter().all(|series| series.points.is_empty()) {
        return Err(Error::case("there is no point to draw: every error is zero").at_path(path));
    }
    let frame = Frame {
        title: chart.title.into(),
        note: chart.note.into(),
        value: chart.upright.into(),
        scale: Scale { lower: 1.0, upper: 10.0, spread: Spread::Logarithmic },
        colours: Colours::Grey,
        most: [960, 720],
    };
    write(&chart::chart(&frame, chart.level, series), path)
}

fn write(canvas: &Canvas, path: &Path) -> Result<()> {
    let refused = |cause: std::io::Error| Error::io("write the picture", path, &cause);
    canvas.write_png(std::fs::File::create(path).map_err(refused)?).map_err(refused)
}

fn axis(text: &str) -> Result<usize, String> {
    AXES.iter().position(|&name| name == text).ok_or_else(|| "an axis is x, y or z".to_owned())
}

fn range(text: &str) -> Result<(f64, f64), String> {
    let rule = || "a range is two finite numbers with a colon between them, the lower first: 0:1".to_owned();
    let (lower, upper) = text.split_once(':').ok_or_else(rule)?;
    match (lower.trim().parse::<f64>(), upper.trim().parse::<f64>()) {
        (Ok(lower), Ok(upper)) if lower < upper && lower.is_finite() && upper.is_finite() => Ok((lower, upper)),
        _ => Err(rule()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(options: &[&str]) -> Args {
        Line::try_parse_from(["plot", "a.h5"].iter().chain(options)).unwrap().args
    }

    fn scale_of(options: &[&str], values: &[f64]) -> (f64, f64) {
        let scale = scale(&args(options), values.iter()).unwrap();
        (scale.lower, scale.upper)
    }

    #[test]
    fn the_scale_fits_the_finite_values() {
        assert_eq!(scale_of(&[], &[1.0, f64::NAN, 3.0, f64::INFINITY]), (1.0, 3.0));
        assert_eq!(scale_of(&["--symmetric"], &[1.0, -3.0]), (-3.0, 3.0));
        assert_eq!(scale_of(&["--log"], &[-1.0, 0.0, 0.5, 8.0]), (0.5, 8.0));
        assert_eq!(scale_of(&["--range", "-2:5"], &[1.0]), (-2.0, 5.0));
    }

    #[test]
    fn a_scale_is_never_empty() {
        for options in [&[][..], &["--symmetric"], &["--log"]] {
            for values in [&[2.0, 2.0][..], &[0.0], &[-1.0], &[f64::NAN], &[]] {
                if let Ok(scale) = scale(&args(options), values.iter()) {
                    assert!(scale.lower < scale.upper, "{options:?} {values:?} {scale:?}");
                }
            }
        }
    }

    #[test]
    fn a_curve_leaves_room_above_and_below() {
        let scale = Scale { lower: 0.0, upper: 1.0, spread: Spread::Linear };
        assert_eq!(roomy(scale, &args(&[])), Scale { lower: -0.04, upper: 1.04, ..scale });
        assert_eq!(roomy(scale, &args(&["--range", "0:1"])), scale);
    }

    #[test]
    fn impossible_wishes_are_refused_by_the_command_line() {
        for options in [["--range", "1:0"], ["--range", "1"], ["--axis", "w"], ["--width", "1"], ["--colours", "jet"]] {
            assert!(Line::try_parse_from(["plot", "a.h5"].iter().chain(&options)).is_err(), "{options:?}");
        }
        assert!(scale(&args(&["--log"]), [-1.0].iter()).unwrap_err().exit_code() == 2);
    }
}
