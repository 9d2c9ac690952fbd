//! Which initializers are parameters, and which are state that training makes anew.

use std::collections::{BTreeMap, BTreeSet};

use bb_ir::DataType;
use bb_ir::onnx::{GraphProto, TensorProto};

use super::{Parameter, Trainable};
use crate::AutodiffError;
use crate::activity::{self, find_rule};
use crate::builder::{Builder, Val};
use crate::facts::is_float;
use crate::reverse::lookup;
use crate::rules::Flow;

/// What is said of a float initializer.
pub(super) fn parameter(tensor: &TensorProto) -> Result<Parameter, AutodiffError> {
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

/// The initializers that are trained, in their order; none of `buffers` is.
pub(super) fn choose<'a>(
    graph: &'a GraphProto,
    b: &Builder,
    loss: Val,
    trainable: &Trainable,
    buffers: &BTreeSet<String>,
) -> Result<Vec<&'a TensorProto>, AutodiffError> {
    let name_of = |tensor: &TensorProto| tensor.name.clone().unwrap_or_default();
    let floats = graph.initializer.iter().filter(|tensor| {
        tensor.data_type.and_then(DataType::from_onnx).is_some_and(is_float)
            && !buffers.contains(tensor.name.as_deref().unwrap_or_default())
    });
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

/// Names of values that some op reads as an input that is trained by name only: class weights, limits, tables.
fn constant_inputs(b: &Builder) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for node in b.nodes() {
        let Some(rule) = find_rule(node) else { continue };
        let fixed = node.input.iter().enumerate().filter(|(index, _)| (rule.flow)(*index) == Flow::Asked);
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
