//! The ops: one file a family, one table of all.
//!
//! An op is an [`Entry`]: its name, the first version of the operator set whose meaning it has, and what builds its
//! kernel from a node. A kernel is a closure over decoded attributes; see [`Kernel`] for what it may ask of the
//! interpreter.
//!
//! What a run may compute has a limit. The interpreter counts each call with the elements of its inputs, the pool those of
//! each tensor that it hands out, and [`gemm::product`] its multiplications; a kernel that does more than a few operations for
//! each of these counts the rest before it begins, with `io.charge`. The fuzz target `model` reaches every entry, so
//! that one that forgets it is found as a run that does not end. Memory that is not of the pool is counted with `io.reserve`.

mod activation;
mod attention;
mod bits;
mod boxes;
pub(crate) mod cast;
mod constant;
mod control;
pub(crate) mod conv;
pub(crate) mod convolve;
mod einsum;
pub(crate) mod elementwise;
pub(crate) mod flex;
mod gemm;
mod index;
pub(crate) mod layout;
mod legacy;
mod logic;
mod loss;
mod normalize;
pub(crate) mod optimizer;
mod optional;
mod order;
mod patches;
mod pool;
mod quantize;
mod recurrent;
mod reduce;
mod resize;
mod sample;
mod sequence;
mod signal;
mod softmax;
mod stream;
pub(crate) mod types;
mod wide;
pub(crate) mod window;

use std::sync::LazyLock;

use bb_runtime::OpId;

use crate::compound::Kind;
use crate::fault::{Fault, Outcome};
use crate::io::Io;
use crate::node::NodeDef;

/// What a kernel does in a run.
pub(crate) type Run = Box<dyn FnMut(&mut Io<'_, '_>) -> Outcome + Send>;

/// A node made ready.
pub(crate) struct Kernel {
    pub(crate) run: Run,
    /// It takes its inputs with `Io::take` and may write over those that die.
    pub(crate) in_place: bool,
    /// It computes half-precision inputs in `f32`.
    pub(crate) via_f32: bool,
    /// It reads all of its inputs, which is counted as work before it runs.
    pub(crate) reads_inputs: bool,
    /// What its outputs are, of one that takes or gives what is no tensor; all others take and give tensors.
    pub(crate) gives: Option<Vec<Kind>>,
}

impl Kernel {
    pub(crate) fn new(run: impl FnMut(&mut Io<'_, '_>) -> Outcome + Send + 'static) -> Self {
        Self { run: Box::new(run), in_place: false, via_f32: false, reads_inputs: true, gives: None }
    }

    pub(crate) fn in_place(self) -> Self {
        Self { in_place: true, ..self }
    }

    pub(crate) fn via_f32(self) -> Self {
        Self { via_f32: true, ..self }
    }

    /// It checked what its inputs are, and its outputs are these; what it reads it counts itself.
    pub(crate) fn gives(self, kinds: impl Into<Vec<Kind>>) -> Self {
        Self { gives: Some(kinds.into()), reads_inputs: false, ..self }
    }

    /// It looks at shapes or at few elements, and what it reads beyond that it counts itself.
    pub(crate) fn reads_little(self) -> Self {
        Self { reads_inputs: false, ..self }
    }
}

/// An op of the table.
pub(crate) struct Entry {
    domain: &'static str,
    name: &'static str,
    since: i64,
    build: fn(&NodeDef<'_>) -> Outcome<Kernel>,
}

/// An op of ONNX's own operator set, as it is defined from version `since` on.
const fn op(name: &'static str, since: i64, build: fn(&NodeDef<'_>) -> Outcome<Kernel>) -> Entry {
    Entry { domain: "", name, since, build }
}

const FAMILIES: &[&[Entry]] = &[
    activation::OPS,
    attention::OPS,
    bits::OPS,
    boxes::OPS,
    cast::OPS,
    constant::OPS,
    control::OPS,
    conv::OPS,
    einsum::OPS,
    elementwise::OPS,
    flex::OPS,
    gemm::OPS,
    index::OPS,
    layout::OPS,
    logic::OPS,
    loss::OPS,
    normalize::OPS,
    optimizer::OPS,
    optional::OPS,
    order::OPS,
    patches::OPS,
    pool::OPS,
    quantize::OPS,
    recurrent::OPS,
    reduce::OPS,
    resize::OPS,
    sample::OPS,
    sequence::OPS,
    signal::OPS,
    softmax::OPS,
    stream::OPS,
];

/// All entries, by the length of their names and then by name: most comparisons end at the length.
static TABLE: LazyLock<Vec<&'static Entry>> = LazyLock::new(|| {
    let mut table: Vec<&Entry> = FAMILIES.iter().flat_map(|family| family.iter()).collect();
    table.sort_by_key(|entry| key(entry.name));
    table
});

fn key(name: &str) -> (usize, &str) {
    (name.len(), name)
}

/// The entries of `op`, one for each version that changed its meaning.
fn entries(op: &OpId) -> impl Iterator<Item = &'static Entry> {
    let begin = TABLE.partition_point(|entry| key(entry.name) < key(op.name()));
    TABLE[begin..]
        .iter()
        .copied()
        .take_while(|entry| entry.name == op.name())
        .filter(|entry| op.domain().as_str() == entry.domain)
}

/// Every op of the table with the first version of each of its meanings.
pub(crate) fn all() -> impl Iterator<Item = (OpId, i64)> {
    TABLE.iter().map(|entry| (OpId::new(entry.domain, entry.name), entry.since))
}

/// Whether the table has `op` in any version.
pub(crate) fn is_known(op: &OpId) -> bool {
    entries(op).next().is_some()
}

/// The kernel of a node.
pub(crate) fn build(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let entry = entries(&node.op).filter(|entry| entry.since <= node.opset).max_by_key(|entry| entry.since);
    match entry {
        Some(entry) => (entry.build)(node),
        None => Err(Fault::UnknownOp),
    }
}
