//! Values that executions leave for later ones, and what the host may look at.
//!
//! State: [`Holds`] and [`Records`].

use std::collections::{BTreeMap, BTreeSet};

use bb_framework::Charge;

use super::Engine;
use super::fire::Outputs;
use super::frame::Held;
use super::methods::{Inputs, wrong};
use super::syscall::one;
use crate::error::OpError;
use crate::{EngineStep, Name, Value, ValueType};

/// Values under keys, by the name of the hold. Capped in number by its caller; each is charged to the byte budget.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    /// For each name the values, by the wire form of their keys.
    pub(crate) held: BTreeMap<Name, BTreeMap<Vec<u8>, Stashed>>,
    pub(crate) count: usize,
}

/// A value and its key.
#[derive(Debug)]
pub(crate) struct Stashed {
    pub(crate) key: Value,
    pub(crate) value: Held,
    /// The bytes are given back with it.
    pub(crate) charge: Charge,
}

/// Last values and counters, by name; names beyond the cap are refused and counted.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) last: BTreeMap<Name, Held>,
    pub(crate) counters: BTreeMap<Name, u64>,
    /// What changed since the host was told.
    pub(crate) changed: BTreeSet<Name>,
    pub(crate) capacity: usize,
    pub(crate) refused: u64,
}

impl Holds {
    /// Takes out all that is kept under a name: pairs of key and value.
    pub(crate) fn flush(&mut self, name: &Name) -> Value {
        let held = self.held.remove(name).unwrap_or_default();
        self.count -= held.len();
        let pair = |stashed: Stashed| Value::Tuple([stashed.key, stashed.value.value].into());
        Value::Tuple(held.into_values().map(pair).collect())
    }
}

impl Records {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// Keeps a value as the last one of its name.
    pub(crate) fn record(&mut self, name: &Name, value: Held) {
        if !self.last.contains_key(name) && self.last.len() >= self.capacity {
            self.refused += 1;
            return;
        }
        self.last.insert(name.clone(), value);
        self.changed.insert(name.clone());
    }

    /// Adds to a counter.
    pub(crate) fn increment(&mut self, name: &Name, by: u64) {
        if !self.counters.contains_key(name) && self.counters.len() >= self.capacity {
            self.refused += 1;
            return;
        }
        let counter = self.counters.entry(name.clone()).or_default();
        *counter = counter.saturating_add(by);
        self.changed.insert(name.clone());
    }
}

impl Engine {
    /// Keeps a value under a key; gives how many its hold keeps.
    pub(crate) fn stash(&mut self, name: &Name, inputs: &mut Inputs) -> Result<Outputs, OpError> {
        let [key, value] = [0, 1].map(|index| inputs.get_mut(index).and_then(Option::take));
        let key = match key.map(|held| held.value) {
            Some(
                key @ (Value::Bool(_)
                | Value::Bytes(_)
                | Value::I64(_)
                | Value::Peer(_)
                | Value::Str(_)
                | Value::U64(_)),
            ) => key,
            other => return Err(wrong(0, ValueType::Str, other.as_ref())),
        };
        let value = value.ok_or_else(|| wrong(1, ValueType::Any, None))?;
        let bytes = key.try_encode()?;
        let is_new = !self.holds.held.get(name).is_some_and(|held| held.contains_key(&bytes));
        let cap = self.limits.holds;
        if is_new && self.holds.count >= cap {
            return Err(OpError::HoldFull { name: name.to_string(), cap });
        }
        let byte_count = bytes.len() + value.value.encoded_len();
        let charge = self
            .budget
            .try_charge(byte_count)
            .map_err(|error| OpError::OverBudget { byte_count, budget_remaining: error.budget_remaining })?;
        self.holds.count += usize::from(is_new);
        let held = self.holds.held.entry(name.clone()).or_default();
        held.insert(bytes, Stashed { key, value, charge });
        Ok(one(Value::I64(i64::try_from(held.len()).unwrap_or(i64::MAX))))
    }

    /// Tells the host what programs recorded in this step.
    pub(crate) fn report_records(&mut self) {
        if self.records.changed.is_empty() {
            return;
        }
        for name in std::mem::take(&mut self.records.changed) {
            let counter = self.records.counters.get(&name).map(|&count| Value::U64(count));
            let last = self.records.last.get(&name).map(|held| held.value.clone());
            for value in counter.into_iter().chain(last) {
                self.steps.push(EngineStep::Telemetry { name: name.clone(), value });
            }
        }
    }
}
