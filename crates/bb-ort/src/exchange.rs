//! Tensors of the two sides: inputs are lent, outputs copied once.

use bb_runtime::{Buffer, DataType, Shape, Tensor, TensorError};
use bytemuck::NoUninit;
use half::{bf16, f16};
use ort::memory::Allocator;
use ort::session::SessionInputValue;
use ort::value::{DynValue, PrimitiveTensorElementType, TensorElementType, TensorRef};
use smallvec::SmallVec;

use crate::fault::{ExchangeError, engine};
use bb_runtime::BackendError;

/// A view of `tensor` for the library, which holds it for one run.
pub(crate) fn lend<'a>(name: &str, tensor: &'a Tensor) -> Result<SessionInputValue<'a>, BackendError> {
    match tensor.dtype() {
        DataType::F32 => lend_as::<f32>(tensor),
        DataType::U8 => lend_as::<u8>(tensor),
        DataType::I8 => lend_as::<i8>(tensor),
        DataType::U16 => lend_as::<u16>(tensor),
        DataType::I16 => lend_as::<i16>(tensor),
        DataType::I32 => lend_as::<i32>(tensor),
        DataType::I64 => lend_as::<i64>(tensor),
        DataType::F16 => lend_as::<f16>(tensor),
        DataType::F64 => lend_as::<f64>(tensor),
        DataType::U32 => lend_as::<u32>(tensor),
        DataType::U64 => lend_as::<u64>(tensor),
        DataType::Bf16 => lend_as::<bf16>(tensor),
        DataType::Bool => {
            let booleans = bytemuck::checked::try_cast_slice::<u8, bool>(tensor.as_bytes())
                .map_err(|_| engine(ExchangeError::NotBoolean { input: name.to_owned() }))?;
            lend_slice(tensor.shape(), booleans)
        }
        other => Err(engine(ExchangeError::Type { output: name.to_owned(), type_name: other.to_string() })),
    }
}

fn lend_as<T>(tensor: &Tensor) -> Result<SessionInputValue<'_>, BackendError>
where
    T: PrimitiveTensorElementType + bytemuck::AnyBitPattern + std::fmt::Debug + 'static,
{
    lend_slice(tensor.shape(), bytemuck::cast_slice::<u8, T>(tensor.as_bytes()))
}

fn lend_slice<'a, T>(shape: &'a Shape, elements: &'a [T]) -> Result<SessionInputValue<'a>, BackendError>
where
    T: PrimitiveTensorElementType + Clone + std::fmt::Debug + 'static,
{
    let extents: &[usize] = shape;
    if elements.is_empty() {
        // The library takes no memory of others without elements.
        let owned = ort::value::Tensor::<T>::new(&Allocator::default(), extents.to_vec());
        return owned.map(SessionInputValue::from).map_err(engine);
    }
    TensorRef::from_array_view((extents, elements)).map(SessionInputValue::from).map_err(engine)
}

/// Copies an output of the library into `held` where that fits and is nobody else's, else into a new tensor.
pub(crate) fn take(name: &str, value: &DynValue, held: Option<Tensor>) -> Result<Tensor, BackendError> {
    match value.dtype().tensor_type() {
        Some(TensorElementType::Float32) => take_as::<f32>(name, DataType::F32, value, held),
        Some(TensorElementType::Uint8) => take_as::<u8>(name, DataType::U8, value, held),
        Some(TensorElementType::Int8) => take_as::<i8>(name, DataType::I8, value, held),
        Some(TensorElementType::Uint16) => take_as::<u16>(name, DataType::U16, value, held),
        Some(TensorElementType::Int16) => take_as::<i16>(name, DataType::I16, value, held),
        Some(TensorElementType::Int32) => take_as::<i32>(name, DataType::I32, value, held),
        Some(TensorElementType::Int64) => take_as::<i64>(name, DataType::I64, value, held),
        Some(TensorElementType::Bool) => take_as::<bool>(name, DataType::Bool, value, held),
        Some(TensorElementType::Float16) => take_as::<f16>(name, DataType::F16, value, held),
        Some(TensorElementType::Float64) => take_as::<f64>(name, DataType::F64, value, held),
        Some(TensorElementType::Uint32) => take_as::<u32>(name, DataType::U32, value, held),
        Some(TensorElementType::Uint64) => take_as::<u64>(name, DataType::U64, value, held),
        Some(TensorElementType::Bfloat16) => take_as::<bf16>(name, DataType::Bf16, value, held),
        _ => {
            let type_name = value.dtype().to_string();
            Err(engine(ExchangeError::Type { output: name.to_owned(), type_name }))
        }
    }
}

fn take_as<T>(
    name: &str,
    dtype: DataType,
    value: &DynValue,
    held: Option<Tensor>,
) -> Result<Tensor, BackendError>
where
    T: PrimitiveTensorElementType + NoUninit,
{
    let (extents, elements) = value.try_extract_tensor::<T>().map_err(engine)?;
    let shape: SmallVec<[usize; 6]> = extents
        .iter()
        .map(|extent| usize::try_from(*extent))
        .collect::<Result<_, _>>()
        .map_err(|_| engine(ExchangeError::Shape { output: name.to_owned() }))?;
    let bytes = bytemuck::cast_slice::<T, u8>(elements);
    if let Some(mut tensor) = held
        && tensor.dtype() == dtype
        && **tensor.shape() == *shape
        && let Some(room) = tensor.buffer_mut().unique_mut()
    {
        room.copy_from_slice(bytes);
        return Ok(tensor);
    }
    new(dtype, &shape, bytes).map_err(BackendError::from)
}

fn new(dtype: DataType, shape: &[usize], bytes: &[u8]) -> Result<Tensor, TensorError> {
    Tensor::from_buffer(dtype, shape, Buffer::copy_of(bytes)?)
}
