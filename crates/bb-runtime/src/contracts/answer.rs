//! Answers that come now, and answers that come later from another thread.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use smallvec::SmallVec;

use super::{ComponentError, Evaluation, FitReport};
use crate::{PeerId, Tensor, TensorMap, Value};

/// What a method answers: the result, or that it comes later.
#[must_use = "an answer is what the method's caller waits for"]
pub struct Answer<T>(Kind<T>);

enum Kind<T> {
    Now(T),
    Later(Pending),
}

/// Names an answer that is still to come; only the context that deferred it can make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Pending(pub(crate) u64);

/// Where completions go: the node's ingress queue.
pub(crate) trait CompletionSink: Send + Sync {
    /// Takes the end of a deferred answer.
    fn complete(&self, pending: Pending, result: Result<SmallVec<[Value; 2]>, ComponentError>);
}

/// The right to give one deferred answer, from any thread; dropped unused, the op fails with `Cancelled`.
pub struct Completion<T> {
    pending: Pending,
    sink: Option<Arc<dyn CompletionSink>>,
    result: PhantomData<fn(T)>,
}

impl<T> Answer<T> {
    /// The result.
    pub fn now(result: T) -> Self {
        Self(Kind::Now(result))
    }

    pub(crate) fn later(pending: Pending) -> Self {
        Self(Kind::Later(pending))
    }

    /// The result, if it is here.
    pub fn into_now(self) -> Option<T> {
        match self.0 {
            Kind::Now(result) => Some(result),
            Kind::Later(_) => None,
        }
    }

    pub(crate) fn into_parts(self) -> Result<T, Pending> {
        match self.0 {
            Kind::Now(result) => Ok(result),
            Kind::Later(pending) => Err(pending),
        }
    }
}

impl<T: OpOutput> Completion<T> {
    pub(crate) fn new(pending: Pending, sink: Arc<dyn CompletionSink>) -> Self {
        Self { pending, sink: Some(sink), result: PhantomData }
    }

    /// Names the answer in what the component saves: see [`StateReader::completion`](super::StateReader::completion).
    pub fn token(&self) -> u64 {
        self.pending.0
    }

    /// Gives the answer.
    pub fn complete(mut self, result: T) {
        if let Some(sink) = self.sink.take() {
            let mut values = SmallVec::new();
            result.into_values(&mut values);
            sink.complete(self.pending, Ok(values));
        }
    }

    /// Says that there will be none.
    pub fn fail(mut self, error: ComponentError) {
        if let Some(sink) = self.sink.take() {
            sink.complete(self.pending, Err(error));
        }
    }
}

impl<T> Drop for Completion<T> {
    fn drop(&mut self) {
        if let Some(sink) = self.sink.take() {
            let reason = "its completion was dropped".to_owned();
            sink.complete(self.pending, Err(ComponentError::Cancelled { reason }));
        }
    }
}

impl<T> fmt::Debug for Completion<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Completion").field(&self.pending.0).finish()
    }
}

/// A result that becomes the outputs of an op.
pub trait OpOutput {
    /// Appends the op's outputs, in order.
    fn into_values(self, values: &mut SmallVec<[Value; 2]>);
}

impl OpOutput for () {
    fn into_values(self, _: &mut SmallVec<[Value; 2]>) {}
}

macro_rules! one_value {
    ($($source:ty),*) => {$(
        impl OpOutput for $source {
            fn into_values(self, values: &mut SmallVec<[Value; 2]>) {
                values.push(self.into());
            }
        }
    )*};
}

one_value!(bool, i64, u64, f64, Tensor, TensorMap, PeerId, Value);

impl OpOutput for Vec<PeerId> {
    fn into_values(self, values: &mut SmallVec<[Value; 2]>) {
        values.push(Value::Peers(self.into()));
    }
}

impl OpOutput for FitReport {
    /// Rows seen, mean loss.
    fn into_values(self, values: &mut SmallVec<[Value; 2]>) {
        values.push(Value::I64(i64::try_from(self.rows).unwrap_or(i64::MAX)));
        values.push(Value::F64(self.loss));
    }
}

impl OpOutput for Evaluation {
    /// Mean loss, accuracy.
    fn into_values(self, values: &mut SmallVec<[Value; 2]>) {
        values.push(Value::F64(self.loss));
        values.push(Value::F64(self.accuracy));
    }
}
