//! The picture: a map of a plane or a curve along a line, with axes, units, title and colour bar.

use ndarray::{ArrayView1, ArrayView2};

use super::canvas::{Anchor, Canvas, Colour, Run};
use super::colours::{Colours, Scale, Spread};
use super::resample::{envelope, mean_by_area};
use super::ticks::{Tick, ticks};

/// What stands round the data, and how large the picture may be.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The line on top.
    pub title: String,
    /// The line below it.
    pub note: String,
    /// The name and the unit of the values.
    pub value: String,
    /// From values to places on the colour scale, or on the upright axis of a curve.
    pub scale: Scale,
    /// The colours of a map.
    pub colours: Colours,
    /// The most pixels across and down; the picture is smaller where the shape of the data asks for it.
    pub most: [usize; 2],
}

/// One axis of space.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// Its name and unit.
    pub label: String,
    /// Where the data begins.
    pub lower: f64,
    /// Where the data ends.
    pub upper: f64,
    /// How places are spread along it.
    pub spread: Spread,
}

impl Side {
    /// From places to parts of the axis.
    pub fn scale(&self) -> Scale {
        Scale { lower: self.lower, upper: self.upper, spread: self.spread }
    }
}

const INK: Colour = [38, 38, 44];
const FAINT: Colour = [110, 110, 120];
const MESH: Colour = [228, 228, 232];
const CURVE: Colour = [24, 90, 157];
/// The colour of NaN: an output says so where there is no value, as on land for a wave.
const NO_VALUE: Colour = [176, 172, 164];
/// The colour of what is infinite; no colour map has it.
const INFINITE: Colour = [235, 0, 200];

/// The colour of a value that has no place on a scale.
pub fn colour_off_scale(value: f64) -> Colour {
    if value.is_nan() { NO_VALUE } else { INFINITE }
}

/// A map of values `[upright axis, level axis]`, the first row lowest, in true proportions.
///
/// Only strips longer than ten times their width are drawn wider than they are.
pub fn map(frame: &Frame, level: &Side, upright: &Side, values: ArrayView2<'_, f64>) -> Canvas {
    let proportion = ((upright.upper - upright.lower) / (level.upper - level.lower)).clamp(0.1, 10.0);
    let mut sheet = Sheet::new(frame, level, &upright.scale(), Some(proportion));
    let pixels = mean_by_area(values, sheet.rows, sheet.columns);
    for ((row, column), &value) in pixels.indexed_iter() {
        let colour =
            if value.is_finite() { frame.colours.at(frame.scale.place(value)) } else { colour_off_scale(value) };
        sheet.canvas.set(sheet.left + column, sheet.top + sheet.rows - 1 - row, colour);
    }
    sheet.edge();
    sheet.title(frame);
    sheet.level_axis(level);
    sheet.upright_axis(&upright.scale(), &upright.label);
    sheet.colour_bar(frame);
    sheet.canvas
}

/// The curve of values along a line; where there are more cells than pixels, the band between their extremes.
pub fn curve(frame: &Frame, level: &Side, values: ArrayView1<'_, f64>) -> Canvas {
    let mut sheet = Sheet::new(frame, level, &frame.scale, None);
    sheet.mesh(level, &frame.scale);
    let spot = |sheet: &Sheet, place: f64, value: f64| {
        let height = frame.scale.place(value).clamp(-1.0, 2.0);
        (sheet.left as f64 + place * sheet.columns as f64, sheet.top as f64 + (1.0 - height) * sheet.rows as f64)
    };
    let mut points = Vec::new();
    let mut pieces = Vec::new();
    let (cells, columns) = (values.len(), sheet.columns);
    let samples: Vec<(f64, [f64; 2])> = if cells > 2 * columns {
        let bounds = envelope(values, columns).into_iter().enumerate();
        bounds.map(|(i, (low, high))| ((i as f64 + 0.5) / columns as f64, [low, high])).collect()
    } else {
        values.iter().enumerate().map(|(i, &x)| ((i as f64 + 0.5) / cells as f64, [x, x])).collect()
    };
    for (place, [low, high]) in samples {
        if low.is_finite() && high.is_finite() {
            points.push(spot(&sheet, place, low));
            points.push(spot(&sheet, place, high));
        } else {
            pieces.push(std::mem::take(&mut points));
        }
    }
    pieces.push(points);
    for piece in pieces {
        sheet.canvas.line(&piece, sheet.size / 9.0, CURVE);
    }
    sheet.wipe_outside();
    sheet.edge();
    sheet.title(frame);
    sheet.level_axis(level);
    sheet.upright_axis(&frame.scale, &frame.value);
    sheet.canvas
}

/// The canvas, and where on it the data goes.
pub(super) struct Sheet {
    pub canvas: Canvas,
    /// The height of letters in pixels.
    pub size: f64,
    pub left: usize,
    pub top: usize,
    pub columns: usize,
    pub rows: usize,
    width: usize,
}

impl Sheet {
    /// Room for everything: with a proportion (height to width) there is a colour bar; without, the data fills the picture.
    pub fn new(frame: &Frame, level: &Side, upright: &Scale, proportion: Option<f64>) -> Self {
        let [width, height] = frame.most.map(|most| most as f64);
        let size = (width.min(1.4 * height) / 48.0).clamp(9.0, 60.0);
        let ruler = Canvas::new(1, 1);
        let longest =
            |scale: &Scale| ticks(scale, 8).iter().map(|tick| ruler.length(&tick.label, size)).fold(size, f64::max);
        let left = 2.9 * size + longest(upright);
        let right = match proportion {
            Some(_) => 5.0 * size + longest(&frame.scale),
            None => {
                0.8 * size
                    + ruler.length(&ticks(&level.scale(), 8).last().map_or(String::new(), |t| t.label.clone()), size)
                        / 2.0
            }
        };
        let (top, bottom) = (4.2 * size, 3.9 * size);
        let (mut across, mut down) = ((width - left - right).max(16.0), (height - top - bottom).max(16.0));
        match proportion {
            Some(proportion) if across * proportion > down => across = (down / proportion).max(16.0),
            Some(proportion) => down = (across * proportion).max(16.0),
            None => down = down.min(0.6 * across),
        }
        // A narrow map still leaves room for its title.
        let title = ruler.length(&frame.title, 1.25 * size).max(ruler.length(&frame.note, size)) + 2.0 * size;
        let full = (left + across + right).max(title.min(width));
        let slack = full - left - across - right;
        Sheet {
            canvas: Canvas::new(full as usize, (top + down + bottom) as usize),
            size,
            left: (left + slack / 2.0) as usize,
            top: top as usize,
            columns: across as usize,
            rows: down as usize,
            width: full as usize,
        }
    }

    fn right(&self) -> usize {
        self.left + self.columns
    }

    pub fn bottom(&self) -> usize {
        self.top + self.rows
    }

    /// The width of a thin line.
    fn hair(&self) -> usize {
        (self.size / 14.0).round().max(1.0) as usize
    }

    pub fn edge(&mut self) {
        let (hair, left, right, top, bottom) = (self.hair(), self.left, self.right(), self.top, self.bottom());
        self.canvas.fill(left - hair..right + hair, top - hair..top, INK);
        self.canvas.fill(left - hair..right + hair, bottom..bottom + hair, INK);
        self.canvas.fill(left - hair..left, top..bottom, INK);
        self.canvas.fill(right..right + hair, top..bottom, INK);
    }

    pub fn title(&mut self, frame: &Frame) {
        let middle = (self.left + self.columns / 2) as f64;
        for (text, size, y, colour) in [(&frame.title, 1.25, 1.25, INK), (&frame.note, 1.0, 2.85, FAINT)] {
            let length = self.canvas.length(text, size * self.size);
            let room = self.width as f64 - self.size;
            let fitting = size * self.size * (room / length).min(1.0);
            // Over the middle of the data, or as near as the picture's edges allow.
            let half = length.min(room) / 2.0;
            let x = middle.clamp(half + self.size / 2.0, self.width as f64 - half - self.size / 2.0);
            self.canvas.text(text, fitting, (x, y * self.size), Anchor::Middle, Run::Right, colour);
        }
    }

    fn level_ticks(&self, side: &Side) -> Vec<(usize, Tick)> {
        let scale = side.scale();
        let longest =
            ticks(&scale, 8).iter().map(|tick| self.canvas.length(&tick.label, self.size)).fold(0.0, f64::max);
        let most = (self.columns as f64 / (longest + 1.5 * self.size)) as usize;
        let place = |tick: &Tick| self.left + (scale.place(tick.value) * self.columns as f64).round() as usize;
        ticks(&scale, most.clamp(2, 8)).into_iter().map(|tick| (place(&tick), tick)).collect()
    }

    fn upright_ticks(&self, scale: &Scale) -> Vec<(usize, Tick)> {
        let most = (self.rows as f64 / (2.0 * self.size)) as usize;
        let place =
            |tick: &Tick| self.bottom() - (scale.place(tick.value).clamp(0.0, 1.0) * self.rows as f64).round() as usize;
        ticks(scale, most.clamp(3, 8)).into_iter().map(|tick| (place(&tick), tick)).collect()
    }

    pub fn mesh(&mut self, level: &Side, scale: &Scale) {
        let hair = self.hair();
        for (x, _) in self.level_ticks(level) {
            self.canvas.fill(
                x.saturating_sub(hair / 2)..x.saturating_sub(hair / 2) + hair,
                self.top..self.bottom(),
                MESH,
            );
        }
        for (y, _) in self.upright_ticks(scale) {
            self.canvas.fill(self.left..self.right(), y - hair / 2..y - hair / 2 + hair, MESH);
        }
    }

    pub fn level_axis(&mut self, side: &Side) {
        let (hair, size, bottom) = (self.hair(), self.size, self.bottom());
        for (x, tick) in self.level_ticks(side) {
            let x = x.min(self.right());
            self.canvas.fill(x - hair / 2..x - hair / 2 + hair, bottom..bottom + (0.45 * size) as usize, INK);
            let spot = (x as f64, bottom as f64 + 1.15 * size);
            self.canvas.text(&tick.label, size, spot, Anchor::Middle, Run::Right, INK);
        }
        let spot = ((self.left + self.columns / 2) as f64, bottom as f64 + 2.75 * size);
        self.canvas.text(&side.label, 1.1 * size, spot, Anchor::Middle, Run::Right, INK);
    }

    pub fn upright_axis(&mut self, scale: &Scale, label: &str) {
        let (hair, size, left) = (self.hair(), self.size, self.left);
        let mut longest = 0.0f64;
        for (y, tick) in self.upright_ticks(scale) {
            self.canvas.fill(left - (0.45 * size) as usize..left, y - hair / 2..y - hair / 2 + hair, INK);
            let spot = (left as f64 - 0.75 * size, y as f64);
            self.canvas.text(&tick.label, size, spot, Anchor::End, Run::Right, INK);
            longest = longest.max(self.canvas.length(&tick.label, size));
        }
        let spot = (left as f64 - 1.75 * size - longest, (self.top + self.rows / 2) as f64);
        self.canvas.text(label, 1.1 * size, spot, Anchor::Middle, Run::Up, INK);
    }

    fn colour_bar(&mut self, frame: &Frame) {
        let (hair, size, top, bottom) = (self.hair(), self.size, self.top, self.bottom());
        let left = self.right() + (0.9 * size) as usize;
        let right = left + (1.0 * size) as usize;
        self.canvas.fill(left - hair..right + hair, top - hair..bottom + hair, INK);
        for row in 0..self.rows {
            let colour = frame.colours.at((row as f64 + 0.5) / self.rows as f64);
            self.canvas.fill(left..right, bottom - 1 - row..bottom - row, colour);
        }
        let mut longest = 0.0f64;
        for (y, tick) in self.upright_ticks(&frame.scale) {
            self.canvas.fill(right..right + (0.45 * size) as usize, y - hair / 2..y - hair / 2 + hair, INK);
            let spot = (right as f64 + 0.75 * size, y as f64);
            self.canvas.text(&tick.label, size, spot, Anchor::Start, Run::Right, INK);
            longest = longest.max(self.canvas.length(&tick.label, size));
        }
        let spot = (right as f64 + 1.75 * size + longest, (top + self.rows / 2) as f64);
        self.canvas.text(&frame.value, 1.1 * size, spot, Anchor::Middle, Run::Up, INK);
    }

    /// Takes away what a curve has drawn beyond the edge, where a range was asked for.
    fn wipe_outside(&mut self) {
        const WHITE: Colour = [255; 3];
        let (top, bottom, left, right) = (self.top, self.bottom(), self.left, self.right());
        let (width, height) = (self.width, bottom + (3.9 * self.size) as usize);
        for (x, y) in [(0..width, 0..top), (0..width, bottom..height), (0..left, 0..height), (right..width, 0..height)]
        {
            self.canvas.fill(x, y, WHITE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::colours::Spread;
    use super::*;
    use ndarray::{Array1, Array2};

    fn frame(lower: f64, upper: f64, most: [usize; 2]) -> Frame {
        Frame {
            title: "Heat conduction: T".into(),
            note: "step 1 000 · t = 0.25 s".into(),
            value: "temperature (K)".into(),
            scale: Scale { lower, upper, spread: Spread::Linear },
            colours: Colours::Viridis,
            most,
        }
    }

    fn side(label: &str, lower: f64, upper: f64) -> Side {
        Side { label: label.into(), lower, upper, spread: Spread::Linear }
    }

    /// Asserts that the picture keeps to its size and that nothing touches its edge: no label is cut off.
    fn assert_margins(canvas: &Canvas, most: [usize; 2]) {
        let (width, height) = canvas.size();
        assert!(width <= most[0] && height <= most[1], "{width} × {height} is more than {most:?}");
        let edge = (0..width)
            .flat_map(|x| [(x, 0), (x, height - 1)])
            .chain((0..height).flat_map(|y| [(0, y), (width - 1, y)]));
        for (x, y) in edge {
            assert_eq!(canvas.get(x, y), [255; 3], "something touches the edge at {x}, {y} of {width} × {height}");
        }
    }

    #[test]
    fn no_label_is_cut_off_whatever_the_shape_and_the_numbers() {
        for most in [[1200, 900], [500, 900], [1600, 400], [300, 200]] {
            for (lower, upper) in [(0.0, 1.0), (-1.5e-9, 2.5e-9), (99_999.1, 99_999.7), (-123_456.0, 0.0)] {
                for (across, up) in [(1.0, 1.0), (30.0, 1.0), (1.0, 30.0), (3000.0, 2000.0)] {
                    let values = Array2::from_elem((3, 4), lower);
                    let frame = frame(lower, upper, most);
                    let canvas = map(&frame, &side("x", 0.0, across), &side("y", -up, 0.0), values.view());
                    assert_margins(&canvas, most);
                }
                let line = Array1::linspace(lower, upper, 5000);
                assert_margins(&curve(&frame(lower, upper, most), &side("x", lower, upper), line.view()), most);
            }
        }
    }

    #[test]
    fn a_map_keeps_the_proportions_of_space_and_up_is_up() {
        let values = ndarray::array![[0.0], [1.0]];
        let canvas = map(&frame(0.0, 1.0, [1200, 900]), &side("x", 0.0, 2.0), &side("y", 0.0, 1.0), values.view());
        let (low, high) = (Colours::Viridis.at(0.0), Colours::Viridis.at(1.0));
        let (width, height) = canvas.size();
        // The colour bar has these colours only in its first and last rows: count in the left half.
        let count = |colour| {
            let spots = (0..height).flat_map(|y| (0..width / 2).map(move |x| (x, y)));
            let spots: Vec<_> = spots.filter(|&(x, y)| canvas.get(x, y) == colour).collect();
            (spots.iter().map(|s| s.1).min().unwrap(), spots.iter().map(|s| s.1).max().unwrap())
        };
        let ((top, _), (_, bottom)) = (count(high), count(low));
        let row = (0..width).filter(|&x| canvas.get(x, top + 3) == high).count();
        let proportion = (bottom - top + 1) as f64 / row as f64;
        assert!((proportion - 0.5).abs() < 0.01, "{proportion}");
    }

    #[test]
    fn what_is_not_finite_is_seen() {
        let mut values = Array2::zeros((100, 100));
        values[[50, 50]] = f64::NAN;
        let canvas = map(&frame(0.0, 1.0, [400, 300]), &side("x", 0.0, 1.0), &side("y", 0.0, 1.0), values.view());
        let (width, height) = canvas.size();
        assert!((0..height).any(|y| (0..width).any(|x| canvas.get(x, y) == NO_VALUE)));
    }
}
