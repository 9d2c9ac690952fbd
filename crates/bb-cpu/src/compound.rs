//! Values that are no tensors: sequences of tensors, and values that may be absent.
//!
//! Which values of a graph these are is known when it is prepared ([`Kind`]). They stand in [`Compounds`], each under the
//! number of a slot that holds no tensor, so that their lives are found as those of tensors are, and a run of a graph of
//! tensors alone does nothing for them. Each holder of a sequence is counted with all of its elements, as for a tensor whose
//! memory others hold too; an element counts for its entry as well, so that no graph fills memory with empty ones.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bb_runtime::{DataType, Tensor};

use crate::fault::{Fault, Outcome};
use crate::io::Source;
use crate::pool::Pool;

/// What a value is, as far as a graph tells before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    MaybeSequence,
    MaybeTensor,
    Sequence,
    Tensor,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MaybeSequence => "an optional sequence",
            Self::MaybeTensor => "an optional tensor",
            Self::Sequence => "a sequence",
            Self::Tensor => "a tensor",
        })
    }
}

/// The names of a graph whose values are no tensors.
#[derive(Debug, Default)]
pub(crate) struct Kinds(BTreeMap<String, Kind>);

impl Kinds {
    pub(crate) fn of(&self, name: &str) -> Kind {
        self.0.get(name).copied().unwrap_or(Kind::Tensor)
    }

    pub(crate) fn note(&mut self, name: &str, kind: Kind) {
        if kind != Kind::Tensor {
            self.0.insert(name.to_owned(), kind);
        }
    }
}

/// What a graph inside of a node is told of the values that it is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around<'a> {
    /// Of its inputs in order; each further one is a tensor.
    pub(crate) inputs: &'a [Kind],
    /// Of the values around it.
    pub(crate) kinds: &'a Kinds,
}

impl Around<'static> {
    /// All are tensors.
    pub(crate) const TENSORS: Self = Self { inputs: &[], kinds: &Kinds(BTreeMap::new()) };
}

/// A value that is no tensor.
#[derive(Clone, Debug)]
pub(crate) enum Compound {
    Absent,
    Sequence(Sequence),
    /// What may be absent is there.
    Tensor(Tensor),
}

impl Compound {
    /// Another hold on it.
    pub(crate) fn share(&self, pool: &mut Pool) -> Self {
        match self {
            Self::Absent => {}
            Self::Sequence(sequence) => pool.add(sequence.byte_count),
            Self::Tensor(tensor) => pool.adopt(tensor),
        }
        self.clone()
    }

    /// Gives its memory back.
    pub(crate) fn release(self, pool: &mut Pool) {
        match self {
            Self::Absent => {}
            Self::Sequence(sequence) => sequence.release(pool),
            Self::Tensor(tensor) => pool.put(tensor),
        }
    }
}

/// Tensors of one element type, in order; cheap to hold once more.
#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    dtype: DataType,
    tensors: Arc<Vec<Tensor>>,
    /// What a hold on it counts for.
    byte_count: usize,
}

/// What an element is counted for beside its own elements.
pub(crate) const ENTRY: usize = 2 * size_of::<Tensor>() + 64;

fn entry(tensor: &Tensor) -> usize {
    ENTRY + size_of::<usize>() * tensor.shape().rank()
}

impl Sequence {
    pub(crate) fn empty(dtype: DataType) -> Self {
        Self { dtype, tensors: Arc::default(), byte_count: 0 }
    }

    pub(crate) fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Puts a tensor, which the pool has counted, before element `at`.
    pub(crate) fn insert(&mut self, at: usize, tensor: Tensor, pool: &mut Pool) -> Outcome {
        if tensor.dtype() != self.dtype {
            return Err(Fault::Type(tensor.dtype()));
        }
        let entry = entry(&tensor);
        pool.admit(entry)?;
        pool.add(entry);
        let byte_count = entry + tensor.buffer().len();
        let tensors = self.own(pool)?;
        pool.charge(tensors.len().saturating_sub(at) as u64)?;
        if at > tensors.len() || tensors.try_reserve(1).is_err() {
            return Err(Fault::shape(format!("no place {at} among {} tensors", tensors.len())));
        }
        tensors.insert(at, tensor);
        self.byte_count += byte_count;
        Ok(())
    }

    pub(crate) fn push(&mut self, tensor: Tensor, pool: &mut Pool) -> Outcome {
        self.insert(self.tensors.len(), tensor, pool)
    }

    /// Takes element `at` out.
    pub(crate) fn remove(&mut self, at: usize, pool: &mut Pool) -> Outcome {
        let tensors = self.own(pool)?;
        if at >= tensors.len() {
            return Err(Fault::shape(format!("no element {at} among {} tensors", tensors.len())));
        }
        pool.charge((tensors.len() - at) as u64)?;
        let tensor = tensors.remove(at);
        let entry = entry(&tensor);
        self.byte_count -= entry + tensor.buffer().len();
        pool.subtract(entry);
        pool.put(tensor);
        Ok(())
    }

    /// The list of elements, for this holder alone.
    fn own(&mut self, pool: &mut Pool) -> Outcome<&mut Vec<Tensor>> {
        if Arc::strong_count(&self.tensors) > 1 {
            pool.charge(self.tensors.len() as u64)?;
        }
        Ok(Arc::make_mut(&mut self.tensors))
    }

    fn release(self, pool: &mut Pool) {
        let Some(tensors) = Arc::into_inner(self.tensors) else { return pool.subtract(self.byte_count) };
        pool.subtract(tensors.iter().map(entry).sum());
        for tensor in tensors {
            pool.put(tensor);
        }
    }
}

/// The values of a graph that are no tensors.
#[derive(Debug, Default)]
pub(crate) struct Compounds {
    /// By the number of their slot; none at all in a graph of tensors alone.
    slots: Vec<Option<Compound>>,
    /// Inputs of the kernel that runs which die there, a bit each.
    dying: u64,
    /// Outputs of the graph, in order.
    given: Vec<Compound>,
}

impl Compounds {
    pub(crate) fn with_slots(count: usize) -> Self {
        Self { slots: std::iter::repeat_with(|| None).take(count).collect(), ..Self::default() }
    }

    pub(crate) fn at(&self, source: Source) -> Option<&Compound> {
        match source {
            Source::Slot(slot) => self.slots.get(slot as usize)?.as_ref(),
            Source::Absent | Source::Constant(_) | Source::Input(_) => None,
        }
    }

    /// A hold on what comes from `source`, which is input `index` of a kernel.
    pub(crate) fn take(&mut self, index: usize, source: Source, pool: &mut Pool) -> Option<Compound> {
        match source {
            Source::Slot(slot) if index < 64 && self.dying & (1 << index) != 0 => {
                self.slots.get_mut(slot as usize)?.take()
            }
            _ => self.at(source).map(|held| held.share(pool)),
        }
    }

    pub(crate) fn put(&mut self, slot: u32, value: Compound, pool: &mut Pool) {
        match self.slots.get_mut(slot as usize) {
            Some(held) => {
                if let Some(before) = held.replace(value) {
                    before.release(pool);
                }
            }
            None => value.release(pool),
        }
    }

    /// Says which inputs of the kernel that runs next die there.
    pub(crate) fn begin(&mut self, dying: u64) {
        self.dying = dying;
    }

    pub(crate) fn release(&mut self, slot: u32, pool: &mut Pool) {
        if let Some(value) = self.slots.get_mut(slot as usize).and_then(Option::take) {
            value.release(pool);
        }
    }

    pub(crate) fn release_all(&mut self, pool: &mut Pool) {
        for value in self.slots.iter_mut().filter_map(Option::take).chain(self.given.drain(..)) {
            value.release(pool);
        }
    }

    /// Makes what comes from `source` the next output of the graph; false if nothing is there.
    #[cold]
    pub(crate) fn give(&mut self, source: Source, is_last: bool, pool: &mut Pool) -> bool {
        let value = match source {
            Source::Slot(slot) if is_last => self.slots.get_mut(slot as usize).and_then(Option::take),
            _ => self.at(source).map(|held| held.share(pool)),
        };
        let is_there = value.is_some();
        self.given.extend(value);
        is_there
    }

    /// The outputs of the graph that are no tensors.
    pub(crate) fn take_given(&mut self) -> Vec<Compound> {
        std::mem::take(&mut self.given)
    }
}
