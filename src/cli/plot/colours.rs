//! Which colour stands for which value.

use clap::ValueEnum;

/// A colour map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Colours {
    /// Dark violet to yellow; even steps look even, in grey and to the colour-blind too.
    Viridis,
    /// Black over red to pale yellow, for what glows.
    Inferno,
    /// Valleys green, heights brown, summits white, as on a map.
    Terrain,
    /// Blue below, white in the middle, red above: for what has a sign; use it with --symmetric.
    Balance,
    /// White to black, for printing.
    Grey,
}

impl Colours {
    /// The colour at a place of the scale, 0 its lower end and 1 its upper end.
    pub fn at(self, place: f64) -> [u8; 3] {
        let stops = self.stops();
        let place = place.clamp(0.0, 1.0) * (stops.len() - 1) as f64;
        let below = (place as usize).min(stops.len() - 2);
        let part = place - below as f64;
        let (low, high) = (rgb(stops[below]), rgb(stops[below + 1]));
        std::array::from_fn(|c| (f64::from(low[c]) * (1.0 - part) + f64::from(high[c]) * part).round() as u8)
    }

    /// Evenly spaced colours of the map; between them a straight line is not told from the original by eye.
    ///
    /// # Sources
    /// Viridis and inferno: S. van der Walt and N. Smith (2015), matplotlib, CC0. Balance: C. Brewer, ColorBrewer RdBu
    /// (reversed). Terrain: our own, after the tints of printed maps.
    fn stops(self) -> &'static [u32] {
        match self {
            Colours::Viridis => {
                &[0x440154, 0x482878, 0x3e4989, 0x31688e, 0x26828e, 0x1f9e89, 0x35b779, 0x6ece58, 0xb5de2b, 0xfde725]
            }
            Colours::Inferno => {
                &[0x000004, 0x1b0c41, 0x4a0c6b, 0x781c6d, 0xa52c60, 0xcf4446, 0xed6925, 0xfb9b06, 0xf7d13d, 0xfcffa4]
            }
            Colours::Terrain => &[
                0x2f6b4f, 0x4f8a5b, 0x7da767, 0xadc178, 0xdcd59a, 0xd9bd83, 0xc09a6b, 0xa07c5c, 0xa99588, 0xd5ccc6,
                0xffffff,
            ],
            Colours::Balance => &[
                0x053061, 0x2166ac, 0x4393c3, 0x92c5de, 0xd1e5f0, 0xf7f7f7, 0xfddbc7, 0xf4a582, 0xd6604d, 0xb2182b,
                0x67001f,
            ],
            Colours::Grey => &[0xffffff, 0x000000],
        }
    }
}

/// From values to places on the colour scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// The value at the lower end.
    pub lower: f64,
    /// The value at the upper end.
    pub upper: f64,
    /// How the values between are spread.
    pub spread: Spread,
}

/// How values are spread over a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// Evenly.
    Linear,
    /// By their logarithm; what is not positive counts as the smallest positive number.
    Logarithmic,
}

impl Scale {
    /// The place of a value: 0 at the lower end, 1 at the upper end, beyond them for values outside.
    pub fn place(&self, value: f64) -> f64 {
        let map = |x: f64| match self.spread {
            Spread::Linear => x,
            Spread::Logarithmic => x.max(f64::MIN_POSITIVE).ln(),
        };
        // In halves, since upper − lower may overflow.
        (map(value) / 2.0 - map(self.lower) / 2.0) / (map(self.upper) / 2.0 - map(self.lower) / 2.0)
    }
}

fn rgb(colour: u32) -> [u8; 3] {
    let [_, r, g, b] = colour.to_be_bytes();
    [r, g, b]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_begins_and_ends_with_its_own_colours() {
        assert_eq!(Colours::Viridis.at(0.0), [0x44, 0x01, 0x54]);
        assert_eq!(Colours::Viridis.at(1.0), [0xfd, 0xe7, 0x25]);
        assert_eq!(Colours::Viridis.at(7.0), [0xfd, 0xe7, 0x25], "what is above the scale has its upper colour");
        assert_eq!(Colours::Balance.at(0.5), [0xf7; 3], "the middle of a map for signed values is white");
    }

    #[test]
    fn even_steps_of_viridis_grow_ever_lighter() {
        let lightness = |place: f64| {
            let [r, g, b] = Colours::Viridis.at(place).map(f64::from);
            0.2126 * r + 0.7152 * g + 0.0722 * b
        };
        assert!((0..50).all(|i| lightness(i as f64 / 50.0) < lightness((i + 1) as f64 / 50.0)));
    }

    #[test]
    fn places_are_even_in_the_value_or_in_its_logarithm() {
        let linear = Scale { lower: -1.0, upper: 3.0, spread: Spread::Linear };
        assert_eq!(linear.place(1.0), 0.5);
        let logarithmic = Scale { lower: 1.0, upper: 100.0, spread: Spread::Logarithmic };
        approx::assert_relative_eq!(logarithmic.place(10.0), 0.5);
        let vast = Scale { lower: f64::MIN, upper: f64::MAX, spread: Spread::Linear };
        assert_eq!(vast.place(0.0), 0.5);
    }
}
