//! Buffers that died and wait for their next tensor, and the cap on what a graph holds.

use bb_runtime::{DataType, Shape, Tensor};

use crate::fault::{Fault, Outcome};

/// Runs after which a buffer that nobody asked for is let go.
const KEEP_RUNS: u64 = 64;

/// Recycles the buffers of tensors that died; hands out at most `limit` bytes at a time.
///
/// A graph that runs with the same shapes again asks for the same sizes in the same order, so that after its first
/// run every buffer comes from here. Buffers unused for [`KEEP_RUNS`] runs are freed.
pub(crate) struct Pool {
    free: Vec<Free>,
    run: u64,
    live: usize,
    limit: usize,
}

struct Free {
    byte_count: usize,
    run: u64,
    tensor: Tensor,
}

impl Pool {
    pub(crate) fn new(limit: usize) -> Self {
        Self { free: Vec::new(), run: 0, live: 0, limit }
    }

    /// Starts a run: nothing is live.
    pub(crate) fn begin(&mut self) {
        self.run += 1;
        self.live = 0;
        if self.run.is_multiple_of(KEEP_RUNS) {
            let oldest = self.run - KEEP_RUNS;
            self.free.retain(|free| free.run >= oldest);
        }
    }

    /// Checks that `byte_count` more bytes may be held.
    pub(crate) fn admit(&self, byte_count: usize) -> Outcome {
        match self.live.checked_add(byte_count) {
            Some(live) if live <= self.limit => Ok(()),
            _ => Err(Fault::Memory { byte_count, limit: self.limit }),
        }
    }

    /// A tensor whose elements are whatever they were; only this caller holds it.
    pub(crate) fn take(&mut self, dtype: DataType, shape: &Shape) -> Outcome<Tensor> {
        let byte_count = shape
            .element_count()
            .and_then(|count| count.checked_mul(dtype.size()))
            .ok_or_else(|| Fault::shape(format!("the result would have shape {shape}")))?;
        self.admit(byte_count)?;
        self.live += byte_count;
        let Some(index) = self.free.iter().rposition(|free| free.byte_count == byte_count) else {
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
        self.live = self.live.saturating_add(tensor.as_bytes().len());
    }

    /// Takes back a tensor that was handed out in this run.
    pub(crate) fn put(&mut self, tensor: Tensor) {
        self.live = self.live.saturating_sub(tensor.as_bytes().len());
        self.keep(tensor);
    }

    /// Takes over a tensor that comes from outside, if nobody else holds its memory.
    pub(crate) fn keep(&mut self, mut tensor: Tensor) {
        if tensor.buffer_mut().reclaim() {
            let byte_count = tensor.as_bytes().len();
            if byte_count > 0 && byte_count <= self.limit {
                self.free.push(Free { byte_count, run: self.run, tensor });
            }
        }
    }
}
