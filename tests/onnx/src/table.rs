//! The page of the book that lists what the embedded backend runs: its own table, with what the node cases show.

use std::collections::{BTreeMap, BTreeSet};

use bb_runtime::onnx::{ModelProto, ValueInfoProto, type_proto};
use bb_runtime::{DataType, OpId};
use prost::Message;

use crate::archive::Case;

const HEAD: &str = "# Supported ops

`CpuBackend` runs the ops below; `cargo xtask op-table` writes this page and CI compares it. An op is understood from the
first version of the operator set in its row; where a later version changed its meaning, that is named too. *Types* are the
element types of first inputs seen to work in the ONNX project's node cases, *cases* how many of an op's cases pass: a
case that does not is refused when the graph is prepared, with the op's name. *Gradient*: *yes* where `bb-autodiff` has a
rule, so that the op may lie between a loss and a parameter; *constant* where none is needed, because what the op gives is no
float, is constant almost everywhere or does not depend on the elements of what it reads: nothing flows back through it. An op
without an entry, or a form of one that its rule does not cover, is refused on such a path, with the op, the node and the reason.

`OrtBackend` runs whatever the onnxruntime that it loads has kernels for, and is asked at run time.

";

/// What a row is made of.
#[derive(Default)]
struct Row {
    versions: BTreeSet<i64>,
    types: BTreeSet<DataType>,
    passed: usize,
    cases: usize,
}

/// The ops that gradients pass, and those that need none.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// Ops that have a rule.
    pub rules: Vec<&'static str>,
    /// Ops through which nothing flows.
    pub constant: Vec<&'static str>,
}

/// The page, from the ops of the backend, their gradients, all cases, and the names of those that pass.
pub fn page(ops: &[(OpId, i64)], gradients: &Gradients, cases: &[Case], passed: &BTreeSet<&str>) -> String {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for (op, since) in ops {
        rows.entry(name(op.domain().as_str(), op.name())).or_default().versions.insert(*since);
    }
    for case in cases {
        let Some(graph) = ModelProto::decode(case.model.as_slice()).ok().and_then(|model| model.graph) else {
            continue;
        };
        let [node] = graph.node.as_slice() else { continue };
        let Some(row) = rows.get_mut(&name(node.domain(), node.op_type())) else { continue };
        row.cases += 1;
        if passed.contains(case.name.as_str()) {
            row.passed += 1;
            row.types.extend(graph.input.first().and_then(dtype));
        }
    }
    let mut page = HEAD.to_owned();
    page.push_str("| op | from version | types | cases | gradient |\n|---|---|---|---|---|\n");
    for (op, Row { versions, types, passed, cases }) in rows {
        let versions = list(versions.into_iter());
        let types = list(types.into_iter());
        let cases = if cases == 0 { String::new() } else { format!("{passed} of {cases}") };
        let gradient = match op.as_str() {
            op if gradients.rules.contains(&op) => "yes",
            op if gradients.constant.contains(&op) => "constant",
            _ => "",
        };
        page.push_str(&format!("| `{op}` | {versions} | {types} | {cases} | {gradient} |\n"));
    }
    page
}

fn name(domain: &str, op: &str) -> String {
    if domain.is_empty() || domain == "ai.onnx" { op.to_owned() } else { format!("{domain}.{op}") }
}

fn list(items: impl Iterator<Item = impl ToString>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

fn dtype(input: &ValueInfoProto) -> Option<DataType> {
    match input.r#type.as_ref()?.value.as_ref()? {
        type_proto::Value::TensorType(tensor) => DataType::from_onnx(tensor.elem_type()),
        _ => None,
    }
}
