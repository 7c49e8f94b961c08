//! The picture in the terminal: half blocks in colour, or shades of characters where there is none.

use ndarray::{ArrayView1, ArrayView2};

use super::colours::{Colours, Scale};
use super::picture::colour_off_scale;
use super::resample::mean_by_area;
use crate::cli::terminal::{Ground, Palette, Terminal, set_colour};

/// From little ink to much.
const SHADES: &[u8] = b" .:-=+*#%@";

/// A map of values `[upright axis, level axis]`, the first row lowest, that fits the terminal.
///
/// `proportion` is the height to the width of the area; a character is taken to be twice as high as it is wide.
pub fn map(
    terminal: &Terminal,
    values: ArrayView2<'_, f64>,
    proportion: f64,
    scale: &Scale,
    colours: Colours,
) -> String {
    let (most_columns, most_lines) = room(terminal);
    let columns = most_columns.min((2.0 * most_lines as f64 / proportion).round() as usize).max(1);
    let lines = ((columns as f64 * proportion / 2.0).round() as usize).clamp(1, most_lines);
    let mut text = String::new();
    if terminal.palette == Palette::Plain {
        for row in mean_by_area(values, lines, columns).rows().into_iter().rev() {
            text.extend(row.iter().map(|&value| shade(scale, value)));
            text.push('\n');
        }
        return text;
    }
    let pixels = mean_by_area(values, 2 * lines, columns);
    let colour = |value: f64| if value.is_finite() { colours.at(scale.place(value)) } else { colour_off_scale(value) };
    for line in (0..lines).rev() {
        for column in 0..columns {
            set_colour(&mut text, terminal.palette, Ground::Fore, colour(pixels[[2 * line + 1, column]]));
            set_colour(&mut text, terminal.palette, Ground::Back, colour(pixels[[2 * line, column]]));
            text.push('▀');
        }
        text.push_str("\x1b[0m\n");
    }
    text
}

/// The values along a line as columns of characters.
pub fn curve(terminal: &Terminal, values: ArrayView1<'_, f64>, scale: &Scale) -> String {
    const EIGHTHS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let (columns, lines) = (room(terminal).0, 10);
    let line = values.insert_axis(ndarray::Axis(0));
    let heights: Vec<f64> = mean_by_area(line, 1, columns).iter().map(|&x| scale.place(x).clamp(0.0, 1.0)).collect();
    let mut text = String::new();
    for row in (0..lines).rev() {
        text.extend(heights.iter().map(|height| {
            let filled = (height * lines as f64 - row as f64).clamp(0.0, 1.0) * 8.0;
            match (filled.round() as usize, terminal.palette) {
                (0, _) if row > 0 || height.is_nan() => ' ',
                (filled, Palette::Plain) => {
                    if filled < 4 {
                        '.'
                    } else {
                        '#'
                    }
                }
                (filled, _) => EIGHTHS[filled.max(1) - 1],
            }
        }));
        text.push('\n');
    }
    text
}

/// The columns and lines that a preview may take: readable anywhere, and never the whole screen.
fn room(terminal: &Terminal) -> (usize, usize) {
    (terminal.columns.saturating_sub(1).clamp(8, 160), terminal.lines.saturating_sub(6).clamp(4, 60))
}

fn shade(scale: &Scale, value: f64) -> char {
    if !value.is_finite() {
        return '?';
    }
    let index = scale.place(value).clamp(0.0, 1.0) * (SHADES.len() - 1) as f64;
    SHADES[index.round() as usize].into()
}

#[cfg(test)]
mod tests {
    use super::super::colours::Spread;
    use super::*;
    use ndarray::Array2;

    fn terminal(columns: usize, palette: Palette) -> Terminal {
        Terminal { interactive: true, columns, lines: 40, palette }
    }

    const SCALE: Scale = Scale { lower: 0.0, upper: 1.0, spread: Spread::Linear };

    #[test]
    fn a_map_fits_the_terminal_and_keeps_its_proportions() {
        let values = Array2::from_shape_fn((300, 400), |(i, j)| (i * j) as f64 / 120_000.0);
        for columns in [20, 40, 80, 200] {
            let text = map(&terminal(columns, Palette::Plain), values.view(), 0.75, &SCALE, Colours::Viridis);
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest < columns && text.lines().count() <= 34);
            let proportion = 2.0 * text.lines().count() as f64 / widest as f64;
            assert!((proportion - 0.75).abs() < 0.1, "{proportion} in {columns} columns");
        }
    }

    #[test]
    fn up_is_up() {
        let values = ndarray::array![[0.0, 0.0], [1.0, 1.0]];
        let text = map(&terminal(9, Palette::Plain), values.view(), 1.0, &SCALE, Colours::Viridis);
        assert_eq!(text, "@@@@@@@@\n@@@@@@@@\n        \n        \n");
    }

    #[test]
    fn without_colours_there_is_no_escape_sequence() {
        let values = Array2::from_elem((4, 4), f64::NAN);
        let plain = map(&terminal(40, Palette::Plain), values.view(), 1.0, &SCALE, Colours::Viridis);
        assert!(!plain.contains('\x1b') && plain.contains('?') && plain.is_ascii());
        let coloured = map(&terminal(40, Palette::True), values.view(), 1.0, &SCALE, Colours::Viridis);
        assert!(coloured.lines().all(|line| line.ends_with("\x1b[0m")), "each line gives the colours back");
    }

    #[test]
    fn a_curve_rises_where_the_values_do() {
        let values = ndarray::Array1::linspace(0.0, 1.0, 500);
        let text = curve(&terminal(41, Palette::Plain), values.view(), &SCALE);
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows.len(), 10);
        assert!(rows[0].starts_with(' ') && rows[0].ends_with('#'));
        assert!(rows[9].ends_with('#') && rows[9].trim_start().len() > 35);
    }
}
