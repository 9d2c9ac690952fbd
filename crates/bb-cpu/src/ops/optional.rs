//! Values that may be absent.

use bb_runtime::onnx::type_proto;
use bb_runtime::{DataType, Shape};

use super::layout::pass;
use super::sequence::keep;
use super::{Entry, Kernel, op};
use crate::compound::{Compound, Kind};
use crate::fault::{Fault, Outcome};
use crate::node::NodeDef;

pub(super) const OPS: &[Entry] = &[
    op("Optional", 15, optional),
    op("OptionalGetElement", 15, element),
    op("OptionalHasElement", 15, has_element),
];

fn optional(node: &NodeDef<'_>) -> Outcome<Kernel> {
    if !node.is_given(0) {
        let kind = match node.type_proto("type")? {
            type_proto::Value::TensorType(_) => Kind::MaybeTensor,
            type_proto::Value::SequenceType(_) => Kind::MaybeSequence,
            _ => return Err(Fault::attribute("type", "must be that of a tensor or a sequence")),
        };
        let run = Kernel::new(|io| {
            io.emit_compound(0, Compound::Absent);
            Ok(())
        });
        return Ok(run.gives([kind]));
    }
    match node.kind(0) {
        Kind::Tensor => {}
        Kind::Sequence => return Ok(pass(node, Kind::MaybeSequence)),
        held @ (Kind::MaybeSequence | Kind::MaybeTensor) => {
            return Err(Fault::Unsupported(format!("{held} as input 0")));
        }
    }
    let run = Kernel::new(|io| {
        let tensor = keep(io, 0)?;
        io.emit_compound(0, Compound::Tensor(tensor));
        Ok(())
    });
    Ok(run.in_place().gives([Kind::MaybeTensor]))
}

fn element(node: &NodeDef<'_>) -> Outcome<Kernel> {
    match node.kind(0) {
        Kind::Tensor => return Ok(pass(node, Kind::Tensor)),
        Kind::MaybeTensor => {}
        Kind::MaybeSequence | Kind::Sequence => {
            let run = Kernel::new(|io| {
                let sequence = io.take_sequence(0)?;
                io.emit_compound(0, Compound::Sequence(sequence));
                Ok(())
            });
            return Ok(run.gives([Kind::Sequence]));
        }
    }
    let run = Kernel::new(|io| match io.take_compound(0)? {
        Compound::Tensor(tensor) => {
            io.emit(0, tensor);
            Ok(())
        }
        Compound::Absent | Compound::Sequence(_) => Err(Fault::shape("the optional value is absent")),
    });
    Ok(run.gives([Kind::Tensor]))
}

fn has_element(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let (is_given, kind) = (node.is_given(0), node.kind(0));
    let run = Kernel::new(move |io| {
        let is_there = match kind {
            Kind::Tensor => is_given,
            _ => !matches!(io.compound(0)?, Compound::Absent),
        };
        let mut flag = io.alloc(DataType::Bool, &Shape::scalar())?;
        flag.buffer_mut().make_mut().fill(u8::from(is_there));
        io.emit(0, flag);
        Ok(())
    });
    Ok(run.gives([Kind::Tensor]))
}
