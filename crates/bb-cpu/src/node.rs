//! A node as kernels are built from: its op, its version, its attributes.

use bb_runtime::onnx::{AttributeProto, GraphProto, NodeProto, type_proto};
use bb_runtime::{DataType, OpId, Tensor};

use crate::CpuConfig;
use crate::compound::{Kind, Kinds};
use crate::fault::{Fault, Outcome};

/// A node as kernels are built from.
pub(crate) struct NodeDef<'a> {
    pub(crate) op: OpId,
    pub(crate) name: String,
    pub(crate) opset: i64,
    pub(crate) opsets: &'a [(String, i64)],
    pub(crate) config: &'a CpuConfig,
    /// How deep the graph is nested that the node stands in.
    pub(crate) depth: usize,
    /// The values so far that are no tensors.
    pub(crate) kinds: &'a Kinds,
    proto: &'a NodeProto,
}

impl<'a> NodeDef<'a> {
    pub(crate) fn new(
        proto: &'a NodeProto,
        opsets: &'a [(String, i64)],
        config: &'a CpuConfig,
        depth: usize,
        kinds: &'a Kinds,
    ) -> Self {
        let op = OpId::new(proto.domain().to_owned(), proto.op_type().to_owned());
        let opset = version_of(&op, opsets);
        Self { op, name: name_of(proto), opset, opsets, config, depth, kinds, proto }
    }

    pub(crate) fn input_count(&self) -> usize {
        self.proto.input.len()
    }

    /// Whether the node names input `index`.
    pub(crate) fn is_given(&self, index: usize) -> bool {
        self.proto.input.get(index).is_some_and(|name| !name.is_empty())
    }

    /// What input `index` is.
    pub(crate) fn kind(&self, index: usize) -> Kind {
        self.proto.input.get(index).map_or(Kind::Tensor, |name| self.kinds.of(name))
    }

    /// Refuses inputs from `first` on that are no tensors.
    pub(crate) fn expect_tensors(&self, first: usize) -> Outcome {
        (first..self.input_count()).try_for_each(|at| self.expect(at, Kind::Tensor))
    }

    /// Refuses input `index` if it is anything but this.
    pub(crate) fn expect(&self, index: usize, kind: Kind) -> Outcome {
        match self.kind(index) {
            held if held == kind => Ok(()),
            held => Err(Fault::Unsupported(format!("{held} as input {index}"))),
        }
    }

    pub(crate) fn output_count(&self) -> usize {
        self.proto.output.len()
    }

    fn find(&self, name: &str) -> Option<&'a AttributeProto> {
        self.proto.attribute.iter().find(|attribute| attribute.name() == name)
    }

    pub(crate) fn has(&self, name: &'static str) -> bool {
        self.find(name).is_some()
    }

    pub(crate) fn int(&self, name: &'static str) -> Option<i64> {
        self.find(name).map(AttributeProto::i)
    }

    pub(crate) fn int_or(&self, name: &'static str, otherwise: i64) -> i64 {
        self.int(name).unwrap_or(otherwise)
    }

    pub(crate) fn flag(&self, name: &'static str) -> bool {
        self.int_or(name, 0) != 0
    }

    pub(crate) fn float(&self, name: &'static str) -> Option<f32> {
        self.find(name).map(AttributeProto::f)
    }

    pub(crate) fn float_or(&self, name: &'static str, otherwise: f32) -> f32 {
        self.float(name).unwrap_or(otherwise)
    }

    pub(crate) fn ints(&self, name: &'static str) -> Option<&'a [i64]> {
        self.find(name).map(|attribute| attribute.ints.as_slice())
    }

    pub(crate) fn floats(&self, name: &'static str) -> Option<&'a [f32]> {
        self.find(name).map(|attribute| attribute.floats.as_slice())
    }

    pub(crate) fn string(&self, name: &'static str) -> Outcome<Option<&'a str>> {
        self.find(name).map(|attribute| text(name, attribute.s())).transpose()
    }

    pub(crate) fn string_or(&self, name: &'static str, otherwise: &'static str) -> Outcome<&'a str> {
        Ok(self.string(name)?.unwrap_or(otherwise))
    }

    pub(crate) fn strings(&self, name: &'static str) -> Outcome<Vec<&'a str>> {
        self.find(name)
            .map(|attribute| attribute.strings.iter().map(|one| text(name, one)).collect())
            .unwrap_or_else(|| Ok(Vec::new()))
    }

    pub(crate) fn tensor(&self, name: &'static str) -> Outcome<Option<Tensor>> {
        match self.find(name).and_then(|attribute| attribute.t.as_ref()) {
            None => Ok(None),
            Some(proto) => {
                Tensor::from_onnx(proto).map(Some).map_err(|error| Fault::attribute(name, error.to_string()))
            }
        }
    }

    pub(crate) fn graph(&self, name: &'static str) -> Outcome<&'a GraphProto> {
        self.find(name)
            .and_then(|attribute| attribute.g.as_ref())
            .ok_or_else(|| Fault::attribute(name, "is missing: it must be a graph"))
    }

    pub(crate) fn type_proto(&self, name: &'static str) -> Outcome<&'a type_proto::Value> {
        self.find(name)
            .and_then(|attribute| attribute.tp.as_ref()?.value.as_ref())
            .ok_or_else(|| Fault::attribute(name, "is missing: it must be a type"))
    }

    /// All graphs among the attributes, in order.
    pub(crate) fn graphs(&self) -> impl Iterator<Item = (&'a str, &'a GraphProto)> {
        self.proto.attribute.iter().filter_map(|attribute| Some((attribute.name(), attribute.g.as_ref()?)))
    }

    /// An attribute that names an element type by its ONNX number.
    pub(crate) fn dtype(&self, name: &'static str) -> Outcome<Option<DataType>> {
        match self.int(name) {
            None => Ok(None),
            Some(number) => i32::try_from(number)
                .ok()
                .and_then(DataType::from_onnx)
                .map(Some)
                .ok_or_else(|| Fault::Unsupported(format!("{name}={number}"))),
        }
    }
}

/// The version of the operator set that an op belongs to.
pub(crate) fn version_of(op: &OpId, opsets: &[(String, i64)]) -> i64 {
    opsets.iter().find(|(domain, _)| domain == op.domain().as_str()).map_or(1, |(_, version)| *version)
}

/// What errors call a node: its name, or else that of its first output.
pub(crate) fn name_of(proto: &NodeProto) -> String {
    match proto.name() {
        "" => proto.output.first().cloned().unwrap_or_default(),
        name => name.to_owned(),
    }
}

fn text<'a>(name: &'static str, bytes: &'a [u8]) -> Outcome<&'a str> {
    std::str::from_utf8(bytes).map_err(|_| Fault::attribute(name, "is not UTF-8"))
}
