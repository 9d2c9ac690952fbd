//! Why a batch of bootstraps was not taken.

use thiserror::Error;

use super::ValueFault;

/// Why a batch of bootstraps was refused; nothing of it was taken, and the node is as it was before.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BootstrapError {
    /// The inputs do not fit the node's byte budget, exceed what one invoke may have, or memory for them could not be
    /// had.
    #[error(
        "`{target_name}`: {byte_count} bytes of inputs do not fit, {budget_remaining} bytes may be given; try again when some are processed"
    )]
    AllocationFailed {
        /// The target.
        target_name: String,
        /// Bytes of its inputs, names included.
        byte_count: usize,
        /// Bytes that may be given.
        budget_remaining: usize,
    },
    /// The bootstrap waits or runs already, or is in the batch twice: named, or as a component of another one.
    #[error("the bootstrap of `{target_name}` is queued already; name it once, and again when it is done")]
    AlreadyTransitivelyQueued {
        /// The target or slot.
        target_name: String,
    },
    /// An input given twice.
    #[error("input `{input_name}` of the bootstrap of `{target_name}` is given twice")]
    DuplicateInput {
        /// The target.
        target_name: String,
        /// The input.
        input_name: String,
    },
    /// The bytes of an input are not a value that it takes.
    #[error("input `{input_name}` of the bootstrap of `{target_name}`: {fault}")]
    InvalidInput {
        /// The target.
        target_name: String,
        /// The input.
        input_name: String,
        /// What is wrong.
        fault: ValueFault,
    },
    /// An input is missing.
    #[error(
        "input `{input_name}` of the bootstrap of `{target_name}` is missing; give it with BootstrapTarget::ModuleRequests"
    )]
    MissingInput {
        /// The target.
        target_name: String,
        /// The input.
        input_name: String,
    },
    /// No such input.
    #[error("the bootstrap of `{target_name}` has no input `{input_name}`; it has {declared:?}")]
    UnknownInput {
        /// The target.
        target_name: String,
        /// The name given.
        input_name: String,
        /// The inputs it has.
        declared: Vec<String>,
    },
    /// Nothing of that name can be bootstrapped.
    #[error("nothing to bootstrap is called `{target_name}`; there are {available:?}")]
    UnknownTarget {
        /// The name given.
        target_name: String,
        /// The names there are.
        available: Vec<String>,
    },
}
