//! Tensors to and from ONNX's `TensorProto`, as any ONNX tool writes it.
//!
//! [`Tensor::to_onnx`] writes `raw_data`; [`Tensor::from_onnx`] reads `raw_data` and the typed data fields.

use bytes::Bytes;
use thiserror::Error;

use super::{Buffer, Tensor, TensorError, byte_count};
use crate::onnx::tensor_proto::{DataLocation, DataType as Code};
use crate::onnx::{StringStringEntryProto, TensorProto};
use crate::{DataType, Shape};

/// Why a `TensorProto` is not a [`Tensor`]; the model that holds it is at fault.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnnxTensorError {
    /// The elements are in another file.
    #[error("tensor `{name}` keeps its elements in the file {location:?}; save the model with them inside")]
    ExternalData {
        /// The tensor's name.
        name: String,
        /// The file, as the model names it.
        location: Option<String>,
    },
    /// A dimension that is negative or larger than memory.
    #[error("tensor `{name}` has the extent {extent} on axis {axis}")]
    Extent {
        /// The tensor's name.
        name: String,
        /// Which axis.
        axis: usize,
        /// What stands there.
        extent: i64,
    },
    /// An element of `int32_data` or `uint64_data` that its type cannot hold.
    #[error("tensor `{name}` is of {dtype}, which cannot hold its element {index}")]
    OutOfRange {
        /// The tensor's name.
        name: String,
        /// Its type.
        dtype: DataType,
        /// Which element.
        index: usize,
    },
    /// A part of a tensor that is split over several protos.
    #[error("tensor `{name}` is one segment of a tensor; save the model with whole tensors")]
    Segment {
        /// The tensor's name.
        name: String,
    },
    /// Elements and shape disagree, or memory could not be had.
    #[error("tensor `{name}`: {source}")]
    Tensor {
        /// The tensor's name.
        name: String,
        /// What is wrong.
        source: TensorError,
    },
    /// An element type that tensors cannot hold, such as strings or 4-bit integers.
    #[error("tensor `{name}` has ONNX's element type {code}, which is not supported")]
    UnsupportedType {
        /// The tensor's name.
        name: String,
        /// ONNX's number for it.
        code: i32,
    },
}

impl Tensor {
    /// Reads a tensor that any ONNX tool wrote: from `raw_data` or from the typed field of its type.
    ///
    /// Booleans become 0 or 1.
    ///
    /// # Errors
    /// [`OnnxTensorError`], naming the tensor.
    ///
    /// ```
    /// use bb_ir::{Tensor, onnx::TensorProto};
    /// let proto = TensorProto { dims: vec![2], data_type: Some(1), float_data: vec![1.0, 2.0], ..Default::default() };
    /// assert_eq!(Tensor::from_onnx(&proto)?, Tensor::from_slice([2], &[1.0_f32, 2.0])?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_onnx(proto: &TensorProto) -> Result<Self, OnnxTensorError> {
        let name = || proto.name().to_owned();
        if proto.data_location() == DataLocation::External {
            return Err(OnnxTensorError::ExternalData {
                name: name(),
                location: find(&proto.external_data, "location"),
            });
        }
        if proto.segment.is_some() {
            return Err(OnnxTensorError::Segment { name: name() });
        }
        let code = proto.data_type.unwrap_or(Code::Undefined as i32);
        let dtype = DataType::from_onnx(code)
            .ok_or_else(|| OnnxTensorError::UnsupportedType { name: name(), code })?;
        let shape = shape_of(proto)?;
        let tensor = match &proto.raw_data {
            Some(raw) => from_raw(dtype, shape, raw),
            None => from_typed_field(proto, dtype, shape)?,
        };
        tensor.map_err(|source| OnnxTensorError::Tensor { name: name(), source })
    }

    /// The proto, its elements in `raw_data`.
    ///
    /// ```
    /// use bb_ir::Tensor;
    /// let tensor = Tensor::from_rows([[1.5_f32, -2.0]]);
    /// assert_eq!(Tensor::from_onnx(&tensor.to_onnx("w"))?, tensor);
    /// # Ok::<(), bb_ir::OnnxTensorError>(())
    /// ```
    pub fn to_onnx(&self, name: &str) -> TensorProto {
        TensorProto {
            dims: self.shape.iter().map(|&extent| extent as i64).collect(),
            data_type: Some(self.dtype.to_onnx()),
            name: (!name.is_empty()).then(|| name.to_owned()),
            raw_data: Some(Bytes::from(self.to_le_bytes().into_owned())),
            ..TensorProto::default()
        }
    }
}

fn find(entries: &[StringStringEntryProto], key: &str) -> Option<String> {
    entries.iter().find(|entry| entry.key() == key).map(|entry| entry.value().to_owned())
}

fn shape_of(proto: &TensorProto) -> Result<Shape, OnnxTensorError> {
    let extents = proto.dims.iter().enumerate().map(|(axis, &extent)| {
        let too_wide = || OnnxTensorError::Extent { name: proto.name().to_owned(), axis, extent };
        usize::try_from(extent).ok().filter(|&extent| isize::try_from(extent).is_ok()).ok_or_else(too_wide)
    });
    extents.collect()
}

fn from_raw(dtype: DataType, shape: Shape, raw: &[u8]) -> Result<Tensor, TensorError> {
    let expected = byte_count(dtype, &shape)?;
    if expected != raw.len() {
        let (expected, got) = (expected / dtype.size(), raw.len() / dtype.size());
        return Err(TensorError::ElementCount { expected, got, shape });
    }
    let mut data = Buffer::from_le_bytes(raw, dtype.size())?;
    if dtype == DataType::Bool && raw.iter().any(|&byte| byte > 1) {
        data.make_mut().iter_mut().for_each(|byte| *byte = u8::from(*byte != 0));
    }
    Tensor::from_buffer(dtype, shape, data)
}

/// Reads the field in which ONNX keeps elements of `dtype`.
fn from_typed_field(
    proto: &TensorProto,
    dtype: DataType,
    shape: Shape,
) -> Result<Result<Tensor, TensorError>, OnnxTensorError> {
    let (small, wide) = (&proto.int32_data, &proto.uint64_data);
    let fits = Fits { proto, dtype };
    Ok(match dtype {
        DataType::F32 => Tensor::from_slice(shape, &proto.float_data),
        DataType::F64 => Tensor::from_slice(shape, &proto.double_data),
        DataType::I64 => Tensor::from_slice(shape, &proto.int64_data),
        DataType::U64 => Tensor::from_slice(shape, wide),
        DataType::I32 => Tensor::from_slice(shape, small),
        DataType::I8 => Tensor::from_slice(shape, &fits.each::<_, i8>(small)?),
        DataType::I16 => Tensor::from_slice(shape, &fits.each::<_, i16>(small)?),
        DataType::U8 => Tensor::from_slice(shape, &fits.each::<_, u8>(small)?),
        DataType::U16 => Tensor::from_slice(shape, &fits.each::<_, u16>(small)?),
        DataType::U32 => Tensor::from_slice(shape, &fits.each::<_, u32>(wide)?),
        DataType::Bool => {
            let bytes: Vec<u8> = small.iter().map(|&element| u8::from(element != 0)).collect();
            Buffer::copy_of(&bytes).and_then(|data| Tensor::from_buffer(dtype, shape, data))
        }
        DataType::F16 | DataType::Bf16 => {
            let bits = fits.each::<_, u16>(small)?;
            Buffer::copy_of(bytemuck::cast_slice(&bits))
                .and_then(|data| Tensor::from_buffer(dtype, shape, data))
        }
    })
}

struct Fits<'a> {
    proto: &'a TensorProto,
    dtype: DataType,
}

impl Fits<'_> {
    fn each<S: Copy, T: TryFrom<S>>(&self, elements: &[S]) -> Result<Vec<T>, OnnxTensorError> {
        let narrowed = elements.iter().enumerate().map(|(index, &element)| {
            T::try_from(element).map_err(|_| OnnxTensorError::OutOfRange {
                name: self.proto.name().to_owned(),
                dtype: self.dtype,
                index,
            })
        });
        narrowed.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proto(dtype: DataType, dims: &[i64]) -> TensorProto {
        TensorProto {
            dims: dims.to_vec(),
            data_type: Some(dtype.to_onnx()),
            name: Some("t".into()),
            ..TensorProto::default()
        }
    }

    #[test]
    fn every_type_survives_the_way_through_raw_data() {
        for dtype in DataType::ALL {
            let mut tensor = Tensor::zeros(dtype, [3, 2]).unwrap();
            let width = dtype.size();
            for (index, byte) in tensor.buffer_mut().make_mut().iter_mut().enumerate() {
                *byte = if dtype == DataType::Bool { (index % 2) as u8 } else { (index * 37 + width) as u8 };
            }
            assert_eq!(Tensor::from_onnx(&tensor.to_onnx("t")).unwrap(), tensor, "{dtype}");
        }
    }

    #[test]
    fn each_typed_field_is_read() {
        let small = |dtype, elements: &[i32]| TensorProto {
            int32_data: elements.to_vec(),
            ..proto(dtype, &[elements.len() as i64])
        };
        let read = |proto: &TensorProto| Tensor::from_onnx(proto).unwrap();

        let f32s = TensorProto { float_data: vec![1.0, -2.5], ..proto(DataType::F32, &[2]) };
        assert_eq!(read(&f32s).as_slice::<f32>().unwrap(), [1.0, -2.5]);
        let f64s = TensorProto { double_data: vec![1e300], ..proto(DataType::F64, &[1, 1]) };
        assert_eq!(read(&f64s).as_slice::<f64>().unwrap(), [1e300]);
        let i64s = TensorProto { int64_data: vec![i64::MIN, 7], ..proto(DataType::I64, &[2]) };
        assert_eq!(read(&i64s).as_slice::<i64>().unwrap(), [i64::MIN, 7]);
        let u64s = TensorProto { uint64_data: vec![u64::MAX], ..proto(DataType::U64, &[]) };
        assert_eq!(read(&u64s).as_slice::<u64>().unwrap(), [u64::MAX]);
        let u32s = TensorProto { uint64_data: vec![u32::MAX.into()], ..proto(DataType::U32, &[]) };
        assert_eq!(read(&u32s).as_slice::<u32>().unwrap(), [u32::MAX]);
        assert_eq!(read(&small(DataType::I32, &[i32::MIN])).as_slice::<i32>().unwrap(), [i32::MIN]);
        assert_eq!(read(&small(DataType::I8, &[-128, 127])).as_slice::<i8>().unwrap(), [-128, 127]);
        assert_eq!(read(&small(DataType::I16, &[-300])).as_slice::<i16>().unwrap(), [-300]);
        assert_eq!(read(&small(DataType::U8, &[255])).as_slice::<u8>().unwrap(), [255]);
        assert_eq!(read(&small(DataType::U16, &[65_535])).as_slice::<u16>().unwrap(), [65_535]);
        assert_eq!(read(&small(DataType::F16, &[0x3c00])).as_slice::<u16>().unwrap(), [0x3c00]);
        assert_eq!(read(&small(DataType::Bf16, &[0x3f80])).as_slice::<u16>().unwrap(), [0x3f80]);
        assert_eq!(read(&small(DataType::Bool, &[0, 1, 9])).as_slice::<u8>().unwrap(), [0, 1, 1]);
    }

    #[test]
    fn raw_booleans_become_zero_or_one() {
        let raw = TensorProto { raw_data: Some(vec![0, 1, 255].into()), ..proto(DataType::Bool, &[3]) };
        assert_eq!(Tensor::from_onnx(&raw).unwrap().as_slice::<u8>().unwrap(), [0, 1, 1]);
    }

    #[test]
    fn what_a_tensor_cannot_hold_is_refused_by_name() {
        let external = TensorProto {
            data_location: Some(DataLocation::External as i32),
            external_data: vec![StringStringEntryProto {
                key: Some("location".into()),
                value: Some("weights.bin".into()),
            }],
            ..proto(DataType::F32, &[1])
        };
        assert_eq!(
            Tensor::from_onnx(&external),
            Err(OnnxTensorError::ExternalData { name: "t".into(), location: Some("weights.bin".into()) })
        );
        let strings = TensorProto { data_type: Some(8), ..proto(DataType::F32, &[1]) };
        assert_eq!(
            Tensor::from_onnx(&strings),
            Err(OnnxTensorError::UnsupportedType { name: "t".into(), code: 8 })
        );
        let negative = proto(DataType::F32, &[2, -1]);
        assert_eq!(
            Tensor::from_onnx(&negative),
            Err(OnnxTensorError::Extent { name: "t".into(), axis: 1, extent: -1 })
        );
        let wide = TensorProto { int32_data: vec![1, 300], ..proto(DataType::U8, &[2]) };
        assert_eq!(
            Tensor::from_onnx(&wide),
            Err(OnnxTensorError::OutOfRange { name: "t".into(), dtype: DataType::U8, index: 1 })
        );
        let short = TensorProto { float_data: vec![1.0], ..proto(DataType::F32, &[2]) };
        assert!(matches!(Tensor::from_onnx(&short), Err(OnnxTensorError::Tensor { .. })));
        let huge =
            TensorProto { raw_data: Some(Bytes::new()), ..proto(DataType::F32, &[i64::MAX, i64::MAX]) };
        assert!(matches!(
            Tensor::from_onnx(&huge),
            Err(OnnxTensorError::Tensor { source: TensorError::TooLarge { .. }, .. })
        ));
        let segment = TensorProto { segment: Some(Default::default()), ..proto(DataType::F32, &[1]) };
        assert_eq!(Tensor::from_onnx(&segment), Err(OnnxTensorError::Segment { name: "t".into() }));
    }
}
