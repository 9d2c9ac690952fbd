//! Tensors: a type, a shape and shared, eight-byte-aligned bytes.

mod onnx;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

pub use onnx::OnnxTensorError;

use crate::{DataType, Element, Shape};

/// Something that lives as long as the last clone of a buffer: the budget that admitted its bytes.
pub trait Charge: fmt::Debug + Send + Sync {}

/// Shared bytes, aligned to eight; cloning shares them.
#[derive(Clone)]
pub struct Buffer(Arc<HostBytes>);

struct HostBytes {
    words: Vec<u64>,
    byte_count: usize,
    charge: Option<Arc<dyn Charge>>,
}

impl Clone for HostBytes {
    /// A copy is new memory, so it does not carry the charge of what it was copied from.
    fn clone(&self) -> Self {
        Self { words: self.words.clone(), byte_count: self.byte_count, charge: None }
    }
}

/// A dense tensor, row-major; cheap to clone, its bytes are shared and copied on write.
///
/// ```
/// use bb_ir::Tensor;
/// let t = Tensor::from_rows([[1.0_f32, -1.0], [0.5, 2.0]]);
/// assert_eq!(t.shape().to_vec(), [2, 2]);
/// assert_eq!(t.as_slice::<f32>()?, [1.0, -1.0, 0.5, 2.0]);
/// assert_eq!(t.to_string(), "f32[2,2] [[1, -1], [0.5, 2]]");
/// # Ok::<(), bb_ir::TensorError>(())
/// ```
#[derive(Clone)]
pub struct Tensor {
    dtype: DataType,
    shape: Shape,
    data: Buffer,
}

/// Why a tensor cannot be made or read that way.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TensorError {
    /// Memory for the elements could not be had.
    #[error("no memory for a tensor of {byte_count} bytes")]
    AllocationFailed {
        /// Bytes asked for.
        byte_count: usize,
    },
    /// Number of elements and shape disagree.
    #[error("shape {shape} has {expected} elements, got {got}")]
    ElementCount {
        /// Elements the shape has.
        expected: usize,
        /// Elements given.
        got: usize,
        /// The shape.
        shape: Shape,
    },
    /// A shape whose elements or bytes cannot be counted in a `usize`.
    #[error("shape {shape} of {dtype} is larger than memory")]
    TooLarge {
        /// The element type.
        dtype: DataType,
        /// The shape.
        shape: Shape,
    },
    /// The elements are of another type.
    #[error("the tensor holds {got}, not {expected}")]
    WrongType {
        /// The type asked for.
        expected: DataType,
        /// The tensor's type.
        got: DataType,
    },
}

impl Buffer {
    /// What a buffer holds beside its bytes.
    pub(crate) const OVERHEAD: usize = size_of::<HostBytes>() + 2 * size_of::<usize>();

    /// Zeroed bytes.
    ///
    /// # Errors
    /// [`TensorError::AllocationFailed`].
    pub fn zeroed(byte_count: usize) -> Result<Self, TensorError> {
        let word_count = byte_count.div_ceil(8);
        let mut words: Vec<u64> = Vec::new();
        words.try_reserve_exact(word_count).map_err(|_| TensorError::AllocationFailed { byte_count })?;
        words.resize(word_count, 0);
        Ok(Self(Arc::new(HostBytes { words, byte_count, charge: None })))
    }

    /// A copy of `bytes`.
    ///
    /// # Errors
    /// [`TensorError::AllocationFailed`].
    pub fn copy_of(bytes: &[u8]) -> Result<Self, TensorError> {
        let byte_count = bytes.len();
        let mut words: Vec<u64> = Vec::new();
        words
            .try_reserve_exact(byte_count.div_ceil(8))
            .map_err(|_| TensorError::AllocationFailed { byte_count })?;
        let (whole, rest) = bytes.as_chunks::<8>();
        words.extend(whole.iter().map(|chunk| u64::from_ne_bytes(*chunk)));
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            words.push(u64::from_ne_bytes(last));
        }
        Ok(Self(Arc::new(HostBytes { words, byte_count, charge: None })))
    }

    /// A copy of elements of `element_size` bytes each that are in little-endian order.
    ///
    /// # Errors
    /// [`TensorError::AllocationFailed`].
    pub fn from_le_bytes(bytes: &[u8], element_size: usize) -> Result<Self, TensorError> {
        let mut copy = Self::copy_of(bytes)?;
        if cfg!(target_endian = "big") {
            reverse_elements(copy.make_mut(), element_size);
        }
        Ok(copy)
    }

    /// The same bytes, holding on to `charge` until the last clone is gone.
    ///
    /// Bytes that are shared already are copied first.
    #[must_use]
    pub fn with_charge(mut self, charge: Arc<dyn Charge>) -> Self {
        self.attach(charge);
        self
    }

    /// Holds on to `charge` until the last clone is gone.
    ///
    /// Bytes that are shared already are copied first.
    pub fn attach(&mut self, charge: Arc<dyn Charge>) {
        Arc::make_mut(&mut self.0).charge = Some(charge);
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.0.words)[..self.0.byte_count]
    }

    /// The bytes, to write to; copied first if anybody else holds them.
    pub fn make_mut(&mut self) -> &mut [u8] {
        let held = Arc::make_mut(&mut self.0);
        &mut bytemuck::cast_slice_mut(&mut held.words)[..held.byte_count]
    }

    /// The bytes, to write to, unless anybody else holds them.
    pub fn unique_mut(&mut self) -> Option<&mut [u8]> {
        let held = Arc::get_mut(&mut self.0)?;
        Some(&mut bytemuck::cast_slice_mut(&mut held.words)[..held.byte_count])
    }

    /// Whether nobody else holds the bytes; if so, they are free for another use, and what they were charged to is let
    /// go.
    pub fn reclaim(&mut self) -> bool {
        match Arc::get_mut(&mut self.0) {
            Some(held) => {
                held.charge = None;
                true
            }
            None => false,
        }
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.0.byte_count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether both are the same memory.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len())
    }
}

impl Tensor {
    /// A tensor over bytes in native byte order.
    ///
    /// # Errors
    /// [`TensorError::TooLarge`] and [`TensorError::ElementCount`].
    pub fn from_buffer(dtype: DataType, shape: impl Into<Shape>, data: Buffer) -> Result<Self, TensorError> {
        let shape = shape.into();
        let expected = byte_count(dtype, &shape)?;
        if expected != data.len() {
            return Err(TensorError::ElementCount {
                expected: expected / dtype.size(),
                got: data.len() / dtype.size(),
                shape,
            });
        }
        Ok(Self { dtype, shape, data })
    }

    /// A tensor with a copy of `elements`.
    ///
    /// # Errors
    /// [`TensorError::ElementCount`], [`TensorError::TooLarge`], [`TensorError::AllocationFailed`].
    pub fn from_slice<T: Element>(shape: impl Into<Shape>, elements: &[T]) -> Result<Self, TensorError> {
        Self::from_buffer(T::DTYPE, shape, Buffer::copy_of(bytemuck::cast_slice(elements))?)
    }

    /// A matrix from its rows.
    pub fn from_rows<T: Element, const R: usize, const C: usize>(rows: [[T; C]; R]) -> Self {
        let words = rows.as_flattened();
        let bytes: &[u8] = bytemuck::cast_slice(words);
        let mut packed = vec![0_u64; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut packed)[..bytes.len()].copy_from_slice(bytes);
        let held = HostBytes { words: packed, byte_count: bytes.len(), charge: None };
        Self { dtype: T::DTYPE, shape: Shape::from([R, C]), data: Buffer(Arc::new(held)) }
    }

    /// A tensor without axes.
    pub fn scalar<T: Element>(element: T) -> Self {
        let rows = Self::from_rows([[element]]);
        Self { dtype: rows.dtype, shape: Shape::scalar(), data: rows.data }
    }

    /// A tensor of zeros.
    ///
    /// # Errors
    /// [`TensorError::TooLarge`], [`TensorError::AllocationFailed`].
    pub fn zeros(dtype: DataType, shape: impl Into<Shape>) -> Result<Self, TensorError> {
        let shape = shape.into();
        let data = Buffer::zeroed(byte_count(dtype, &shape)?)?;
        Ok(Self { dtype, shape, data })
    }

    /// The type of its elements.
    pub fn dtype(&self) -> DataType {
        self.dtype
    }

    /// Its extents.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// How many elements it has.
    pub fn element_count(&self) -> usize {
        self.data.len() / self.dtype.size()
    }

    /// Its memory.
    pub fn buffer(&self) -> &Buffer {
        &self.data
    }

    /// Its memory, the tensor taken apart.
    pub fn into_buffer(self) -> Buffer {
        self.data
    }

    /// Its memory, to write to; putting a buffer of another size in its place is a mistake.
    pub fn buffer_mut(&mut self) -> &mut Buffer {
        &mut self.data
    }

    /// Its elements, as bytes in native byte order.
    pub fn as_bytes(&self) -> &[u8] {
        self.data.as_bytes()
    }

    /// Its elements, as bytes in little-endian order; borrowed where that is the native one.
    pub fn to_le_bytes(&self) -> Cow<'_, [u8]> {
        let mut bytes = Cow::Borrowed(self.as_bytes());
        if cfg!(target_endian = "big") {
            reverse_elements(bytes.to_mut(), self.dtype.size());
        }
        bytes
    }

    /// Its elements.
    ///
    /// # Errors
    /// [`TensorError::WrongType`].
    pub fn as_slice<T: Element>(&self) -> Result<&[T], TensorError> {
        self.check_type::<T>()?;
        bytemuck::try_cast_slice(self.data.as_bytes()).map_err(|_| self.wrong_type::<T>())
    }

    /// Its elements, to write to; copied first if anybody else holds them.
    ///
    /// # Errors
    /// [`TensorError::WrongType`].
    pub fn make_mut<T: Element>(&mut self) -> Result<&mut [T], TensorError> {
        self.check_type::<T>()?;
        let wrong_type = self.wrong_type::<T>();
        bytemuck::try_cast_slice_mut(self.data.make_mut()).map_err(|_| wrong_type)
    }

    /// The same elements in another shape.
    ///
    /// # Errors
    /// [`TensorError::ElementCount`].
    pub fn reshaped(&self, shape: impl Into<Shape>) -> Result<Self, TensorError> {
        Self::from_buffer(self.dtype, shape, self.data.clone())
    }

    /// The same tensor, its bytes holding on to `charge` until the last clone is gone.
    #[must_use]
    pub fn with_charge(self, charge: Arc<dyn Charge>) -> Self {
        Self { data: self.data.with_charge(charge), ..self }
    }

    fn check_type<T: Element>(&self) -> Result<(), TensorError> {
        if T::views(self.dtype) { Ok(()) } else { Err(self.wrong_type::<T>()) }
    }

    fn wrong_type<T: Element>(&self) -> TensorError {
        TensorError::WrongType { expected: T::DTYPE, got: self.dtype }
    }
}

/// Bytes that a tensor of this type and shape takes.
///
/// The extents must not overflow when zeros are left out either, so strides can be computed of every tensor.
fn byte_count(dtype: DataType, shape: &Shape) -> Result<usize, TensorError> {
    let without_zeros =
        shape.iter().try_fold(dtype.size(), |product, &extent| product.checked_mul(extent.max(1)));
    match without_zeros {
        Some(_) if shape.contains(&0) => Ok(0),
        Some(byte_count) => Ok(byte_count),
        None => Err(TensorError::TooLarge { dtype, shape: shape.clone() }),
    }
}

/// Turns every element's bytes round.
fn reverse_elements(bytes: &mut [u8], element_size: usize) {
    bytes.chunks_exact_mut(element_size.max(1)).for_each(<[u8]>::reverse);
}

impl PartialEq for Tensor {
    /// Same type, shape and bytes: a NaN equals itself, zero does not equal negative zero.
    fn eq(&self, other: &Self) -> bool {
        self.dtype == other.dtype && self.shape == other.shape && self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Tensor {}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Tensor {
    /// Type, shape and up to 64 elements.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} ", self.dtype, self.shape)?;
        match self.element_count() {
            0 => return f.write_str("[]"),
            1..=64 => {}
            _ => return f.write_str("[…]"),
        }
        write_nested(f, self, &self.shape, 0)
    }
}

fn write_nested(f: &mut fmt::Formatter<'_>, tensor: &Tensor, shape: &[usize], first: usize) -> fmt::Result {
    let Some((&extent, inner)) = shape.split_first() else {
        return write_element(f, tensor, first);
    };
    let stride: usize = inner.iter().product();
    f.write_str("[")?;
    for index in 0..extent {
        if index > 0 {
            f.write_str(", ")?;
        }
        write_nested(f, tensor, inner, first + index * stride)?;
    }
    f.write_str("]")
}

fn write_element(f: &mut fmt::Formatter<'_>, tensor: &Tensor, index: usize) -> fmt::Result {
    fn element<T: Element>(f: &mut fmt::Formatter<'_>, tensor: &Tensor, index: usize) -> fmt::Result {
        match tensor.as_slice::<T>().ok().and_then(|all| all.get(index)) {
            Some(element) => fmt::Display::fmt(element, f),
            None => f.write_str("?"),
        }
    }
    match tensor.dtype {
        DataType::F32 => element::<f32>(f, tensor, index),
        DataType::F64 => element::<f64>(f, tensor, index),
        DataType::I8 => element::<i8>(f, tensor, index),
        DataType::I16 => element::<i16>(f, tensor, index),
        DataType::I32 => element::<i32>(f, tensor, index),
        DataType::I64 => element::<i64>(f, tensor, index),
        DataType::U8 | DataType::Bool => element::<u8>(f, tensor, index),
        DataType::U16 | DataType::F16 | DataType::Bf16 => element::<u16>(f, tensor, index),
        DataType::U32 => element::<u32>(f, tensor, index),
        DataType::U64 => element::<u64>(f, tensor, index),
    }
}
