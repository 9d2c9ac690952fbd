//! The element types of a graph's values, as far as they follow from what is declared, and which of them a kernel lacks;
//! of a sequence, and of what may be absent, that of the tensors in it.
//!
//! A kernel finds its way by the types of the tensors that it is given. What the graph tells before is checked when it is
//! prepared, so that a model of a type that an op is not built for is refused there, with the op, the node and the type.
//! Where nothing is known, a run may still end with the same error.

use std::collections::BTreeMap;

use bb_runtime::onnx::{AttributeProto, GraphProto, NodeProto, TypeProto, ValueInfoProto, type_proto};
use bb_runtime::{BackendError, DataType, OpId};

use crate::fault::Fault;
use crate::node::{name_of, version_of};
use crate::ops::{flex, optimizer};

/// A set of element types.
#[derive(Clone, Copy, Debug)]
struct Types(&'static [DataType]);

const FLAGS: Types = Types(&[DataType::Bool]);
const FLOATS: Types = Types(&[DataType::F32, DataType::F64, DataType::F16, DataType::Bf16]);
const INTEGERS: Types = Types(&[
    DataType::I8,
    DataType::I16,
    DataType::I32,
    DataType::I64,
    DataType::U8,
    DataType::U16,
    DataType::U32,
    DataType::U64,
]);
const NUMBERS: Types = Types(&[
    DataType::F32,
    DataType::F64,
    DataType::F16,
    DataType::Bf16,
    DataType::I8,
    DataType::I16,
    DataType::I32,
    DataType::I64,
    DataType::U8,
    DataType::U16,
    DataType::U32,
    DataType::U64,
]);
const QUANTIZED: Types = Types(&[DataType::I8, DataType::U8, DataType::I16, DataType::U16, DataType::I32]);
const WHOLE: Types = Types(&[DataType::I32, DataType::I64]);
const SINGLE: Types = Types(&[DataType::F32]);
const WIDE_FLOATS: Types = Types(&[DataType::F32, DataType::F64]);

/// What an input must be.
#[derive(Clone, Copy, Debug)]
enum Take {
    /// Of one of these types.
    In(usize, Types),
    /// Of the type of another input; half precision is `f32` there.
    Like(usize, usize),
    /// All inputs from this one on are of one type.
    AlikeFrom(usize),
    /// Of one of these types where what attribute `reduction` names is computed.
    Reduced(usize, Types),
    /// Of exactly the type of another input.
    Same(usize, usize),
    /// As wide as the type that attribute `to` names.
    AsWide(usize),
}

/// What an output is.
#[derive(Clone, Copy, Debug)]
enum Give {
    Is(DataType),
    /// Of the type of an input.
    Like(usize),
    /// Of the type that an attribute names, or else of that of an input.
    Named(&'static str, usize),
    /// Of the type that an attribute names, or else `f32`.
    NamedOrSingle(&'static str),
    /// Of the type of attribute `value`, or else `f32`.
    Value,
}

use Give::{Is, Named, NamedOrSingle};
use Take::{AlikeFrom, AsWide, In, Reduced};

/// Ops of one kind.
struct Row {
    ops: &'static [&'static str],
    takes: &'static [Take],
    /// Of the outputs in order; each further one is of a type that is not told.
    gives: &'static [Give],
}

const fn row(ops: &'static [&'static str], takes: &'static [Take], gives: &'static [Give]) -> Row {
    Row { ops, takes, gives }
}

const FIRST: &[Give] = &[Give::Like(0)];

const TABLE: &[Row] = &[
    row(
        &[
            "Acos",
            "Acosh",
            "Asin",
            "Asinh",
            "Atan",
            "Atanh",
            "Ceil",
            "Cos",
            "Cosh",
            "Erf",
            "Exp",
            "Floor",
            "Log",
            "LogSoftmax",
            "Reciprocal",
            "Round",
            "Sigmoid",
            "Sin",
            "Sinh",
            "Softmax",
            "Sqrt",
            "Tan",
            "Tanh",
            "AveragePool",
            "Col2Im",
            "GlobalLpPool",
            "InstanceNormalization",
            "GroupNormalization",
            "LRN",
            "LpNormalization",
            "LpPool",
            "MeanVarianceNormalization",
            "RMSNormalization",
            "ReduceLogSumExp",
            "RotaryEmbedding",
        ],
        &[In(0, FLOATS)],
        FIRST,
    ),
    row(
        &[
            "Abs",
            "Celu",
            "Clip",
            "Elu",
            "Gelu",
            "GlobalAveragePool",
            "GlobalMaxPool",
            "HardSigmoid",
            "HardSwish",
            "Hardmax",
            "LeakyRelu",
            "Mish",
            "Neg",
            "ReduceL1",
            "ReduceL2",
            "ReduceLogSum",
            "ReduceMean",
            "ReduceProd",
            "ReduceSum",
            "ReduceSumSquare",
            "Relu",
            "Selu",
            "Shrink",
            "Sign",
            "Softplus",
            "Softsign",
            "Swish",
            "ThresholdedRelu",
            "CumProd",
            "CumSum",
            "AffineGrid",
            "DFT",
            "DeformConv",
            "Det",
            "GridSample",
            "RoiAlign",
            "STFT",
        ],
        &[In(0, NUMBERS)],
        FIRST,
    ),
    row(&["Add", "Div", "Mod", "Mul", "PRelu", "Sub"], &[In(0, NUMBERS), Take::Like(1, 0)], FIRST),
    row(&["Max", "Min", "Sum"], &[In(0, NUMBERS), AlikeFrom(0)], FIRST),
    row(&["Mean"], &[In(0, FLOATS), AlikeFrom(0)], FIRST),
    row(&["Conv", "ConvTranspose", "SwiGLU"], &[In(0, FLOATS), Take::Like(1, 0)], FIRST),
    row(&["Gemm", "MatMul"], &[In(0, NUMBERS), Take::Like(1, 0)], FIRST),
    row(&["Einsum"], &[In(0, NUMBERS), AlikeFrom(0)], FIRST),
    row(&["Range"], &[In(0, NUMBERS), AlikeFrom(0)], FIRST),
    row(&["IsInf", "IsNaN"], &[In(0, FLOATS)], &[Is(DataType::Bool)]),
    row(
        &["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"],
        &[Take::Like(1, 0)],
        &[Is(DataType::Bool)],
    ),
    row(&["And", "Or", "Xor"], &[In(0, FLAGS), In(1, FLAGS)], &[Is(DataType::Bool)]),
    row(&["Not"], &[In(0, FLAGS)], &[Is(DataType::Bool)]),
    row(&["Where"], &[In(0, FLAGS), Take::Like(2, 1)], &[Give::Like(1)]),
    row(&["BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift"], &[In(0, INTEGERS), Take::Like(1, 0)], FIRST),
    row(&["BitwiseNot"], &[In(0, INTEGERS)], FIRST),
    row(
        &[
            "CenterCropPad",
            "Compress",
            "Concat",
            "DepthToSpace",
            "Expand",
            "Flatten",
            "Gather",
            "GatherElements",
            "GatherND",
            "Identity",
            "MaxUnpool",
            "Pad",
            "Pow",
            "ReduceMax",
            "ReduceMin",
            "Reshape",
            "Resize",
            "ReverseSequence",
            "Slice",
            "SpaceToDepth",
            "Squeeze",
            "TensorScatter",
            "Tile",
            "Transpose",
            "Unsqueeze",
            "Upsample",
        ],
        &[],
        FIRST,
    ),
    row(&["ArgMax", "ArgMin"], &[In(0, NUMBERS)], &[Is(DataType::I64)]),
    row(&["MaxPool", "TopK"], &[In(0, NUMBERS)], &[Give::Like(0), Is(DataType::I64)]),
    row(
        &["Unique"],
        &[In(0, NUMBERS)],
        &[Give::Like(0), Is(DataType::I64), Is(DataType::I64), Is(DataType::I64)],
    ),
    row(&["NonZero", "Shape", "Size"], &[], &[Is(DataType::I64)]),
    row(&["NonMaxSuppression"], &[In(0, SINGLE), In(1, SINGLE)], &[Is(DataType::I64)]),
    row(&["Scatter", "ScatterElements", "ScatterND"], &[Reduced(0, NUMBERS)], FIRST),
    row(&["Trilu"], &[In(1, WHOLE)], FIRST),
    row(&["ConstantOfShape"], &[In(0, WHOLE)], &[Give::Value]),
    row(&["GRU", "LSTM", "RNN"], &[In(0, FLOATS)], &[Give::Like(0), Give::Like(0), Give::Like(0)]),
    row(&["OneHot"], &[], &[Give::Like(2)]),
    row(&["Dropout"], &[], &[Give::Like(0), Is(DataType::Bool)]),
    row(&["LayerNormalization"], &[In(0, FLOATS)], FIRST),
    row(&["BatchNormalization"], &[In(0, FLOATS)], &[Give::Like(0), Give::Like(3), Give::Like(4)]),
    row(
        &["NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"],
        &[In(0, FLOATS)],
        &[Give::Like(0), Give::Like(0)],
    ),
    row(&["Attention"], &[In(0, FLOATS)], &[Give::Like(0), Give::Like(1), Give::Like(2), Give::Like(0)]),
    row(&["CausalConvWithState"], &[In(0, FLOATS)], &[Give::Like(0), Give::Like(0)]),
    row(&["LinearAttention"], &[In(0, NUMBERS)], FIRST),
    row(&["Cast"], &[], &[Named("to", usize::MAX)]),
    row(&["CastLike"], &[], &[Give::Like(1)]),
    row(&["BitCast"], &[AsWide(0)], &[Named("to", usize::MAX)]),
    row(&["EyeLike"], &[], &[Named("dtype", 0)]),
    row(&["DequantizeLinear"], &[In(0, QUANTIZED)], &[Named("output_dtype", 1)]),
    row(&["QuantizeLinear"], &[In(2, QUANTIZED)], &[Give::Like(2)]),
    row(
        &["DynamicQuantizeLinear"],
        &[In(0, WIDE_FLOATS)],
        &[Is(DataType::U8), Give::Like(0), Is(DataType::U8)],
    ),
    row(&["ConvInteger"], &[In(0, QUANTIZED), In(1, QUANTIZED)], &[Is(DataType::I32)]),
    row(&["QLinearConv"], &[In(0, QUANTIZED), In(3, QUANTIZED), In(7, QUANTIZED)], &[Give::Like(7)]),
    row(&["FlexAttention"], &[In(0, FLOATS), Take::Same(1, 0), Take::Same(2, 0)], FIRST),
    row(&["MatMulInteger"], &[In(0, QUANTIZED), In(1, QUANTIZED)], &[Is(DataType::I32)]),
    row(&["QLinearMatMul"], &[In(0, QUANTIZED), In(3, QUANTIZED), In(7, QUANTIZED)], &[Give::Like(7)]),
    row(
        &["BlackmanWindow", "HammingWindow", "HannWindow", "MelWeightMatrix"],
        &[In(0, WHOLE)],
        &[NamedOrSingle("output_datatype")],
    ),
    row(&["ConcatFromSequence", "Optional", "OptionalGetElement"], &[], FIRST),
    row(&["SequenceAt", "SequenceErase", "SplitToSequence"], &[In(1, WHOLE)], FIRST),
    row(&["SequenceConstruct"], &[AlikeFrom(0)], FIRST),
    row(&["SequenceEmpty"], &[], &[NamedOrSingle("dtype")]),
    row(&["SequenceInsert"], &[Take::Same(1, 0), In(2, WHOLE)], FIRST),
    row(&["SequenceLength"], &[], &[Is(DataType::I64)]),
    row(&["OptionalHasElement"], &[], &[Is(DataType::Bool)]),
    row(
        &["Adagrad", "Adam", "Momentum"],
        &[In(0, WIDE_FLOATS), In(1, WHOLE), In(2, WIDE_FLOATS), AlikeFrom(2)],
        &[Give::Like(2)],
    ),
];

/// Refuses a graph one of whose ops has no kernel for a type that it is known to be given.
///
/// # Errors
/// [`BackendError::Type`], with the op, the node and the type.
pub(crate) fn check(graph: &GraphProto, opsets: &[(String, i64)]) -> Result<(), BackendError> {
    let mut known: BTreeMap<&str, DataType> = BTreeMap::new();
    known.extend(graph.input.iter().filter_map(|input| Some((input.name(), declared(input)?))));
    let held = graph.initializer.iter();
    known.extend(held.filter_map(|held| Some((held.name(), DataType::from_onnx(held.data_type())?))));
    for node in &graph.node {
        if !matches!(node.domain(), "" | "ai.onnx" | flex::DOMAIN | optimizer::DOMAIN) {
            continue;
        }
        let types: Vec<Option<DataType>> =
            node.input.iter().map(|name| known.get(name.as_str()).copied()).collect();
        let Some(row) = TABLE.iter().find(|row| row.ops.contains(&node.op_type())) else {
            if let Some(made) = constant(node) {
                known.extend(node.output.first().map(|name| (name.as_str(), made)));
            }
            continue;
        };
        if let Some(lacking) = row.takes.iter().find_map(|take| take.lacking(node, &types)) {
            let op = OpId::new(node.domain().to_owned(), node.op_type().to_owned());
            let version = version_of(&op, opsets);
            return Err(Fault::Type(lacking).at(&op, &name_of(node), version, Vec::new));
        }
        for (name, give) in node.output.iter().zip(row.gives) {
            let made = give.dtype(node, &types);
            known.extend(made.filter(|_| !name.is_empty()).map(|made| (name.as_str(), made)));
        }
    }
    Ok(())
}

impl Take {
    /// The type among `types`, of the inputs, that is not as it must be.
    fn lacking(self, node: &NodeProto, types: &[Option<DataType>]) -> Option<DataType> {
        let at = |index: usize| types.get(index).copied().flatten();
        // Half precision is computed in `f32`, beside which it may stand.
        let wide = |dtype| match dtype {
            DataType::F16 | DataType::Bf16 => DataType::F32,
            other => other,
        };
        match self {
            Self::Reduced(index, Types(set)) => {
                let reduction = attribute(node, "reduction").map_or(&b"none"[..], AttributeProto::s);
                at(index).filter(|dtype| reduction != b"none" && !set.contains(dtype))
            }
            Self::AsWide(index) => {
                let to = attribute(node, "to").and_then(|to| DataType::from_onnx(to.i() as i32))?;
                at(index).filter(|dtype| dtype.size() != to.size())
            }
            Self::In(index, Types(set)) => at(index).filter(|dtype| !set.contains(dtype)),
            Self::Like(index, other) => {
                let (own, other) = (at(index)?, at(other)?);
                (wide(own) != wide(other)).then_some(own)
            }
            Self::Same(index, other) => at(index).filter(|own| at(other).is_some_and(|other| other != *own)),
            Self::AlikeFrom(first) => {
                let of = wide(at(first)?);
                types.iter().skip(first).flatten().copied().find(|&dtype| wide(dtype) != of)
            }
        }
    }
}

impl Give {
    fn dtype(self, node: &NodeProto, types: &[Option<DataType>]) -> Option<DataType> {
        let at = |index: usize| types.get(index).copied().flatten();
        let named =
            |name: &str| attribute(node, name).map(|attribute| DataType::from_onnx(attribute.i() as i32));
        match self {
            Self::Is(dtype) => Some(dtype),
            Self::Like(index) => at(index),
            Self::Named(name, index) => named(name).unwrap_or_else(|| at(index)),
            Self::Value => match attribute(node, "value").and_then(|value| value.t.as_ref()) {
                Some(value) => DataType::from_onnx(value.data_type()),
                None => Some(DataType::F32),
            },
            Self::NamedOrSingle(name) => named(name).unwrap_or(Some(DataType::F32)),
        }
    }
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name() == name)
}

/// The type of what a `Constant` holds.
fn constant(node: &NodeProto) -> Option<DataType> {
    let held = node.attribute.first().filter(|_| node.op_type() == "Constant")?;
    match held.name() {
        "value" => DataType::from_onnx(held.t.as_ref()?.data_type()),
        "value_int" | "value_ints" => Some(DataType::I64),
        "value_float" | "value_floats" => Some(DataType::F32),
        _ => None,
    }
}

fn declared(info: &ValueInfoProto) -> Option<DataType> {
    elements(info.r#type.as_ref()?)
}

/// The element type of a tensor, of the tensors of a sequence, of what may be absent.
fn elements(ty: &TypeProto) -> Option<DataType> {
    match ty.value.as_ref()? {
        type_proto::Value::TensorType(tensor) => DataType::from_onnx(tensor.elem_type()),
        type_proto::Value::SequenceType(sequence) => elements(sequence.elem_type.as_ref()?),
        type_proto::Value::OptionalType(optional) => elements(optional.elem_type.as_ref()?),
        _ => None,
    }
}
