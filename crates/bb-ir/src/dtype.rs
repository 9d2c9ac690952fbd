//! What the elements of a tensor are.

use std::fmt;

/// The type of a tensor's elements; the numbers are ONNX's `TensorProto.DataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(u8)]
pub enum DataType {
    /// 32-bit IEEE 754.
    F32 = 1,
    /// Unsigned, 8 bits.
    U8 = 2,
    /// Signed, 8 bits.
    I8 = 3,
    /// Unsigned, 16 bits.
    U16 = 4,
    /// Signed, 16 bits.
    I16 = 5,
    /// Signed, 32 bits.
    I32 = 6,
    /// Signed, 64 bits.
    I64 = 7,
    /// One byte an element: 0 or 1.
    Bool = 9,
    /// 16-bit IEEE 754.
    F16 = 10,
    /// 64-bit IEEE 754.
    F64 = 11,
    /// Unsigned, 32 bits.
    U32 = 12,
    /// Unsigned, 64 bits.
    U64 = 13,
    /// 16 bits: sign, eight of exponent, seven of mantissa.
    Bf16 = 16,
}

impl DataType {
    /// Every type, in the order of ONNX's numbers.
    pub const ALL: [Self; 13] = [
        Self::F32,
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::Bool,
        Self::F16,
        Self::F64,
        Self::U32,
        Self::U64,
        Self::Bf16,
    ];

    /// The type with this ONNX number, if it is one that a [`crate::Tensor`] can hold.
    pub fn from_onnx(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.to_onnx() == number)
    }

    /// ONNX's number for it.
    pub const fn to_onnx(self) -> i32 {
        self as i32
    }

    /// Bytes an element.
    pub const fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::Bf16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::I64 | Self::F64 | Self::U64 => 8,
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::Bool => "bool",
            Self::F16 => "f16",
            Self::F64 => "f64",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::Bf16 => "bf16",
        })
    }
}

/// A Rust type that is the element of a tensor.
///
/// Booleans are read as the bytes that hold them: `u8` is the element of [`DataType::Bool`] too.
pub trait Element: bytemuck::Pod + PartialEq + fmt::Display + sealed::Sealed {
    /// The tensor type whose elements these are.
    const DTYPE: DataType;

    /// Whether a tensor of type `dtype` can be viewed as these.
    fn views(dtype: DataType) -> bool {
        dtype == Self::DTYPE
    }
}

mod sealed {
    #[expect(unnameable_types, reason = "sealed: nobody outside may name it")]
    pub trait Sealed {}
}

macro_rules! elements {
    ($($rust:ty => $dtype:ident),*) => {$(
        impl sealed::Sealed for $rust {}
        impl Element for $rust {
            const DTYPE: DataType = DataType::$dtype;
        }
    )*};
}

elements!(f32 => F32, i8 => I8, i16 => I16, i32 => I32, i64 => I64, f64 => F64, u32 => U32, u64 => U64);

impl sealed::Sealed for u8 {}
impl Element for u8 {
    const DTYPE: DataType = DataType::U8;

    fn views(dtype: DataType) -> bool {
        matches!(dtype, DataType::U8 | DataType::Bool)
    }
}

impl sealed::Sealed for u16 {}
impl Element for u16 {
    const DTYPE: DataType = DataType::U16;

    /// Half-precision elements are read as their bits.
    fn views(dtype: DataType) -> bool {
        matches!(dtype, DataType::U16 | DataType::F16 | DataType::Bf16)
    }
}
