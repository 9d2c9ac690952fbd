//! What a model is made of, and what of it can be run and trained here.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use bb_autodiff::{TrainingGraph, TrainingPlan, expand_gradients};
use bb_runtime::onnx::tensor_shape_proto::dimension::Value as Extent;
use bb_runtime::onnx::type_proto::Value as Type;
use bb_runtime::onnx::{GraphProto, ModelProto, TensorProto, ValueInfoProto};
use bb_runtime::{Backend, BackendGraph, DataType, OpId};
use bytes::Bytes;
use prost::Message;

use super::{OnnxModelError, OnnxModelOptions, external};

/// What a model is made of, and what of it can be run and trained here; shown as a text of a few lines.
///
/// ```
/// use bb_cpu::{CpuBackend, CpuConfig};
/// use bb_learn::models::reference_mlp;
/// use bb_learn::onnx_model::{Inspection, OnnxModelOptions};
/// use bb_runtime::Component;
///
/// let backend = CpuBackend::new(&CpuConfig::default())?;
/// let inspection = Inspection::of(&reference_mlp()?, &OnnxModelOptions::default(), &backend)?;
/// assert_eq!(inspection.parameters[0].to_string(), "w1 f32[64,64]");
/// assert!(inspection.unsupported.is_empty() && inspection.training.is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Inspection {
    /// Who wrote the model, as it says.
    pub producer: String,
    /// The operator sets that it is written in: domain (empty for ONNX's own) and version.
    pub opsets: Vec<(String, i64)>,
    /// What is fed with each batch.
    pub inputs: Vec<Described>,
    /// What comes out.
    pub outputs: Vec<Described>,
    /// What is trained.
    pub parameters: Vec<Described>,
    /// The running means and variances of batch normalization, which training makes anew.
    pub buffers: Vec<Described>,
    /// Initializers that stay as they are.
    pub held: Vec<Described>,
    /// The ops, nested graphs and functions counted in, and how often each is used.
    pub ops: BTreeMap<String, usize>,
    /// Ops that the backend does not run.
    pub unsupported: Vec<String>,
    /// Whether the backend prepares the model, for any number of rows.
    pub running: Result<(), OnnxModelError>,
    /// Whether there is a training step for it that the backend prepares: with its label, if the loss needs one.
    pub training: Result<Option<String>, OnnxModelError>,
}

/// A value: its name, element type and extents, as far as they are declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: Option<DataType>,
    /// Its extents, numbers or names; `?` stands for one that is not known.
    pub shape: Option<Vec<String>>,
}

/// Reads a model with all that it keeps in files beside it.
///
/// # Errors
/// A file that cannot be read, or is no ONNX model.
pub fn read_model(path: impl AsRef<Path>) -> Result<ModelProto, OnnxModelError> {
    let path = path.as_ref();
    let bytes =
        std::fs::read(path).map_err(|source| OnnxModelError::Read { path: path.to_owned(), source })?;
    let mut model = ModelProto::decode(Bytes::from(bytes))?;
    external::read(&mut model, Some(path.parent().unwrap_or(Path::new(""))))?;
    Ok(model)
}

/// Rows for which a step is prepared to see whether the backend can.
const ROWS: usize = 2;

impl Inspection {
    /// Looks at a model.
    ///
    /// # Errors
    /// [`OnnxModelError::NoGraph`].
    pub fn of(
        model: &ModelProto,
        options: &OnnxModelOptions,
        backend: &dyn Backend,
    ) -> Result<Self, OnnxModelError> {
        // What cannot be written out stays, and is said of training.
        let expanded = expand_gradients(model);
        let model = expanded.as_deref().unwrap_or(model);
        let graph = model.graph.as_ref().ok_or(OnnxModelError::NoGraph)?;
        let opsets: Vec<(String, i64)> = model
            .opset_import
            .iter()
            .map(|set| (set.domain().to_owned(), set.version.unwrap_or(1)))
            .collect();
        let mut ops = BTreeMap::new();
        count(graph, &mut ops);
        let own: Vec<OpKey> = model
            .functions
            .iter()
            .map(|function| (function.domain().to_owned(), function.name().to_owned()))
            .collect();
        for function in &model.functions {
            let body = GraphProto { node: function.node.clone(), ..GraphProto::default() };
            count(&body, &mut ops);
        }
        let unsupported = ops
            .keys()
            .filter(|key| !own.contains(key))
            .filter(|(domain, name)| !backend.supports(&OpId::new(domain.clone(), name.clone())))
            .map(shown)
            .collect();
        let plan = TrainingPlan::of_model(model, &options.training());
        let is = |held: &[bb_autodiff::Parameter], tensor: &TensorProto| {
            held.iter().any(|parameter| Some(&parameter.name) == tensor.name.as_ref())
        };
        let (parameters, buffers) = match &plan {
            Ok(plan) => (plan.parameters(), plan.buffers()),
            Err(_) => (&[][..], &[][..]),
        };
        let initializers = |of: &dyn Fn(&TensorProto) -> bool| -> Vec<Described> {
            graph.initializer.iter().filter(|tensor| of(tensor)).map(Described::of_tensor).collect()
        };
        let is_initializer =
            |info: &&ValueInfoProto| graph.initializer.iter().any(|held| held.name == info.name);
        let prepare = |made: TrainingGraph| -> Result<(), OnnxModelError> {
            let opsets = made.opset_import();
            backend.prepare(&BackendGraph::new(made.graph, &opsets))?;
            Ok(())
        };
        let running = BackendGraph::from_model(model)
            .and_then(|graph| backend.prepare(&graph).map(drop))
            .map_err(OnnxModelError::from);
        Ok(Self {
            producer: [model.producer_name(), model.producer_version()].join(" ").trim().to_owned(),
            opsets,
            inputs: graph
                .input
                .iter()
                .filter(|info| !is_initializer(info))
                .map(Described::of_value)
                .collect(),
            outputs: graph.output.iter().map(Described::of_value).collect(),
            parameters: initializers(&|tensor| is(parameters, tensor)),
            buffers: initializers(&|tensor| is(buffers, tensor)),
            held: initializers(&|tensor| !is(parameters, tensor) && !is(buffers, tensor)),
            ops: ops.iter().map(|(key, count)| (shown(key), *count)).collect(),
            unsupported,
            running,
            training: plan.map_err(OnnxModelError::from).and_then(|plan| {
                let rows = match plan.step(Some(ROWS)) {
                    Err(bb_autodiff::AutodiffError::FixedBatch { fixed, .. }) => fixed,
                    _ => ROWS,
                };
                prepare(plan.step(Some(rows))?)?;
                Ok(plan.label().map(|_| options.label.clone()))
            }),
        })
    }

    /// Numbers in all trained parameters together; those of an extent that is no number are not counted.
    pub fn parameter_count(&self) -> usize {
        let count = |held: &Described| -> Option<usize> {
            held.shape.as_ref()?.iter().map(|extent| extent.parse::<usize>().ok()).product()
        };
        self.parameters.iter().filter_map(count).sum()
    }
}

impl Described {
    fn of_tensor(tensor: &TensorProto) -> Self {
        Self {
            name: tensor.name().to_owned(),
            dtype: tensor.data_type.and_then(DataType::from_onnx),
            shape: Some(tensor.dims.iter().map(i64::to_string).collect()),
        }
    }

    fn of_value(info: &ValueInfoProto) -> Self {
        let name = info.name().to_owned();
        let Some(Type::TensorType(tensor)) = info.r#type.as_ref().and_then(|ty| ty.value.as_ref()) else {
            return Self { name, dtype: None, shape: None };
        };
        let extents = tensor.shape.as_ref().map(|shape| {
            let extents = shape.dim.iter().map(|dim| match &dim.value {
                Some(Extent::DimValue(extent)) => extent.to_string(),
                Some(Extent::DimParam(name)) if !name.is_empty() => name.clone(),
                _ => "?".to_owned(),
            });
            extents.collect()
        });
        Self { name, dtype: tensor.elem_type.and_then(DataType::from_onnx), shape: extents }
    }
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.dtype {
            Some(dtype) => write!(f, " {dtype}")?,
            None => f.write_str(" ?")?,
        }
        match &self.shape {
            Some(shape) => write!(f, "[{}]", shape.join(",")),
            None => f.write_str("[…]"),
        }
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sets: Vec<String> = self
            .opsets
            .iter()
            .map(|(domain, version)| match domain.as_str() {
                "" | "ai.onnx" => format!("opset {version}"),
                domain => format!("{domain} {version}"),
            })
            .collect();
        let producer = if self.producer.is_empty() { "unknown" } else { &self.producer };
        writeln!(f, "written by {producer}, {}", sets.join(", "))?;
        for (title, values) in [
            ("inputs", &self.inputs),
            ("outputs", &self.outputs),
            ("parameters", &self.parameters),
            ("running moments", &self.buffers),
            ("held as they are", &self.held),
        ] {
            if !values.is_empty() {
                writeln!(f, "{title}")?;
                values.iter().try_for_each(|value| writeln!(f, "  {value}"))?;
            }
        }
        let ops: Vec<String> = self.ops.iter().map(|(op, count)| format!("{op} × {count}")).collect();
        writeln!(f, "ops\n  {}", ops.join(", "))?;
        if !self.unsupported.is_empty() {
            writeln!(f, "ops that the backend does not run\n  {}", self.unsupported.join(", "))?;
        }
        match &self.running {
            Ok(()) => writeln!(f, "runs: yes")?,
            Err(error) => writeln!(f, "runs: no: {error}")?,
        }
        match &self.training {
            Ok(label) => {
                let numbers = self.parameter_count();
                write!(f, "trains: yes, {} parameters of {numbers} numbers, ", self.parameters.len())?;
                match label {
                    Some(label) => writeln!(f, "compared with `{label}`"),
                    None => writeln!(f, "by the loss that it brings"),
                }
            }
            Err(error) => writeln!(f, "trains: no: {error}"),
        }
    }
}

/// An op: its domain, empty for ONNX's own, and its name.
type OpKey = (String, String);

fn shown((domain, name): &OpKey) -> String {
    if domain.is_empty() { name.clone() } else { format!("{domain}::{name}") }
}

/// Counts the ops of a graph and of those nested in it.
fn count(graph: &GraphProto, ops: &mut BTreeMap<OpKey, usize>) {
    for node in &graph.node {
        let domain = if node.domain() == "ai.onnx" { "" } else { node.domain() };
        *ops.entry((domain.to_owned(), node.op_type().to_owned())).or_default() += 1;
        for attribute in &node.attribute {
            attribute.g.iter().chain(&attribute.graphs).for_each(|inner| count(inner, ops));
        }
    }
}
