//! Slots of backends: tensor ops.

use std::collections::BTreeMap;
use std::panic::Location;

use bb_ir::program::{Attribute, Role, Span, domains};
use bb_ir::{Diagnostic, Tensor, ValueType};

use super::slot;
use crate::recorder::NewNode;
use crate::{Graph, Output};

slot! {
    /// A slot for a backend: what runs tensor ops.
    ///
    /// The methods record ops of ONNX's operator set; shapes broadcast as ONNX says. What has no method is
    /// recorded with [`BackendSlot::op`].
    BackendSlot
}

macro_rules! ops {
    ($($(#[$doc:meta])* $method:ident($($operand:ident),+) = $op:literal;)*) => {
        impl BackendSlot {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $method(&self, g: &mut Graph, $($operand: Output),+) -> Output {
                    g.one(self.node($op).inputs([$($operand),+]).output(ValueType::ANY_TENSOR), Location::caller())
                }
            )*
        }
    };
}

ops! {
    /// The element-wise sum.
    add(a, b) = "Add";
    /// The element-wise quotient.
    div(a, b) = "Div";
    /// `e` to each element.
    exp(x) = "Exp";
    /// `a·b + c`, `c` broadcast; for matrices.
    gemm(a, b, c) = "Gemm";
    /// The natural logarithm of each element.
    log(x) = "Log";
    /// The matrix product, as NumPy's `matmul`.
    matmul(a, b) = "MatMul";
    /// The element-wise product.
    mul(a, b) = "Mul";
    /// Each element negated.
    neg(x) = "Neg";
    /// The larger of each element and zero.
    relu(x) = "Relu";
    /// `1 / (1 + e^-x)` of each element.
    sigmoid(x) = "Sigmoid";
    /// The square root of each element.
    sqrt(x) = "Sqrt";
    /// The element-wise difference.
    sub(a, b) = "Sub";
    /// The hyperbolic tangent of each element.
    tanh(x) = "Tanh";
}

impl BackendSlot {
    /// `Softmax` along `axis`; a negative one counts from the last.
    #[track_caller]
    pub fn softmax(&self, g: &mut Graph, x: Output, axis: i64) -> Output {
        let node = self.node("Softmax").inputs([x]).attr("axis", axis).output(ValueType::ANY_TENSOR);
        g.one(node, Location::caller())
    }

    /// The logarithm of `Softmax` along `axis`; a negative one counts from the last.
    #[track_caller]
    pub fn log_softmax(&self, g: &mut Graph, x: Output, axis: i64) -> Output {
        let node = self.node("LogSoftmax").inputs([x]).attr("axis", axis).output(ValueType::ANY_TENSOR);
        g.one(node, Location::caller())
    }

    /// The sum over `axes` (all of them if there are none), which stay with extent 1 if `keep`.
    #[track_caller]
    pub fn reduce_sum(&self, g: &mut Graph, x: Output, axes: &[i64], keep: bool) -> Output {
        self.reduce(g, "ReduceSum", x, axes, keep, Location::caller())
    }

    /// The mean over `axes` (all of them if there are none), which stay with extent 1 if `keep`.
    #[track_caller]
    pub fn reduce_mean(&self, g: &mut Graph, x: Output, axes: &[i64], keep: bool) -> Output {
        self.reduce(g, "ReduceMean", x, axes, keep, Location::caller())
    }

    /// The same elements in another shape; one extent may be -1, which is worked out.
    #[track_caller]
    pub fn reshape(&self, g: &mut Graph, x: Output, shape: &[i64]) -> Output {
        let at = Location::caller();
        let shape = integers(g, shape, at);
        g.one(self.node("Reshape").inputs([x, shape]).output(ValueType::ANY_TENSOR), at)
    }

    /// The axes in another order.
    #[track_caller]
    pub fn transpose(&self, g: &mut Graph, x: Output, order: &[i64]) -> Output {
        let node = self.node("Transpose").inputs([x]).attr("perm", order).output(ValueType::ANY_TENSOR);
        g.one(node, Location::caller())
    }

    /// The mean cross entropy of `logits` (rows × classes) against `labels` (rows, whole numbers).
    #[track_caller]
    pub fn softmax_cross_entropy_loss(&self, g: &mut Graph, logits: Output, labels: Output) -> Output {
        let node = self
            .node("SoftmaxCrossEntropyLoss")
            .inputs([logits, labels])
            .attr("reduction", "mean")
            .output(ValueType::ANY_TENSOR);
        g.one(node, Location::caller())
    }

    /// The gradient of `y`, a scalar, with respect to each of `xs`, from which this backend's ops made it.
    #[track_caller]
    pub fn gradient<const N: usize>(&self, g: &mut Graph, y: Output, xs: [Output; N]) -> [Output; N] {
        let at = Location::caller();
        let mut names = Vec::with_capacity(N);
        for value in xs.iter().chain([&y]) {
            let Some(id) = g.resolve(*value, at) else { return [Output::poison(); N] };
            names.push(g.frame().graph.value(id).name.clone());
        }
        let y_name = names.pop().unwrap_or_default();
        let mut node = NewNode::new(domains::ONNX_TRAINING, "Gradient")
            .slot(self.name(), Role::Backend)
            .inputs(xs)
            .attr("xs", names)
            .attr("y", y_name);
        node.outputs = vec![Some(ValueType::ANY_TENSOR); N];
        let outputs = g.record(node, at);
        std::array::from_fn(|index| outputs.get(index).copied().unwrap_or_else(Output::poison))
    }

    /// Any op of ONNX's operator set.
    ///
    /// ```
    /// use bb_dsl::{BackendSlot, Graph, Module};
    /// struct Pool(BackendSlot);
    /// impl Module for Pool {
    ///     fn name(&self) -> &str { "Pool" }
    ///     fn body(&self, g: &mut Graph) {
    ///         let x = g.input("x");
    ///         let y = self.0.op(g, "MaxPool").input(x).attr("kernel_shape", [2, 2]).output();
    ///         g.output("y", y);
    ///     }
    /// }
    /// assert!(Pool(BackendSlot::named("compute")).build().is_ok());
    /// ```
    #[track_caller]
    pub fn op<'g>(&self, g: &'g mut Graph, name: &str) -> OpBuilder<'g> {
        let at = Location::caller();
        if name.is_empty() {
            g.error(Diagnostic::new("an op has no name").label(Span::of(at), "recorded here"));
        }
        let node = NewNode::new(domains::ONNX, name.to_owned()).slot(self.name(), Role::Backend);
        OpBuilder { g, node, at }
    }

    fn node(&self, op: &'static str) -> NewNode {
        NewNode::new(domains::ONNX, op).slot(self.name(), Role::Backend)
    }

    fn reduce(
        &self,
        g: &mut Graph,
        op: &'static str,
        x: Output,
        axes: &[i64],
        keep: bool,
        at: &'static Location<'static>,
    ) -> Output {
        let mut node = self.node(op).inputs([x]).attr("keepdims", i64::from(keep));
        if !axes.is_empty() {
            node = node.inputs([integers(g, axes, at)]);
        }
        g.one(node.output(ValueType::ANY_TENSOR), at)
    }
}

/// A one-axis constant.
fn integers(g: &mut Graph, numbers: &[i64], at: &'static Location<'static>) -> Output {
    match Tensor::from_slice([numbers.len()], numbers) {
        Ok(tensor) => g.record_constant(Attribute::Tensor(tensor), at),
        Err(error) => {
            g.error(Diagnostic::new(error.to_string()).label(Span::of(at), "recorded here"));
            Output::poison()
        }
    }
}

/// Any op, part by part; made by [`BackendSlot::op`].
#[must_use = "an op is not recorded until `.output()` or `.outputs(n)`"]
pub struct OpBuilder<'g> {
    g: &'g mut Graph,
    node: NewNode,
    at: &'static Location<'static>,
}

impl OpBuilder<'_> {
    /// The next input.
    pub fn input(mut self, value: Output) -> Self {
        self.node.inputs.push(Some(value));
        self
    }

    /// The next input, an optional one, is left out.
    pub fn no_input(mut self) -> Self {
        self.node.inputs.push(None);
        self
    }

    /// An attribute: a number, a text, numbers, a tensor, ….
    pub fn attr(mut self, name: &str, value: impl Into<Attribute>) -> Self {
        self.node.attributes.insert(name.to_owned(), value.into());
        self
    }

    /// All attributes at once, in place of those given before.
    pub fn attributes(mut self, attributes: BTreeMap<String, Attribute>) -> Self {
        self.node.attributes = attributes;
        self
    }

    /// Records the op, which has one output.
    pub fn output(self) -> Output {
        let Self { g, node, at } = self;
        g.one(node.output(ValueType::ANY_TENSOR), at)
    }

    /// Records the op, which has `count` outputs.
    pub fn outputs(self, count: usize) -> Vec<Output> {
        let Self { g, mut node, at } = self;
        node.outputs = vec![Some(ValueType::ANY_TENSOR); count];
        g.record(node, at)
    }
}

impl std::fmt::Debug for OpBuilder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpBuilder({})", self.node.op)
    }
}
