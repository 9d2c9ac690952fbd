//! What is known of values before anything runs: element type, symbolic extents, small contents.
//!
//! [`infer`] is a small forward inference over one node. It may always answer "not known"; whoever needs
//! more emits the question as ONNX ops instead. So it answers where a graph claims what no tensor can have: ranks, extents
//! and lists beyond what is sensible are not known, and cost nothing.

mod arithmetic;
mod layers;
mod shaping;
mod special;
mod windows;

pub(crate) use arithmetic::broadcast_dims;
use bb_ir::onnx::type_proto::Value as TypeValue;
use bb_ir::onnx::{NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto};
use bb_ir::{DataType, Dim};
pub(crate) use shaping::slice_extent;
use tensor_shape_proto::dimension::Value as DimValue;
pub(crate) use windows::{Window, is_sensible, kernel, places, times};

use crate::attributes::{Attributes, is_onnx, numbers};

/// Extents beyond it are not known: products of them and sums with attributes stay within 64 bits, or are checked.
const MAX_EXTENT: usize = 1 << 32;

/// Shapes of more axes are not known: an op may double the rank of what it reads.
const MAX_RANK: usize = 64;

/// Longer lists of integers are not known: an op may double the length of what it reads.
const MAX_CONTENTS: usize = 1024;

/// What is known of one value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fact {
    /// Its element type.
    pub(crate) dtype: Option<DataType>,
    /// Its extents.
    pub(crate) shape: Option<Vec<Dim>>,
    /// Its elements, where it is a small integer tensor of rank 0 or 1.
    pub(crate) contents: Option<Vec<Symbol>>,
    /// The number that all its elements are.
    pub(crate) uniform: Option<f64>,
    /// Its elements, where it is a small constant of floats of rank 1.
    pub(crate) numbers: Option<Vec<f64>>,
}

/// An integer that is known, is some extent of the graph, or is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Symbol {
    Known(i64),
    Named(String),
    Any,
}

impl Fact {
    pub(crate) fn new(dtype: Option<DataType>, shape: Option<Vec<Dim>>) -> Self {
        let mut fact = Self { dtype, shape, contents: None, uniform: None, numbers: None };
        fact.forget_claims();
        fact
    }

    /// Takes what is beyond what is sensible for not known.
    fn forget_claims(&mut self) {
        self.shape.take_if(|dims| dims.len() > MAX_RANK);
        for dim in self.shape.iter_mut().flatten() {
            if matches!(dim, Dim::Known(extent) if *extent > MAX_EXTENT) {
                *dim = Dim::Any;
            }
        }
        self.contents.take_if(|list| list.len() > MAX_CONTENTS);
    }

    pub(crate) fn of_tensor(tensor: &TensorProto) -> Self {
        let dtype = tensor.data_type.and_then(DataType::from_onnx);
        let shape = tensor.dims.iter().map(|&dim| dim_of(dim)).collect();
        let mut fact = Self::new(dtype, Some(shape));
        let Some(values) = numbers(tensor) else { return fact };
        if let Some((first, rest)) = values.split_first()
            && rest.iter().all(|value| value == first)
        {
            fact.uniform = Some(*first);
        }
        if matches!(dtype, Some(DataType::I64 | DataType::I32)) && tensor.dims.len() <= 1 {
            fact.contents = Some(values.iter().map(|&value| Symbol::Known(value as i64)).collect());
        } else if dtype.is_some_and(is_float) && tensor.dims.len() == 1 {
            fact.numbers = Some(values);
        }
        fact
    }

    pub(crate) fn of_value_info(info: &ValueInfoProto) -> Self {
        let Some(TypeValue::TensorType(tensor)) = info.r#type.as_ref().and_then(|ty| ty.value.as_ref())
        else {
            return Self::default();
        };
        let shape = tensor.shape.as_ref().map(|shape| {
            let dims = shape.dim.iter();
            dims.map(|dim| match &dim.value {
                Some(DimValue::DimValue(value)) => dim_of(*value),
                Some(DimValue::DimParam(name)) if !name.is_empty() => Dim::Named(name.clone()),
                _ => Dim::Any,
            })
            .collect()
        });
        Self::new(tensor.elem_type.and_then(DataType::from_onnx), shape)
    }

    /// The ONNX form, under `name`.
    pub(crate) fn to_value_info(&self, name: &str) -> ValueInfoProto {
        let dimension = |dim: &Dim| tensor_shape_proto::Dimension {
            denotation: None,
            value: match dim {
                Dim::Known(extent) => Some(DimValue::DimValue(*extent as i64)),
                Dim::Named(name) => Some(DimValue::DimParam(name.clone())),
                Dim::Any => None,
            },
        };
        let shape =
            self.shape.as_ref().map(|dims| TensorShapeProto { dim: dims.iter().map(dimension).collect() });
        let tensor = bb_ir::onnx::type_proto::Tensor { elem_type: self.dtype.map(DataType::to_onnx), shape };
        let ty = TypeProto { denotation: None, value: Some(TypeValue::TensorType(tensor)) };
        ValueInfoProto { name: Some(name.to_owned()), r#type: Some(ty), ..ValueInfoProto::default() }
    }

    /// Whether gradients can flow through it, as far as is known.
    pub(crate) fn may_be_float(&self) -> bool {
        self.dtype.is_none_or(is_float)
    }

    pub(crate) fn rank(&self) -> Option<usize> {
        self.shape.as_ref().map(Vec::len)
    }

    /// How many elements it has, when that is known.
    pub(crate) fn element_count(&self) -> Option<usize> {
        product_of(self.extents()?)
    }

    /// All extents, when each of them is a number.
    pub(crate) fn extents(&self) -> Option<Vec<usize>> {
        self.shape.as_ref()?.iter().map(known).collect()
    }

    /// The contents, when each of them is a number.
    pub(crate) fn integers(&self) -> Option<Vec<i64>> {
        let contents = self.contents.as_ref()?.iter();
        contents.map(|symbol| if let Symbol::Known(value) = symbol { Some(*value) } else { None }).collect()
    }

    /// Takes from `other` whatever is not known here.
    pub(crate) fn fill_from(&mut self, other: &Self) {
        self.uniform = self.uniform.or(other.uniform);
        if self.contents.is_none() {
            self.contents.clone_from(&other.contents);
        }
        self.dtype = self.dtype.or(other.dtype);
        match (&mut self.shape, &other.shape) {
            (Some(mine), Some(theirs)) if mine.len() == theirs.len() => {
                for (mine, theirs) in mine.iter_mut().zip(theirs) {
                    if matches!((&*mine, theirs), (Dim::Any, _) | (Dim::Named(_), Dim::Known(_))) {
                        *mine = theirs.clone();
                    }
                }
            }
            (mine @ None, Some(_)) => mine.clone_from(&other.shape),
            _ => {}
        }
    }
}

impl From<&Dim> for Symbol {
    fn from(dim: &Dim) -> Self {
        match dim {
            Dim::Known(extent) => Self::Known(*extent as i64),
            Dim::Named(name) => Self::Named(name.clone()),
            Dim::Any => Self::Any,
        }
    }
}

impl From<&Symbol> for Dim {
    fn from(symbol: &Symbol) -> Self {
        match symbol {
            Symbol::Known(value) => dim_of(*value),
            Symbol::Named(name) => Self::Named(name.clone()),
            Symbol::Any => Self::Any,
        }
    }
}

/// Whether the elements are floating point.
pub(crate) fn is_float(dtype: DataType) -> bool {
    matches!(dtype, DataType::F16 | DataType::Bf16 | DataType::F32 | DataType::F64)
}

/// Whether both extents are certainly the same.
pub(crate) fn same_dim(a: &Dim, b: &Dim) -> bool {
    a == b && *a != Dim::Any
}

fn known(dim: &Dim) -> Option<usize> {
    if let Dim::Known(extent) = dim { Some(*extent) } else { None }
}

fn dim_of(value: i64) -> Dim {
    usize::try_from(value).map_or(Dim::Any, Dim::Known)
}

/// The product of extents, if it is one.
fn product_of(extents: impl IntoIterator<Item = usize>) -> Option<usize> {
    extents.into_iter().try_fold(1, |product: usize, extent| product.checked_mul(extent))
}

/// `axis` counted from the front, if it is within the rank.
pub(crate) fn axis_within(axis: i64, rank: usize) -> Option<usize> {
    let axis = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(axis).ok().filter(|&axis| axis < rank)
}

/// One node and what is known of what it reads.
pub(crate) struct Question<'a> {
    pub(crate) op: &'a str,
    pub(crate) node: &'a NodeProto,
    pub(crate) inputs: &'a [Option<&'a Fact>],
}

impl Question<'_> {
    fn attributes(&self) -> Attributes<'_> {
        Attributes(self.node)
    }

    fn input(&self, index: usize) -> Option<&Fact> {
        self.inputs.get(index).copied().flatten()
    }

    fn dtype(&self, index: usize) -> Option<DataType> {
        self.input(index)?.dtype
    }

    fn shape(&self, index: usize) -> Option<&[Dim]> {
        self.input(index)?.shape.as_deref()
    }

    /// Integers given as attribute `name` or as input `index`.
    fn list(&self, name: &str, index: usize) -> Option<Vec<i64>> {
        match self.attributes().ints(name) {
            Some(values) => Some(values.to_vec()),
            None => self.input(index)?.integers(),
        }
    }
}

/// What is known of the outputs of a node.
pub(crate) fn infer(question: &Question<'_>) -> Vec<Fact> {
    let count = question.node.output.len();
    let mut facts = if is_onnx(question.node) {
        arithmetic::infer(question)
            .or_else(|| shaping::infer(question))
            .or_else(|| windows::infer(question))
            .or_else(|| layers::infer(question))
            .or_else(|| special::infer(question))
            .unwrap_or_default()
    } else {
        Vec::new()
    };
    facts.resize(count, Fact::default());
    facts.iter_mut().for_each(Fact::forget_claims);
    facts
}
