//! Which of the engine's ops a node is.

use std::time::Duration;

use bb_ir::program::{Attribute, Node, domains};

use super::super::dense::{Dispatch, Method, Request, Run, Send, SendKind};
use super::syscalls::{source, syscall};
use super::{Attributes, Lowering, Lowers, Parts};
use crate::{Role, Value, ValueType};

impl Lowering<'_> {
    /// What the node becomes; `op` is its index if it becomes an op.
    pub(super) fn lower_node(&mut self, index: usize, parts: &mut Parts, op: u32) -> Result<Lowers, String> {
        let node = &self.graph.nodes[index];
        let attributes = Attributes(node);
        let (domain, name) = (node.op.domain().as_str(), node.op.name());
        let dispatch = match (domain, name) {
            (domains::SYSCALL, "Constant") => return constant(node).map(Lowers::Constant),
            (domains::SYSCALL, "PassThrough") => {
                arity(node, 1, 1)?;
                Dispatch::PassThrough
            }
            (domains::SYSCALL, "Bundle") => {
                arity(node, node.inputs.len(), 1)?;
                Dispatch::Bundle
            }
            (domains::SYSCALL, "Unbundle") => {
                arity(node, 1, node.outputs.len())?;
                Dispatch::Unbundle
            }
            (domains::SYSCALL, _) => {
                if node.op.is_source() {
                    arity(node, 0, 1)?;
                    return source(node).map(Lowers::Source);
                }
                parts.syscalls.push(syscall(node, op, &mut parts.eager)?);
                Dispatch::Syscall(parts.syscalls.len() as u32 - 1)
            }
            (domains::WIRE, "Recv") => {
                let port = attributes.int("port")?;
                let port = u32::try_from(port).map_err(|_| format!("attribute `port`: {port} is no port"))?;
                return Ok(Lowers::Argument { port });
            }
            (domains::WIRE, "Source") => {
                arity(node, 0, 1)?;
                Dispatch::Source
            }
            (domains::WIRE, "Send") => {
                parts.sends.push(self.send(node)?);
                Dispatch::Send(parts.sends.len() as u32 - 1)
            }
            (domains::BACKEND, "Run") => {
                let slot = self.slot(node, Role::Backend)?;
                let graph = super::super::backend_graph(self.program, attributes.graph("graph")?)?;
                parts.runs.push(Run { slot, graph, op });
                Dispatch::Run(parts.runs.len() as u32 - 1)
            }
            _ => {
                let method = self.method(node)?;
                Dispatch::Method(method, self.slot(node, method.role())?)
            }
        };
        Ok(Lowers::Op(dispatch))
    }

    fn method(&mut self, node: &Node) -> Result<Method, String> {
        let attributes = Attributes(node);
        let inputs = |count| arity(node, count, node.outputs.len());
        let method = match (node.op.domain().as_str(), node.op.name()) {
            (domains::AGGREGATOR, "Aggregate") => Method::AggregatorAggregate,
            (domains::AGGREGATOR, "Begin") => Method::AggregatorBegin,
            (domains::AGGREGATOR, "Contribute") => {
                inputs(3)?;
                Method::AggregatorContribute
            }
            (domains::MODEL, "ApplyDelta") => {
                inputs(2)?;
                Method::ModelApplyDelta
            }
            (domains::MODEL, "Backward") => {
                inputs(1)?;
                Method::ModelBackward
            }
            (domains::MODEL, "Evaluate") => {
                Method::ModelEvaluate { data: self.used(node, Role::DataSource)? }
            }
            (domains::MODEL, "Fit") => Method::ModelFit {
                data: self.used(node, Role::DataSource)?,
                epochs: attributes.count("epochs")?,
                batch: attributes.count("batch")?,
            },
            (domains::MODEL, "Forward") => {
                inputs(1)?;
                Method::ModelForward
            }
            (domains::MODEL, "LoadParameters") => {
                inputs(1)?;
                Method::ModelLoadParameters
            }
            (domains::MODEL, "Loss") => {
                inputs(1)?;
                Method::ModelLoss
            }
            (domains::MODEL, "Mix") => {
                inputs(2)?;
                Method::ModelMix
            }
            (domains::MODEL, "Parameters") => Method::ModelParameters,
            (domains::MODEL, "TrainStep") => {
                inputs(1)?;
                Method::ModelTrainStep
            }
            (domains::PEER_SELECTOR, "Sample") => Method::PeersSample { count: attributes.count("count")? },
            (domains::PEER_SELECTOR, "View") => Method::PeersView,
            (domains::ONNX, _) => {
                return Err(
                    "an ONNX op runs only inside of backend::Run; the fuse pass puts it there".to_owned()
                );
            }
            _ => return Err("no such op".to_owned()),
        };
        Ok(method)
    }

    fn slot(&mut self, node: &Node, role: Role) -> Result<u32, String> {
        let name = node.slot.as_deref().ok_or("it needs a slot")?;
        self.slot_named(name, role)
    }

    fn used(&mut self, node: &Node, role: Role) -> Result<u32, String> {
        let name = node.uses.first().ok_or_else(|| format!("it must use a slot of role {role}"))?;
        self.slot_named(name, role)
    }

    fn slot_named(&mut self, name: &str, role: Role) -> Result<u32, String> {
        let slot = *self.slots.get(name).ok_or_else(|| format!("slot `{name}` is not bound"))?;
        self.uses.push((slot, role));
        Ok(slot)
    }

    fn send(&self, node: &Node) -> Result<Send, String> {
        let attributes = Attributes(node);
        let ports = attributes.ports("ports")?;
        let (kind, leading) = match attributes.text_or("kind", "")? {
            "cast" => (SendKind::Cast, 1),
            "reply" => (SendKind::Reply, 0),
            "request" => (SendKind::Request(self.request(node)?), 1),
            other => return Err(format!("attribute `kind` is `{other}`; it is cast, reply or request")),
        };
        let trailing = match &kind {
            SendKind::Request(request) => request.captured as usize,
            _ => 0,
        };
        arity(node, leading + ports.len() + trailing, node.outputs.len())?;
        Ok(Send { kind, ports })
    }

    fn request(&self, node: &Node) -> Result<Request, String> {
        let attributes = Attributes(node);
        let ports = attributes.ports("answer_ports")?;
        let regions = &self.program.targets[self.target].regions;
        let first = attributes.text_or("mode", "each")? == "first";
        let answer = match attributes.int_or("answer", -1)? {
            -1 if first => None,
            number => match usize::try_from(number) {
                Ok(region) if region < regions.len() => Some(region as u32),
                _ => return Err(format!("attribute `answer`: the target has no region {number}")),
            },
        };
        let captured = u32::try_from(attributes.int_or("captured", 0)?)
            .map_err(|_| "attribute `captured` must not be negative".to_owned())?;
        let types: Vec<ValueType> = match answer {
            None => {
                let outputs = node.outputs.get(1..).unwrap_or_default();
                let ty =
                    |value: &Option<_>| value.map_or(ValueType::Any, |id| self.graph.value(id).ty.clone());
                outputs.iter().map(ty).collect()
            }
            Some(region) => {
                let graph = &regions[region as usize].graph;
                if graph.inputs.len() != captured as usize {
                    return Err(format!(
                        "region {region} captures {} values, {captured} are given",
                        graph.inputs.len()
                    ));
                }
                ports.iter().map(|&port| received_type(graph, port)).collect()
            }
        };
        if answer.is_none() && types.len() != ports.len() {
            return Err(format!("{} results for {} answer ports", types.len(), ports.len()));
        }
        let quorum = match attributes.int_or("quorum", -1)? {
            -1 => None,
            number => Some(
                u32::try_from(number).map_err(|_| format!("attribute `quorum`: {number} is no quorum"))?,
            ),
        };
        let deadline = match attributes.int_or("deadline_ns", 0)? {
            0 => None,
            number => Some(Duration::from_nanos(
                u64::try_from(number)
                    .map_err(|_| "attribute `deadline_ns` must not be negative".to_owned())?,
            )),
        };
        let answer_ports = ports.iter().copied().zip(types).collect();
        Ok(Request { answer, answer_ports, quorum: if first { Some(1) } else { quorum }, deadline, captured })
    }
}

fn received_type(graph: &bb_ir::program::Graph, port: u32) -> ValueType {
    let received = graph.nodes.iter().find(|node| {
        node.op.is(domains::WIRE, "Recv")
            && node.attributes.get("port") == Some(&Attribute::Int(i64::from(port)))
    });
    let output = received.and_then(|node| node.outputs.first().copied().flatten());
    output.map_or(ValueType::Any, |id| graph.value(id).ty.clone())
}

fn constant(node: &Node) -> Result<Value, String> {
    match node.attributes.get("value") {
        Some(Attribute::Tensor(tensor)) => Ok(Value::Tensor(tensor.clone())),
        Some(Attribute::Value(value)) => Ok(value.clone()),
        _ => Err("attribute `value` is missing; it must be a tensor or another value".to_owned()),
    }
}

pub(super) fn arity(node: &Node, inputs: usize, outputs: usize) -> Result<(), String> {
    if node.inputs.len() != inputs {
        return Err(format!("it takes {inputs} inputs, {} are given", node.inputs.len()));
    }
    if node.outputs.len() != outputs {
        return Err(format!("it has {outputs} outputs, {} are named", node.outputs.len()));
    }
    Ok(())
}
