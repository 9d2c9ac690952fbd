//! Why a gradient cannot be made.

use thiserror::Error;

/// Why a gradient graph cannot be made of a graph.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AutodiffError {
    /// An attribute that is missing or not as the op defines it.
    #[error("node `{node}` ({op}): attribute `{attribute}` {reason}")]
    Attribute {
        /// The attribute.
        attribute: String,
        /// The node.
        node: String,
        /// The op.
        op: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The value that is to be differentiated is made of nothing that has a gradient.
    #[error(
        "`{value}` does not depend on anything trainable; trainable are float initializers: {candidates:?}"
    )]
    Constant {
        /// The value.
        value: String,
        /// Values with respect to which it could have been differentiated.
        candidates: Vec<String>,
    },
    /// The model was exported for one batch size only.
    #[error(
        "input `{input}` has {fixed} rows for ever, {asked} are asked for; export the model with a free first axis"
    )]
    FixedBatch {
        /// The input.
        input: String,
        /// Rows it has.
        fixed: usize,
        /// Rows asked for.
        asked: usize,
    },
    /// An op through which no gradient can flow, on the way from the loss to what is trained.
    #[error("{op} (node `{node}`) has no gradient; it is on the path {}", path.join(" <- "))]
    NoGradient {
        /// The node.
        node: String,
        /// The op, with its domain where that is not ONNX's own.
        op: String,
        /// Values from the loss back to what is trained, through the node.
        path: Vec<String>,
    },
    /// The model has no graph.
    #[error("the model has no graph")]
    NoGraph,
    /// The graph's inputs or outputs do not allow to choose a loss.
    #[error("no loss can be put on the model: {reason}")]
    NoLoss {
        /// What is missing.
        reason: String,
    },
    /// An operator set older than the rules are written for.
    #[error(
        "operator set {opset} is too old; gradients need {needed} here: convert the model with `onnx.version_converter`"
    )]
    Opset {
        /// The oldest set that would do.
        needed: i64,
        /// The model's.
        opset: i64,
    },
    /// A number of the training options that is outside its range.
    #[error("the training option {option} must be {expected}, got {got}")]
    Option {
        /// What it must be.
        expected: &'static str,
        /// The number.
        got: String,
        /// The option.
        option: &'static str,
    },
    /// A node reads a value that nothing before it makes, or makes one a second time.
    #[error("node `{node}`: value `{value}` {reason}")]
    Order {
        /// The node.
        node: String,
        /// What is wrong.
        reason: &'static str,
        /// The value.
        value: String,
    },
    /// Something asked for by name that is not there.
    #[error("there is no {what} `{name}`; there are {known:?}")]
    Unknown {
        /// Those that exist.
        known: Vec<String>,
        /// The name.
        name: String,
        /// What it should be: value, output, initializer.
        what: &'static str,
    },
    /// The rank, the extents or the contents of a value must be known and are not.
    #[error(
        "node `{node}` ({op}): the {what} of `{value}` must be known here; declare it in the graph's value_info"
    )]
    Undetermined {
        /// The node.
        node: String,
        /// The op.
        op: String,
        /// The value.
        value: String,
        /// What must be known: element type, rank, contents, ….
        what: &'static str,
    },
    /// A form of an op that the rule does not cover.
    #[error("node `{node}` ({op}): {reason}")]
    Unsupported {
        /// The node.
        node: String,
        /// The op.
        op: String,
        /// What is not covered.
        reason: String,
    },
}
