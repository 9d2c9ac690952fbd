//! Reverse-mode gradients of an ONNX graph, as an ONNX graph.
//!
//! Training is a graph like any other: what runs ONNX can train. [`Gradients::of`] extends a graph by the nodes that
//! compute the gradients of a value; [`TrainingPlan`] puts a loss on a model, finds its parameters and makes whole
//! training steps, evaluations and plain forward passes of it, each one graph that a backend prepares once.
//!
//! # What the graphs are made of
//!
//! Standard ONNX ops of the operator set that the model is written in, 9 or newer: `Add Sub Mul Div Neg Pow Exp Log Sqrt`,
//! comparisons and `Where`, `MatMul Gemm`, `ReduceSum` and so on; constants are `Constant` nodes. Where extents
//! are declared, or follow from what is declared, everything about shapes is settled here; where they are not, the
//! question is asked by ops (`Shape`, `Size`, …), so that one graph serves all batch sizes. A backward node that
//! would compute what a node computes already is that node. What gradients are made of has gradients itself, so that
//! [`Gradients::of`] a graph that it made gives second derivatives.
//!
//! Nested graphs are gone through: `If` backwards is an `If`, `Loop` and `Scan` backwards are a `Scan` from the last
//! iteration to the first, for which the forward loop collects its states. A layer such as `LSTM` is written out as
//! such a loop, and that is differentiated.
//!
//! # How it works
//!
//! 1. `builder` takes up the graph; `facts` infers what is known of each value (element type, symbolic extents).
//! 2. `activity` marks what lies between the loss and what is differentiated for. The rest costs nothing.
//! 3. `reverse` goes through the active nodes, last first, and lets each one's rule say what its inputs get.
//!    (Griewank & Walther, "Evaluating Derivatives", 2nd edition, chapter 3: the adjoint mode.)
//!
//! # Memory and precision
//!
//! [`TrainingOptions::precision`] has the forward pass compute in half precision before it is differentiated;
//! [`TrainingOptions::recompute`] and [`Gradients::recomputing`] have the backward pass compute values again that would else
//! be held, until [`peak_bytes`] is within a budget.
//!
//! # How to add a rule
//!
//! The rules are in `rules`, one file a family, one line an op. For an op `Cube`, `y = x³`:
//!
//! 1. Add to the family's table, `RULES`, in the order of the alphabet, `Rule::all("Cube", |s| s.unary(cube))`, and write
//!    the rule with its equation:
//!    ```text
//!    /// `y = x³`: `3·g·x²`.
//!    fn cube(s: &mut Scope<'_>, g: Val) -> Result<Val, AutodiffError> {
//!        let x = s.input(0)?;
//!        let square = s.b.mul(x, x);
//!        let slope = s.b.scale(square, 3.0)?;
//!        Ok(s.b.mul(g, slope))
//!    }
//!    ```
//!    `s.b` is the builder; it emits the form that the operator set has. An op with several inputs asks
//!    `s.wants(index)` and hands gradients over with `s.give`, or with `s.give_broadcast` where the input was broadcast.
//!    `Rule::first` is for ops whose further inputs are shapes or axes; `flow` says it input by input. An op that is
//!    made of others may emit those and have them differentiated: `s.through`.
//! 2. If the op's output does not have the shape of its input, teach `facts` the shape.
//! 3. Add it to the family's file under `tests/gradients`: a `Case` is checked against finite differences with declared,
//!    symbolic and unknown shapes.
//!
//! An op of which the output is constant almost everywhere goes to the list `CONSTANT` instead.

mod activity;
mod attributes;
mod builder;
mod emit;
mod equation;
mod error;
mod expand;
mod facts;
mod nested;
mod objective;
mod optimizer;
mod precision;
mod recompute;
mod reverse;
mod rules;
mod training;

pub use error::AutodiffError;
pub use expand::expand_gradients;
pub use objective::Loss;
pub use optimizer::{Clip, LossScale, Optimizer};
pub use precision::Precision;
pub use recompute::{Recompute, peak_bytes};
pub use reverse::Gradients;
pub use rules::{constant_ops, differentiable_ops};
pub use training::{Layers, Mask, Parameter, State, Trainable, TrainingGraph, TrainingOptions, TrainingPlan};
