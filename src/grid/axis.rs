//! Directions on the grid: axes, their two sides, and offsets between cells.

use std::ops::{Add, Mul, Neg, Sub};

/// One of the `N` axes of the grid: x, y or z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Axis<const N: usize>(usize);

impl<const N: usize> Axis<N> {
    /// The axis with this number: 0 is x, 1 is y, 2 is z.
    ///
    /// # Panics
    /// If `index` is not below `N`.
    #[inline]
    pub const fn new(index: usize) -> Self {
        assert!(index < N, "an axis number must be below the grid's dimension");
        Axis(index)
    }

    /// All axes in order: x, y, z.
    #[inline]
    pub fn all() -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator {
        (0..N).map(Axis)
    }

    /// The number of the axis: 0 is x, 1 is y, 2 is z.
    #[inline]
    pub const fn index(self) -> usize {
        self.0
    }

    /// The letter of the axis: `x`, `y` or `z`.
    pub const fn name(self) -> &'static str {
        ["x", "y", "z"][self.0]
    }
}

/// One of the two sides of the grid, or of a block, along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Towards smaller coordinates.
    Low,
    /// Towards larger coordinates.
    High,
}

impl Side {
    /// Both sides, low first.
    pub const BOTH: [Side; 2] = [Side::Low, Side::High];

    /// The word that the case file uses: `low` or `high`.
    pub const fn name(self) -> &'static str {
        match self {
            Side::Low => "low",
            Side::High => "high",
        }
    }
}

/// The way from one cell to another, in cells along x, y, z.
///
/// An [`Axis`] is the offset to the next cell along it; offsets add: `x + y` is the diagonal neighbour, `2 * x` the cell
/// after the next, `-x` the cell before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Offset<const N: usize>(pub [isize; N]);

impl<const N: usize> Offset<N> {
    /// From a cell to itself.
    pub const ZERO: Self = Offset([0; N]);

    /// Every offset but zero whose components are at most `reach` in magnitude, x running fastest.
    pub fn within(reach: usize) -> impl Iterator<Item = Self> {
        let width = 2 * reach + 1;
        let position = move |i: usize| {
            Offset(std::array::from_fn(|a| (i / width.pow(a as u32) % width) as isize - reach as isize))
        };
        (0..width.pow(N as u32)).map(position).filter(|offset| *offset != Self::ZERO)
    }
}

impl<const N: usize> From<Axis<N>> for Offset<N> {
    #[inline]
    fn from(axis: Axis<N>) -> Self {
        let mut offset = [0; N];
        offset[axis.0] = 1;
        Offset(offset)
    }
}

impl<const N: usize> From<[isize; N]> for Offset<N> {
    #[inline]
    fn from(offset: [isize; N]) -> Self {
        Offset(offset)
    }
}

impl<const N: usize> Neg for Offset<N> {
    type Output = Self;
    #[inline]
    fn neg(self) -> Self {
        Offset(self.0.map(|d| -d))
    }
}

impl<const N: usize> Neg for Axis<N> {
    type Output = Offset<N>;
    #[inline]
    fn neg(self) -> Offset<N> {
        -Offset::from(self)
    }
}

impl<const N: usize, B: Into<Offset<N>>> Add<B> for Offset<N> {
    type Output = Self;
    #[inline]
    fn add(self, other: B) -> Self {
        let other = other.into();
        Offset(std::array::from_fn(|a| self.0[a] + other.0[a]))
    }
}

impl<const N: usize, B: Into<Offset<N>>> Add<B> for Axis<N> {
    type Output = Offset<N>;
    #[inline]
    fn add(self, other: B) -> Offset<N> {
        Offset::from(self) + other
    }
}

impl<const N: usize, B: Into<Offset<N>>> Sub<B> for Offset<N> {
    type Output = Self;
    #[inline]
    fn sub(self, other: B) -> Self {
        self + -other.into()
    }
}

impl<const N: usize, B: Into<Offset<N>>> Sub<B> for Axis<N> {
    type Output = Offset<N>;
    #[inline]
    fn sub(self, other: B) -> Offset<N> {
        Offset::from(self) - other
    }
}

impl<const N: usize> Mul<Axis<N>> for isize {
    type Output = Offset<N>;
    #[inline]
    fn mul(self, axis: Axis<N>) -> Offset<N> {
        Offset(Offset::from(axis).0.map(|d| self * d))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_sums_of_axes() {
        let [x, y] = [Axis::<2>::new(0), Axis::new(1)];
        assert_eq!(2 * x - y, Offset([2, -1]));
        assert_eq!(-x + y + y, Offset([-1, 2]));
    }

    #[test]
    fn a_reach_of_one_has_all_neighbours_and_not_the_cell_itself() {
        assert_eq!(Offset::<1>::within(1).count(), 2);
        assert_eq!(Offset::<3>::within(1).count(), 26);
        assert!(Offset::<3>::within(2).all(|offset| offset != Offset::ZERO));
    }
}
