//! Executions as a snapshot sees them.

use super::{Execution, Executions};

impl Executions {
    /// The executions with their indices.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Execution)> {
        self.slots.iter().enumerate().filter_map(|(index, held)| Some((index as u32, held.as_ref()?)))
    }

    /// These executions, by index; none ended since the last step.
    pub(crate) fn from_saved(executions: Vec<Execution>, begun: u64) -> Self {
        let fresh = executions.iter().zip(0..).filter(|(held, _)| held.is_fresh).map(|(_, index)| index);
        Self {
            fresh: fresh.collect(),
            slots: executions.into_iter().map(Some).collect(),
            free: Vec::new(),
            begun,
            ended: Vec::new(),
        }
    }
}
