//! A position or a vector in space.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Index, IndexMut, Mul, Neg, Sub};

use super::Axis;

/// A vector of `N` real components, in the order x, y, z.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vector<const N: usize>(pub [f64; N]);

impl<const N: usize> Vector<N> {
    /// The vector of zeros.
    pub const ZERO: Self = Vector([0.0; N]);

    /// The vector whose component along each axis is given by a function.
    #[inline]
    pub fn from_fn(f: impl FnMut(Axis<N>) -> f64) -> Self {
        let mut f = f;
        Vector(std::array::from_fn(|a| f(Axis::new(a))))
    }

    /// The vector of length 1 along an axis.
    #[inline]
    pub fn unit(axis: Axis<N>) -> Self {
        Vector::from_fn(|a| if a == axis { 1.0 } else { 0.0 })
    }

    /// The scalar product with another vector.
    #[inline]
    pub fn dot(self, other: Self) -> f64 {
        (0..N).map(|a| self.0[a] * other.0[a]).sum()
    }

    /// The square of the Euclidean norm.
    #[inline]
    pub fn norm_squared(self) -> f64 {
        self.dot(self)
    }

    /// The Euclidean norm.
    #[inline]
    pub fn norm(self) -> f64 {
        self.norm_squared().sqrt()
    }

    /// The smallest component.
    #[inline]
    pub fn min(self) -> f64 {
        self.0.into_iter().fold(f64::INFINITY, f64::min)
    }

    /// The product of the components: a volume, if they are lengths.
    #[inline]
    pub fn product(self) -> f64 {
        self.0.into_iter().product()
    }
}

impl<const N: usize> Index<usize> for Vector<N> {
    type Output = f64;
    #[inline]
    fn index(&self, a: usize) -> &f64 {
        &self.0[a]
    }
}

impl<const N: usize> Index<Axis<N>> for Vector<N> {
    type Output = f64;
    #[inline]
    fn index(&self, a: Axis<N>) -> &f64 {
        &self.0[a.index()]
    }
}

impl<const N: usize> IndexMut<Axis<N>> for Vector<N> {
    #[inline]
    fn index_mut(&mut self, a: Axis<N>) -> &mut f64 {
        &mut self.0[a.index()]
    }
}

impl<const N: usize> Add for Vector<N> {
    type Output = Self;
    #[inline]
    fn add(self, other: Self) -> Self {
        Vector(std::array::from_fn(|a| self.0[a] + other.0[a]))
    }
}

impl<const N: usize> AddAssign for Vector<N> {
    #[inline]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl<const N: usize> Sub for Vector<N> {
    type Output = Self;
    #[inline]
    fn sub(self, other: Self) -> Self {
        Vector(std::array::from_fn(|a| self.0[a] - other.0[a]))
    }
}

impl<const N: usize> Neg for Vector<N> {
    type Output = Self;
    #[inline]
    fn neg(self) -> Self {
        Vector(self.0.map(|x| -x))
    }
}

impl<const N: usize> Mul<f64> for Vector<N> {
    type Output = Self;
    #[inline]
    fn mul(self, factor: f64) -> Self {
        Vector(self.0.map(|x| x * factor))
    }
}

impl<const N: usize> Mul<Vector<N>> for f64 {
    type Output = Vector<N>;
    #[inline]
    fn mul(self, v: Vector<N>) -> Vector<N> {
        v * self
    }
}

impl<const N: usize> Div<f64> for Vector<N> {
    type Output = Self;
    #[inline]
    fn div(self, divisor: f64) -> Self {
        Vector(self.0.map(|x| x / divisor))
    }
}

impl<const N: usize> Sum for Vector<N> {
    fn sum<I: Iterator<Item = Self>>(vectors: I) -> Self {
        vectors.fold(Self::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_add_and_scale_component_by_component() {
        let v = Vector([1.0, 2.0, 3.0]) + 2.0 * Vector([1.0, 0.0, -1.0]) - Vector([1.0, 1.0, 1.0]) / 2.0;
        assert_eq!(v, Vector([2.5, 1.5, 0.5]));
        assert_eq!(v.norm_squared(), 8.75);
        assert_eq!(v.min(), 0.5);
    }
}
