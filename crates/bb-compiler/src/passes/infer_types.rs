//! Needs: one module whose gradients are expanded.
//! Establishes: what can be known of each value's type: fully for framework ops and components, element type
//! and shape for the common ONNX ops; no op reads what it cannot take.
//! Example: `y = MatMul(x: f32[?,2], w: f32[2,3])` -> `y: f32[?,3]`.

use std::mem;

use bb_ir::program::{Attribute, Graph, Node, Program, Span, ValueId, domains};
use bb_ir::{Diagnostic, Tensor, ValueType};
use hashbrown::HashMap;

use super::types::{Known, Signature, merge, onnx_outputs, signature, syscall};
use crate::edit::{is_tensor_op, module_graphs, short_name};
use crate::{Context, Diagnostics};

pub(crate) fn infer_types(p: &mut Program, _: &Context) -> Result<(), Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    for graph in module_graphs(p) {
        infer(graph, &mut diagnostics);
    }
    diagnostics.into_result()
}

/// Types the values of a graph and of the graphs within it.
pub(super) fn infer(graph: &mut Graph, diagnostics: &mut Diagnostics) {
    Infer { made: HashMap::new(), constants: HashMap::new(), diagnostics }.graph(graph);
}

struct Infer<'a> {
    /// Where each value of this graph was made.
    made: HashMap<ValueId, Span>,
    constants: HashMap<ValueId, Tensor>,
    diagnostics: &'a mut Diagnostics,
}

impl Infer<'_> {
    fn graph(&mut self, graph: &mut Graph) {
        for mut node in mem::take(&mut graph.nodes) {
            for value in node.outputs.iter().flatten() {
                self.made.insert(*value, node.span.clone());
            }
            self.node(graph, &mut node);
            graph.nodes.push(node);
        }
    }

    fn node(&mut self, graph: &mut Graph, node: &mut Node) {
        if is_tensor_op(node) {
            return self.tensor_op(graph, node);
        }
        match (node.op.domain().as_str(), node.op.name()) {
            (domains::SYSCALL, "Constant") => {
                let ty = node.attributes.get("value").and_then(Attribute::value_type).unwrap_or_default();
                if let (Some(Attribute::Tensor(tensor)), Some(Some(output))) =
                    (node.attributes.get("value"), node.outputs.first())
                {
                    self.constants.insert(*output, tensor.clone());
                }
                self.give(graph, node, 0, &ty);
            }
            (domains::SYSCALL, "Unbundle") => {
                self.take(graph, node, 0, &[ValueType::Tuple(vec![ValueType::Any; node.outputs.len()])]);
                if let ValueType::Tuple(items) = type_of(graph, node, 0) {
                    for (index, item) in items.iter().enumerate() {
                        self.give(graph, node, index, item);
                    }
                }
            }
            (domains::WIRE, "Call" | "Cast") => self.wire_op(graph, node),
            _ => {
                let types: Vec<ValueType> =
                    (0..node.inputs.len()).map(|index| type_of(graph, node, index)).collect();
                if let Some(Signature { inputs, outputs }) = signature(node).or_else(|| syscall(node, &types))
                {
                    if node.inputs.len() != inputs.len() {
                        self.diagnostics.push(
                            Diagnostic::new(format!(
                                "{} takes {} inputs, not {}",
                                node.op.name(),
                                inputs.len(),
                                node.inputs.len()
                            ))
                            .label(node.span.clone(), "recorded here"),
                        );
                    }
                    for (index, allowed) in inputs.iter().enumerate() {
                        self.take(graph, node, index, allowed);
                    }
                    for (index, ty) in outputs.iter().enumerate() {
                        self.give(graph, node, index, ty);
                    }
                }
            }
        }
    }

    fn tensor_op(&mut self, graph: &mut Graph, node: &Node) {
        for index in 0..node.inputs.len() {
            self.take(graph, node, index, &[ValueType::ANY_TENSOR]);
        }
        let inputs: Vec<Option<Known>> =
            node.inputs.iter().map(|value| value.map(|value| self.known(graph, value))).collect();
        match onnx_outputs(node, &inputs) {
            Ok(outputs) => {
                for (index, known) in outputs.into_iter().enumerate() {
                    if let (Some(tensor), Some(Some(output))) = (known.constant, node.outputs.get(index)) {
                        self.constants.insert(*output, tensor);
                    }
                    let ty = ValueType::Tensor { dtype: known.dtype, shape: known.shape };
                    self.give(graph, node, index, &ty);
                }
            }
            Err(reason) => {
                let mut error = Diagnostic::new(format!("{}: {reason}", node.op.name()))
                    .label(node.span.clone(), "recorded here");
                for value in node.inputs.iter().flatten() {
                    let info = graph.value(*value);
                    let text = format!("`{}` is {}", short_name(&info.name), info.ty);
                    error = match self.made.get(value) {
                        Some(span) => error.label(span.clone(), text),
                        None => error.note(text),
                    };
                }
                self.diagnostics.push(error);
                return;
            }
        }
        // An element-wise op has one element type: an input of the module learns it from the others.
        if matches!(node.op.name(), "Add" | "Sub" | "Mul" | "Div" | "MatMul" | "Gemm") {
            let dtype = inputs.iter().flatten().find_map(|known| known.dtype);
            if dtype.is_some() {
                for index in 0..node.inputs.len() {
                    self.take(graph, node, index, &[ValueType::Tensor { dtype, shape: None }]);
                }
            }
        }
    }

    fn wire_op(&mut self, graph: &mut Graph, node: &mut Node) {
        self.take(graph, node, 0, &[ValueType::Peers, ValueType::Peer]);
        let sent: Vec<ValueType> = (1..node.inputs.len()).map(|index| type_of(graph, node, index)).collect();
        let mut results = Vec::new();
        if let Some(Attribute::Graph(body)) = node.attributes.get_mut("body") {
            set_inputs(body, &sent);
            self.nested(body);
            results = body.outputs.iter().map(|output| body.value(output.value).ty.clone()).collect();
        }
        if node.op.name() == "Cast" {
            return;
        }
        if let Some(Attribute::Graph(each)) = node.attributes.get_mut("each") {
            let taken: Vec<ValueType> = std::iter::once(ValueType::Peer).chain(results).collect();
            set_inputs(each, &taken);
            for capture in &each.captures {
                each.values[capture.inner.0 as usize].ty = graph.value(capture.outer).ty.clone();
            }
            self.nested(each);
            self.give(graph, node, 0, &ValueType::I64);
        } else {
            self.give(graph, node, 0, &ValueType::Peer);
            for (index, ty) in results.iter().enumerate() {
                self.give(graph, node, index + 1, ty);
            }
        }
    }

    fn nested(&mut self, graph: &mut Graph) {
        let inner =
            Infer { made: HashMap::new(), constants: HashMap::new(), diagnostics: &mut *self.diagnostics };
        let mut inner = inner;
        inner.graph(graph);
    }

    fn known(&self, graph: &Graph, value: ValueId) -> Known {
        let constant = self.constants.get(&value).cloned();
        match &graph.value(value).ty {
            ValueType::Tensor { dtype, shape } => Known { dtype: *dtype, shape: shape.clone(), constant },
            _ => Known { constant, ..Known::default() },
        }
    }

    /// An input must be of one of these types; what is known of it grows by that if only one is left.
    fn take(&mut self, graph: &mut Graph, node: &Node, index: usize, allowed: &[ValueType]) {
        let Some(value) = node.inputs.get(index).copied().flatten() else { return };
        let info = &graph.values[value.0 as usize];
        let mut fitting = allowed.iter().filter_map(|ty| merge(&info.ty, ty));
        match (fitting.next(), fitting.next()) {
            (Some(ty), None) => graph.values[value.0 as usize].ty = ty,
            (Some(_), Some(_)) => {}
            (None, _) => {
                let listed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
                let name = short_name(&info.name);
                let error = Diagnostic::new(format!(
                    "`{name}` is {} but {} takes {}",
                    info.ty,
                    node.op.name(),
                    listed.join(" or ")
                ))
                .label(node.span.clone(), format!("taken as {} here", listed.join(" or ")));
                let made = self.made.get(&value).cloned().unwrap_or_default();
                self.diagnostics.push(error.label(made, format!("made as {} here", info.ty)));
            }
        }
    }

    /// An output is of this type.
    fn give(&mut self, graph: &mut Graph, node: &Node, index: usize, ty: &ValueType) {
        let Some(value) = node.outputs.get(index).copied().flatten() else { return };
        let info = &mut graph.values[value.0 as usize];
        match merge(&info.ty, ty) {
            Some(merged) => info.ty = merged,
            None => {
                let error = Diagnostic::new(format!(
                    "`{}` was declared as {} but {} gives {ty}",
                    short_name(&info.name),
                    info.ty,
                    node.op.name()
                ));
                self.diagnostics.push(error.label(node.span.clone(), "recorded here"));
            }
        }
    }
}

fn type_of(graph: &Graph, node: &Node, index: usize) -> ValueType {
    let value = node.inputs.get(index).copied().flatten();
    value.map_or(ValueType::Any, |value| graph.value(value).ty.clone())
}

fn set_inputs(graph: &mut Graph, types: &[ValueType]) {
    for (input, ty) in graph.inputs.iter().zip(types) {
        let info = &mut graph.values[input.0 as usize];
        if let Some(merged) = merge(&info.ty, ty) {
            info.ty = merged;
        }
    }
}
