//! The types of number that a field can hold.

use serde::{Deserialize, Serialize};

/// Names a [`Scalar`] type where no type parameter can: in files and messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScalarKind {
    /// IEEE 754 binary64.
    F64,
    /// IEEE 754 binary32.
    F32,
    /// 64-bit two's complement.
    I64,
    /// 32-bit two's complement.
    I32,
    /// An unsigned byte.
    U8,
}

impl ScalarKind {
    /// The size of one number in bytes.
    pub const fn size(self) -> usize {
        match self {
            ScalarKind::F64 | ScalarKind::I64 => 8,
            ScalarKind::F32 | ScalarKind::I32 => 4,
            ScalarKind::U8 => 1,
        }
    }

    /// Whether the numbers are integers.
    pub const fn is_integer(self) -> bool {
        matches!(self, ScalarKind::I64 | ScalarKind::I32 | ScalarKind::U8)
    }

    /// The name of the Rust type.
    pub const fn name(self) -> &'static str {
        match self {
            ScalarKind::F64 => "f64",
            ScalarKind::F32 => "f32",
            ScalarKind::I64 => "i64",
            ScalarKind::I32 => "i32",
            ScalarKind::U8 => "u8",
        }
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A number that a field can hold. Integers compute modulo their range, so that every operation is exact and total.
pub trait Scalar:
    sealed::Sealed + bytemuck::Pod + Default + PartialEq + PartialOrd + Send + Sync + std::fmt::Debug + std::fmt::Display
{
    /// The name of the type.
    const KIND: ScalarKind;
    /// Whether it is an integer.
    const IS_INTEGER: bool;

    /// The sum.
    #[must_use]
    fn plus(self, other: Self) -> Self;
    /// The difference.
    #[must_use]
    fn minus(self, other: Self) -> Self;
    /// The product with a real factor; integers round the factor towards zero first.
    #[must_use]
    fn times(self, factor: f64) -> Self;
    /// The nearest f64.
    fn to_f64(self) -> f64;
    /// The value nearest to an f64; integers round half away from zero and saturate.
    fn from_f64(value: f64) -> Self;
    /// Whether it is neither infinite nor NaN.
    fn is_finite(self) -> bool;
    /// 0 if it is finite, else NaN: so that sums tell of many numbers whether all are, and vectors need not be compared.
    fn doubt(self) -> f64;
    /// The bits, with zeros above them.
    fn to_bits64(self) -> u64;
}

macro_rules! float {
    ($t:ty, $kind:ident) => {
        impl sealed::Sealed for $t {}
        impl Scalar for $t {
            const KIND: ScalarKind = ScalarKind::$kind;
            const IS_INTEGER: bool = false;
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self + other
            }
            #[inline(always)]
            fn minus(self, other: Self) -> Self {
                self - other
            }
            #[inline(always)]
            fn times(self, factor: f64) -> Self {
                self * factor as $t
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value as $t
            }
            // The difference is NaN for all others. With a test for a sign beside it, `<$t>::is_finite` becomes
            // llvm.is.fpclass, and the loop round it is not vectorised.
            #[inline(always)]
            fn is_finite(self) -> bool {
                self - self == 0.0
            }
            #[inline(always)]
            fn doubt(self) -> f64 {
                f64::from(self - self)
            }
            #[inline(always)]
            fn to_bits64(self) -> u64 {
                u64::from(self.to_bits())
            }
        }
    };
}

macro_rules! integer {
    ($t:ty, $unsigned:ty, $kind:ident) => {
        impl sealed::Sealed for $t {}
        impl Scalar for $t {
            const KIND: ScalarKind = ScalarKind::$kind;
            const IS_INTEGER: bool = true;
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn minus(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            #[inline(always)]
            fn times(self, factor: f64) -> Self {
                self.wrapping_mul(factor as i64 as $t)
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value.round() as $t
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                true
            }
            #[inline(always)]
            fn doubt(self) -> f64 {
                0.0
            }
            #[inline(always)]
            fn to_bits64(self) -> u64 {
                self as $unsigned as u64
            }
        }
    };
}

float!(f64, F64);
float!(f32, F32);
integer!(i64, u64, I64);
integer!(i32, u32, I32);
integer!(u8, u8, U8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_wrap_and_floats_round() {
        assert_eq!(250u8.plus(10), 4);
        assert_eq!(0u8.minus(1).plus(1), 0);
        assert_eq!(3i32.times(-2.0), -6);
        assert_eq!(<u8 as Scalar>::from_f64(300.0), 255);
        assert_eq!(<i32 as Scalar>::from_f64(-2.5), -3);
        assert_eq!((-1i32).to_bits64(), 0xffff_ffff);
    }

    #[test]
    fn what_is_not_finite_is_doubted_whatever_it_is_added_to() {
        for sound in [0.0, -0.0, 1.0, f64::MAX, f64::MIN_POSITIVE, -5e-324] {
            assert!(sound.is_finite() && sound.doubt() == 0.0);
        }
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!((1.0.doubt() + bad.doubt() + 2.0.doubt()).is_nan() && (bad as f32).doubt().is_nan());
        }
        assert_eq!(i64::MIN.doubt(), 0.0);
    }
}
