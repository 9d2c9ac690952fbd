//! Operands that are broadcast as versions before 7 did it: by the attributes `broadcast` and `axis`.

use bb_runtime::{Shape, Tensor};
use smallvec::SmallVec;

use super::Kernel;
use crate::fault::{Fault, Outcome};
use crate::io::{Hands, Io, Lasting, Source, Values};
use crate::node::NodeDef;
use crate::shape;

/// How the second operand meets the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meeting {
    /// Both have one shape.
    Same,
    /// It meets the last axes.
    Last,
    /// It meets the axes from this one on.
    From(i64),
}

/// A kernel of two operands, of which the second is broadcast by the attributes.
pub(super) fn broadcast_by_attributes(node: &NodeDef<'_>, kernel: Kernel) -> Outcome<Kernel> {
    let meeting = match (node.flag("broadcast"), node.int("axis")) {
        (false, _) => Meeting::Same,
        (true, None) => Meeting::Last,
        (true, Some(axis)) => Meeting::From(axis),
    };
    Ok(meet(meeting, kernel))
}

/// A kernel of two operands, of which the second has one number a channel.
pub(super) fn one_a_channel(kernel: Kernel) -> Kernel {
    meet(Meeting::From(1), kernel)
}

fn meet(meeting: Meeting, mut kernel: Kernel) -> Kernel {
    Kernel::new(move |io| {
        let (a, b) = (io.input(0)?, io.input(1)?);
        let b = match meeting {
            Meeting::Same if a.shape() != b.shape() => {
                return Err(Fault::shape("without `broadcast` both operands must have one shape"));
            }
            Meeting::From(axis) if b.element_count() != 1 => {
                let rank = a.shape().rank();
                let after = rank.saturating_sub(shape::axis(axis, rank)?).saturating_sub(b.shape().rank());
                let extents: Shape = b.shape().iter().copied().chain(std::iter::repeat_n(1, after)).collect();
                b.reshaped(extents)?
            }
            _ => b.clone(),
        };
        run_on(io, &mut kernel, &[a.clone(), b])
    })
    .via_f32()
}

/// Runs a kernel on other inputs than the node's.
pub(super) fn run_on(io: &mut Io<'_, '_>, kernel: &mut Kernel, inputs: &[Tensor]) -> Outcome {
    let sources: SmallVec<[Source; 4]> = (0..inputs.len() as u32).map(Source::Input).collect();
    let values = Values { constants: &[], inputs, slots: &[] };
    let mut hands = Hands::default();
    let (wanted, lasting) = (io.wanted, Lasting::default());
    let mut inner = Io { sources: &sources, values, hands: &mut hands, wanted, pool: io.pool, lasting };
    (kernel.run)(&mut inner)?;
    for (index, tensor) in hands.outputs.into_iter().enumerate() {
        if let Some(tensor) = tensor {
            io.emit(index, tensor);
        }
    }
    Ok(())
}
