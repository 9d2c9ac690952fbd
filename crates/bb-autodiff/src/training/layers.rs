//! Layers that do one thing while a model is trained and another while it is used: BatchNormalization and Dropout.
//!
//! A model is mostly exported for use. [`for_training`] puts it into the form for a step: batch normalization takes the
//! moments of the batch and makes new running ones, dropout multiplies by a mask that is fed. [`for_use`] is the way back.

use std::collections::{BTreeMap, BTreeSet};

use bb_ir::onnx::{AttributeProto, GraphProto, NodeProto, TensorProto};
use bb_ir::{DataType, Shape};

use crate::AutodiffError;
use crate::attributes::{Attributes, i64_tensor, int, ints, is_onnx, label, small_tensor, tensor};
use crate::builder::Builder;
use crate::facts::{Fact, is_float};

/// How the layers behave that do one thing while a model is trained and another while it is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layers {
    /// As the model says, in all graphs; running moments stay as they are. So is a part trained whose batch
    /// normalization is frozen.
    AsWritten,
    /// In steps and gradients as while training, in evaluations and forward passes as in use, whatever the model says.
    ///
    /// `BatchNormalization` takes mean and variance of the batch, and each step makes new running ones, which are the
    /// plan's [`buffers`](super::TrainingPlan::buffers). `Dropout` of a constant ratio keeps what its
    /// [`Mask`] says, which is fed.
    #[default]
    ByPhase,
}

/// What a Dropout keeps in a step: an input of the graph, of a number for each element.
///
/// Each number is 0 with probability `1 - keep`, else `1 / keep`, so that the expected value is that of the input.
/// (Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", 2014, section 10.) Who runs the
/// graph draws them; so a step is the same on every backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Mask {
    /// The input's name.
    pub input: String,
    /// `f32`, or `f64` where the layer computes in it.
    pub dtype: DataType,
    /// Its shape.
    pub shape: Shape,
    /// The probability that an element is kept, above 0.
    pub keep: f64,
}

/// A graph in the form for training.
pub(super) struct ForTraining {
    pub(super) graph: GraphProto,
    pub(super) masks: Vec<Mask>,
    /// The values that the running moments have after the step, by the name of the moment.
    pub(super) next: BTreeMap<String, String>,
}

/// The names of the running moments of all batch normalizations: float initializers.
pub(super) fn running_moments(graph: &GraphProto) -> BTreeSet<String> {
    let read: BTreeSet<&str> = graph
        .node
        .iter()
        .filter(|node| is_op(node, "BatchNormalization"))
        .flat_map(|node| node.input.iter().skip(3).take(2).map(String::as_str))
        .collect();
    let floats = graph.initializer.iter().filter(|held| {
        held.data_type.and_then(DataType::from_onnx).is_some_and(is_float) && !held.dims.is_empty()
    });
    floats.filter_map(|held| held.name.clone()).filter(|name| read.contains(name.as_str())).collect()
}

/// Puts the layers into the form in which they are used.
pub(super) fn for_use(mut graph: GraphProto, opset: i64) -> GraphProto {
    for node in &mut graph.node {
        if is_op(node, "BatchNormalization") {
            node.attribute.retain(|held| held.name.as_deref() != Some("training_mode"));
            node.output.truncate(1);
        } else if is_op(node, "Dropout") && opset >= 12 {
            node.input.truncate(2);
        }
    }
    graph
}

/// Puts the layers into the form for a step in which `moments` are made anew.
///
/// # Errors
/// A Dropout whose ratio is not constant or whose shape is not known; a batch normalization before operator set 14 of
/// unknown rank or type.
pub(super) fn for_training(
    graph: GraphProto,
    opset: i64,
    moments: &BTreeSet<String>,
) -> Result<ForTraining, AutodiffError> {
    if !graph.node.iter().any(|node| is_op(node, "BatchNormalization") || is_op(node, "Dropout")) {
        return Ok(ForTraining { graph, masks: Vec::new(), next: BTreeMap::new() });
    }
    let builder = Builder::open(&graph, opset)?;
    let mut made =
        Rewrite { b: &builder, opset, nodes: Vec::new(), masks: Vec::new(), next: BTreeMap::new() };
    for node in &graph.node {
        if is_op(node, "BatchNormalization")
            && node.input.get(3..5).is_some_and(|held| held.iter().all(|name| moments.contains(name)))
        {
            if opset >= 14 { made.batch_normalization(node) } else { made.old_batch_normalization(node)? }
        } else if is_op(node, "Dropout") {
            made.dropout(node)?;
        } else {
            made.nodes.push(node.clone());
        }
    }
    let Rewrite { nodes, masks, next, .. } = made;
    let mut graph = GraphProto { node: nodes, ..graph };
    for mask in &masks {
        let extents = mask.shape.iter().map(|&extent| bb_ir::Dim::Known(extent)).collect();
        graph.input.push(Fact::new(Some(mask.dtype), Some(extents)).to_value_info(&mask.input));
    }
    Ok(ForTraining { graph, masks, next })
}

fn is_op(node: &NodeProto, op: &str) -> bool {
    is_onnx(node) && node.op_type.as_deref() == Some(op)
}

/// The nodes of a graph, on their way to another form.
struct Rewrite<'a> {
    b: &'a Builder,
    opset: i64,
    nodes: Vec<NodeProto>,
    masks: Vec<Mask>,
    next: BTreeMap<String, String>,
}

impl Rewrite<'_> {
    /// The running moment `name` as it is after the layers so far: two layers may share one.
    fn current(&self, name: &str) -> String {
        self.next.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }

    fn fact(&self, name: &str) -> Fact {
        self.b.find(name).map(|val| self.b.fact(val).clone()).unwrap_or_default()
    }

    fn undetermined(&self, node: &NodeProto, value: &str, what: &'static str) -> AutodiffError {
        let op = node.op_type.clone().unwrap_or_default();
        AutodiffError::Undetermined { node: label(node), op, value: value.to_owned(), what }
    }

    /// A name for output `position` of a node, its own if it has one.
    fn output(&self, node: &NodeProto, position: usize, stem: &str) -> String {
        match node.output.get(position) {
            Some(name) if !name.is_empty() => name.clone(),
            _ => self.b.fresh(&format!("{}/{stem}", first(&node.output))),
        }
    }

    fn batch_normalization(&mut self, node: &NodeProto) {
        let mut node = node.clone();
        node.attribute.retain(|held| held.name.as_deref() != Some("training_mode"));
        node.attribute.push(int("training_mode", 1));
        let outputs = [self.output(&node, 1, "running_mean"), self.output(&node, 2, "running_var")];
        for (place, output) in outputs.iter().enumerate() {
            let moment = node.input[3 + place].clone();
            node.input[3 + place] = self.current(&moment);
            self.next.insert(moment, output.clone());
        }
        node.output.truncate(1);
        node.output.extend(outputs);
        self.nodes.push(node);
    }

    /// Written out: before operator set 14 the op's training form is not the same everywhere.
    fn old_batch_normalization(&mut self, node: &NodeProto) -> Result<(), AutodiffError> {
        let x = first(&node.input);
        let fact = self.fact(&x);
        let rank = fact.rank().ok_or_else(|| self.undetermined(node, &x, "rank"))?;
        let dtype = fact.dtype.ok_or_else(|| self.undetermined(node, &x, "element type"))?;
        let epsilon = f64::from(Attributes(node).float_or("epsilon", 1e-5));
        let momentum = f64::from(Attributes(node).float_or("momentum", 0.9));
        let stem = first(&node.output);
        let axes: Vec<i64> = (0..rank as i64).filter(|&axis| axis != 1).collect();
        let mean_over = || vec![ints("axes", &axes), int("keepdims", 1)];
        let mean = self.emit(&stem, "mean", "ReduceMean", &[&x], mean_over());
        let centred = self.emit(&stem, "centred", "Sub", &[&x, &mean], vec![]);
        let square = self.emit(&stem, "square", "Mul", &[&centred, &centred], vec![]);
        let variance = self.emit(&stem, "variance", "ReduceMean", &[&square], mean_over());
        let number = |value: f64| small_tensor(dtype, &[], &[value]);
        let [epsilon, stays, comes] = [epsilon, momentum, 1.0 - momentum].map(number);
        let half = |this: &Self| this.undetermined(node, &x, "element type, f32 or f64,");
        let epsilon = self.constant(&stem, "epsilon", epsilon.ok_or_else(|| half(self))?);
        let stays = self.constant(&stem, "stays", stays.ok_or_else(|| half(self))?);
        let comes = self.constant(&stem, "comes", comes.ok_or_else(|| half(self))?);
        let shifted = self.emit(&stem, "shifted", "Add", &[&variance, &epsilon], vec![]);
        let root = self.emit(&stem, "deviation", "Sqrt", &[&shifted], vec![]);
        let unit = self.emit(&stem, "unit", "Div", &[&centred, &root], vec![]);
        let mut wide = vec![1_i64; rank];
        if let Some(channels) = wide.get_mut(1) {
            *channels = -1;
        }
        let wide = self.constant(&stem, "by_channel", i64_tensor(&wide));
        let flat = self.constant(&stem, "flat", i64_tensor(&[-1]));
        let [scale, bias] = [1, 2].map(|place| node.input.get(place).cloned().unwrap_or_default());
        let scale = self.emit(&stem, "scale", "Reshape", &[&scale, &wide], vec![]);
        let bias = self.emit(&stem, "bias", "Reshape", &[&bias, &wide], vec![]);
        let scaled = self.emit(&stem, "scaled", "Mul", &[&unit, &scale], vec![]);
        for (place, own, name) in [(3, &mean, "running_mean"), (4, &variance, "running_var")] {
            let moment = node.input[place].clone();
            let before = self.current(&moment);
            let own = self.emit(&stem, &format!("{name}/own"), "Reshape", &[own, &flat], vec![]);
            let old = self.emit(&stem, &format!("{name}/old"), "Mul", &[&before, &stays], vec![]);
            let own = self.emit(&stem, &format!("{name}/new"), "Mul", &[&own, &comes], vec![]);
            let output = self.output(node, place - 2, name);
            self.push(&output, "Add", &[&old, &own], vec![]);
            self.next.insert(moment, output);
        }
        self.push(&stem, "Add", &[&scaled, &bias], vec![]);
        Ok(())
    }

    /// A product with a mask that is fed.
    fn dropout(&mut self, node: &NodeProto) -> Result<(), AutodiffError> {
        let x = first(&node.input);
        let ratio = match node.input.get(1) {
            Some(ratio) if !ratio.is_empty() && self.opset >= 12 => {
                let known = self.fact(ratio).uniform;
                known.ok_or_else(|| self.undetermined(node, ratio, "contents (a constant ratio)"))?
            }
            _ => f64::from(Attributes(node).float_or("ratio", 0.5)),
        };
        if !(0.0..1.0).contains(&ratio) {
            return Err(Attributes(node).wrong("ratio", format!("is {ratio}; it must be from 0 to below 1")));
        }
        let y = first(&node.output);
        let fact = self.fact(&x);
        let extents = fact.extents().ok_or_else(|| {
            self.undetermined(node, &x, "shape (steps with Dropout are for one batch size)")
        })?;
        let dtype = fact.dtype.ok_or_else(|| self.undetermined(node, &x, "element type"))?;
        let fed = if dtype == DataType::F64 { DataType::F64 } else { DataType::F32 };
        let input = self.b.fresh(&format!("{y}/mask"));
        let mut mask = input.clone();
        if fed != dtype {
            let to = vec![int("to", i64::from(dtype.to_onnx()))];
            mask = self.emit(&y, "mask_cast", "Cast", &[&mask], to);
        }
        if let Some(kept) = node.output.get(1).filter(|name| !name.is_empty()) {
            self.push(kept, "Cast", &[&input], vec![int("to", i64::from(DataType::Bool.to_onnx()))]);
        }
        self.push(&y, "Mul", &[&x, &mask], vec![]);
        self.masks.push(Mask { input, dtype: fed, shape: extents.into(), keep: 1.0 - ratio });
        Ok(())
    }

    fn constant(&mut self, stem: &str, name: &str, value: TensorProto) -> String {
        self.emit(stem, name, "Constant", &[], vec![tensor("value", value)])
    }

    /// Adds a node whose output is called after `stem` and `name`.
    fn emit(
        &mut self,
        stem: &str,
        name: &str,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> String {
        let output = self.b.fresh(&format!("{stem}/{name}"));
        self.push(&output, op, inputs, attributes);
        output
    }

    fn push(&mut self, output: &str, op: &str, inputs: &[&str], attribute: Vec<AttributeProto>) {
        self.nodes.push(NodeProto {
            name: Some(output.to_owned()),
            op_type: Some(op.to_owned()),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute,
            ..NodeProto::default()
        });
    }
}

fn first(names: &[String]) -> String {
    names.first().cloned().unwrap_or_default()
}
