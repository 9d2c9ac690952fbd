//! From a builder to a graph with an interface, and from a model to one whose parameters are inputs.

use std::collections::BTreeSet;

use bb_ir::Dim;
use bb_ir::onnx::{GraphProto, NodeProto, TensorProto, ValueInfoProto};

use super::{Mask, TrainingGraph, TrainingPlan};
use crate::AutodiffError;
use crate::activity::prune;
use crate::attributes::int;
use crate::builder::{Builder, Val};
use crate::facts::Fact;
use crate::recompute::recompute;

impl TrainingPlan {
    /// The finished graph: what `outputs` need, between `inputs` and `outputs`.
    pub(super) fn close(
        &self,
        mut b: Builder,
        batch: Option<usize>,
        masks: Vec<Mask>,
        inputs: &[Val],
        outputs: &[Val],
    ) -> Result<TrainingGraph, AutodiffError> {
        let mut seen: BTreeSet<Val> = inputs.iter().copied().collect();
        let mut distinct = Vec::with_capacity(outputs.len());
        for &val in outputs {
            let held =
                self.graph.initializer.iter().any(|tensor| tensor.name.as_deref() == Some(b.name(val)));
            let val = if held || !seen.insert(val) {
                let name = b.fresh(&format!("{}/copy", b.name(val)));
                b.emit_as(&name, "Identity", &[val], vec![])
            } else {
                val
            };
            distinct.push(val);
        }
        let infos = |vals: &[Val]| -> Vec<ValueInfoProto> {
            vals.iter().map(|&val| b.fact(val).to_value_info(b.name(val))).collect()
        };
        let names = |vals: &[Val]| vals.iter().map(|&val| b.name(val).to_owned()).collect::<Vec<_>>();
        let (input_names, output_names) = (names(inputs), names(&distinct));
        let (input, output) = (infos(inputs), infos(&distinct));
        let name = match batch {
            Some(rows) => format!("{}@{rows}", self.graph.name.as_deref().unwrap_or_default()),
            None => self.graph.name.clone().unwrap_or_default(),
        };
        let forward: BTreeSet<String> =
            b.forward_nodes().iter().flat_map(|node| node.output.iter().cloned()).collect();
        let (node, read) = prune(b.into_nodes(), &output_names);
        let is_forward =
            |node: &&NodeProto| node.output.iter().any(|name| !name.is_empty() && forward.contains(name));
        let forward = node.iter().take_while(is_forward).count();
        let keep = |tensor: &&TensorProto| read.contains(tensor.name.as_deref().unwrap_or_default());
        let graph = GraphProto {
            node,
            name: Some(name),
            initializer: self.graph.initializer.iter().filter(keep).cloned().collect(),
            sparse_initializer: self.graph.sparse_initializer.clone(),
            input,
            output,
            quantization_annotation: self.graph.quantization_annotation.clone(),
            ..GraphProto::default()
        };
        Ok(TrainingGraph {
            graph: recompute(graph, self.opset, forward, &[], self.options.recompute)?,
            opset: self.opset,
            inputs: input_names,
            outputs: output_names,
            masks,
            opsets: self.opsets.clone(),
        })
    }

    /// The model for `batch` rows: axis 0 of its inputs, where the model leaves it free.
    pub(super) fn graph_for(&self, batch: Option<usize>) -> Result<GraphProto, AutodiffError> {
        let mut graph = self.graph.clone();
        let Some(batch) = batch else { return Ok(graph) };
        let mut named: BTreeSet<String> = BTreeSet::new();
        for (index, name) in self.inputs.iter().enumerate() {
            let Some(info) = graph.input.iter_mut().find(|info| info.name.as_ref() == Some(name)) else {
                continue;
            };
            let mut fact = Fact::of_value_info(info);
            let Some(rows) = fact.shape.as_mut().and_then(|dims| dims.first_mut()) else { continue };
            match rows {
                Dim::Known(fixed) if *fixed != batch && index == 0 => {
                    return Err(AutodiffError::FixedBatch {
                        input: name.clone(),
                        fixed: *fixed,
                        asked: batch,
                    });
                }
                Dim::Known(_) => continue,
                Dim::Named(symbol) => {
                    named.insert(symbol.clone());
                }
                Dim::Any => {}
            }
            *rows = Dim::Known(batch);
            *info = fact.to_value_info(name);
        }
        for info in graph.input.iter_mut().chain(&mut graph.value_info).chain(&mut graph.output) {
            let mut fact = Fact::of_value_info(info);
            let mut changed = false;
            for dim in fact.shape.iter_mut().flatten() {
                if matches!(dim, Dim::Named(symbol) if named.contains(symbol)) {
                    *dim = Dim::Known(batch);
                    changed = true;
                }
            }
            if changed {
                *info = fact.to_value_info(info.name.as_deref().unwrap_or_default());
            }
        }
        Ok(graph)
    }
}

/// `parameter + change`; within the matrix product where `change` is one.
pub(super) fn add_in_place(b: &mut Builder, parameter: Val, change: Val) -> Val {
    let name = b.fresh(&format!("{}/next", b.name(parameter)));
    let product = b.nodes().iter().rev().find(|node| node.output.iter().any(|made| made == b.name(change)));
    if let Some(product) = product
        && matches!(product.op_type.as_deref(), Some("Gemm" | "MatMul"))
        && b.opset() >= 11
        && b.fact(parameter).rank() == Some(2)
        && b.same_shape(parameter, change)
        && let [left, right] = &product.input[..]
        && let (Some(left), Some(right)) = (b.find(left), b.find(right))
        && b.fact(left).rank() == Some(2)
        && b.fact(right).rank() == Some(2)
    {
        let attributes =
            if product.attribute.is_empty() { vec![int("transA", 0)] } else { product.attribute.clone() };
        return b.emit_as(&name, "Gemm", &[left, right, parameter], attributes);
    }
    b.emit_as(&name, "Add", &[parameter, change], vec![])
}

/// `graph`, the initializers called `held` being inputs, in that order, and no longer initializers.
pub(super) fn as_inputs(graph: &GraphProto, held: &[&str]) -> GraphProto {
    let chosen: BTreeSet<&str> = held.iter().copied().collect();
    let is_chosen = |name: &Option<String>| chosen.contains(name.as_deref().unwrap_or_default());
    let mut graph = graph.clone();
    let mut inputs = Vec::with_capacity(graph.input.len() + held.len());
    for name in held {
        if let Some(tensor) = graph.initializer.iter().find(|tensor| tensor.name.as_deref() == Some(*name)) {
            let fact = Fact::of_tensor(tensor);
            inputs.push(Fact::new(fact.dtype, fact.shape).to_value_info(name));
        }
    }
    graph.initializer.retain(|tensor| !is_chosen(&tensor.name));
    inputs.extend(graph.input.into_iter().filter(|info| !is_chosen(&info.name)));
    graph.input = inputs;
    graph
}
