//! What a kernel sees of a run: its inputs, its outputs and where memory comes from.

use std::ops::Deref;

use bb_runtime::{DataType, Element, Shape, Tensor};
use smallvec::SmallVec;

use crate::compound::{Compound, Compounds, Sequence};
use crate::fault::{Fault, Outcome};
use crate::pool::Pool;
use crate::tiles::Left;

/// One input of a kernel.
pub(crate) enum In<'a> {
    /// Somebody else reads it later, or may hold it.
    Borrowed(&'a Tensor),
    /// It dies here.
    Owned(Tensor),
}

impl Deref for In<'_> {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        match self {
            Self::Borrowed(tensor) => tensor,
            Self::Owned(tensor) => tensor,
        }
    }
}

/// Small integers read from a tensor: axes, a shape.
pub(crate) type Ints = SmallVec<[i64; 8]>;

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Absent,
    Constant(u32),
    Input(u32),
    Slot(u32),
}

/// All values of a run.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a> {
    pub(crate) constants: &'a [Tensor],
    pub(crate) inputs: &'a [Tensor],
    pub(crate) slots: &'a [Option<Tensor>],
}

impl<'a> Values<'a> {
    pub(crate) fn find(&self, source: Source) -> Option<&'a Tensor> {
        match source {
            Source::Absent => None,
            Source::Constant(at) => self.constants.get(at as usize),
            Source::Input(at) => self.inputs.get(at as usize),
            Source::Slot(at) => self.slots.get(at as usize)?.as_ref(),
        }
    }
}

/// Tensors on their way into and out of a kernel; the same memory serves every step.
#[derive(Default)]
pub(crate) struct Hands {
    /// Inputs that die here, by their index, for a kernel that works in place.
    pub(crate) dying: Vec<Option<Tensor>>,
    pub(crate) outputs: Vec<Option<Tensor>>,
    pub(crate) workspace: Workspace,
    /// Values of the graph that are no tensors.
    pub(crate) compounds: Compounds,
}

/// What products of matrices work with.
#[derive(Default)]
pub(crate) struct Workspace {
    /// For copies of the right factor's columns; its content means nothing.
    pub(crate) panel: Vec<f32>,
    /// For copies of the left factor; its content means nothing.
    pub(crate) left: Left,
    /// Threads that one product may use.
    pub(crate) threads: usize,
}

/// What a kernel sees of a run.
pub(crate) struct Io<'a, 'p> {
    pub(crate) sources: &'a [Source],
    pub(crate) values: Values<'a>,
    pub(crate) hands: &'p mut Hands,
    pub(crate) wanted: &'a [Option<u32>],
    pub(crate) pool: &'p mut Pool,
    pub(crate) lasting: Lasting,
}

/// Which inputs of a kernel are the same in every run of an epoch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lasting {
    /// A bit an input.
    pub(crate) inputs: u64,
    pub(crate) epoch: u64,
}

impl<'a> Io<'a, '_> {
    pub(crate) fn input_count(&self) -> usize {
        self.sources.len()
    }

    /// Whether somebody reads output `index`.
    pub(crate) fn wants(&self, index: usize) -> bool {
        self.wanted.get(index).is_some_and(Option::is_some)
    }

    /// Input `index`; only for kernels that do not work in place.
    pub(crate) fn input(&self, index: usize) -> Outcome<&'a Tensor> {
        self.optional(index).ok_or_else(|| missing(index))
    }

    /// Input `index`, if the node has it; only for kernels that do not work in place.
    pub(crate) fn optional(&self, index: usize) -> Option<&'a Tensor> {
        self.values.find(*self.sources.get(index)?)
    }

    /// Input `index`, to look at, unless it was taken.
    pub(crate) fn peek(&self, index: usize) -> Option<&Tensor> {
        match self.hands.dying.get(index) {
            Some(Some(tensor)) => Some(tensor),
            _ => self.optional(index),
        }
    }

    /// Input `index`, to keep and overwrite if it dies here.
    pub(crate) fn take(&mut self, index: usize) -> Outcome<In<'a>> {
        match self.hands.dying.get_mut(index).and_then(Option::take) {
            Some(tensor) => Ok(In::Owned(tensor)),
            None => self.optional(index).map(In::Borrowed).ok_or_else(|| missing(index)),
        }
    }

    /// Input `index`, which is no tensor, to look at.
    pub(crate) fn compound(&self, index: usize) -> Outcome<&Compound> {
        let source = self.sources.get(index).copied().unwrap_or(Source::Absent);
        self.hands.compounds.at(source).ok_or_else(|| missing(index))
    }

    /// Input `index`, which is a sequence, to look at.
    pub(crate) fn sequence(&self, index: usize) -> Outcome<&Sequence> {
        match self.compound(index)? {
            Compound::Sequence(sequence) => Ok(sequence),
            Compound::Absent | Compound::Tensor(_) => Err(Fault::shape(format!("input {index} is absent"))),
        }
    }

    /// Input `index`, which is no tensor, to keep.
    pub(crate) fn take_compound(&mut self, index: usize) -> Outcome<Compound> {
        let source = self.sources.get(index).copied().unwrap_or(Source::Absent);
        self.hands.compounds.take(index, source, self.pool).ok_or_else(|| missing(index))
    }

    /// Input `index`, which is a sequence, to keep and change.
    pub(crate) fn take_sequence(&mut self, index: usize) -> Outcome<Sequence> {
        match self.take_compound(index)? {
            Compound::Sequence(sequence) => Ok(sequence),
            Compound::Absent | Compound::Tensor(_) => Err(Fault::shape(format!("input {index} is absent"))),
        }
    }

    /// Sets output `index`, which is no tensor, to a value that the pool has counted.
    pub(crate) fn emit_compound(&mut self, index: usize, value: Compound) {
        match self.wanted.get(index).copied().flatten() {
            Some(slot) => self.hands.compounds.put(slot, value, self.pool),
            None => value.release(self.pool),
        }
    }

    /// The epoch in which all of these inputs stay as they are, if they do.
    pub(crate) fn epoch(&self, inputs: impl IntoIterator<Item = usize>) -> Option<u64> {
        let Lasting { inputs: lasting, epoch } = self.lasting;
        inputs.into_iter().all(|at| at < 64 && lasting & (1 << at) != 0).then_some(epoch)
    }

    /// The integers in input `index`.
    pub(crate) fn ints(&self, index: usize) -> Outcome<Ints> {
        read_ints(self.input(index)?)
    }

    /// The integers in input `index`; for kernels that work in place.
    pub(crate) fn take_ints(&mut self, index: usize) -> Outcome<Ints> {
        let input = self.take(index)?;
        let ints = read_ints(&input)?;
        self.recycle(input);
        Ok(ints)
    }

    /// The integers in input `index`, if the node has it.
    pub(crate) fn optional_ints(&self, index: usize) -> Outcome<Option<Ints>> {
        self.optional(index).map(read_ints).transpose()
    }

    /// A tensor whose elements are whatever they were.
    pub(crate) fn alloc(&mut self, dtype: DataType, shape: &Shape) -> Outcome<Tensor> {
        self.pool.take(dtype, shape)
    }

    /// Counts work before it is done, as much as the product of these numbers: what goes beyond a few operations for each
    /// element of the inputs and of what [`Io::alloc`] gives.
    pub(crate) fn charge<const N: usize>(&mut self, factors: [usize; N]) -> Outcome {
        self.pool.charge_product(factors)
    }

    /// Counts `count` items of `size` bytes that the kernel is about to hold beside tensors.
    pub(crate) fn reserve(&mut self, count: usize, size: usize) -> Outcome {
        self.pool.reserve(count, size)
    }

    /// Memory for a kernel's own use, cleared.
    pub(crate) fn scratch<T: Element>(&mut self, count: usize) -> Outcome<Tensor> {
        let mut tensor = self.pool.take(T::DTYPE, &Shape::from([count]))?;
        tensor.make_mut::<T>()?.fill(T::zeroed());
        Ok(tensor)
    }

    /// Gives memory back.
    pub(crate) fn recycle(&mut self, input: In<'_>) {
        if let In::Owned(tensor) = input {
            self.pool.put(tensor);
        }
    }

    /// Sets output `index` to a tensor that came from [`Io::alloc`] or [`Io::take`].
    pub(crate) fn emit(&mut self, index: usize, tensor: Tensor) {
        let outputs = &mut self.hands.outputs;
        if index == outputs.len() {
            return outputs.push(Some(tensor));
        }
        while outputs.len() <= index {
            outputs.push(None);
        }
        outputs[index] = Some(tensor);
    }

    /// Sets output `index` to a tensor whose memory others hold too.
    pub(crate) fn emit_shared(&mut self, index: usize, tensor: Tensor) {
        self.pool.adopt(&tensor);
        self.emit(index, tensor);
    }

    /// Sets output `index` to these elements.
    pub(crate) fn emit_slice<T: Element>(&mut self, index: usize, shape: &Shape, elements: &[T]) -> Outcome {
        let mut tensor = self.alloc(T::DTYPE, shape)?;
        let to = tensor.make_mut::<T>()?;
        if to.len() != elements.len() {
            return Err(Fault::shape(format!("{} elements do not fill shape {shape}", elements.len())));
        }
        to.copy_from_slice(elements);
        self.emit(index, tensor);
        Ok(())
    }

    pub(crate) fn shapes(&self) -> Vec<Shape> {
        (0..self.input_count()).filter_map(|index| Some(self.peek(index)?.shape().clone())).collect()
    }
}

fn missing(index: usize) -> Fault {
    Fault::shape(format!("input {index} is missing"))
}

/// The integers in a tensor.
pub(crate) fn read_ints(tensor: &Tensor) -> Outcome<Ints> {
    match tensor.dtype() {
        DataType::I64 => Ok(tensor.as_slice::<i64>()?.iter().copied().collect()),
        DataType::I32 => Ok(tensor.as_slice::<i32>()?.iter().map(|&value| i64::from(value)).collect()),
        other => Err(Fault::Type(other)),
    }
}
