//! Which ops the library knows: it has no list to read, so it is shown a model of one node.
//!
//! The node has no inputs, so nearly every such model is refused; what counts is whether the refusal says that there
//! is no such op.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use bb_runtime::OpId;
use bb_runtime::onnx::NodeProto;
use ort::environment::Environment;
use ort::session::Session;

use crate::fault::is_unknown;
use crate::model;

/// Versions of ONNX's operator set that are tried, newest first; the library refuses those that it does not know.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=40;

/// The same of ONNX's operator set for classical models.
const ML_OPSETS: std::ops::RangeInclusive<i64> = 1..=12;

const ML: &str = "ai.onnx.ml";

/// An op of no operator set.
const NO_OP: &str = "BytesAndBrainsProbe";

/// What has been asked so far; at most [`MOST_ANSWERS`] answers.
#[derive(Debug)]
pub(crate) struct Support {
    environment: Environment,
    newest: OnceLock<[i64; 2]>,
    answers: Mutex<BTreeMap<OpId, bool>>,
}

/// Answers that are kept; the ops of all operator sets that the library has are fewer.
const MOST_ANSWERS: usize = 4096;

impl Support {
    pub(crate) fn new(environment: Environment) -> Self {
        Self { environment, newest: OnceLock::new(), answers: Mutex::default() }
    }

    /// Whether the library has a definition of `op`.
    pub(crate) fn knows(&self, op: &OpId) -> bool {
        let held = self.answers.lock().unwrap_or_else(PoisonError::into_inner).get(op).copied();
        if let Some(known) = held {
            return known;
        }
        let [newest, newest_ml] =
            *self.newest.get_or_init(|| [self.newest_of("", OPSETS), self.newest_of(ML, ML_OPSETS)]);
        let domain = op.domain().as_str();
        let known = match domain {
            "" => !is_unknown(&self.refusal("", op.name(), newest)),
            ML => !is_unknown(&self.refusal(ML, op.name(), newest_ml)),
            _ => !is_unknown(&self.refusal(domain, op.name(), 1)),
        };
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() < MOST_ANSWERS {
            answers.insert(op.clone(), known);
        }
        known
    }

    /// The newest version of a domain's operator set that the library takes.
    fn newest_of(&self, domain: &str, versions: std::ops::RangeInclusive<i64>) -> i64 {
        let oldest = *versions.start();
        versions.rev().find(|version| is_unknown(&self.refusal(domain, NO_OP, *version))).unwrap_or(oldest)
    }

    /// What the library says of a node of `name` without inputs; nothing where it takes it.
    fn refusal(&self, domain: &str, name: &str, version: i64) -> String {
        let node = NodeProto {
            op_type: Some(name.to_owned()),
            domain: Some(domain.to_owned()),
            output: vec!["y".to_owned()],
            ..NodeProto::default()
        };
        let opsets: &[(&str, i64)] =
            if domain.is_empty() { &[("", version)] } else { &[("", *OPSETS.start()), (domain, version)] };
        let model = model::single(node, opsets);
        let outcome =
            Session::builder(&self.environment).and_then(|mut builder| builder.commit_from_memory(&model));
        outcome.err().map(|error| error.message().to_owned()).unwrap_or_default()
    }
}
