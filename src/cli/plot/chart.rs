//! A chart: several curves through points over logarithmic axes, each with its name at its end.

use super::canvas::{Anchor, Canvas, Colour, Run};
use super::colours::{Scale, Spread};
use super::picture::{Frame, Sheet, Side};

/// A curve and what it is called.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Its points, from left to right; all positive.
    pub points: Vec<(f64, f64)>,
}

/// Colours that people with any kind of colour vision can tell apart (Okabe and Ito 2008).
const COLOURS: [Colour; 7] =
    [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167], [230, 159, 0], [86, 180, 233], [60, 60, 66]];

/// Curves over logarithmic axes. The frame's scale is made to fit, with room for the names below.
pub fn chart(frame: &Frame, level: &str, series: &[Series]) -> Canvas {
    let all = || series.iter().flat_map(|series| series.points.iter().copied());
    let extremes = |of: fn((f64, f64)) -> f64| {
        all().map(of).fold([f64::INFINITY, 0.0], |[least, most], x| [least.min(x), f64::max(most, x)])
    };
    let ([left, right], [low, high]) = (extremes(|point| point.0), extremes(|point| point.1));
    let side = Side { label: level.into(), lower: left / 1.2, upper: right * 1.2, spread: Spread::Logarithmic };
    // A decade for each two names, so that they stand clear of the curves.
    let room = 10f64.powf(0.7 + 0.5 * series.len() as f64 * (high / low).log10().max(1.0) / 6.0);
    let frame =
        &Frame { scale: Scale { lower: low / room, upper: high * 2.0, spread: Spread::Logarithmic }, ..frame.clone() };
    let mut sheet = Sheet::new(frame, &side, &frame.scale, None);
    sheet.mesh(&side, &frame.scale);
    let (columns, rows) = (sheet.columns as f64, sheet.rows as f64);
    let spot = |sheet: &Sheet, (x, y): (f64, f64)| {
        (sheet.left as f64 + side.scale().place(x) * columns, sheet.top as f64 + (1.0 - frame.scale.place(y)) * rows)
    };
    let size = sheet.size;
    for (number, series) in series.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let spots: Vec<_> = series.points.iter().map(|&point| spot(&sheet, point)).collect();
        sheet.canvas.line(&spots, size / 8.0, colour);
        for &(x, y) in &spots {
            sheet.canvas.line(&[(x, y), (x, y)], size / 2.2, colour);
        }
    }
    for (number, series) in series.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let y = sheet.bottom() as f64 - 1.5 * size * (0.8 + number as f64);
        let x = sheet.left as f64 + size;
        sheet.canvas.line(&[(x, y), (x + 2.0 * size, y)], size / 8.0, colour);
        sheet.canvas.line(&[(x + size, y), (x + size, y)], size / 2.2, colour);
        sheet.canvas.text(&series.name, size, (x + 2.6 * size, y), Anchor::Start, Run::Right, colour);
    }
    sheet.edge();
    sheet.title(frame);
    sheet.level_axis(&side);
    sheet.upright_axis(&frame.scale, &frame.value);
    sheet.canvas
}
