//! Buffers that died and wait for their next tensor, and the caps on what a run holds and computes.

use bb_runtime::{DataType, Shape, Tensor};

use crate::fault::{Fault, Outcome};

/// Runs after which a buffer that nobody asked for is let go.
const KEEP_RUNS: u64 = 64;

/// Buffers that may wait at a time.
const MAX_FREE: usize = 1 << 14;

/// Elementary operations that calling a kernel counts for.
pub(crate) const CALL: u64 = 64;

/// Recycles the buffers of tensors that died; hands out, and keeps, at most `limit` bytes at a time.
///
/// A graph that runs with the same shapes again asks for the same sizes in the same order, so that after its first
/// run every buffer comes from here. Buffers unused for [`KEEP_RUNS`] runs are freed, others where there is no room for a
/// new one. Graphs inside of nodes share the pool of the graph around them, so that both caps are those of the whole run.
pub(crate) struct Pool {
    free: Vec<Free>,
    run: u64,
    /// Bytes of tensors that are handed out.
    live: usize,
    /// Memory that kernels hold beside tensors.
    reserved: usize,
    /// All bytes: handed out, reserved and waiting.
    held: usize,
    limit: usize,
    work_left: u64,
    work_limit: u64,
}

struct Free {
    byte_count: usize,
    run: u64,
    tensor: Tensor,
}

impl Pool {
    pub(crate) fn new(limit: usize, work_limit: u64) -> Self {
        let (free, run, live, reserved, held) = (Vec::new(), 0, 0, 0, 0);
        Self { free, run, live, reserved, held, limit, work_left: work_limit, work_limit }
    }

    /// Starts a run: only `live` bytes, which stay from run to run, are held, and nothing is done.
    pub(crate) fn begin(&mut self, live: usize) {
        self.run += 1;
        let waiting = self.held.saturating_sub(self.live.saturating_add(self.reserved));
        self.held = waiting.saturating_add(live);
        (self.live, self.reserved, self.work_left) = (live, 0, self.work_limit);
        if self.run.is_multiple_of(KEEP_RUNS) {
            let oldest = self.run - KEEP_RUNS;
            self.free.retain(|free| free.run >= oldest);
            let waiting: usize = self.free.iter().map(|free| free.byte_count).sum();
            self.held = waiting.saturating_add(live);
        }
    }

    /// Counts work before it is done.
    #[inline]
    pub(crate) fn charge(&mut self, operations: u64) -> Outcome {
        match self.work_left.checked_sub(operations) {
            Some(left) => {
                self.work_left = left;
                Ok(())
            }
            None => Err(Fault::Work { limit: self.work_limit }),
        }
    }

    /// Counts as much work as the product of these numbers before it is done.
    pub(crate) fn charge_product<const N: usize>(&mut self, factors: [usize; N]) -> Outcome {
        self.charge(factors.iter().fold(1, |all: u64, &factor| all.saturating_mul(factor as u64)))
    }

    /// Checks that `byte_count` more bytes may be held.
    pub(crate) fn admit(&self, byte_count: usize) -> Outcome {
        match self.live.saturating_add(self.reserved).checked_add(byte_count) {
            Some(held) if held <= self.limit => Ok(()),
            _ => Err(Fault::Memory { byte_count, limit: self.limit }),
        }
    }

    /// Counts memory that a kernel is about to take for itself, until it ends.
    pub(crate) fn reserve(&mut self, count: usize, size: usize) -> Outcome {
        let byte_count = count.saturating_mul(size);
        self.admit(byte_count)?;
        self.reserved += byte_count;
        self.hold(byte_count);
        Ok(())
    }

    /// Memory that kernels hold beside tensors.
    pub(crate) fn reserved(&self) -> usize {
        self.reserved
    }

    /// Lets go of what kernels held beyond `reserved` bytes beside tensors.
    pub(crate) fn release_to(&mut self, reserved: usize) {
        self.held = self.held.saturating_sub(self.reserved.saturating_sub(reserved));
        self.reserved = reserved;
    }

    /// A tensor whose elements are whatever they were; only this caller holds it.
    pub(crate) fn take(&mut self, dtype: DataType, shape: &Shape) -> Outcome<Tensor> {
        let byte_count = shape
            .element_count()
            .and_then(|count| count.checked_mul(dtype.size()))
            .ok_or_else(|| Fault::shape(format!("the result would have shape {shape}")))?;
        self.admit(byte_count)?;
        self.charge(operations(byte_count, dtype, shape))?;
        self.live += byte_count;
        let Some(index) = self.free.iter().rposition(|free| free.byte_count == byte_count) else {
            self.hold(byte_count);
            return Ok(Tensor::zeros(dtype, shape.clone())?);
        };
        let free = self.free.swap_remove(index);
        if free.tensor.dtype() == dtype && free.tensor.shape() == shape {
            return Ok(free.tensor);
        }
        Ok(Tensor::from_buffer(dtype, shape.clone(), free.tensor.into_buffer())?)
    }

    /// Counts a tensor that was made elsewhere and is held from now on.
    pub(crate) fn adopt(&mut self, tensor: &Tensor) {
        self.add(tensor.buffer().len());
    }

    /// Counts bytes that are held from now on.
    pub(crate) fn add(&mut self, byte_count: usize) {
        self.live = self.live.saturating_add(byte_count);
        self.hold(byte_count);
    }

    /// Counts bytes no longer.
    pub(crate) fn subtract(&mut self, byte_count: usize) {
        self.live = self.live.saturating_sub(byte_count);
        self.held = self.held.saturating_sub(byte_count);
    }

    /// Takes back a tensor that was handed out in this run.
    pub(crate) fn put(&mut self, tensor: Tensor) {
        let byte_count = tensor.buffer().len();
        self.live = self.live.saturating_sub(byte_count);
        self.wait(tensor, byte_count);
    }

    /// Takes over a tensor that comes from outside, if nobody else holds its memory.
    pub(crate) fn keep(&mut self, tensor: Tensor) {
        let byte_count = tensor.buffer().len();
        if byte_count <= self.limit {
            self.hold(byte_count);
            self.wait(tensor, byte_count);
        }
    }

    /// Keeps a tensor, whose bytes are counted, until somebody asks for as many.
    fn wait(&mut self, mut tensor: Tensor, byte_count: usize) {
        if byte_count == 0 || !tensor.buffer_mut().reclaim() || self.held > self.limit {
            self.held = self.held.saturating_sub(byte_count);
            return;
        }
        if self.free.len() == MAX_FREE {
            self.forget();
        }
        self.free.push(Free { byte_count, run: self.run, tensor });
    }

    /// Counts more bytes, and frees buffers that wait until all are within the limit.
    fn hold(&mut self, byte_count: usize) {
        self.held = self.held.saturating_add(byte_count);
        while self.held > self.limit && !self.free.is_empty() {
            self.forget();
        }
    }

    /// Frees a buffer that waits.
    fn forget(&mut self) {
        self.held = self.held.saturating_sub(self.free.swap_remove(0).byte_count);
    }
}

/// The work of reading or writing a tensor once: its elements; without elements, those it would have if no extent were 0,
/// so that loops over its other axes are counted too.
#[inline]
pub(crate) fn operations(byte_count: usize, dtype: DataType, shape: &[usize]) -> u64 {
    match byte_count {
        0 => shape.iter().fold(1, |all: u64, &extent| all.saturating_mul(extent.max(1) as u64)),
        _ => (byte_count >> dtype.size().trailing_zeros()) as u64,
    }
}
