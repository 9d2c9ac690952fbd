//! The graphs that train a model, each made when it is first needed and then shared.

use std::sync::{Arc, Mutex, PoisonError};

use bb_autodiff::{AutodiffError, Mask, TrainingPlan};
use bb_runtime::BackendGraph;

/// What a graph does; its inputs and outputs are [`TrainingPlan`]'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Evaluate,
    Forward,
    Gradients,
    Step,
}

/// A purpose, and the rows of a batch if the graph is made for one number of them.
pub(super) type Key = (Purpose, Option<usize>);

/// A graph, and the masks that it is fed with.
pub(super) type Made = (BackendGraph, Arc<[Mask]>);

#[derive(Debug)]
pub(super) struct Graphs {
    plan: TrainingPlan,
    made: Mutex<Vec<(Key, Made)>>,
}

/// The most graphs kept; the oldest goes first. A data set has two batch sizes, so this is many data sets.
const GRAPHS: usize = 64;

impl Graphs {
    pub(super) fn new(plan: TrainingPlan) -> Self {
        Self { plan, made: Mutex::default() }
    }

    pub(super) fn plan(&self) -> &TrainingPlan {
        &self.plan
    }

    /// The graph for `key`.
    pub(super) fn find(&self, key: Key) -> Result<Made, AutodiffError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, held)) = made.iter().find(|(held, _)| *held == key) {
            return Ok(held.clone());
        }
        let (purpose, rows) = key;
        let training = match purpose {
            Purpose::Evaluate => self.plan.evaluation(rows),
            Purpose::Forward => self.plan.forward(rows),
            Purpose::Gradients => self.plan.gradients(rows),
            Purpose::Step => self.plan.step(rows),
        }?;
        let opsets = training.opset_import();
        let masks = training.masks.into();
        let made_now = (BackendGraph::new(training.graph, &opsets), masks);
        if made.len() == GRAPHS {
            made.remove(0);
        }
        made.push((key, made_now.clone()));
        Ok(made_now)
    }
}
