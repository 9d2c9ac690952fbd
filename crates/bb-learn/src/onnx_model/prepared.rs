//! Graphs prepared on a component's backend.

use std::fmt;
use std::sync::Arc;

use bb_autodiff::Mask;
use bb_runtime::{ComponentError, Executable, OpContext, Outputs, Tensor};

use super::graphs::{Graphs, Key};

/// The executables used last, the newest last.
#[derive(Default)]
pub(super) struct Prepared {
    runs: Vec<Run>,
}

/// A prepared graph with the outputs of its last run, whose memory the next one uses.
pub(super) struct Run {
    key: Key,
    executable: Box<dyn Executable>,
    masks: Arc<[Mask]>,
    outputs: Outputs,
}

/// The most executables kept; the one not used for longest goes first.
const EXECUTABLES: usize = 8;

impl Prepared {
    /// The executable for `key`, prepared on the dependency `compute` if it is not there.
    pub(super) fn find(
        &mut self,
        cx: &mut OpContext<'_>,
        graphs: &Graphs,
        key: Key,
    ) -> Result<&mut Run, ComponentError> {
        match self.runs.iter().rposition(|run| run.key == key) {
            Some(held) if held + 1 == self.runs.len() => {}
            Some(held) => self.runs[held..].rotate_left(1),
            None => {
                let (graph, masks) = graphs.find(key).map_err(super::OnnxModelError::from)?;
                let executable = cx.backend(super::model::COMPUTE)?.prepare(&graph)?;
                if self.runs.len() == EXECUTABLES {
                    self.runs.remove(0);
                }
                self.runs.push(Run { key, executable, masks, outputs: Outputs::new() });
            }
        }
        let newest = self.runs.len() - 1;
        Ok(&mut self.runs[newest])
    }
}

impl Run {
    /// Runs into the outputs of the run before; they are valid until the next one.
    pub(super) fn run(&mut self, inputs: &[Tensor]) -> Result<&Outputs, ComponentError> {
        self.executable.run_into(inputs, &mut self.outputs)?;
        Ok(&self.outputs)
    }

    /// Runs into `outputs`.
    pub(super) fn run_into(
        &mut self,
        inputs: &[Tensor],
        outputs: &mut Outputs,
    ) -> Result<(), ComponentError> {
        Ok(self.executable.run_into(inputs, outputs)?)
    }

    /// The masks that it is fed with.
    pub(super) fn masks(&self) -> &[Mask] {
        &self.masks
    }

    /// Gives the outputs of the last run away.
    pub(super) fn take_outputs(&mut self) -> Outputs {
        std::mem::take(&mut self.outputs)
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.runs.iter().map(|run| run.key)).finish()
    }
}
