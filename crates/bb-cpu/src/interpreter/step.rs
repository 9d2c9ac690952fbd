//! One step of a run: hands a kernel its inputs, takes its results, gives back what died.

use bb_runtime::{BackendError, DataType, Shape, Tensor};
use smallvec::SmallVec;

use crate::fault::{Fault, Outcome};
use crate::io::{Hands, Io, Lasting, Source, Values};
use crate::ops::{self, Kernel};
use crate::pool::{self, Pool};

/// Axes that a value may have: an op may double the rank of what it reads.
pub(super) const MAX_RANK: usize = 64;

/// One node, made ready.
pub(super) struct Step {
    pub(super) kernel: Kernel,
    pub(super) inputs: SmallVec<[Source; 4]>,
    /// Inputs that die here and that nothing else in this step reads.
    pub(super) dying: u64,
    pub(super) outputs: SmallVec<[Option<u32>; 2]>,
    /// How often what it makes is read.
    pub(super) readers: u64,
    /// Inputs that are constants or stand in fixed slots.
    pub(super) lasting: u64,
    /// Slots that die here.
    pub(super) release: SmallVec<[u32; 4]>,
    /// It gives the same in every run with inputs of the same types and shapes.
    pub(super) fixed: bool,
    pub(super) place: Place,
}

/// What errors say of a step.
pub(super) struct Place {
    pub(super) op: bb_runtime::OpId,
    pub(super) name: String,
    pub(super) opset: i64,
}

impl Step {
    pub(super) fn run(
        &mut self,
        inputs: &[Tensor],
        slots: &mut [Option<Tensor>],
        constants: &[Tensor],
        (hands, pool, epoch): (&mut Hands, &mut Pool, u64),
    ) -> Result<(), BackendError> {
        let reserved = pool.reserved();
        if self.kernel.in_place && self.dying != 0 {
            for (at, source) in self.inputs.iter().enumerate() {
                let dies = at < 64 && self.dying & (1 << at) != 0;
                hands.dying.push(match source {
                    Source::Slot(slot) if dies => slots[*slot as usize].take(),
                    _ => None,
                });
            }
        }
        let values = Values { constants, inputs, slots };
        let lasting = Lasting { inputs: self.lasting, epoch };
        let mut io = Io { sources: &self.inputs, values, hands, wanted: &self.outputs, pool, lasting };
        let done = if self.kernel.via_f32 && has_half(&io) {
            run_via_f32(&mut self.kernel, &mut io)
        } else {
            (self.kernel.run)(&mut io)
        };
        io.pool.release_to(reserved);
        if let Err(fault) = done {
            let error = self.error(fault, || io.shapes());
            clear(hands, pool);
            return Err(error);
        }
        let (mut most_axes, mut read) = (0, 0_u64);
        for (at, output) in hands.outputs.iter_mut().enumerate() {
            let Some(tensor) = output.as_ref() else { continue };
            most_axes = most_axes.max(tensor.shape().rank());
            let own = pool::operations(tensor.buffer().len(), tensor.dtype(), tensor.shape());
            read = read.saturating_add(own.saturating_mul(self.readers));
            if let Some(slot) = self.outputs.get(at).copied().flatten()
                && let Some(before) = std::mem::replace(&mut slots[slot as usize], output.take())
            {
                pool.put(before);
            }
        }
        clear(hands, pool);
        if most_axes > MAX_RANK {
            let fault = Fault::shape(format!("a result has {most_axes} axes, at most {MAX_RANK} are taken"));
            return Err(self.error(fault, Vec::new));
        }
        pool.charge(read).map_err(|fault| self.error(fault, Vec::new))?;
        for slot in &self.release {
            if let Some(tensor) = slots[*slot as usize].take() {
                pool.put(tensor);
            }
        }
        Ok(())
    }

    /// Has the kernel let go of values that are no tensors where they die; `are_compound` tells which slots hold such.
    pub(super) fn release_compounds(&mut self, are_compound: &[bool]) {
        let is_compound = |slot: u32| are_compound.get(slot as usize) == Some(&true);
        if !self.inputs.iter().any(|source| matches!(source, Source::Slot(slot) if is_compound(*slot))) {
            return;
        }
        let dying = self.dying;
        let release: Vec<u32> = self.release.iter().copied().filter(|&slot| is_compound(slot)).collect();
        let mut run = std::mem::replace(&mut self.kernel.run, Box::new(|_| Ok(())));
        self.kernel.run = Box::new(move |io| {
            io.hands.compounds.begin(dying);
            run(io)?;
            for &slot in &release {
                io.hands.compounds.release(slot, io.pool);
            }
            Ok(())
        });
    }

    pub(super) fn error(&self, fault: Fault, shapes: impl FnOnce() -> Vec<Shape>) -> BackendError {
        let place = &self.place;
        fault.at(&place.op, &place.name, place.opset, shapes)
    }
}

/// Gives back what a kernel left.
fn clear(hands: &mut Hands, pool: &mut Pool) {
    for held in [&mut hands.dying, &mut hands.outputs] {
        for tensor in held.iter_mut().filter_map(Option::take) {
            pool.put(tensor);
        }
        held.clear();
    }
}

fn has_half(io: &Io<'_, '_>) -> bool {
    (0..io.input_count()).any(|index| io.peek(index).is_some_and(|input| is_half(input.dtype())))
}

fn is_half(dtype: DataType) -> bool {
    matches!(dtype, DataType::F16 | DataType::Bf16)
}

/// Runs a kernel that computes in `f32` on half-precision inputs; its `f32` outputs get their type.
fn run_via_f32(kernel: &mut Kernel, io: &mut Io<'_, '_>) -> Outcome {
    let mut half = DataType::F32;
    let mut wide: SmallVec<[Tensor; 4]> = SmallVec::new();
    let mut sources: SmallVec<[Source; 4]> = SmallVec::new();
    for index in 0..io.input_count() {
        let Ok(input) = io.take(index) else {
            sources.push(Source::Absent);
            continue;
        };
        sources.push(Source::Input(u32::try_from(wide.len()).unwrap_or(u32::MAX)));
        if is_half(input.dtype()) {
            half = input.dtype();
            wide.push(ops::cast::convert(io.pool, &input, DataType::F32)?);
        } else {
            wide.push(Tensor::clone(&input));
        }
        io.recycle(input);
    }
    let values = Values { constants: &[], inputs: &wide, slots: &[] };
    let mut hands = Hands::default();
    let (wanted, lasting) = (io.wanted, Lasting::default());
    let mut inner = Io { sources: &sources, values, hands: &mut hands, wanted, pool: io.pool, lasting };
    (kernel.run)(&mut inner)?;
    for (index, tensor) in hands.outputs.into_iter().enumerate() {
        match tensor {
            Some(tensor) if tensor.dtype() == DataType::F32 => {
                let narrow = ops::cast::convert(io.pool, &tensor, half)?;
                io.pool.put(tensor);
                io.emit(index, narrow);
            }
            Some(tensor) => io.emit(index, tensor),
            None => {}
        }
    }
    for tensor in wide {
        io.pool.put(tensor);
    }
    Ok(())
}
