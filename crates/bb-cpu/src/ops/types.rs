//! The element types as kernels compute with them, and how a kernel is chosen by type.

use bb_runtime::Element;

/// A number type with the arithmetic that ONNX gives it: integers wrap, a division by zero is zero.
pub(crate) trait Number: Element + PartialOrd + Default + Send + Sync {
    const ZERO: Self;
    const ONE: Self;
    const LOWEST: Self;
    const HIGHEST: Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    fn neg(self) -> Self;
    fn abs(self) -> Self;
    /// The remainder with the sign of the dividend.
    fn rem(self, other: Self) -> Self;
    fn sign(self) -> Self;
    fn to_f64(self) -> f64;
    /// Rounded towards zero, saturating.
    fn from_f64(value: f64) -> Self;
    fn to_i64(self) -> i64;
    fn from_i64(value: i64) -> Self;
    fn is_nan(self) -> bool;
    /// Whether it is below zero; false for NaN and negative zero.
    fn below_zero(self) -> bool;
    /// The smaller one; NaN if one is.
    #[inline(always)]
    fn least(self, other: Self) -> Self {
        if self < other || self.is_nan() { self } else { other }
    }
    /// The larger one; NaN if one is.
    #[inline(always)]
    fn most(self, other: Self) -> Self {
        if self > other || self.is_nan() { self } else { other }
    }
}

macro_rules! integers {
    ($($t:ty),*) => {$(
        impl Number for $t {
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const LOWEST: Self = <$t>::MIN;
            const HIGHEST: Self = <$t>::MAX;
            #[inline(always)] fn add(self, other: Self) -> Self { self.wrapping_add(other) }
            #[inline(always)] fn sub(self, other: Self) -> Self { self.wrapping_sub(other) }
            #[inline(always)] fn mul(self, other: Self) -> Self { self.wrapping_mul(other) }
            #[inline(always)] fn div(self, other: Self) -> Self { if other == 0 { 0 } else { self.wrapping_div(other) } }
            #[inline(always)] fn neg(self) -> Self { self.wrapping_neg() }
            #[allow(unused_comparisons, reason = "the same text for signed and unsigned types")]
            #[inline(always)] fn abs(self) -> Self { if self < 0 { self.wrapping_neg() } else { self } }
            #[inline(always)] fn rem(self, other: Self) -> Self { if other == 0 { 0 } else { self.wrapping_rem(other) } }
            #[allow(unused_comparisons, reason = "the same text for signed and unsigned types")]
            #[inline(always)] fn sign(self) -> Self {
                if self == 0 { 0 } else if self < 0 { (0 as $t).wrapping_sub(1) } else { 1 }
            }
            #[inline(always)] fn to_f64(self) -> f64 { self as f64 }
            #[inline(always)] fn from_f64(value: f64) -> Self { value as $t }
            #[inline(always)] fn to_i64(self) -> i64 { self as i64 }
            #[inline(always)] fn from_i64(value: i64) -> Self { value as $t }
            #[inline(always)] fn is_nan(self) -> bool { false }
            #[allow(unused_comparisons, reason = "the same text for signed and unsigned types")]
            #[inline(always)] fn below_zero(self) -> bool { self < 0 }
        }
    )*};
}

macro_rules! floats {
    ($($t:ty),*) => {$(
        impl Number for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const LOWEST: Self = <$t>::NEG_INFINITY;
            const HIGHEST: Self = <$t>::INFINITY;
            #[inline(always)] fn add(self, other: Self) -> Self { self + other }
            #[inline(always)] fn sub(self, other: Self) -> Self { self - other }
            #[inline(always)] fn mul(self, other: Self) -> Self { self * other }
            #[inline(always)] fn div(self, other: Self) -> Self { self / other }
            #[inline(always)] fn neg(self) -> Self { -self }
            #[inline(always)] fn abs(self) -> Self { <$t>::abs(self) }
            #[inline(always)] fn rem(self, other: Self) -> Self { self % other }
            #[inline(always)] fn sign(self) -> Self {
                if self > 0.0 { 1.0 } else if self < 0.0 { -1.0 } else { self }
            }
            #[inline(always)] fn to_f64(self) -> f64 { self as f64 }
            #[inline(always)] fn from_f64(value: f64) -> Self { value as $t }
            #[inline(always)] fn to_i64(self) -> i64 { self as i64 }
            #[inline(always)] fn from_i64(value: i64) -> Self { value as $t }
            #[inline(always)] fn is_nan(self) -> bool { <$t>::is_nan(self) }
            #[inline(always)] fn below_zero(self) -> bool { self < 0.0 }
        }
    )*};
}

integers!(i8, i16, i32, i64, u8, u16, u32, u64);
floats!(f32, f64);

/// A floating-point type.
pub(crate) trait Float: Number {
    fn exp(self) -> Self;
    fn ln(self) -> Self;
    fn sqrt(self) -> Self;
    fn tanh(self) -> Self;
    fn sigmoid(self) -> Self;
    fn of(value: f64) -> Self;
}

impl Float for f32 {
    #[inline(always)]
    fn exp(self) -> Self {
        crate::math::exp(self)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        crate::math::ln(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self::sqrt(self)
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        crate::math::tanh(self)
    }
    #[inline(always)]
    fn sigmoid(self) -> Self {
        crate::math::sigmoid(self)
    }
    #[inline(always)]
    fn of(value: f64) -> Self {
        value as Self
    }
}

impl Float for f64 {
    #[inline(always)]
    fn exp(self) -> Self {
        libm::exp(self)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        libm::log(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self::sqrt(self)
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        libm::tanh(self)
    }
    #[inline(always)]
    fn sigmoid(self) -> Self {
        1.0 / (1.0 + libm::exp(-self))
    }
    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }
}

/// Evaluates an expression with `$T` being the Rust type of `$dtype`, one of all number types.
macro_rules! by_number {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            bb_runtime::DataType::F32 => {
                type $T = f32;
                $body
            }
            bb_runtime::DataType::F64 => {
                type $T = f64;
                $body
            }
            bb_runtime::DataType::I8 => {
                type $T = i8;
                $body
            }
            bb_runtime::DataType::I16 => {
                type $T = i16;
                $body
            }
            bb_runtime::DataType::I32 => {
                type $T = i32;
                $body
            }
            bb_runtime::DataType::I64 => {
                type $T = i64;
                $body
            }
            bb_runtime::DataType::U8 => {
                type $T = u8;
                $body
            }
            bb_runtime::DataType::U16 => {
                type $T = u16;
                $body
            }
            bb_runtime::DataType::U32 => {
                type $T = u32;
                $body
            }
            bb_runtime::DataType::U64 => {
                type $T = u64;
                $body
            }
            other => Err($crate::fault::Fault::Type(other)),
        }
    };
}

/// Evaluates an expression with `$T` being the Rust type of `$dtype`, `f32` or `f64`.
macro_rules! by_float {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            bb_runtime::DataType::F32 => {
                type $T = f32;
                $body
            }
            bb_runtime::DataType::F64 => {
                type $T = f64;
                $body
            }
            other => Err($crate::fault::Fault::Type(other)),
        }
    };
}

/// Evaluates an expression with `$T` being the unsigned type as wide as an element of `$dtype`.
macro_rules! by_width {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype.size() {
            1 => {
                type $T = u8;
                $body
            }
            2 => {
                type $T = u16;
                $body
            }
            4 => {
                type $T = u32;
                $body
            }
            8 => {
                type $T = u64;
                $body
            }
            _ => Err($crate::fault::Fault::Type($dtype)),
        }
    };
}

pub(crate) use {by_float, by_number, by_width};

/// A tensor's elements as unsigned integers of their width.
pub(crate) fn raw<T: bytemuck::Pod>(tensor: &bb_runtime::Tensor) -> crate::fault::Outcome<&[T]> {
    bytemuck::try_cast_slice(tensor.as_bytes()).map_err(|_| crate::fault::Fault::Type(tensor.dtype()))
}

/// A tensor's elements as unsigned integers of their width, to write to.
pub(crate) fn raw_mut<T: bytemuck::Pod>(tensor: &mut bb_runtime::Tensor) -> crate::fault::Outcome<&mut [T]> {
    let dtype = tensor.dtype();
    bytemuck::try_cast_slice_mut(tensor.buffer_mut().make_mut()).map_err(|_| crate::fault::Fault::Type(dtype))
}
