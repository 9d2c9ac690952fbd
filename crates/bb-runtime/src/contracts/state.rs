//! How a component writes its state and reads it back.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bb_ir::wire_codec::DecodeLimits;
use bb_ir::wire_codec::write::{NoMemory, Sink as _, TryBytes};
use thiserror::Error;

use super::{Completion, CompletionSink, OpOutput, Pending};
use crate::{TensorMap, Value};

/// Collects a component's state: a sequence of values in their wire form.
#[derive(Debug, Default)]
pub struct StateWriter {
    bytes: TryBytes,
}

/// Gives a component its state back, value by value, in the order in which it was written.
pub struct StateReader<'a> {
    bytes: &'a [u8],
    answers: Option<Answers<'a>>,
}

/// Answers that ops of a restored node wait for.
#[derive(Clone, Copy)]
struct Answers<'a> {
    sink: &'a Arc<dyn CompletionSink>,
    open: &'a RefCell<BTreeSet<u64>>,
}

/// Why saved state does not fit.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError {
    /// Another value stands there.
    #[error("the saved state has another kind of value where {expected} is read")]
    Kind {
        /// What is read.
        expected: &'static str,
    },
    /// The state ends too early.
    #[error("the saved state ends too early")]
    Truncated,
    /// The state goes on after what is read.
    #[error("{byte_count} bytes of saved state are left over")]
    LeftOver {
        /// How many.
        byte_count: usize,
    },
    /// No op waits for that answer, or another component has taken it up.
    #[error("no op waits for the answer {token}")]
    UnknownAnswer {
        /// Its token.
        token: u64,
    },
    /// Bytes that are not a value.
    #[error(transparent)]
    Value(#[from] bb_ir::wire_codec::ValueError),
}

impl StateWriter {
    /// A writer that goes on behind these bytes.
    pub(crate) fn behind(bytes: TryBytes) -> Self {
        Self { bytes }
    }

    /// Writes a value.
    pub fn value(&mut self, value: &Value) {
        self.bytes.put(&(value.encoded_len() as u64).to_le_bytes());
        value.encode_into(&mut self.bytes);
    }

    /// Writes a number.
    pub fn u64(&mut self, number: u64) {
        self.value(&Value::U64(number));
    }

    /// Writes named tensors.
    pub fn tensors(&mut self, tensors: &TensorMap) {
        self.value(&Value::Tensors(tensors.clone()));
    }

    /// What was written.
    ///
    /// # Errors
    /// [`NoMemory`]: something found none, and is left out.
    pub fn into_bytes(self) -> Result<Vec<u8>, NoMemory> {
        self.bytes.into_bytes()
    }

    /// What was written, whether anything is left out or not.
    pub(crate) fn into_inner(self) -> TryBytes {
        self.bytes
    }
}

impl<'a> StateReader<'a> {
    /// Reads what a [`StateWriter`] wrote.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, answers: None }
    }

    /// Reads what was written before a restore; `open` has the answers that can still be given.
    pub(crate) fn restoring(
        bytes: &'a [u8],
        sink: &'a Arc<dyn CompletionSink>,
        open: &'a RefCell<BTreeSet<u64>>,
    ) -> Self {
        Self { bytes, answers: Some(Answers { sink, open }) }
    }

    /// The right to give the answer whose [`Completion::token`] was saved: the op that waits for it waits on, with the
    /// time that it had left. Nobody taking it up, the op ends at its deadline.
    ///
    /// # Errors
    /// [`StateError::UnknownAnswer`].
    pub fn completion<T: OpOutput>(&mut self, token: u64) -> Result<Completion<T>, StateError> {
        match self.answers {
            Some(answers) if answers.open.borrow_mut().remove(&token) => {
                Ok(Completion::new(Pending(token), Arc::clone(answers.sink)))
            }
            _ => Err(StateError::UnknownAnswer { token }),
        }
    }

    /// Reads a value.
    ///
    /// # Errors
    /// [`StateError::Truncated`], [`StateError::Value`].
    pub fn value(&mut self) -> Result<Value, StateError> {
        let (length, rest) = self.bytes.split_first_chunk::<8>().ok_or(StateError::Truncated)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| StateError::Truncated)?;
        let (encoded, rest) = rest.split_at_checked(length).ok_or(StateError::Truncated)?;
        let value = Value::decode_with(encoded, &DecodeLimits::LOCAL)?;
        self.bytes = rest;
        Ok(value)
    }

    /// Reads a number.
    ///
    /// # Errors
    /// Those of [`StateReader::value`], and [`StateError::Kind`].
    pub fn u64(&mut self) -> Result<u64, StateError> {
        match self.value()? {
            Value::U64(number) => Ok(number),
            _ => Err(StateError::Kind { expected: "a number" }),
        }
    }

    /// Reads named tensors.
    ///
    /// # Errors
    /// Those of [`StateReader::value`], and [`StateError::Kind`].
    pub fn tensors(&mut self) -> Result<TensorMap, StateError> {
        match self.value()? {
            Value::Tensors(tensors) => Ok(tensors),
            _ => Err(StateError::Kind { expected: "named tensors" }),
        }
    }

    /// Checks that everything was read.
    ///
    /// # Errors
    /// [`StateError::LeftOver`].
    pub fn finish(&self) -> Result<(), StateError> {
        match self.bytes.len() {
            0 => Ok(()),
            byte_count => Err(StateError::LeftOver { byte_count }),
        }
    }
}

impl fmt::Debug for StateReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateReader").field("byte_count", &self.bytes.len()).finish_non_exhaustive()
    }
}
