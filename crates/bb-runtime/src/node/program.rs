//! What the host and its programs tell each other besides inputs and outputs: phases, records, counters.

use super::Node;
use crate::Value;

impl Node {
    /// Enters a phase of the node's life: in the next step the regions that listen to it start. Whether any does.
    ///
    /// `Snapshot` and `Shutdown` are the node's own; every other name is the programs'.
    ///
    /// ```
    /// # use bb_runtime::Node;
    /// # fn warm_up(node: &mut Node) {
    /// if !node.enter_phase("warm") {
    ///     println!("no program listens to it");
    /// }
    /// # }
    /// ```
    pub fn enter_phase(&mut self, phase: &str) -> bool {
        self.engine.phases.enter(phase)
    }

    /// How often a phase was fired.
    pub fn phase_count(&self, phase: &str) -> u64 {
        self.engine.phases.fired.get(phase).copied().unwrap_or(0)
    }

    /// The last value that a program recorded under a name.
    ///
    /// ```
    /// # use bb_runtime::Node;
    /// # fn look(node: &Node) {
    /// println!("{:?} after {} rounds", node.record("loss"), node.metric("rounds"));
    /// # }
    /// ```
    pub fn record(&self, name: &str) -> Option<&Value> {
        self.engine.records.last.get(name).map(|held| &held.value)
    }

    /// What programs recorded: the last value of each name, in the order of the names.
    pub fn records(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.engine.records.last.iter().map(|(name, held)| (name.as_str(), &held.value))
    }

    /// What programs counted under a name; 0 if nothing was.
    pub fn metric(&self, name: &str) -> u64 {
        self.engine.records.counters.get(name).copied().unwrap_or(0)
    }

    /// What programs counted, in the order of the names.
    pub fn metrics(&self) -> impl Iterator<Item = (&str, u64)> {
        self.engine.records.counters.iter().map(|(name, &count)| (name.as_str(), count))
    }
}
