//! What one cell holds: a number, or a record of named components with units.

use super::{Scalar, ScalarKind};
use crate::grid::Vector;
use serde::{Deserialize, Serialize};

/// How a component behaves under reflection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It is the same in a mirror.
    Scalar,
    /// It is the part of a vector along this axis (0 is x): a mirror across that axis changes its sign.
    VectorAlong(usize),
}

/// One number of a record: a plane in memory, a dataset in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// The name, as in the case file and in checkpoints.
    pub name: String,
    /// The unit, as in `m/s`; `1` for a pure number.
    pub unit: String,
    /// How it behaves under reflection.
    pub role: Role,
}

impl Component {
    /// A component that is the same in a mirror.
    pub fn scalar(name: impl Into<String>, unit: impl Into<String>) -> Self {
        Component { name: name.into(), unit: unit.into(), role: Role::Scalar }
    }
}

/// What a record is made of: a number or a [`Vector`].
pub trait Member<T: Scalar>: Copy {
    /// How many numbers it has.
    const COUNT: usize;

    /// Its components, named after the member.
    fn components(name: &str, unit: &str) -> Vec<Component>;
    /// Builds it from its numbers, `get(first)` and on.
    fn load(first: usize, get: &impl Fn(usize) -> T) -> Self;
    /// Gives each of its numbers to `put(first, …)` and on.
    fn store(self, first: usize, put: &mut impl FnMut(usize, T));
    /// The member whose numbers are functions of those of two members.
    fn zip_with(self, other: Self, f: &impl Fn(T, T) -> T) -> Self;
}

impl<T: Scalar> Member<T> for T {
    const COUNT: usize = 1;

    fn components(name: &str, unit: &str) -> Vec<Component> {
        vec![Component::scalar(name, unit)]
    }

    #[inline(always)]
    fn load(first: usize, get: &impl Fn(usize) -> T) -> Self {
        get(first)
    }

    #[inline(always)]
    fn store(self, first: usize, put: &mut impl FnMut(usize, T)) {
        put(first, self);
    }

    #[inline(always)]
    fn zip_with(self, other: Self, f: &impl Fn(T, T) -> T) -> Self {
        f(self, other)
    }
}

impl<const N: usize> Member<f64> for Vector<N> {
    const COUNT: usize = N;

    fn components(name: &str, unit: &str) -> Vec<Component> {
        let part = |axis| Component {
            name: format!("{name}_{}", ["x", "y", "z"][axis]),
            unit: unit.into(),
            role: Role::VectorAlong(axis),
        };
        (0..N).map(part).collect()
    }

    #[inline(always)]
    fn load(first: usize, get: &impl Fn(usize) -> f64) -> Self {
        Vector(std::array::from_fn(|a| get(first + a)))
    }

    #[inline(always)]
    fn store(self, first: usize, put: &mut impl FnMut(usize, f64)) {
        for a in 0..N {
            put(first + a, self.0[a]);
        }
    }

    #[inline(always)]
    fn zip_with(self, other: Self, f: &impl Fn(f64, f64) -> f64) -> Self {
        Vector(std::array::from_fn(|a| f(self.0[a], other.0[a])))
    }
}

/// What one cell holds. Numbers are records of one component; [`record!`](crate::record) makes records of several.
pub trait Record: Copy + Send + Sync + PartialEq + std::fmt::Debug + 'static {
    /// The type of all its numbers.
    type Scalar: Scalar;
    /// How many components it has.
    const COMPONENTS: usize;

    /// Its components, in the order of the planes.
    fn components() -> Vec<Component>;
    /// Builds it from its numbers: `get(c)` is component `c`.
    fn load(get: impl Fn(usize) -> Self::Scalar) -> Self;
    /// Gives each component `c` to `put(c, …)`.
    fn store(self, put: impl FnMut(usize, Self::Scalar));

    /// The record whose components are functions of those of two records.
    #[must_use]
    fn zip(self, other: Self, f: impl Fn(Self::Scalar, Self::Scalar) -> Self::Scalar) -> Self;

    /// The type of its numbers, by name.
    fn kind() -> ScalarKind {
        Self::Scalar::KIND
    }

    /// The record whose components are functions of this one's.
    #[inline(always)]
    #[must_use]
    fn map(self, f: impl Fn(Self::Scalar) -> Self::Scalar) -> Self {
        self.zip(self, |x, _| f(x))
    }

    /// The component-wise sum.
    #[inline(always)]
    #[must_use]
    fn sum_with(self, other: Self) -> Self {
        self.zip(other, Scalar::plus)
    }

    /// The component-wise product with a real factor.
    #[inline(always)]
    #[must_use]
    fn scaled(self, factor: f64) -> Self {
        self.map(|x| x.times(factor))
    }

    /// The first component that is not finite, and its value.
    fn first_not_finite(self) -> Option<(usize, Self::Scalar)> {
        let mut bad = None;
        self.store(|c, x| bad = bad.or((!x.is_finite()).then_some((c, x))));
        bad
    }

    /// 0 if every component is finite, else NaN.
    #[inline(always)]
    fn doubts(self) -> f64 {
        // The compiler leaves out -0 + x, which is x; 0 + x it must compute, since x may be -0.
        let mut doubts = -0.0;
        self.store(|_, x| doubts += x.doubt());
        doubts
    }

    /// Whether every component is finite.
    #[inline(always)]
    fn all_finite(self) -> bool {
        let mut finite = true;
        self.store(|_, x| finite &= x.is_finite());
        finite
    }
}

impl<T: Scalar> Record for T {
    type Scalar = T;
    const COMPONENTS: usize = 1;

    fn components() -> Vec<Component> {
        vec![Component::scalar("u", "1")]
    }

    #[inline(always)]
    fn load(get: impl Fn(usize) -> T) -> Self {
        get(0)
    }

    #[inline(always)]
    fn store(self, mut put: impl FnMut(usize, T)) {
        put(0, self);
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(T, T) -> T) -> Self {
        f(self, other)
    }
}

/// The record of nothing, for a kernel that has no coefficients.
impl Record for () {
    type Scalar = f64;
    const COMPONENTS: usize = 0;

    fn components() -> Vec<Component> {
        Vec::new()
    }

    #[inline(always)]
    fn load(_: impl Fn(usize) -> f64) -> Self {}

    #[inline(always)]
    fn store(self, _: impl FnMut(usize, f64)) {}

    #[inline(always)]
    fn zip(self, _: Self, _: impl Fn(f64, f64) -> f64) -> Self {}
}

/// Declares a record: named members with units, all of one scalar type.
///
/// Members are that scalar or, for `f64`, a [`Vector`]. A record of floats can be added, subtracted, negated and
/// multiplied by an `f64`, so that physics reads as in a paper.
///
/// # Example
/// ```
/// use steadfast::prelude::*;
///
/// steadfast::record! {
///     /// A compressible gas.
///     pub struct Gas<N>: f64 {
///         /// Mass density.
///         density: f64 = "kg/m³",
///         /// Momentum density.
///         momentum: Vector<N> = "kg/(m² s)",
///     }
/// }
///
/// let names: Vec<_> = Gas::<2>::components().into_iter().map(|c| c.name).collect();
/// assert_eq!(names, ["density", "momentum_x", "momentum_y"]);
/// ```
#[macro_export]
macro_rules! record {
    ($(#[$meta:meta])* $vis:vis struct $name:ident <$n:ident> : $t:ty { $($(#[$doc:meta])* $member:ident : $mt:ty = $unit:literal),+ $(,)? }) => {
        $crate::record!(@struct [$(#[$meta])*] [$vis] $name [const $n: usize] [$n] $t { $([$(#[$doc])*] $member : $mt = $unit),+ });
    };
    ($(#[$meta:meta])* $vis:vis struct $name:ident : $t:ty { $($(#[$doc:meta])* $member:ident : $mt:ty = $unit:literal),+ $(,)? }) => {
        $crate::record!(@struct [$(#[$meta])*] [$vis] $name [] [] $t { $([$(#[$doc])*] $member : $mt = $unit),+ });
    };
    (@struct [$(#[$meta:meta])*] [$vis:vis] $name:ident [$($generics:tt)*] [$($args:tt)*] $t:ty
        { $([$(#[$doc:meta])*] $member:ident : $mt:ty = $unit:literal),+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq)]
        $vis struct $name<$($generics)*> { $($(#[$doc])* pub $member: $mt),+ }

        impl<$($generics)*> $crate::field::Record for $name<$($args)*> {
            type Scalar = $t;
            const COMPONENTS: usize = 0 $(+ <$mt as $crate::field::Member<$t>>::COUNT)+;

            fn components() -> Vec<$crate::field::Component> {
                let mut all = Vec::new();
                $(all.extend(<$mt as $crate::field::Member<$t>>::components(stringify!($member), $unit));)+
                all
            }

            #[inline(always)]
            fn load(get: impl Fn(usize) -> $t) -> Self {
                let mut next = 0;
                $(
                    let $member = <$mt as $crate::field::Member<$t>>::load(next, &get);
                    next += <$mt as $crate::field::Member<$t>>::COUNT;
                )+
                let _ = next;
                $name { $($member),+ }
            }

            #[inline(always)]
            fn store(self, mut put: impl FnMut(usize, $t)) {
                let mut next = 0;
                $(
                    $crate::field::Member::<$t>::store(self.$member, next, &mut put);
                    next += <$mt as $crate::field::Member<$t>>::COUNT;
                )+
                let _ = next;
            }

            #[inline(always)]
            fn zip(self, other: Self, f: impl Fn($t, $t) -> $t) -> Self {
                $(let $member = $crate::field::Member::<$t>::zip_with(self.$member, other.$member, &f);)+
                $name { $($member),+ }
            }
        }

        impl<$($generics)*> std::ops::Add for $name<$($args)*> {
            type Output = Self;
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                $crate::field::Record::sum_with(self, other)
            }
        }

        impl<$($generics)*> std::ops::Sub for $name<$($args)*> {
            type Output = Self;
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                $crate::field::Record::zip(self, other, $crate::field::Scalar::minus)
            }
        }

        impl<$($generics)*> std::ops::Mul<f64> for $name<$($args)*> {
            type Output = Self;
            #[inline(always)]
            fn mul(self, factor: f64) -> Self {
                $crate::field::Record::scaled(self, factor)
            }
        }

        impl<$($generics)*> std::ops::Mul<$name<$($args)*>> for f64 {
            type Output = $name<$($args)*>;
            #[inline(always)]
            fn mul(self, record: $name<$($args)*>) -> $name<$($args)*> {
                $crate::field::Record::scaled(record, self)
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::record! {
        /// A gas.
        struct Gas<N>: f64 {
            /// Density.
            density: f64 = "kg/m³",
            /// Momentum.
            momentum: Vector<N> = "kg/(m² s)",
            /// Energy.
            energy: f64 = "J/m³",
        }
    }

    crate::record! {
        /// Two counters.
        struct Pair: i32 {
            /// One.
            a: i32 = "1",
            /// Two.
            b: i32 = "1",
        }
    }

    #[test]
    fn planes_come_in_the_order_of_the_members() {
        let gas = Gas::<3>::load(|c| c as f64);
        assert_eq!(gas, Gas { density: 0.0, momentum: Vector([1.0, 2.0, 3.0]), energy: 4.0 });
        let mut stored = [f64::NAN; 5];
        gas.store(|c, x| stored[c] = x);
        assert_eq!(stored, [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(Gas::<3>::COMPONENTS, 5);
        assert_eq!(Gas::<2>::components()[2].role, Role::VectorAlong(1));
    }

    #[test]
    fn records_are_a_vector_space() {
        let gas = Gas::<2>::load(|c| c as f64);
        assert_eq!(gas + gas, 2.0 * gas);
        assert_eq!((gas - gas * 0.5).energy, 1.5);
        assert_eq!((Pair { a: i32::MAX, b: 1 } + Pair { a: 1, b: 1 }), Pair { a: i32::MIN, b: 2 });
    }

    #[test]
    fn one_bad_component_makes_a_record_not_finite() {
        assert!(!Gas::<1>::load(|c| if c == 1 { f64::NAN } else { 0.0 }).all_finite());
        assert!(Gas::<1>::load(|_| 0.0).all_finite());
    }
}
