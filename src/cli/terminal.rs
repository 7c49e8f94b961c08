//! What standard output can show: how wide it is, and in which colours.

use std::fmt::Write;
use std::io::IsTerminal;

/// How a terminal is told a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Palette {
    /// Not at all: characters must do.
    Plain,
    /// A number from the 6 × 6 × 6 cube of the 256-colour terminals.
    Cube,
    /// Red, green and blue, 8 bits each.
    True,
}

/// What lies at the other end of standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Whether a person is there: a terminal, and not a file or a pipe.
    pub interactive: bool,
    /// The characters of a line.
    pub columns: usize,
    /// The lines of the screen.
    pub lines: usize,
    /// The colours that it shows and its user wants.
    pub palette: Palette,
}

impl Terminal {
    /// Standard output, as this process finds it.
    pub fn stdout() -> Self {
        let (lines, columns) = console::Term::stdout().size_checked().unwrap_or((24, 80));
        let variable = |name: &str| std::env::var(name).ok();
        let interactive = std::io::stdout().is_terminal();
        let palette = if interactive { palette(variable) } else { Palette::Plain };
        Terminal { interactive, columns: columns.into(), lines: lines.into(), palette }
    }

    /// The text in a colour for emphasis, where there are colours.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        match self.palette {
            Palette::Plain => text.to_owned(),
            _ => format!("\x1b[{}m{text}\x1b[0m", tone.code()),
        }
    }
}

/// Why a word is shown in colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It is as it should be.
    Good,
    /// It deserves a look.
    Doubtful,
    /// It is wrong.
    Bad,
    /// It heads what follows.
    Heading,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Tone::Good => "32",
            Tone::Doubtful => "33",
            Tone::Bad => "1;31",
            Tone::Heading => "1",
        }
    }
}

/// The palette that the environment asks for: `NO_COLOR` (no-color.org) before all else, then `COLORTERM`, then `TERM`.
fn palette(variable: impl Fn(&str) -> Option<String>) -> Palette {
    if variable("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        return Palette::Plain;
    }
    let term = variable("TERM").unwrap_or_default();
    match variable("COLORTERM").as_deref() {
        _ if term.is_empty() || term == "dumb" => Palette::Plain,
        Some("truecolor" | "24bit") => Palette::True,
        _ if term.contains("256color") || term.contains("kitty") || term.contains("alacritty") => Palette::Cube,
        _ => Palette::Plain,
    }
}

/// Appends the escape sequence that sets the colour of the ink, or with `ground` of what lies behind it.
pub fn set_colour(line: &mut String, palette: Palette, ground: Ground, [r, g, b]: [u8; 3]) {
    let layer = match ground {
        Ground::Fore => 38,
        Ground::Back => 48,
    };
    let written = match palette {
        Palette::Plain => Ok(()),
        Palette::Cube => write!(line, "\x1b[{layer};5;{}m", cube([r, g, b])),
        Palette::True => write!(line, "\x1b[{layer};2;{r};{g};{b}m"),
    };
    written.expect("a string takes any text");
}

/// Which part of a character's place takes a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// The ink.
    Fore,
    /// What lies behind it.
    Back,
}

/// The number of the nearest colour among the cube (levels 0, 95, 135, …, 255) and the greys of 256-colour terminals.
fn cube(colour: [u8; 3]) -> u8 {
    const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let level = colour.map(|c| (0..6u8).min_by_key(|&i| LEVELS[i as usize].abs_diff(c)).expect("there are six levels"));
    let mean = (colour.iter().map(|&c| u32::from(c)).sum::<u32>() / 3) as u8;
    let grey = (mean.saturating_sub(3) / 10).min(23);
    let distance = |other: [u8; 3]| {
        let differences = colour.iter().zip(other).map(|(&a, b)| u32::from(a.abs_diff(b)).pow(2));
        differences.sum::<u32>()
    };
    if distance([8 + 10 * grey; 3]) < distance(level.map(|i| LEVELS[i as usize])) {
        232 + grey
    } else {
        16 + 36 * level[0] + 6 * level[1] + level[2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Palette {
        palette(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn no_color_wins_over_everything() {
        assert_eq!(from(&[("NO_COLOR", "1"), ("COLORTERM", "truecolor"), ("TERM", "xterm-256color")]), Palette::Plain);
        assert_eq!(from(&[("NO_COLOR", ""), ("COLORTERM", "truecolor"), ("TERM", "xterm")]), Palette::True);
    }

    #[test]
    fn a_terminal_shows_what_it_says_that_it_can() {
        assert_eq!(from(&[("TERM", "xterm-256color")]), Palette::Cube);
        assert_eq!(from(&[("TERM", "dumb"), ("COLORTERM", "truecolor")]), Palette::Plain);
        assert_eq!(from(&[]), Palette::Plain);
    }

    #[test]
    fn the_nearest_of_256_colours_is_taken() {
        assert_eq!(cube([0, 0, 0]), 16);
        assert_eq!(cube([255, 255, 255]), 231);
        assert_eq!(cube([255, 0, 0]), 196);
        assert_eq!(cube([118, 118, 118]), 243, "a grey of the ramp is nearer than any of the cube");
    }

    #[test]
    fn text_without_colours_is_left_alone() {
        let terminal = Terminal { interactive: false, columns: 80, lines: 24, palette: Palette::Plain };
        assert_eq!(terminal.paint(Tone::Bad, "damaged"), "damaged");
        let terminal = Terminal { palette: Palette::Cube, ..terminal };
        assert_eq!(terminal.paint(Tone::Bad, "damaged"), "\x1b[1;31mdamaged\x1b[0m");
    }
}
