//! A case as a graph whose inputs and outputs are tensors that [`Tensor`] can hold, as the role of a backend wants it.
//!
//! Nearly all cases are such graphs. For the others, values that a tensor cannot hold (sequences, optional values, text,
//! 8- and 4-bit numbers) become constants of the graph, and what comes out is read by ops of ONNX: `SequenceAt`,
//! `OptionalGetElement`, `Cast`, `LabelEncoder`. So a backend is asked for the op of the case all the same.

use bb_runtime::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TypeProto,
    ValueInfoProto, attribute_proto::AttributeType, type_proto,
};
use bb_runtime::{DataType, Tensor};
use prost::Message;

use crate::archive::DataSet;
use crate::case::{Want, refused, tensor};
use crate::suite::{Outcome, Stage};

/// ONNX's number of the element type for text.
const STRING: i32 = 8;

/// The domain of `LabelEncoder`, and the version whose attributes are written here.
const LABELS: &str = "ai.onnx.ml";
const LABELS_VERSION: i64 = 2;

/// A graph of tensors, what it is given, and what it must give.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) model: ModelProto,
    pub(crate) inputs: Vec<Tensor>,
    pub(crate) outputs: Vec<Want>,
    /// It has constants that a tensor of ours cannot hold; a backend may refuse them in whatever words it has.
    pub(crate) has_foreign: bool,
}

/// `SequenceProto` of `onnx-data.proto`, of tensors.
#[derive(Clone, PartialEq, Message)]
struct Sequence {
    #[prost(message, repeated, tag = "3")]
    tensors: Vec<TensorProto>,
}

/// `OptionalProto` of `onnx-data.proto`, of a tensor or a sequence of tensors.
#[derive(Clone, PartialEq, Message)]
struct Maybe {
    #[prost(message, optional, tag = "3")]
    tensor: Option<TensorProto>,
    #[prost(message, optional, tag = "5")]
    sequence: Option<Sequence>,
}

/// A value of a data set.
enum Held {
    Tensor(Box<TensorProto>),
    Sequence(Vec<TensorProto>),
    Optional(Option<Box<Self>>),
}

/// The case of `model` with one data set.
pub(crate) fn bind(model: &ModelProto, set: &DataSet) -> Result<Bound, Outcome> {
    let mut model = model.clone();
    let Some(graph) = &mut model.graph else { return Err(Outcome::Wrong("no graph".to_owned())) };
    let mut binding = Binding::default();
    let mut inputs = Vec::new();
    for (at, input) in std::mem::take(&mut graph.input).into_iter().enumerate() {
        let Some(bytes) = set.inputs.get(&at) else {
            // An initializer, or an input that the case leaves out.
            graph.input.push(input);
            continue;
        };
        match read(bytes, type_of(&input)?)? {
            Held::Tensor(proto) if is_ours(&proto) => {
                inputs.push(tensor(&proto)?);
                graph.input.push(input);
            }
            held => binding.constant(input.name(), type_of(&input)?, held)?,
        }
    }
    let mut outputs = Vec::new();
    for (at, output) in std::mem::take(&mut graph.output).into_iter().enumerate() {
        let Some(bytes) = set.outputs.get(&at) else {
            return Err(Outcome::Wrong(format!("the case has no output {at}")));
        };
        let held = read(bytes, type_of(&output)?)?;
        if let Held::Tensor(proto) = &held
            && is_ours(proto)
        {
            outputs.push(Want::Tensor(tensor(proto)?));
            graph.output.push(output);
        } else {
            binding.read_out(output.name(), held, &mut graph.output, &mut outputs)?;
        }
    }
    let has_foreign = binding.constants.iter().any(|constant| !is_ours(constant));
    binding.splice(graph);
    if graph.node.iter().any(|node| node.domain() == LABELS)
        && model.opset_import.iter().all(|set| set.domain() != LABELS)
    {
        let (domain, version) = (Some(LABELS.to_owned()), Some(LABELS_VERSION));
        model.opset_import.push(OperatorSetIdProto { domain, version });
    }
    Ok(Bound { model, inputs, outputs, has_foreign })
}

/// What is added to a graph.
#[derive(Default)]
struct Binding {
    before: Vec<NodeProto>,
    after: Vec<NodeProto>,
    constants: Vec<TensorProto>,
}

impl Binding {
    /// Makes the value of input `name` a constant.
    fn constant(&mut self, name: &str, ty: &type_proto::Value, held: Held) -> Result<(), Outcome> {
        match held {
            Held::Tensor(proto) => self.constants.push(TensorProto { name: Some(name.to_owned()), ..*proto }),
            Held::Sequence(tensors) if tensors.is_empty() => {
                let dtype = int("dtype", i64::from(element_type(ty)));
                self.before.push(node("SequenceEmpty", &[], name, vec![dtype]));
            }
            Held::Sequence(tensors) => {
                let mut names = Vec::new();
                for (at, tensor) in tensors.into_iter().enumerate() {
                    names.push(format!("{name}/{at}"));
                    self.constants.push(TensorProto { name: names.last().cloned(), ..tensor });
                }
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                self.before.push(node("SequenceConstruct", &names, name, Vec::new()));
            }
            Held::Optional(held) => {
                let inner = inner_type(ty)?;
                let Some(held) = held else {
                    let absent = AttributeProto {
                        name: Some("type".to_owned()),
                        r#type: Some(AttributeType::TypeProto as i32),
                        tp: Some(inner.clone()),
                        ..AttributeProto::default()
                    };
                    self.before.push(node("Optional", &[], name, vec![absent]));
                    return Ok(());
                };
                let element = format!("{name}/element");
                let inner = inner.value.as_ref().ok_or_else(untyped)?;
                self.constant(&element, inner, *held)?;
                self.before.push(node("Optional", &[&element], name, Vec::new()));
            }
        }
        Ok(())
    }

    /// Adds outputs that tell whether `name` is what is wanted.
    fn read_out(
        &mut self,
        name: &str,
        want: Held,
        outputs: &mut Vec<ValueInfoProto>,
        wants: &mut Vec<Want>,
    ) -> Result<(), Outcome> {
        match want {
            Held::Tensor(proto) if is_ours(&proto) => {
                outputs.push(output(name));
                wants.push(Want::Tensor(tensor(&proto)?));
            }
            Held::Tensor(proto) => {
                let shape = format!("{name}/shape");
                let extents = Tensor::from_slice([proto.dims.len()], &proto.dims);
                self.after.push(node("Shape", &[name], &shape, Vec::new()));
                outputs.push(output(&shape));
                wants.push(Want::Tensor(extents.map_err(|error| Outcome::Wrong(error.to_string()))?));
                if proto.data_type() == STRING {
                    return self.read_text(name, &proto, outputs, wants);
                }
                let wanted = format!("{name}/wanted");
                self.constants.push(TensorProto { name: Some(wanted.clone()), ..*proto });
                let place = outputs.len();
                for (from, to) in [(name, format!("{name}/f32")), (&wanted, format!("{wanted}/f32"))] {
                    let to_f32 = int("to", i64::from(DataType::F32.to_onnx()));
                    self.after.push(node("Cast", &[from], &to, vec![to_f32]));
                    outputs.push(output(&to));
                    wants.push(Want::SameAs(place));
                }
            }
            Held::Sequence(tensors) => {
                let length = format!("{name}/length");
                self.after.push(node("SequenceLength", &[name], &length, Vec::new()));
                outputs.push(output(&length));
                wants.push(Want::Tensor(Tensor::scalar(tensors.len() as i64)));
                for (at, tensor) in tensors.into_iter().enumerate() {
                    let (index, element) = (format!("{name}/index{at}"), format!("{name}/{at}"));
                    self.constants.push(Tensor::scalar(at as i64).to_onnx(&index));
                    self.after.push(node("SequenceAt", &[name, &index], &element, Vec::new()));
                    self.read_out(&element, Held::Tensor(Box::new(tensor)), outputs, wants)?;
                }
            }
            Held::Optional(held) => {
                let has = format!("{name}/has");
                self.after.push(node("OptionalHasElement", &[name], &has, Vec::new()));
                outputs.push(output(&has));
                let is_held = Tensor::zeros(DataType::Bool, []).map(|mut flag| {
                    flag.buffer_mut().make_mut()[0] = u8::from(held.is_some());
                    flag
                });
                wants.push(Want::Tensor(is_held.map_err(|error| Outcome::Wrong(error.to_string()))?));
                if let Some(held) = held {
                    let element = format!("{name}/element");
                    self.after.push(node("OptionalGetElement", &[name], &element, Vec::new()));
                    self.read_out(&element, *held, outputs, wants)?;
                }
            }
        }
        Ok(())
    }

    /// Adds an output of numbers, one for each text that `want` holds, and −1 for any other.
    fn read_text(
        &mut self,
        name: &str,
        want: &TensorProto,
        outputs: &mut Vec<ValueInfoProto>,
        wants: &mut Vec<Want>,
    ) -> Result<(), Outcome> {
        let mut texts = want.string_data.clone();
        texts.sort_unstable();
        texts.dedup();
        if texts.is_empty() {
            return Ok(());
        }
        let number =
            |text: &[u8]| texts.binary_search_by(|held| held.as_slice().cmp(text)).map_or(-1, |at| at as i64);
        let numbers: Vec<i64> = want.string_data.iter().map(|text| number(text)).collect();
        let extents: Vec<usize> = want.dims.iter().map(|&extent| extent as usize).collect();
        let numbers = Tensor::from_slice(extents, &numbers);
        wants.push(Want::Tensor(numbers.map_err(|error| Outcome::Wrong(error.to_string()))?));
        let encoded = format!("{name}/encoded");
        let keys = AttributeProto {
            name: Some("keys_strings".to_owned()),
            r#type: Some(AttributeType::Strings as i32),
            strings: texts.clone(),
            ..AttributeProto::default()
        };
        let values = AttributeProto {
            name: Some("values_int64s".to_owned()),
            r#type: Some(AttributeType::Ints as i32),
            ints: (0..texts.len() as i64).collect(),
            ..AttributeProto::default()
        };
        let encoder = node("LabelEncoder", &[name], &encoded, vec![keys, values, int("default_int64", -1)]);
        self.after.push(NodeProto { domain: Some(LABELS.to_owned()), ..encoder });
        outputs.push(output(&encoded));
        Ok(())
    }

    fn splice(self, graph: &mut GraphProto) {
        let own = std::mem::take(&mut graph.node);
        graph.node = self.before.into_iter().chain(own).chain(self.after).collect();
        graph.initializer.extend(self.constants);
    }
}

fn read(bytes: &[u8], ty: &type_proto::Value) -> Result<Held, Outcome> {
    let damaged = |error: prost::DecodeError| Outcome::Wrong(error.to_string());
    Ok(match ty {
        type_proto::Value::TensorType(_) => {
            Held::Tensor(Box::new(TensorProto::decode(bytes).map_err(damaged)?))
        }
        type_proto::Value::SequenceType(_) => {
            Held::Sequence(Sequence::decode(bytes).map_err(damaged)?.tensors)
        }
        type_proto::Value::OptionalType(_) => {
            let Maybe { tensor, sequence } = Maybe::decode(bytes).map_err(damaged)?;
            let tensor = tensor.map(|tensor| Held::Tensor(Box::new(tensor)));
            let held = tensor.or_else(|| sequence.map(|sequence| Held::Sequence(sequence.tensors)));
            Held::Optional(held.map(Box::new))
        }
        _ => return Err(refused(Stage::Values, "maps and sparse tensors")),
    })
}

fn is_ours(proto: &TensorProto) -> bool {
    DataType::from_onnx(proto.data_type()).is_some()
}

fn type_of(value: &ValueInfoProto) -> Result<&type_proto::Value, Outcome> {
    value.r#type.as_ref().and_then(|ty| ty.value.as_ref()).ok_or_else(untyped)
}

fn inner_type(ty: &type_proto::Value) -> Result<&TypeProto, Outcome> {
    match ty {
        type_proto::Value::OptionalType(optional) => optional.elem_type.as_deref().ok_or_else(untyped),
        _ => Err(untyped()),
    }
}

/// The element type at the bottom of a type.
fn element_type(ty: &type_proto::Value) -> i32 {
    match ty {
        type_proto::Value::TensorType(tensor) => tensor.elem_type(),
        type_proto::Value::SequenceType(sequence) => {
            let inner = sequence.elem_type.as_deref().and_then(|ty| ty.value.as_ref());
            inner.map_or(0, element_type)
        }
        _ => 0,
    }
}

fn untyped() -> Outcome {
    Outcome::Wrong("a value of the case has no type".to_owned())
}

fn node(op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: Some(op.to_owned()),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute,
        ..NodeProto::default()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value),
        ..AttributeProto::default()
    }
}

fn output(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: Some(name.to_owned()), ..ValueInfoProto::default() }
}
