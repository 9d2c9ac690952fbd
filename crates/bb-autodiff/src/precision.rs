//! Mixed precision: a forward pass of `f32` that computes in half precision where that is safe.
//!
//! Parameters stay `f32` and are cast where they are used; products, convolutions and what lies between them compute
//! and store in half precision; sums, exponentials, normalizations and the loss stay `f32`. What is differentiated
//! afterwards is this graph, so that gradients are stored in half precision beside such values, and arrive at
//! the parameters in `f32`. Small gradients vanish in `f16`: scale the loss. (Micikevicius et al., "Mixed precision
//! training", 2018, arXiv:1710.03740, sections 3.1 to 3.3.)

use std::collections::{BTreeMap, BTreeSet};

use bb_ir::DataType;
use bb_ir::onnx::{GraphProto, NodeProto};

use crate::AutodiffError;
use crate::activity::free_names;
use crate::attributes::{int, is_onnx};
use crate::builder::Builder;

/// In what precision training steps compute.
///
/// ```
/// use bb_autodiff::{LossScale, Precision, TrainingOptions};
///
/// let (precision, loss_scale) = (Precision::F16, LossScale::Static(1024.0));
/// let options = TrainingOptions { precision, loss_scale, ..TrainingOptions::default() };
/// # assert_ne!(options, TrainingOptions::default());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Precision {
    /// As the model says.
    #[default]
    AsWritten,
    /// Values of `f32` are stored as `bf16` where that is safe. Needs operator set 13.
    Bf16,
    /// Values of `f32` are stored as `f16` where that is safe; with a [`LossScale`](crate::LossScale).
    F16,
}

impl Precision {
    fn half(self) -> Option<DataType> {
        match self {
            Self::AsWritten => None,
            Self::Bf16 => Some(DataType::Bf16),
            Self::F16 => Some(DataType::F16),
        }
    }
}

/// The oldest operator set of which the ops take `bf16`.
const BF16: i64 = 13;

/// Ops that compute in half precision whatever they are given: products of many terms, which are summed in `f32`.
const PRODUCTS: [&str; 5] = ["Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul"];

/// Ops that compute in half precision when what they are given was made in it: they lose no more than it has lost.
const FOLLOWERS: [&str; 31] = [
    "Add",
    "Clip",
    "Concat",
    "DepthToSpace",
    "Dropout",
    "Elu",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "MaxPool",
    "Mul",
    "Neg",
    "PRelu",
    "Pad",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Sub",
    "Tanh",
    "Transpose",
    "Unsqueeze",
];

/// `graph` in mixed precision.
///
/// # Errors
/// [`AutodiffError::Opset`], [`AutodiffError::Order`].
pub(crate) fn mixed(
    graph: GraphProto,
    opset: i64,
    precision: Precision,
) -> Result<GraphProto, AutodiffError> {
    let Some(half) = precision.half() else { return Ok(graph) };
    if half == DataType::Bf16 && opset < BF16 {
        return Err(AutodiffError::Opset { needed: BF16, opset });
    }
    let builder = Builder::open(&graph, opset)?;
    let mut rewrite = Rewrite {
        builder: &builder,
        half,
        nodes: Vec::new(),
        halves: BTreeMap::new(),
        wide: BTreeSet::new(),
    };
    rewrite.wide.extend(graph.input.iter().filter_map(|input| input.name.clone()));
    rewrite.wide.extend(graph.initializer.iter().filter_map(|tensor| tensor.name.clone()));
    for node in &graph.node {
        rewrite.take(node);
    }
    for output in graph.output.iter().filter_map(|output| output.name.as_deref()) {
        rewrite.widened(output);
    }
    let node = rewrite.nodes;
    Ok(GraphProto { node, ..graph })
}

/// A graph on its way into mixed precision.
struct Rewrite<'a> {
    builder: &'a Builder,
    half: DataType,
    nodes: Vec<NodeProto>,
    /// What values of `f32` are called in half precision, where they are had.
    halves: BTreeMap<String, String>,
    /// Values that are had under their own names.
    wide: BTreeSet<String>,
}

impl Rewrite<'_> {
    fn is_f32(&self, name: &str) -> bool {
        self.builder.find(name).is_some_and(|val| self.builder.fact(val).dtype == Some(DataType::F32))
    }

    fn take(&mut self, node: &NodeProto) {
        let floats: Vec<&String> = node.input.iter().filter(|name| self.is_f32(name)).collect();
        let op = node.op_type.as_deref().unwrap_or_default();
        let made_in_half = |name: &&String| self.halves.contains_key(*name) && !self.wide.contains(*name);
        // An input or an initializer may be cast; what was made in full precision keeps its reader there.
        let from_outside = |name: &&String| !self.nodes.iter().any(|node| node.output.contains(name));
        let follows = FOLLOWERS.contains(&op)
            && floats.iter().any(made_in_half)
            && floats.iter().all(|name| self.halves.contains_key(*name) || from_outside(name));
        let made_f32 = node.output.iter().filter(|name| !name.is_empty()).any(|name| self.is_f32(name));
        if !is_onnx(node) || !made_f32 || !(PRODUCTS.contains(&op) || follows) {
            let mut names: BTreeSet<&str> = node.input.iter().map(String::as_str).collect();
            for attribute in &node.attribute {
                attribute.g.iter().chain(&attribute.graphs).for_each(|inner| free_names(inner, &mut names));
            }
            names.into_iter().for_each(|name| self.widened(name));
            self.wide.extend(node.output.iter().cloned());
            self.nodes.push(node.clone());
            return;
        }
        let mut narrow = node.clone();
        for name in &mut narrow.input {
            if self.is_f32(name) {
                *name = self.halved(name);
            }
        }
        for name in narrow.output.iter_mut().filter(|name| !name.is_empty()) {
            if self.is_f32(name) {
                let half = self.builder.fresh(&format!("{name}/half"));
                self.halves.insert(name.clone(), half.clone());
                *name = half;
            } else {
                self.wide.insert(name.clone());
            }
        }
        self.nodes.push(narrow);
    }

    /// Has `name` stand for the value in its own precision.
    fn widened(&mut self, name: &str) {
        if self.wide.contains(name) {
            return;
        }
        if let Some(half) = self.halves.get(name) {
            let half = half.clone();
            self.cast(&half, name, DataType::F32);
            self.wide.insert(name.to_owned());
        }
    }

    /// The name of the value in half precision.
    fn halved(&mut self, name: &str) -> String {
        if let Some(half) = self.halves.get(name) {
            return half.clone();
        }
        let half = self.builder.fresh(&format!("{name}/half"));
        self.cast(name, &half, self.half);
        self.halves.insert(name.to_owned(), half.clone());
        half
    }

    fn cast(&mut self, from: &str, to: &str, dtype: DataType) {
        self.nodes.push(NodeProto {
            op_type: Some("Cast".to_owned()),
            input: vec![from.to_owned()],
            output: vec![to.to_owned()],
            name: Some(to.to_owned()),
            attribute: vec![int("to", i64::from(dtype.to_onnx()))],
            ..NodeProto::default()
        });
    }
}
