//! One case on one backend, in this process.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bb_autodiff::expand_gradients;
use bb_runtime::onnx::{ModelProto, TensorProto};
use bb_runtime::{Backend, BackendError, BackendGraph, Tensor};
use prost::Message;

use crate::archive::Case;
use crate::bind;
use crate::compare::compare;
use crate::suite::{Outcome, Stage};

/// Runs a case; a panic is an outcome too.
pub(crate) fn run(backend: &dyn Backend, case: &Case) -> Outcome {
    let outcome = catch_unwind(AssertUnwindSafe(|| match check(backend, case) {
        Ok(()) => Outcome::Passed,
        Err(outcome) => outcome,
    }));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Outcome::Crashed(text.unwrap_or_else(|| "a panic".to_owned()))
    })
}

fn check(backend: &dyn Backend, case: &Case) -> Result<(), Outcome> {
    let model =
        ModelProto::decode(case.model.as_slice()).map_err(|error| Outcome::Wrong(error.to_string()))?;
    if !model.functions.is_empty() {
        return Err(refused(Stage::Preparation, "functions of the model"));
    }
    for set in case.sets.values() {
        let bound = bind::bind(&model, set)?;
        let model = expand_gradients(&bound.model).map_err(|error| refused(Stage::Preparation, error))?;
        let graph = BackendGraph::from_model(&model).map_err(refusal)?;
        let mut ready = backend.prepare(&graph).map_err(|error| match bound.has_foreign {
            true => refused(Stage::Preparation, error),
            false => refusal(error),
        })?;
        // Twice, the second time into what the first one gave, and with shapes that are known by then.
        let mut got = ready.run(&bound.inputs).map_err(failure)?;
        for again in [false, true] {
            if again {
                ready.run_into(&bound.inputs, &mut got).map_err(failure)?;
            }
            if got.len() != bound.outputs.len() {
                let (got, want) = (got.len(), bound.outputs.len());
                return Err(Outcome::Wrong(format!("{got} outputs instead of {want}")));
            }
            for (place, want) in bound.outputs.iter().enumerate() {
                want.check(place, &got).map_err(|difference| {
                    let run = if again { "second" } else { "first" };
                    Outcome::Wrong(format!("output {place}, {run} run: {difference}"))
                })?;
            }
        }
    }
    Ok(())
}

/// What one output of a run must be.
#[derive(Debug)]
pub(crate) enum Want {
    /// This tensor, within the tolerance of the suite.
    Tensor(Tensor),
    /// The same as the output at this place.
    SameAs(usize),
}

impl Want {
    fn check(&self, place: usize, got: &[Tensor]) -> Result<(), String> {
        match self {
            Self::Tensor(want) => compare(&got[place], want),
            Self::SameAs(other) => compare(&got[place], &got[*other]),
        }
    }
}

pub(crate) fn tensor(proto: &TensorProto) -> Result<Tensor, Outcome> {
    Tensor::from_onnx(proto).map_err(|error| refused(Stage::Values, error))
}

pub(crate) fn refused(stage: Stage, reason: impl ToString) -> Outcome {
    Outcome::Unsupported { reason: reason.to_string(), stage }
}

/// A graph that is not prepared: what a backend or the library under it does not take.
fn refusal(error: BackendError) -> Outcome {
    match error {
        BackendError::Unsupported { .. } | BackendError::Type { .. } | BackendError::Engine { .. } => {
            refused(Stage::Preparation, error)
        }
        other => Outcome::Wrong(other.to_string()),
    }
}

/// A run that fails: refused too late, or an error where there should be a result.
fn failure(error: BackendError) -> Outcome {
    match error {
        BackendError::Unsupported { .. } | BackendError::Type { .. } => refused(Stage::Run, error),
        other => Outcome::Wrong(other.to_string()),
    }
}
