//! What a node carries besides its inputs.

use super::Graph;
use crate::{Tensor, Value};

/// An attribute of a node.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Attribute {
    /// A number without a fraction.
    Int(i64),
    /// A number.
    Float(f32),
    /// Text.
    Str(String),
    /// Numbers without a fraction.
    Ints(Vec<i64>),
    /// Numbers.
    Floats(Vec<f32>),
    /// Texts.
    Strs(Vec<String>),
    /// A tensor.
    Tensor(Tensor),
    /// Any other value.
    Value(Value),
    /// A nested graph.
    Graph(Graph),
}
