//! Methods of components: inputs of an op into arguments, answers into its outputs.

use smallvec::SmallVec;

use super::components::{CallContext, Called, Components};
use super::dense::Method;
use super::frame::Held;
use crate::contracts::{Answer, Batch, Fit, Meta};
use crate::error::OpError;
use crate::{ComponentError, PeerId, TensorMap, Value, ValueType};

/// The inputs of an op, in order; an input that was left out is none.
pub(crate) type Inputs = SmallVec<[Option<Held>; 4]>;

/// Calls `method` of the component in `slot`.
pub(crate) fn call(
    components: &mut Components,
    slot: u32,
    method: Method,
    cx: CallContext<'_>,
    inputs: &mut Inputs,
) -> Result<Called, OpError> {
    let role = method.role();
    match method {
        Method::AggregatorAggregate => {
            components.call(slot, cx, |held, cx| Some(held.as_aggregator()?.aggregate(cx)), role)
        }
        Method::AggregatorBegin => {
            components.call(slot, cx, |held, cx| Some(held.as_aggregator()?.begin(cx)), role)
        }
        Method::AggregatorContribute => {
            let (from, update) = (peer(inputs, 0)?, tensors(inputs, 1)?);
            let meta = Meta { weight: number(inputs, 2)? };
            components.call(
                slot,
                cx,
                |held, cx| Some(held.as_aggregator()?.contribute(cx, from, update, meta)),
                role,
            )
        }
        Method::ComponentBootstrap => components.call(slot, cx, |held, cx| Some(held.bootstrap(cx)), role),
        Method::ModelApplyDelta => {
            let (delta, scale) = (tensors(inputs, 0)?, number(inputs, 1)?);
            components.call(slot, cx, |held, cx| Some(held.as_model()?.apply_delta(cx, &delta, scale)), role)
        }
        Method::ModelBackward => {
            let batch = batch(tensors(inputs, 0)?);
            components.call(slot, cx, |held, cx| Some(held.as_model()?.backward(cx, &batch)), role)
        }
        Method::ModelEvaluate { data } => components
            .call_with_data(slot, data, cx, |held, cx, data| Some(held.as_model()?.evaluate(cx, data))),
        Method::ModelFit { data, epochs, batch } => {
            let fit = Fit { epochs, batch };
            components
                .call_with_data(slot, data, cx, |held, cx, data| Some(held.as_model()?.fit(cx, data, fit)))
        }
        Method::ModelForward => {
            let given = tensors(inputs, 0)?;
            components.call(slot, cx, |held, cx| Some(held.as_model()?.forward(cx, &given)), role)
        }
        Method::ModelLoadParameters => {
            let given = tensors(inputs, 0)?;
            components.call(slot, cx, |held, cx| Some(held.as_model()?.load_parameters(cx, &given)), role)
        }
        Method::ModelLoss => {
            let batch = batch(tensors(inputs, 0)?);
            components.call(slot, cx, |held, cx| Some(held.as_model()?.loss(cx, &batch)), role)
        }
        Method::ModelMix => {
            let (other, weight) = (tensors(inputs, 0)?, number(inputs, 1)?);
            components.call(slot, cx, |held, cx| Some(held.as_model()?.mix(cx, &other, weight)), role)
        }
        Method::ModelParameters => {
            components.call(slot, cx, |held, cx| Some(held.as_model()?.parameters(cx)), role)
        }
        Method::ModelTrainStep => {
            let batch = batch(tensors(inputs, 0)?);
            components.call(slot, cx, |held, cx| Some(held.as_model()?.train_step(cx, &batch)), role)
        }
        Method::PeersSample { count } => components.call(
            slot,
            cx,
            |held, cx| -> Option<Result<Answer<Vec<PeerId>>, ComponentError>> {
                Some(held.as_peer_selector()?.sample(cx, count as usize))
            },
            role,
        ),
        Method::PeersView => {
            components.call(slot, cx, |held, cx| Some(held.as_peer_selector()?.view(cx)), role)
        }
    }
}

/// The peers that an input names, in order and each once.
pub(crate) fn peers(inputs: &mut Inputs, index: usize) -> Result<SmallVec<[PeerId; 4]>, OpError> {
    match value(inputs, index) {
        Some(Value::Peer(peer)) => Ok(SmallVec::from_elem(peer, 1)),
        Some(Value::Peers(peers)) => {
            let byte_count = size_of_val::<[PeerId]>(&peers);
            let mut each = SmallVec::new();
            each.try_reserve_exact(peers.len()).map_err(|_| OpError::AllocationFailed { byte_count })?;
            let mut seen = std::collections::BTreeSet::new();
            each.extend(peers.iter().copied().filter(|peer| seen.insert(*peer)));
            Ok(each)
        }
        other => Err(wrong(index, ValueType::Peers, other.as_ref())),
    }
}

pub(crate) fn tensor(inputs: &mut Inputs, index: usize) -> Result<crate::Tensor, OpError> {
    match value(inputs, index) {
        Some(Value::Tensor(tensor)) => Ok(tensor),
        other => Err(wrong(index, ValueType::ANY_TENSOR, other.as_ref())),
    }
}

fn tensors(inputs: &mut Inputs, index: usize) -> Result<TensorMap, OpError> {
    match value(inputs, index) {
        Some(Value::Tensors(tensors)) => Ok(tensors),
        other => Err(wrong(index, ValueType::Tensors, other.as_ref())),
    }
}

pub(crate) fn peer(inputs: &mut Inputs, index: usize) -> Result<PeerId, OpError> {
    match value(inputs, index) {
        Some(Value::Peer(peer)) => Ok(peer),
        other => Err(wrong(index, ValueType::Peer, other.as_ref())),
    }
}

fn number(inputs: &mut Inputs, index: usize) -> Result<f64, OpError> {
    match value(inputs, index) {
        Some(Value::F64(number)) => Ok(number),
        Some(Value::I64(number)) => Ok(number as f64),
        Some(Value::U64(number)) => Ok(number as f64),
        other => Err(wrong(index, ValueType::F64, other.as_ref())),
    }
}

/// The tensors as a batch; its rows are those of the first one.
fn batch(tensors: TensorMap) -> Batch {
    let rows = tensors.iter().next().and_then(|(_, tensor)| tensor.shape().first().copied()).unwrap_or(0);
    Batch { tensors, rows }
}

fn value(inputs: &mut Inputs, index: usize) -> Option<Value> {
    Some(inputs.get_mut(index)?.take()?.value)
}

pub(crate) fn wrong(index: usize, expected: ValueType, got: Option<&Value>) -> OpError {
    OpError::InputType { index, expected, got: got.map_or_else(|| "nothing".to_owned(), kind) }
}

/// What kind of value it is, for messages.
pub(crate) fn kind(value: &Value) -> String {
    match value {
        Value::Trigger => "trigger".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::I64(_) => "i64".to_owned(),
        Value::U64(_) => "u64".to_owned(),
        Value::F64(_) => "f64".to_owned(),
        Value::Str(_) => "str".to_owned(),
        Value::Bytes(_) => "bytes".to_owned(),
        Value::Tensor(tensor) => format!("{}{}", tensor.dtype(), tensor.shape()),
        Value::Tensors(_) => "tensors".to_owned(),
        Value::Peer(_) => "peer".to_owned(),
        Value::Peers(_) => "peers".to_owned(),
        Value::Addresses(_) => "addresses".to_owned(),
        Value::Tuple(items) => format!("a tuple of {}", items.len()),
        Value::Custom(custom) => custom.schema().to_owned(),
        _ => "another kind of value".to_owned(),
    }
}
