//! A graph under construction: values with what is known of them, nodes, and no node twice.
//!
//! [`Builder::open`] takes up a graph; rules then add nodes through [`Builder::emit`] and the helpers of
//! `emit`. A node that reads the same values with the same attributes as one that exists already, of the forward
//! pass or of the backward one, is that node.

use std::collections::{BTreeMap, BTreeSet};

use bb_ir::onnx::{AttributeProto, GraphProto, NodeProto};

use crate::AutodiffError;
use crate::attributes::{element_count, is_onnx, label, op_name};
use crate::facts::{Fact, Question, infer};

/// A value of the graph under construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Val(u32);

/// A graph under construction.
pub(crate) struct Builder {
    opset: i64,
    nodes: Vec<NodeProto>,
    names: Vec<String>,
    facts: Vec<Fact>,
    by_name: BTreeMap<String, Val>,
    reserved: BTreeSet<String>,
    expressions: BTreeMap<Expression, Vec<Val>>,
    /// What generated names begin with.
    prefix: String,
    counter: usize,
    /// How many nodes there were before the first backward one.
    forward: Option<usize>,
    /// How many nodes there may be.
    most: usize,
}

/// What a node computes: op, inputs, attributes in the order of their names.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Expression {
    op: String,
    inputs: Vec<Option<Val>>,
    attributes: String,
}

/// The oldest operator set that is read: the first with `Where`, `Expand` and `ConstantOfShape`, which gradients need.
const OLDEST: i64 = 9;

impl Builder {
    /// Takes up `graph`: its inputs, initializers and nodes.
    ///
    /// # Errors
    /// [`AutodiffError::Opset`], [`AutodiffError::Order`].
    pub(crate) fn open(graph: &GraphProto, opset: i64) -> Result<Self, AutodiffError> {
        if opset < OLDEST {
            return Err(AutodiffError::Opset { needed: OLDEST, opset });
        }
        let mut builder = Self::empty(opset, "grad".to_owned());
        builder.take_up(graph)?;
        Ok(builder)
    }

    /// A graph of nothing, whose generated names begin with `prefix`.
    pub(crate) fn empty(opset: i64, prefix: String) -> Self {
        Self {
            opset,
            nodes: Vec::new(),
            names: Vec::new(),
            facts: Vec::new(),
            by_name: BTreeMap::new(),
            reserved: BTreeSet::new(),
            expressions: BTreeMap::new(),
            prefix,
            counter: 0,
            forward: None,
            most: usize::MAX,
        }
    }

    /// Adds the initializers, the inputs that do not stand here yet, and the nodes of a graph.
    ///
    /// # Errors
    /// [`AutodiffError::Order`].
    pub(crate) fn take_up(&mut self, graph: &GraphProto) -> Result<(), AutodiffError> {
        self.nodes.reserve(graph.node.len() * 3);
        for tensor in &graph.initializer {
            self.define(tensor.name.as_deref().unwrap_or_default(), Fact::of_tensor(tensor));
        }
        for tensor in &graph.sparse_initializer {
            let values = tensor.values.as_ref();
            let name = values.and_then(|values| values.name.as_deref()).unwrap_or_default();
            let dtype = values.and_then(|values| Fact::of_tensor(values).dtype);
            self.define(name, Fact::new(dtype, None));
        }
        for input in &graph.input {
            let name = input.name.as_deref().unwrap_or_default();
            if !self.by_name.contains_key(name) {
                self.define(name, Fact::of_value_info(input));
            }
        }
        let declared = declarations(graph);
        for node in &graph.node {
            self.append(node, &declared)?;
        }
        Ok(())
    }

    /// Adds a node of the graph that is taken up, verbatim.
    ///
    /// # Errors
    /// [`AutodiffError::Order`].
    pub(crate) fn append(
        &mut self,
        node: &NodeProto,
        declared: &BTreeMap<&str, Fact>,
    ) -> Result<(), AutodiffError> {
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            let found = self.by_name.get(name.as_str()).copied();
            if found.is_none() && !name.is_empty() {
                return Err(order(node, name, "is read before anything makes it"));
            }
            inputs.push(found.filter(|_| !name.is_empty()));
        }
        for attribute in &node.attribute {
            for inner in attribute.g.iter().chain(&attribute.graphs) {
                self.reserve(inner);
            }
        }
        let mut facts = self.infer(node, &inputs);
        self.look_inside(node, &inputs, &mut facts)?;
        let mut outputs = Vec::with_capacity(node.output.len());
        for (name, mut fact) in node.output.iter().zip(facts) {
            if let Some(declared) = declared.get(name.as_str()) {
                fact.fill_from(declared);
            }
            if !name.is_empty() && self.by_name.contains_key(name) {
                return Err(order(node, name, "is made a second time"));
            }
            outputs.push(self.define(name, fact));
        }
        if is_pure(node) && node.output.iter().all(|name| !name.is_empty()) {
            let expression = Expression::new(&op_name(node), &inputs, &node.attribute);
            self.expressions.entry(expression).or_insert(outputs);
        }
        self.nodes.push(node.clone());
        Ok(())
    }

    /// Keeps generated names away from the names of a nested graph.
    pub(crate) fn reserve(&mut self, graph: &GraphProto) {
        for node in &graph.node {
            self.reserved.extend(node.output.iter().cloned());
            for inner in
                node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
            {
                self.reserve(inner);
            }
        }
        self.reserved.extend(graph.initializer.iter().filter_map(|tensor| tensor.name.clone()));
        self.reserved.extend(graph.input.iter().filter_map(|input| input.name.clone()));
    }

    /// Adds a value that no node makes: an input.
    pub(crate) fn define(&mut self, name: &str, fact: Fact) -> Val {
        let val = Val(self.names.len() as u32);
        self.names.push(name.to_owned());
        self.facts.push(fact);
        if !name.is_empty() {
            self.by_name.insert(name.to_owned(), val);
        }
        val
    }

    /// A name that nothing has, made of `stem`.
    pub(crate) fn fresh(&self, stem: &str) -> String {
        let free = |name: &str| !self.by_name.contains_key(name) && !self.reserved.contains(name);
        if free(stem) {
            return stem.to_owned();
        }
        let mut count = 1;
        loop {
            let name = format!("{stem}_{count}");
            if free(&name) {
                return name;
            }
            count += 1;
        }
    }

    /// Adds a node with `count` outputs, unless there is one that computes the same already.
    pub(crate) fn emit(
        &mut self,
        op: &str,
        inputs: &[Option<Val>],
        attributes: Vec<AttributeProto>,
        count: usize,
    ) -> Vec<Val> {
        let expression = Expression::new(op, inputs, &attributes);
        if let Some(outputs) = self.expressions.get(&expression)
            && outputs.len() >= count
        {
            return outputs.clone();
        }
        let names: Vec<String> = (0..count).map(|_| self.next_name(op)).collect();
        let outputs = self.push(op, inputs, attributes, names);
        self.expressions.insert(expression, outputs.clone());
        outputs
    }

    /// Adds a node whose one output is called `name`.
    pub(crate) fn emit_as(
        &mut self,
        name: &str,
        op: &str,
        inputs: &[Val],
        attributes: Vec<AttributeProto>,
    ) -> Val {
        let inputs: Vec<Option<Val>> = inputs.iter().copied().map(Some).collect();
        self.push(op, &inputs, attributes, vec![name.to_owned()])[0]
    }

    /// Adds a copy of `val` that is called `name`.
    ///
    /// # Errors
    /// [`AutodiffError::Order`], if something is called so.
    pub(crate) fn define_as(&mut self, name: &str, val: Val) -> Result<Val, AutodiffError> {
        if self.by_name.contains_key(name) {
            let node = NodeProto { name: Some(name.to_owned()), ..NodeProto::default() };
            return Err(order(&node, name, "is made a second time"));
        }
        Ok(self.emit_as(name, "Identity", &[val], vec![]))
    }

    /// Adds a node with nested graphs, its outputs being what `facts` says.
    pub(crate) fn emit_nested(
        &mut self,
        op: &str,
        inputs: &[Option<Val>],
        attributes: Vec<AttributeProto>,
        facts: Vec<Fact>,
    ) -> Vec<Val> {
        for graph in attributes.iter().filter_map(|attribute| attribute.g.as_ref()) {
            self.reserve(graph);
        }
        let names: Vec<String> = facts.iter().map(|_| self.next_name(op)).collect();
        let outputs = self.push(op, inputs, attributes, names);
        for (&output, fact) in outputs.iter().zip(&facts) {
            self.learn(output, fact);
        }
        outputs
    }

    fn push(
        &mut self,
        op: &str,
        inputs: &[Option<Val>],
        attributes: Vec<AttributeProto>,
        names: Vec<String>,
    ) -> Vec<Val> {
        let input = inputs.iter().map(|input| input.map(|val| self.name(val).to_owned()).unwrap_or_default());
        let node = NodeProto {
            input: input.collect(),
            name: names.first().cloned(),
            output: names,
            op_type: Some(op.to_owned()),
            attribute: attributes,
            ..NodeProto::default()
        };
        let facts = self.infer(&node, inputs);
        let outputs = node.output.iter().zip(facts).map(|(name, fact)| self.define(name, fact)).collect();
        self.nodes.push(node);
        outputs
    }

    pub(crate) fn next_name(&mut self, op: &str) -> String {
        self.counter += 1;
        let stem = format!("{}/{op}_{}", self.prefix, self.counter);
        let name = self.fresh(&stem);
        self.reserved.insert(name.clone());
        name
    }

    /// Has node `index` make its output `position` too, and returns it.
    pub(crate) fn demand_output(&mut self, index: usize, position: usize, fact: Fact) -> Val {
        if let Some(name) = self.nodes[index].output.get(position)
            && let Some(val) = self.by_name.get(name)
        {
            return *val;
        }
        let name = self.fresh(&format!("{}/{position}", label(&self.nodes[index])));
        let outputs = &mut self.nodes[index].output;
        outputs.resize(outputs.len().max(position + 1), String::new());
        outputs[position].clone_from(&name);
        self.define(&name, fact)
    }

    fn infer(&self, node: &NodeProto, inputs: &[Option<Val>]) -> Vec<Fact> {
        let facts: Vec<Option<&Fact>> = inputs.iter().map(|input| input.map(|val| self.fact(val))).collect();
        let op = node.op_type.as_deref().unwrap_or_default();
        infer(&Question { op, node, inputs: &facts })
    }

    /// The version of ONNX's operator set that the nodes are written in.
    pub(crate) fn opset(&self) -> i64 {
        self.opset
    }

    /// What is known of a value.
    pub(crate) fn fact(&self, val: Val) -> &Fact {
        &self.facts[val.0 as usize]
    }

    /// Notes what else is known of a value.
    pub(crate) fn learn(&mut self, val: Val, more: &Fact) {
        self.facts[val.0 as usize].fill_from(more);
    }

    /// A value's name.
    pub(crate) fn name(&self, val: Val) -> &str {
        &self.names[val.0 as usize]
    }

    /// The value of that name.
    pub(crate) fn find(&self, name: &str) -> Option<Val> {
        self.by_name.get(name).copied()
    }

    /// All names of values, in the order in which they were made.
    pub(crate) fn value_names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str).filter(|name| !name.is_empty())
    }

    /// Has node `index` be another one.
    pub(crate) fn replace(&mut self, index: usize, node: NodeProto) {
        self.nodes[index] = node;
    }

    /// Has gradients be refused with which there would be more than `most` nodes.
    pub(crate) fn limit(&mut self, most: usize) {
        self.most = most;
    }

    /// How many nodes there may be.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Notes that what is added from now on is the backward pass.
    pub(crate) fn end_forward(&mut self) {
        self.forward.get_or_insert(self.nodes.len());
    }

    /// The nodes of the forward pass; all of them, if nothing was differentiated.
    pub(crate) fn forward_nodes(&self) -> &[NodeProto] {
        &self.nodes[..self.forward.unwrap_or(self.nodes.len())]
    }

    /// The nodes so far.
    pub(crate) fn nodes(&self) -> &[NodeProto] {
        &self.nodes
    }

    /// The nodes, which are in topological order.
    pub(crate) fn into_nodes(self) -> Vec<NodeProto> {
        self.nodes
    }
}

/// What a graph declares of its values.
pub(crate) fn declarations(graph: &GraphProto) -> BTreeMap<&str, Fact> {
    let infos = graph.value_info.iter().chain(&graph.output);
    infos.map(|info| (info.name.as_deref().unwrap_or_default(), Fact::of_value_info(info))).collect()
}

impl Expression {
    fn new(op: &str, inputs: &[Option<Val>], attributes: &[AttributeProto]) -> Self {
        let mut sorted: Vec<&AttributeProto> = attributes.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        Self { op: op.to_owned(), inputs: inputs.to_vec(), attributes: format!("{sorted:?}") }
    }
}

/// Whether a node gives the same for the same inputs, and is cheap to compare.
pub(crate) fn is_pure(node: &NodeProto) -> bool {
    const RANDOM: [&str; 7] = [
        "Bernoulli",
        "Dropout",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    ];
    let op = node.op_type.as_deref().unwrap_or_default();
    let small = |attribute: &AttributeProto| {
        attribute.g.is_none()
            && attribute.graphs.is_empty()
            && attribute
                .t
                .as_ref()
                .is_none_or(|tensor| element_count(tensor).is_some_and(|count| count <= 64))
    };
    is_onnx(node) && !RANDOM.contains(&op) && node.attribute.iter().all(small)
}

fn order(node: &NodeProto, value: &str, reason: &'static str) -> AutodiffError {
    AutodiffError::Order { node: label(node), reason, value: value.to_owned() }
}
