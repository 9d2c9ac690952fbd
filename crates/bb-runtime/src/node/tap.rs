//! The telemetry tap: sees each step once, before the caller does.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Node;
use crate::EngineStep;

/// Is shown each step of a node.
pub type TelemetryTap = Box<dyn FnMut(&EngineStep) + Send>;

/// Who is shown the steps, and how often that failed.
#[derive(Default)]
pub(super) struct Tap {
    see: Option<TelemetryTap>,
    pub(super) panics: u64,
}

impl Node {
    /// Shows each step to `tap`, once and before the caller gets it; `None` shows them to nobody.
    ///
    /// A panic in it loses no step: it is contained and counted, and the tap goes on with the next step.
    ///
    /// ```
    /// # use bb_runtime::Node;
    /// # fn watch(node: &mut Node) {
    /// node.set_telemetry_tap(Some(Box::new(|step| eprintln!("{step:?}"))));
    /// # }
    /// ```
    pub fn set_telemetry_tap(&mut self, tap: Option<TelemetryTap>) {
        self.tap.see = tap;
    }

    /// Takes the steps out for the caller, past the tap.
    pub(super) fn hand_out(&mut self) -> Vec<EngineStep> {
        let mut steps = std::mem::take(&mut self.engine.steps);
        self.engine.executions.ended.clear();
        if !self.ended.is_empty() {
            // What a restore left behind is said first.
            steps.splice(0..0, self.ended.drain(..));
        }
        let Tap { see: Some(see), panics } = &mut self.tap else { return steps };
        for step in &steps {
            if catch_unwind(AssertUnwindSafe(|| see(step))).is_err() {
                *panics += 1;
            }
        }
        steps
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("is_set", &self.see.is_some()).field("panics", &self.panics).finish()
    }
}
