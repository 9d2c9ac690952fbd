//! What the methods of components take and give.

use bb_ir::ValueType as T;
use bb_ir::program::{Node, domains};

/// What an op takes and gives.
pub(in super::super) struct Signature {
    /// For each input, the types it may have.
    pub(in super::super) inputs: Vec<Vec<T>>,
    /// For each output, its type.
    pub(in super::super) outputs: Vec<T>,
}

/// The signature of a method of a component; `None` for what is not one that is known.
pub(in super::super) fn signature(node: &Node) -> Option<Signature> {
    let (inputs, outputs): (Vec<Vec<T>>, Vec<T>) = match (node.op.domain().as_str(), node.op.name()) {
        (domains::AGGREGATOR, "Aggregate") => (vec![vec![T::I64]], vec![T::Tensors]),
        (domains::AGGREGATOR, "Begin") => (vec![], vec![]),
        (domains::AGGREGATOR, "Contribute") => {
            (vec![vec![T::Peer], vec![T::Tensors], vec![T::I64, T::F64]], vec![])
        }
        (domains::MODEL, "ApplyDelta") => (vec![vec![T::Tensors], vec![T::F64]], vec![]),
        (domains::MODEL, "Backward" | "Forward") => (vec![vec![T::Tensors]], vec![T::Tensors]),
        (domains::MODEL, "Evaluate") => (vec![], vec![T::F64, T::F64]),
        (domains::MODEL, "Fit") => (vec![], vec![T::I64, T::F64]),
        (domains::MODEL, "LoadParameters") => (vec![vec![T::Tensors]], vec![]),
        (domains::MODEL, "Loss" | "TrainStep") => (vec![vec![T::Tensors]], vec![T::F64]),
        (domains::MODEL, "Mix") => (vec![vec![T::Tensors], vec![T::F64]], vec![]),
        (domains::MODEL, "Parameters") => (vec![], vec![T::Tensors]),
        (domains::PEER_SELECTOR, "Sample" | "View") => (vec![], vec![T::Peers]),
        _ => return None,
    };
    Some(Signature { inputs, outputs })
}
