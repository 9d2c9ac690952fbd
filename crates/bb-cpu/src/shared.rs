//! Prepared graphs that the backends made from clones of one configuration share.
//!
//! A thousand virtual clients in one process train the same model: their backends are made from one configuration and
//! are given one graph. What is prepared of it — kernels, intermediate values, buffers — is the same for all, so a
//! run borrows it and gives it back: one set of buffers, warm in the cache, serves them all.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bb_runtime::{BackendError, BackendGraph, Executable, Outputs, Tensor};

use crate::CpuConfig;
use crate::interpreter::Whole;

/// Graphs that are remembered; the one asked for longest ago goes first. A graph in use stays with its users.
const GRAPHS: usize = 64;

/// Prepared copies of one graph that are kept for later runs: one is enough for each thread that runs it.
const IDLE: usize = 8;

/// What backends made from clones of one configuration share: at most 64 prepared graphs.
///
/// It decides nothing: with or without it, results are the same.
#[derive(Clone, Default)]
pub struct SharedGraphs(Arc<Mutex<Vec<Arc<Graph>>>>);

/// One graph and what is prepared of it.
struct Graph {
    graph: BackendGraph,
    config: CpuConfig,
    #[expect(clippy::vec_box, reason = "what is prepared changes hands at every run")]
    idle: Mutex<Vec<Box<Whole>>>,
}

/// The prepared graph of one component.
struct Handle {
    graph: Arc<Graph>,
    /// What is prepared, while this is the graph's only user.
    own: Option<Box<Whole>>,
}

impl SharedGraphs {
    /// Makes a graph ready to run, or finds it ready.
    pub(crate) fn prepare(
        &self,
        graph: &BackendGraph,
        config: &CpuConfig,
    ) -> Result<Box<dyn Executable>, BackendError> {
        if let Some(graph) = self.find(graph, config) {
            return Ok(Box::new(Handle { graph, own: None }));
        }
        // The graph must not hold on to what it is held by.
        let config = CpuConfig { shared: Self::default(), ..config.clone() };
        let own = Some(Box::new(Whole::of(graph, &config)?));
        let graph = Arc::new(Graph { graph: graph.clone(), config, idle: Mutex::default() });
        let mut held = lock(&self.0);
        if held.len() == GRAPHS {
            held.remove(0);
        }
        held.push(Arc::clone(&graph));
        Ok(Box::new(Handle { graph, own }))
    }

    fn find(&self, graph: &BackendGraph, config: &CpuConfig) -> Option<Arc<Graph>> {
        let mut held = lock(&self.0);
        let index = held.iter().rposition(|one| one.graph.is_same(graph) && one.config == *config)?;
        held[index..].rotate_left(1);
        held.last().cloned()
    }
}

impl Handle {
    /// What is prepared, for one run.
    fn borrow(&mut self) -> Result<Box<Whole>, BackendError> {
        let idle = self.own.take().or_else(|| lock(&self.graph.idle).pop());
        match idle {
            Some(whole) => Ok(whole),
            None => Ok(Box::new(Whole::of(&self.graph.graph, &self.graph.config)?)),
        }
    }

    fn give_back(&mut self, whole: Box<Whole>) {
        // The table's hold on the graph and this one.
        if Arc::strong_count(&self.graph) <= 2 {
            self.own = Some(whole);
            return;
        }
        let mut idle = lock(&self.graph.idle);
        if idle.len() < IDLE {
            idle.push(whole);
        }
    }
}

impl Executable for Handle {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Outputs, BackendError> {
        let mut outputs = Outputs::new();
        self.run_into(inputs, &mut outputs)?;
        Ok(outputs)
    }

    fn run_into(&mut self, inputs: &[Tensor], outputs: &mut Outputs) -> Result<(), BackendError> {
        let mut whole = self.borrow()?;
        let done = whole.run_into(inputs, outputs);
        self.give_back(whole);
        done
    }
}

impl Drop for Handle {
    /// What is prepared is left to the graph's next user.
    fn drop(&mut self) {
        if let Some(whole) = self.own.take() {
            let mut idle = lock(&self.graph.idle);
            if idle.len() < IDLE {
                idle.push(whole);
            }
        }
    }
}

impl PartialEq for SharedGraphs {
    /// Always: what is shared decides nothing.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for SharedGraphs {}

impl fmt::Debug for SharedGraphs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedGraphs({})", lock(&self.0).len())
    }
}

/// A run that panicked has lost what it borrowed; what is here is whole.
fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
