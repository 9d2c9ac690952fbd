//! Which steps give the same result in every run with inputs of the same shapes.
//!
//! `Shape` of a value whose shape follows from the shapes of the graph's inputs is such a step, a constant is one, and
//! so is every op that reads only such values. The interpreter runs them once a signature.

/// Ops whose result has a shape that follows from the shapes of their inputs.
const BY_SHAPES: &[&str] = &[
    "Abs",
    "Add",
    "And",
    "ArgMax",
    "ArgMin",
    "BatchNormalization",
    "Cast",
    "CastLike",
    "Ceil",
    "Clip",
    "Concat",
    "Conv",
    "Cos",
    "Div",
    "Einsum",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Flatten",
    "Floor",
    "Gather",
    "GatherElements",
    "GatherND",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "Greater",
    "GreaterOrEqual",
    "Hardmax",
    "Identity",
    "LayerNormalization",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "MatMul",
    "Max",
    "MaxPool",
    "Mean",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "NegativeLogLikelihoodLoss",
    "Not",
    "Or",
    "Pow",
    "Reciprocal",
    "Relu",
    "Round",
    "Scatter",
    "ScatterElements",
    "ScatterND",
    "Sigmoid",
    "Sign",
    "Sin",
    "Softmax",
    "SoftmaxCrossEntropyLoss",
    "Softplus",
    "Sqrt",
    "Sub",
    "Sum",
    "Tanh",
    "Transpose",
    "Trilu",
    "Where",
    "Xor",
];

/// Ops whose result has a shape that follows from the shape of their first input and the values of the others.
const BY_VALUES: &[&str] = &[
    "Expand",
    "OneHot",
    "Pad",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Reshape",
    "Resize",
    "Slice",
    "Split",
    "Squeeze",
    "Tile",
    "TopK",
    "Unsqueeze",
];

/// Ops that are functions of the values of all their inputs, the result's shape included.
const OF_VALUES: &[&str] = &["Constant", "ConstantOfShape", "Range"];

/// What is known of a value for inputs of given shapes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) shape: bool,
    pub(crate) value: bool,
}

/// What is known of the results of `op` when this is known of its inputs.
pub(crate) fn results(op: &str, fused: bool, inputs: &[Known]) -> Known {
    let shapes = inputs.iter().all(|input| input.shape);
    let values = inputs.iter().all(|input| input.shape && input.value);
    if fused || BY_SHAPES.contains(&op) {
        Known { shape: shapes, value: values }
    } else if BY_VALUES.contains(&op) {
        let rest = inputs.iter().skip(1).all(|input| input.shape && input.value);
        Known { shape: shapes && rest, value: values }
    } else if matches!(op, "Shape" | "Size") {
        Known { shape: shapes, value: shapes }
    } else if OF_VALUES.contains(&op) {
        Known { shape: values, value: values }
    } else {
        Known::default()
    }
}
