//! Where a block lies on the space-filling curve, and which block lies where: counted, not looked up.
//!
//! The curve is Hilbert's, through the smallest cube of a power of two that holds all blocks; what lies outside the grid is
//! left out. A cube is passed half-cube by half-cube, and how many blocks of a half-cube lie in the grid is a product. So
//! whoever goes down from the whole cube, and counts what the curve passes before it, has a block's place after as many
//! levels as the number of blocks along an axis has bits. There is no table: a rank of a grid of a thousand million blocks
//! would take the same bytes as one of eight. *Rejected:* sorting all blocks by their place in the cube once, which is
//! quicker to ask, but takes 16 bytes a block on every rank.
//!
//! # Sources
//! J. Skilling, Programming the Hilbert curve, AIP Conference Proceedings 707, 381 (2004), doi:10.1063/1.1751381.

/// The Hilbert curve through a box of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Curve<const N: usize> {
    counts: [u32; N],
    total: u32,
    /// The cube that holds all blocks has 2^levels of them along each axis.
    levels: u32,
    whole: Turn<N>,
}

impl<const N: usize> Curve<N> {
    /// The curve through so many blocks along x, y, z, of which none is 0.
    pub fn new(counts: [u32; N]) -> Self {
        let levels = counts.into_iter().map(|n| n.next_power_of_two().ilog2()).max().unwrap_or(0);
        // The cube is the first corner of one of 2^32 blocks, so that a larger grid has the same curve or a turned one.
        let whole = (levels..u32::BITS).fold(Turn::FIRST, |turn, _| turn.into_part(0));
        Curve { counts, total: counts.into_iter().product(), levels, whole }
    }

    /// The number of blocks.
    pub fn len(&self) -> u32 {
        self.total
    }

    /// How many blocks the curve passes before this one.
    pub fn place(&self, block: [u32; N]) -> u32 {
        let (mut place, mut turn, mut lower) = (0, self.whole, [0; N]);
        for level in (0..self.levels).rev() {
            let halves = self.halves(lower, level);
            let part = turn.part((0..N).fold(0, |upper, a| upper | (block[a] >> level & 1) << a));
            place += match are_full(&halves, level) {
                true => part << (N as u32 * level),
                false => (0..part).map(|before| blocks(&halves, turn.upper(before))).sum(),
            };
            (0..N).for_each(|a| lower[a] |= block[a] & 1 << level);
            turn = turn.into_part(part);
        }
        place
    }

    /// The block that the curve passes after so many others.
    ///
    /// # Panics
    /// If there are not more than that.
    pub fn block(&self, mut place: u32) -> [u32; N] {
        assert!(place < self.total, "there is no block {place} on a curve through {:?} blocks", self.counts);
        let (mut turn, mut lower) = (self.whole, [0; N]);
        for level in (0..self.levels).rev() {
            let halves = self.halves(lower, level);
            let mut part = 0;
            if are_full(&halves, level) {
                part = place >> (N as u32 * level);
                place -= part << (N as u32 * level);
            } else {
                let mut here = blocks(&halves, turn.upper(part));
                while place >= here {
                    place -= here;
                    part += 1;
                    here = blocks(&halves, turn.upper(part));
                }
            }
            let upper = turn.upper(part);
            (0..N).for_each(|a| lower[a] |= (upper >> a & 1) << level);
            turn = turn.into_part(part);
        }
        lower
    }

    /// How far the grid reaches into the lower and the upper half of a cube of 2 · 2^level blocks, along each axis.
    #[inline]
    fn halves(&self, lower: [u32; N], level: u32) -> [[u32; 2]; N] {
        std::array::from_fn(|a| {
            let inside = self.counts[a].saturating_sub(lower[a]);
            [inside.min(1 << level), inside.saturating_sub(1 << level).min(1 << level)]
        })
    }
}

/// Whether all blocks of a cube lie in the grid.
#[inline]
fn are_full<const N: usize>(halves: &[[u32; 2]; N], level: u32) -> bool {
    halves.iter().all(|[_, upper]| *upper == 1 << level)
}

/// How many blocks of a half-cube lie in the grid; bit a of `upper` says whether it is the upper one along axis a.
#[inline]
fn blocks<const N: usize>(halves: &[[u32; 2]; N], upper: u32) -> u32 {
    (0..N).map(|a| halves[a][(upper >> a & 1) as usize]).product()
}

/// How the curve runs through a cube: mirrored, and with its axes exchanged, so that it begins where it left the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Turn<const N: usize> {
    axes: [u32; N],
    mirrored: [u32; N],
    /// The sum modulo 2 of all bits so far: Gray's code undone.
    odd: u32,
}

impl<const N: usize> Turn<N> {
    const FIRST: Self = {
        let mut axes = [0; N];
        let mut a = 0;
        while a < N {
            axes[a] = a as u32;
            a += 1;
        }
        Turn { axes, mirrored: [0; N], odd: 0 }
    };

    /// When the curve comes through a half-cube: after so many others.
    #[inline]
    fn part(&self, upper: u32) -> u32 {
        let mut sum = self.odd;
        (0..N).fold(0, |part, i| {
            sum ^= upper >> self.axes[i] & 1 ^ self.mirrored[i];
            part << 1 | sum
        })
    }

    /// The half-cube that comes after so many others.
    #[inline]
    fn upper(&self, part: u32) -> u32 {
        let (mut upper, mut before) = (0, self.odd);
        for i in 0..N {
            let sum = part >> (N - 1 - i) & 1;
            upper |= (sum ^ before ^ self.mirrored[i]) << self.axes[i];
            before = sum;
        }
        upper
    }

    /// How the curve runs through that half-cube.
    #[inline]
    fn into_part(mut self, part: u32) -> Self {
        for i in 0..N {
            let sum = part >> (N - 1 - i) & 1;
            if sum != self.odd {
                self.mirrored[0] ^= 1;
            } else {
                self.axes.swap(0, i);
                self.mirrored.swap(0, i);
            }
            self.odd = sum;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All blocks of a box in the order of the keys of another's Hilbert curve through 2^32 blocks along each axis.
    fn sorted<const N: usize>(counts: [u32; N], key: impl Fn([u32; N]) -> u128) -> Vec<[u32; N]> {
        let total: u32 = counts.iter().product();
        let mut blocks: Vec<[u32; N]> = (0..total)
            .map(|mut rest| {
                std::array::from_fn(|a| {
                    let coordinate = rest % counts[a];
                    rest /= counts[a];
                    coordinate
                })
            })
            .collect();
        blocks.sort_by_cached_key(|&block| key(block));
        blocks
    }

    fn check<const N: usize>(counts: [u32; N], key: impl Fn([u32; N]) -> u128) {
        let curve = Curve::new(counts);
        for (place, block) in sorted(counts, key).into_iter().enumerate() {
            assert_eq!(curve.block(place as u32), block, "place {place} of {counts:?}");
            assert_eq!(curve.place(block), place as u32, "block {block:?} of {counts:?}");
        }
    }

    proptest! {
        #[test]
        fn counting_gives_the_order_of_hilbert_keys(
            n in 1u32..300, m in prop::array::uniform2(1u32..40), k in prop::array::uniform3(1u32..12),
        ) {
            check([n], |[x]| u128::from(x));
            check(m, |block| u128::from(lindel::hilbert_encode(block)));
            check(k, lindel::hilbert_encode);
        }

        #[test]
        fn a_block_of_many_is_found_where_it_lies(n in prop::array::uniform3(1u32..250), seed: u32) {
            let total: u32 = n.iter().product();
            let curve = Curve::new(n);
            prop_assert_eq!(curve.place(curve.block(seed % total)), seed % total);
        }
    }

    #[test]
    #[should_panic(expected = "no block 15")]
    fn there_is_no_block_beyond_the_last() {
        Curve::new([3, 5]).block(15);
    }
}
