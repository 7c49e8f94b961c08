//! A picture in memory: rectangles, smooth lines and text, and its way to a PNG file.

use std::io::{self, BufWriter, Write};

use ab_glyph::{Font, FontRef, Glyph, ScaleFont, point};

/// Red, green and blue, 8 bits each.
pub type Colour = [u8; 3];

/// A picture; x grows to the right and y downward, both in pixels.
pub struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<Colour>,
    fonts: [FontRef<'static>; 2],
}

/// Which point of a text its position names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// Its beginning, half way up a capital.
    Start,
    /// Its middle.
    Middle,
    /// Its end.
    End,
}

/// Which way a text runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// To the right.
    Right,
    /// Upward.
    Up,
}

impl Canvas {
    /// A white canvas.
    pub fn new(width: usize, height: usize) -> Self {
        // Letters come from the first font that has them.
        let fonts = [epaint_default_fonts::UBUNTU_LIGHT, epaint_default_fonts::HACK_REGULAR]
            .map(|bytes| FontRef::try_from_slice(bytes).expect("the fonts that are built in are fonts"));
        Canvas { width, height, pixels: vec![[255; 3]; width * height], fonts }
    }

    /// Sets one pixel; none outside of the canvas.
    pub fn set(&mut self, x: usize, y: usize, colour: Colour) {
        if x < self.width && y < self.height {
            self.pixels[y * self.width + x] = colour;
        }
    }

    /// The width and the height in pixels.
    #[cfg(test)]
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// The colour of one pixel.
    #[cfg(test)]
    pub fn get(&self, x: usize, y: usize) -> Colour {
        self.pixels[y * self.width + x]
    }

    /// Fills the pixels of a rectangle.
    pub fn fill(&mut self, x: std::ops::Range<usize>, y: std::ops::Range<usize>, colour: Colour) {
        for row in y {
            for column in x.clone() {
                self.set(column, row, colour);
            }
        }
    }

    /// Draws a smooth line through points, `thickness` pixels wide.
    pub fn line(&mut self, points: &[(f64, f64)], thickness: f64, colour: Colour) {
        let mut coverage = std::collections::HashMap::new();
        for ends in points.windows(2) {
            let ((ax, ay), (bx, by)) = (ends[0], ends[1]);
            let reach = thickness / 2.0 + 1.0;
            let bounds = |a: f64, b: f64, size: usize| {
                let first = (a.min(b) - reach).floor().max(0.0) as usize;
                first..((a.max(b) + reach).ceil().max(0.0) as usize).min(size)
            };
            let (dx, dy) = (bx - ax, by - ay);
            let square = (dx * dx + dy * dy).max(f64::MIN_POSITIVE);
            for y in bounds(ay, by, self.height) {
                for x in bounds(ax, bx, self.width) {
                    let (px, py) = (x as f64 + 0.5 - ax, y as f64 + 0.5 - ay);
                    let along = ((px * dx + py * dy) / square).clamp(0.0, 1.0);
                    let distance = (px - along * dx).hypot(py - along * dy);
                    let part = (thickness / 2.0 + 0.5 - distance).clamp(0.0, 1.0);
                    if part > 0.0 {
                        let most = coverage.entry((x, y)).or_insert(0.0f64);
                        *most = most.max(part);
                    }
                }
            }
        }
        for ((x, y), part) in coverage {
            self.blend(x, y, colour, part as f32);
        }
    }

    /// The length of a text in pixels.
    pub fn length(&self, text: &str, size: f64) -> f64 {
        self.glyphs(text, size).1.into()
    }

    /// Writes a text whose capitals are centred on the point's line.
    pub fn text(&mut self, text: &str, size: f64, (x, y): (f64, f64), anchor: Anchor, run: Run, colour: Colour) {
        let (glyphs, length) = self.glyphs(text, size);
        let back = match anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => length / 2.0,
            Anchor::End => length,
        };
        // Capitals are about 0.7 of the em high, and the em is about 0.87 of the height that `size` means.
        let drop = 0.30 * size as f32;
        for (font, mut glyph) in glyphs {
            glyph.position.x -= back;
            glyph.position.y += drop;
            let Some(outline) = self.fonts[font].outline_glyph(glyph) else { continue };
            let bounds = outline.px_bounds();
            let mut dots = Vec::new();
            outline.draw(|column, row, part| {
                dots.push((bounds.min.x + column as f32, bounds.min.y + row as f32, part));
            });
            for (along, across, part) in dots {
                let (px, py) = match run {
                    Run::Right => (x.round() + f64::from(along), y.round() + f64::from(across)),
                    Run::Up => (x.round() + f64::from(across), y.round() - f64::from(along) - 1.0),
                };
                if px >= 0.0 && py >= 0.0 {
                    self.blend(px as usize, py as usize, colour, part);
                }
            }
        }
    }

    /// Writes the picture as a PNG.
    ///
    /// # Errors
    /// What the writer refuses.
    pub fn write_png(&self, out: impl Write) -> io::Result<()> {
        let (width, height) = (self.width as u32, self.height as u32);
        let mut encoder = png::Encoder::new(BufWriter::new(out), width, height);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(self.pixels.as_flattened())?;
        writer.finish()?;
        Ok(())
    }

    /// The glyphs of a text along a line from 0, each with its font, and the length of the line.
    fn glyphs(&self, text: &str, size: f64) -> (Vec<(usize, Glyph)>, f32) {
        let mut glyphs = Vec::new();
        let (mut x, mut before) = (0.0, None);
        for character in text.chars() {
            let known = |font: &&FontRef<'static>| font.glyph_id(character).0 != 0;
            let font = self.fonts.iter().position(|font| known(&font)).unwrap_or(0);
            let scaled = self.fonts[font].as_scaled(size as f32);
            let id = scaled.glyph_id(character);
            if let Some((last, letter)) = before
                && last == font
            {
                x += scaled.kern(letter, id);
            }
            glyphs.push((font, id.with_scale_and_position(size as f32, point(x, 0.0))));
            x += scaled.h_advance(id);
            before = Some((font, id));
        }
        (glyphs, x)
    }

    fn blend(&mut self, x: usize, y: usize, colour: Colour, part: f32) {
        if x < self.width && y < self.height {
            let pixel = &mut self.pixels[y * self.width + x];
            *pixel = std::array::from_fn(|c| {
                (f32::from(pixel[c]) * (1.0 - part) + f32::from(colour[c]) * part).round() as u8
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLACK: Colour = [0; 3];

    fn inked(canvas: &Canvas) -> Vec<(usize, usize)> {
        let dark = canvas.pixels.iter().enumerate().filter(|(_, pixel)| pixel[0] < 128);
        dark.map(|(i, _)| (i % canvas.width, i / canvas.width)).collect()
    }

    #[test]
    fn a_text_is_where_its_anchor_says() {
        for (anchor, low, high) in [(Anchor::Start, 100, 200), (Anchor::Middle, 50, 150), (Anchor::End, 0, 101)] {
            let mut canvas = Canvas::new(200, 40);
            canvas.text("HEAT", 24.0, (100.0, 20.0), anchor, Run::Right, BLACK);
            let ink = inked(&canvas);
            assert!(!ink.is_empty());
            assert!(ink.iter().all(|&(x, _)| x + 1 >= low && x < high), "{anchor:?}");
            let (top, bottom) = (ink.iter().map(|i| i.1).min().unwrap(), ink.iter().map(|i| i.1).max().unwrap());
            assert!((top + bottom).abs_diff(40) <= 3, "capitals lie between {top} and {bottom}, not about 20");
        }
    }

    #[test]
    fn an_upward_text_is_the_same_text_turned() {
        let (mut flat, mut turned) = (Canvas::new(100, 100), Canvas::new(100, 100));
        flat.text("Lk", 24.0, (50.0, 50.0), Anchor::Start, Run::Right, BLACK);
        turned.text("Lk", 24.0, (50.0, 50.0), Anchor::Start, Run::Up, BLACK);
        let mut expected: Vec<_> = inked(&flat).into_iter().map(|(x, y)| (y, 99 - x)).collect();
        let mut ink = inked(&turned);
        ink.sort_unstable();
        expected.sort_unstable();
        assert_eq!(ink, expected);
    }

    #[test]
    fn every_sign_of_a_label_is_in_a_font() {
        let canvas = Canvas::new(1, 1);
        for sign in "0123456789−×⁰¹²³⁴⁵⁶⁷⁸⁹⁻·°µκ∂∇/²→=".chars() {
            assert!(canvas.fonts.iter().any(|font| font.glyph_id(sign).0 != 0), "no font has {sign}");
        }
    }

    #[test]
    fn a_line_is_as_thick_as_asked_for_and_stays_on_the_canvas() {
        let mut canvas = Canvas::new(50, 50);
        canvas.line(&[(-20.0, 10.0), (80.0, 10.0)], 4.0, BLACK);
        assert_eq!(inked(&canvas).len(), 4 * 50);
    }

    #[test]
    fn the_file_is_a_png_of_the_right_size() {
        let mut bytes = Vec::new();
        Canvas::new(30, 20).write_png(&mut bytes).unwrap();
        let reader = png::Decoder::new(bytes.as_slice()).read_info().unwrap();
        assert_eq!((reader.info().width, reader.info().height), (30, 20));
    }
}
