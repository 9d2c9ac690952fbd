//! Graphs inside nodes: builders for them, and what is known of what they put out.
//!
//! A value of the outer graph has the same name inside, so that inner nodes stay as they are.

use std::collections::BTreeSet;

use bb_ir::onnx::{GraphProto, NodeProto, TensorProto};
use bb_ir::{DataType, Dim};

use crate::AutodiffError;
use crate::activity::{free_names, prune};
use crate::attributes::{Attributes, is_onnx};
use crate::builder::{Builder, Val};
use crate::facts::{Fact, axis_within, same_dim};

impl Builder {
    /// A builder for a graph inside a node of this one. The names that it generates are those of no value here.
    pub(crate) fn nested(&mut self, op: &str) -> Self {
        let prefix = self.next_name(op);
        Self::empty(self.opset(), prefix)
    }

    /// Makes known what `graph` reads of `outer`.
    pub(crate) fn see(&mut self, outer: &Self, graph: &GraphProto) {
        let mut names = BTreeSet::new();
        free_names(graph, &mut names);
        for val in names.into_iter().filter_map(|name| outer.find(name)) {
            self.capture(outer, val);
        }
    }

    /// A value of `outer`, here.
    pub(crate) fn capture(&mut self, outer: &Self, val: Val) -> Val {
        let name = outer.name(val);
        self.find(name).unwrap_or_else(|| self.define(name, outer.fact(val).clone()))
    }

    /// A new input.
    pub(crate) fn accept(&mut self, fact: Fact) -> Val {
        let name = self.next_name("in");
        self.define(&name, fact)
    }

    /// The value of a nested graph's output.
    pub(crate) fn output_of(&self, graph: &GraphProto, index: usize) -> Result<Val, AutodiffError> {
        let name = graph.output.get(index).and_then(|info| info.name.as_deref()).unwrap_or_default();
        self.find(name).ok_or_else(|| AutodiffError::Unknown {
            known: self.value_names().map(str::to_owned).collect(),
            name: name.to_owned(),
            what: "output of a nested graph",
        })
    }

    /// The finished graph: what `outputs` need of the nodes and of the initializers `held`.
    pub(crate) fn enclose(mut self, held: &[TensorProto], inputs: &[Val], outputs: &[Val]) -> GraphProto {
        let made: BTreeSet<String> =
            self.nodes().iter().flat_map(|node| node.output.iter().cloned()).collect();
        let mut seen = BTreeSet::new();
        let mut distinct = Vec::with_capacity(outputs.len());
        for &val in outputs {
            let copied = !made.contains(self.name(val)) || !seen.insert(val);
            distinct.push(if copied {
                let name = self.next_name("out");
                self.emit_as(&name, "Identity", &[val], vec![])
            } else {
                val
            });
        }
        let infos =
            |vals: &[Val]| vals.iter().map(|&val| self.fact(val).to_value_info(self.name(val))).collect();
        let (input, output) = (infos(inputs), infos(&distinct));
        let names: Vec<String> = distinct.iter().map(|&val| self.name(val).to_owned()).collect();
        let (node, read) = prune(self.into_nodes(), &names);
        let initializer =
            held.iter().filter(|tensor| read.contains(tensor.name.as_deref().unwrap_or_default())).cloned();
        GraphProto {
            node,
            name: Some("nested".to_owned()),
            initializer: initializer.collect(),
            input,
            output,
            ..GraphProto::default()
        }
    }

    /// Adds to `facts`, of the outputs of a node with nested graphs, what these tell.
    pub(crate) fn look_inside(
        &self,
        node: &NodeProto,
        inputs: &[Option<Val>],
        facts: &mut [Fact],
    ) -> Result<(), AutodiffError> {
        if !is_onnx(node) {
            return Ok(());
        }
        let found = match node.op_type.as_deref() {
            Some("If") => self.choice_facts(node)?,
            Some("Loop") => self.loop_facts(node, inputs)?,
            Some("Scan") => self.scan_facts(node, inputs)?,
            _ => return Ok(()),
        };
        facts.iter_mut().zip(&found).for_each(|(fact, found)| fact.fill_from(found));
        Ok(())
    }

    /// What is known of the outputs of a graph whose inputs are `given`.
    fn inside(&self, graph: &GraphProto, given: Vec<Fact>) -> Result<Vec<Fact>, AutodiffError> {
        let mut inner = Self::empty(self.opset(), String::new());
        inner.see(self, graph);
        for (info, fact) in graph.input.iter().zip(given) {
            let mut own = Fact::of_value_info(info);
            own.fill_from(&fact);
            inner.define(info.name.as_deref().unwrap_or_default(), own);
        }
        inner.take_up(graph)?;
        (0..graph.output.len())
            .map(|index| {
                let fact = inner.fact(inner.output_of(graph, index)?);
                let mut own = fact.clone();
                own.fill_from(&Fact::of_value_info(&graph.output[index]));
                Ok(own)
            })
            .collect()
    }

    fn choice_facts(&self, node: &NodeProto) -> Result<Vec<Fact>, AutodiffError> {
        let branches = ["then_branch", "else_branch"].map(|name| Attributes(node).graph(name));
        let [first, second] = branches;
        if let Some(taken) = self.taken_branch(node) {
            return self.inside(if taken == "then_branch" { first? } else { second? }, vec![]);
        }
        let (first, second) = (self.inside(first?, vec![])?, self.inside(second?, vec![])?);
        Ok(first.into_iter().zip(second).map(|(a, b)| either(&a, &b)).collect())
    }

    /// The branch that an `If` always takes, if its condition is known.
    pub(crate) fn taken_branch(&self, node: &NodeProto) -> Option<&'static str> {
        let condition = self.fact(self.find(node.input.first()?)?).uniform?;
        Some(if condition != 0.0 { "then_branch" } else { "else_branch" })
    }

    fn known(&self, val: Option<Val>) -> Fact {
        val.map(|val| self.fact(val))
            .map_or_else(Fact::default, |fact| Fact::new(fact.dtype, fact.shape.clone()))
    }

    fn loop_facts(&self, node: &NodeProto, inputs: &[Option<Val>]) -> Result<Vec<Fact>, AutodiffError> {
        let body = Attributes(node).graph("body")?;
        let number = |dtype| Fact::new(Some(dtype), Some(Vec::new()));
        let first: Vec<Fact> = inputs.iter().skip(2).map(|&val| self.known(val)).collect();
        let given = |states: &[Fact]| -> Vec<Fact> {
            [number(DataType::I64), number(DataType::Bool)].iter().chain(states).cloned().collect()
        };
        let once = self.inside(body, given(&first))?;
        let stable: Vec<Fact> =
            first.iter().zip(once.iter().skip(1)).map(|(before, after)| either(before, after)).collect();
        let again = self.inside(body, given(&stable))?;
        let slices = again.iter().skip(1 + first.len()).map(|slice| {
            let shape = slice.shape.as_ref().map(|dims| [&[Dim::Any], &dims[..]].concat());
            Fact::new(slice.dtype, shape)
        });
        Ok(stable.iter().cloned().chain(slices).collect())
    }

    fn scan_facts(&self, node: &NodeProto, inputs: &[Option<Val>]) -> Result<Vec<Fact>, AutodiffError> {
        let attributes = Attributes(node);
        let body = attributes.graph("body")?;
        let scanned = usize::try_from(attributes.int_or("num_scan_inputs", 1)).unwrap_or(0).min(inputs.len());
        let states = inputs.len() - scanned;
        let axis_of = |list: &str, index: usize| {
            attributes.ints(list).and_then(|axes| axes.get(index)).copied().unwrap_or(0)
        };
        let mut length = Dim::Any;
        let mut given: Vec<Fact> = inputs[..states].iter().map(|&val| self.known(val)).collect();
        for (index, &val) in inputs[states..].iter().enumerate() {
            let mut fact = self.known(val);
            if let Some(dims) = &mut fact.shape
                && let Some(axis) = axis_within(axis_of("scan_input_axes", index), dims.len())
            {
                length = dims.remove(axis);
            }
            given.push(fact);
        }
        let put_out = self.inside(body, given)?;
        let facts = put_out.into_iter().enumerate().map(|(index, fact)| {
            let mut fact = Fact::new(fact.dtype, fact.shape);
            if index >= states
                && let Some(dims) = &mut fact.shape
                && let Some(axis) = axis_within(axis_of("scan_output_axes", index - states), dims.len() + 1)
            {
                dims.insert(axis, length.clone());
            }
            fact
        });
        Ok(facts.collect())
    }
}

/// What is known where both are possible.
fn either(a: &Fact, b: &Fact) -> Fact {
    let shape = a.shape.as_ref().zip(b.shape.as_ref()).filter(|(a, b)| a.len() == b.len()).map(|(a, b)| {
        a.iter().zip(b).map(|(a, b)| if same_dim(a, b) { a.clone() } else { Dim::Any }).collect()
    });
    Fact::new(a.dtype.or(b.dtype), shape)
}
