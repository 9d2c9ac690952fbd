//! Whole training steps as graphs: parameters and a batch in, loss and new parameters out.

use std::collections::{BTreeMap, BTreeSet};

use bb_ir::onnx::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto};
use bb_ir::{DataType, Dim, Shape};

use crate::AutodiffError;
use crate::activity::{self, find_rule};
use crate::attributes::int;
use crate::builder::{Builder, Val};
use crate::facts::{Fact, is_float};
use crate::objective::{Loss, Objective, attach, correct};
use crate::reverse::{differentiate, lookup};
use crate::rules::Flow;

/// What is trained, and towards what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrainingOptions {
    /// What is minimised.
    pub loss: Loss,
    /// Which initializers are parameters.
    pub trainable: Trainable,
}

/// Which initializers are parameters; all others keep their values, and cost no backward work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trainable {
    /// Those whose name is one of these; `*` stands for any characters.
    Named(Vec<String>),
    /// All of a float type and of rank 1 or more that a gradient of the loss reaches. (Exporters write the
    /// numbers of formulas — an epsilon, an exponent, a scale — as initializers of rank 0.)
    #[default]
    Reached,
}

/// An initializer that is trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: DataType,
    /// Its shape.
    pub shape: Shape,
}

/// A model, what of it is trained, and the graphs that train it.
///
/// Look: [`parameters`](Self::parameters), [`inputs`](Self::inputs), [`label`](Self::label), [`opset`](Self::opset).
/// Make graphs, for any batch size or for one (`batch`, the extent of axis 0, which makes them cheaper to run):
///
/// | graph | inputs | outputs |
/// |---|---|---|
/// | [`step`](Self::step) | parameters, inputs, label, learning rate (rank 0) | loss before the step, new parameters |
/// | [`gradients`](Self::gradients) | parameters, inputs, label | loss, gradients |
/// | [`evaluation`](Self::evaluation) | parameters, inputs, label | loss, labels hit (`i64`; class labels only), the model's outputs |
/// | [`forward`](Self::forward) | parameters, inputs | the model's outputs |
///
/// There is no label where the loss is an output of the model.
#[derive(Clone, Debug)]
pub struct TrainingPlan {
    /// The model, its parameters being inputs.
    graph: GraphProto,
    opsets: Vec<OperatorSetIdProto>,
    opset: i64,
    loss: Loss,
    parameters: Vec<Parameter>,
    inputs: Vec<String>,
    outputs: Vec<String>,
    label: Option<String>,
}

/// A graph with its interface: what to feed and what comes out, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingGraph {
    /// The graph.
    pub graph: GraphProto,
    /// The version of ONNX's operator set that it is written in.
    pub opset: i64,
    /// The names of its inputs.
    pub inputs: Vec<String>,
    /// The names of its outputs.
    pub outputs: Vec<String>,
    opsets: Vec<OperatorSetIdProto>,
}

impl TrainingPlan {
    /// A plan for the main graph of `model`.
    ///
    /// # Errors
    /// [`AutodiffError::NoGraph`], and those of [`TrainingPlan::new`].
    pub fn of_model(model: &ModelProto, options: &TrainingOptions) -> Result<Self, AutodiffError> {
        let graph = model.graph.as_ref().ok_or(AutodiffError::NoGraph)?;
        let is_onnx =
            |set: &&OperatorSetIdProto| matches!(set.domain.as_deref(), None | Some("" | "ai.onnx"));
        let opset = model.opset_import.iter().find(is_onnx).and_then(|set| set.version).unwrap_or(1);
        let plan = Self::new(graph, opset, options)?;
        Ok(Self { opsets: model.opset_import.clone(), ..plan })
    }

    /// A plan for a graph in ONNX's operator set `opset`.
    ///
    /// # Errors
    /// No output to put the loss on; a name that is not there; an op without a gradient on the way from the loss to a
    /// parameter; nothing to train.
    pub fn new(graph: &GraphProto, opset: i64, options: &TrainingOptions) -> Result<Self, AutodiffError> {
        let given: BTreeSet<&str> =
            graph.initializer.iter().filter_map(|tensor| tensor.name.as_deref()).collect();
        let names = |infos: &[ValueInfoProto]| -> Vec<String> {
            infos.iter().filter_map(|info| info.name.clone()).collect()
        };
        let inputs = names(&graph.input).into_iter().filter(|name| !given.contains(name.as_str())).collect();
        let outputs = names(&graph.output);
        let mut builder = Builder::open(graph, opset)?;
        let objective = attach(&mut builder, &outputs, &options.loss)?;
        let chosen = choose(graph, &builder, objective.loss, &options.trainable)?;
        let parameters = chosen.iter().map(|tensor| parameter(tensor)).collect::<Result<Vec<_>, _>>()?;
        let label = objective.label.map(|label| builder.name(label).to_owned());
        Ok(Self {
            graph: parameters_as_inputs(graph, &parameters),
            opsets: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) }],
            opset,
            loss: options.loss.clone(),
            parameters,
            inputs,
            outputs,
            label,
        })
    }

    /// What is trained, in the order of the graph's initializers.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The model's inputs that are fed with each batch.
    pub fn inputs(&self) -> &[String] {
        &self.inputs
    }

    /// The input that the loss compares with, if it needs one beside the model's own inputs.
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// The model's outputs.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// The version of ONNX's operator set that the graphs are written in.
    pub fn opset(&self) -> i64 {
        self.opset
    }

    /// One step of stochastic gradient descent: `p - rate · dloss/dp` for every parameter.
    ///
    /// The sweep starts from `-rate` rather than from 1, so that what arrives at a parameter is what is added to it, and
    /// a matrix product that ends there adds to the parameter in the same op.
    ///
    /// # Errors
    /// Those of [`Gradients::of`](crate::Gradients::of), and [`AutodiffError::FixedBatch`].
    pub fn step(&self, batch: Option<usize>) -> Result<TrainingGraph, AutodiffError> {
        let (mut b, objective) = self.open(batch)?;
        let name = b.fresh("rate");
        let rate = b.define(&name, Fact::new(Some(b.dtype(objective.loss)?), Some(Vec::new())));
        let parameters = self.parameter_values(&b)?;
        let seed = b.neg(rate);
        let changes = differentiate(&mut b, objective.loss, &parameters, Some(seed))?;
        let mut outputs = vec![objective.loss];
        for (&parameter, &change) in parameters.iter().zip(&changes) {
            outputs.push(add_in_place(&mut b, parameter, change));
        }
        let inputs = self.fed(&b, &objective, Some(rate))?;
        Ok(self.close(b, batch, &inputs, &outputs))
    }

    /// The loss and its gradient with respect to every parameter.
    ///
    /// # Errors
    /// Those of [`TrainingPlan::step`].
    pub fn gradients(&self, batch: Option<usize>) -> Result<TrainingGraph, AutodiffError> {
        let (mut b, objective) = self.open(batch)?;
        let parameters = self.parameter_values(&b)?;
        let gradients = differentiate(&mut b, objective.loss, &parameters, None)?;
        let mut outputs = vec![objective.loss];
        outputs.extend(gradients);
        let inputs = self.fed(&b, &objective, None)?;
        Ok(self.close(b, batch, &inputs, &outputs))
    }

    /// The loss, how many labels were hit, and the model's outputs.
    ///
    /// # Errors
    /// [`AutodiffError::FixedBatch`].
    pub fn evaluation(&self, batch: Option<usize>) -> Result<TrainingGraph, AutodiffError> {
        let (mut b, objective) = self.open(batch)?;
        let mut outputs = vec![objective.loss];
        if let (Some(scores), Some(label)) = (objective.scores, objective.label) {
            outputs.push(correct(&mut b, scores, label));
        }
        for name in &self.outputs {
            outputs.push(lookup(&b, name)?);
        }
        let inputs = self.fed(&b, &objective, None)?;
        Ok(self.close(b, batch, &inputs, &outputs))
    }

    /// The model itself.
    ///
    /// # Errors
    /// [`AutodiffError::FixedBatch`].
    pub fn forward(&self, batch: Option<usize>) -> Result<TrainingGraph, AutodiffError> {
        let b = Builder::open(&self.graph_for(batch)?, self.opset)?;
        let outputs = self.outputs.iter().map(|name| lookup(&b, name)).collect::<Result<Vec<_>, _>>()?;
        let mut inputs = self.parameter_values(&b)?;
        for name in &self.inputs {
            inputs.push(lookup(&b, name)?);
        }
        Ok(self.close(b, batch, &inputs, &outputs))
    }

    fn open(&self, batch: Option<usize>) -> Result<(Builder, Objective), AutodiffError> {
        let mut builder = Builder::open(&self.graph_for(batch)?, self.opset)?;
        let objective = attach(&mut builder, &self.outputs, &self.loss)?;
        Ok((builder, objective))
    }

    fn parameter_values(&self, b: &Builder) -> Result<Vec<Val>, AutodiffError> {
        self.parameters.iter().map(|parameter| lookup(b, &parameter.name)).collect()
    }

    /// The inputs of a graph: parameters, batch, label, rate.
    fn fed(&self, b: &Builder, objective: &Objective, rate: Option<Val>) -> Result<Vec<Val>, AutodiffError> {
        let mut inputs = self.parameter_values(b)?;
        for name in &self.inputs {
            inputs.push(lookup(b, name)?);
        }
        inputs.extend(objective.label);
        inputs.extend(rate);
        Ok(inputs)
    }

    /// The model for `batch` rows: axis 0 of its inputs, where the model leaves it free.
    fn graph_for(&self, batch: Option<usize>) -> Result<GraphProto, AutodiffError> {
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

    /// The finished graph: what `outputs` need, between `inputs` and `outputs`.
    fn close(&self, mut b: Builder, batch: Option<usize>, inputs: &[Val], outputs: &[Val]) -> TrainingGraph {
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
        let (node, read) = prune(b.into_nodes(), &output_names);
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
        TrainingGraph {
            graph,
            opset: self.opset,
            inputs: input_names,
            outputs: output_names,
            opsets: self.opsets.clone(),
        }
    }
}

impl TrainingGraph {
    /// The operator sets that the graph is written in.
    pub fn opset_import(&self) -> Vec<OperatorSetIdProto> {
        self.opsets.clone()
    }

    /// The graph as a model, for ONNX tools.
    pub fn to_model(&self) -> ModelProto {
        ModelProto {
            ir_version: Some(10),
            opset_import: self.opsets.clone(),
            producer_name: Some("bb-autodiff".to_owned()),
            graph: Some(self.graph.clone()),
            ..ModelProto::default()
        }
    }
}

/// `parameter + change`; within the matrix product where `change` is one.
fn add_in_place(b: &mut Builder, parameter: Val, change: Val) -> Val {
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

/// The nodes that `outputs` need, and all names that those read or that are put out.
fn prune(nodes: Vec<NodeProto>, outputs: &[String]) -> (Vec<NodeProto>, BTreeSet<String>) {
    let mut read: BTreeSet<String> = outputs.iter().cloned().collect();
    let mut kept: Vec<NodeProto> = Vec::with_capacity(nodes.len());
    for node in nodes.into_iter().rev() {
        if node.output.iter().any(|name| read.contains(name)) {
            read.extend(node.input.iter().filter(|name| !name.is_empty()).cloned());
            let mut captured = BTreeSet::new();
            for inner in
                node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
            {
                activity::free_names(inner, &mut captured);
            }
            read.extend(captured.into_iter().map(str::to_owned));
            kept.push(node);
        }
    }
    kept.reverse();
    (kept, read)
}

/// `graph`, its parameters being inputs and no longer initializers.
fn parameters_as_inputs(graph: &GraphProto, parameters: &[Parameter]) -> GraphProto {
    let chosen: BTreeSet<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    let mut graph = graph.clone();
    let mut inputs = Vec::with_capacity(graph.input.len() + parameters.len());
    for tensor in &graph.initializer {
        let name = tensor.name.as_deref().unwrap_or_default();
        if chosen.contains(name) {
            let fact = Fact::of_tensor(tensor);
            inputs.push(Fact::new(fact.dtype, fact.shape).to_value_info(name));
        }
    }
    let is_chosen = |name: &Option<String>| chosen.contains(name.as_deref().unwrap_or_default());
    graph.initializer.retain(|tensor| !is_chosen(&tensor.name));
    inputs.extend(graph.input.into_iter().filter(|info| !is_chosen(&info.name)));
    graph.input = inputs;
    graph
}

fn parameter(tensor: &TensorProto) -> Result<Parameter, AutodiffError> {
    let name = tensor.name.clone().unwrap_or_default();
    let undetermined = |what| AutodiffError::Undetermined {
        node: name.clone(),
        op: "initializer".to_owned(),
        value: name.clone(),
        what,
    };
    let dtype = tensor.data_type.and_then(DataType::from_onnx).filter(|&dtype| is_float(dtype));
    let dtype = dtype.ok_or_else(|| undetermined("floating-point element type"))?;
    let extents: Option<Vec<usize>> = tensor.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
    Ok(Parameter { dtype, shape: extents.ok_or_else(|| undetermined("shape"))?.into(), name })
}

/// The initializers that are trained, in their order.
fn choose<'a>(
    graph: &'a GraphProto,
    b: &Builder,
    loss: Val,
    trainable: &Trainable,
) -> Result<Vec<&'a TensorProto>, AutodiffError> {
    let floats = graph
        .initializer
        .iter()
        .filter(|tensor| tensor.data_type.and_then(DataType::from_onnx).is_some_and(is_float));
    let name_of = |tensor: &TensorProto| tensor.name.clone().unwrap_or_default();
    let candidates: Vec<&TensorProto> = match trainable {
        Trainable::Reached => {
            let constants = constant_inputs(b);
            floats.filter(|tensor| !tensor.dims.is_empty() && !constants.contains(&name_of(tensor))).collect()
        }
        Trainable::Named(patterns) => {
            let floats: Vec<&TensorProto> = floats.collect();
            if let Some(unmet) = patterns
                .iter()
                .find(|pattern| !floats.iter().any(|tensor| matches(pattern, &name_of(tensor))))
            {
                let known = floats.iter().map(|tensor| name_of(tensor)).collect();
                return Err(AutodiffError::Unknown { known, name: unmet.clone(), what: "float initializer" });
            }
            let chosen =
                |tensor: &&TensorProto| patterns.iter().any(|pattern| matches(pattern, &name_of(tensor)));
            floats.into_iter().filter(chosen).collect()
        }
    };
    let mut by_value: BTreeMap<Val, &TensorProto> = BTreeMap::new();
    for tensor in candidates {
        by_value.insert(lookup(b, &name_of(tensor))?, tensor);
    }
    let vals: Vec<Val> = by_value.keys().copied().collect();
    let active = activity::analyze(b, loss, &vals)?.values;
    let reached: Vec<&TensorProto> = match trainable {
        Trainable::Reached => {
            by_value.iter().filter(|(val, _)| active.contains(val)).map(|(_, tensor)| *tensor).collect()
        }
        Trainable::Named(_) => by_value.values().copied().collect(),
    };
    if reached.is_empty() || !active.contains(&loss) {
        let candidates = by_value.values().map(|tensor| name_of(tensor)).collect();
        return Err(AutodiffError::Constant { value: b.name(loss).to_owned(), candidates });
    }
    Ok(reached)
}

/// Names of values that some op reads as an input no gradient is known to: class weights, limits.
fn constant_inputs(b: &Builder) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for node in b.nodes() {
        let Some(rule) = find_rule(node) else { continue };
        let fixed = node.input.iter().enumerate().filter(|(index, _)| (rule.flow)(*index) == Flow::Unknown);
        names.extend(fixed.map(|(_, name)| name.clone()));
    }
    names
}

/// Whether `name` is as `pattern` says, where `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|tail| {
            (0..=tail.len()).filter(|&at| tail.is_char_boundary(at)).any(|at| matches(rest, &tail[at..]))
        }),
    }
}
