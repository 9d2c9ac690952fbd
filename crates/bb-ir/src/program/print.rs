//! The text form of programs, for people and for tests.
//!
//! One line a node, in the order of the graph: `id: outputs = op(inputs) {attributes} on class slot uses after`.
//! The alternate form (`{:#}`) adds where each node was recorded. Equal programs give equal text.

use std::fmt::{self, Display, Formatter, Write};

use super::{Attribute, Binding, Graph, Node, Program, Target, ValueId};
use crate::ValueType;

impl Display for Program {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "program {} opset {}", Name(&self.name), self.opset)?;
        for module in &self.modules {
            writeln!(f, "\nmodule {} {{", Name(&module.name))?;
            write_graph(f, &module.body, None, 1)?;
            f.write_str("}\n")?;
            if let Some(bootstrap) = &module.bootstrap {
                writeln!(f, "\nbootstrap {} {{", Name(&module.name))?;
                write_graph(f, bootstrap, None, 1)?;
                f.write_str("}\n")?;
            }
        }
        for target in &self.targets {
            write!(f, "\n{target}")?;
        }
        if !self.bindings.is_empty() {
            f.write_char('\n')?;
        }
        for (slot, binding) in &self.bindings {
            writeln!(f, "bind {}: {binding}", Name(slot))?;
        }
        if !self.passes.is_empty() {
            writeln!(f, "\npasses {}", self.passes.join(", "))?;
        }
        Ok(())
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "target {} class {} {{", Name(&self.name), Name(&self.class))?;
        for (index, region) in self.regions.iter().enumerate() {
            let kind = region.kind.name();
            writeln!(f, "  region {index} {kind} {{")?;
            write_graph(f, &region.graph, None, 2)?;
            f.write_str("  }\n")?;
        }
        f.write_str("}\n")
    }
}

impl Display for Binding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.type_name)?;
        if let Some(role) = self.role {
            write!(f, " as {role}")?;
        }
        for (index, (dependency, slot)) in self.dependencies.iter().enumerate() {
            let before = if index > 0 { ", " } else { " with " };
            write!(f, "{before}{} = {}", Name(dependency), Name(slot))?;
        }
        Ok(())
    }
}

impl Display for Graph {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_graph(f, self, None, 0)
    }
}

fn write_graph(f: &mut Formatter<'_>, graph: &Graph, outer: Option<&Graph>, depth: usize) -> fmt::Result {
    let indent = "  ".repeat(depth);
    for input in &graph.inputs {
        write!(f, "{indent}in ")?;
        write_definition(f, graph, *input)?;
        f.write_char('\n')?;
    }
    for capture in &graph.captures {
        write!(f, "{indent}capture ")?;
        write_definition(f, graph, capture.inner)?;
        match outer {
            Some(outer) => writeln!(f, " = {}", Ref(outer, Some(capture.outer)))?,
            None => writeln!(f, " = %?{}", capture.outer.0)?,
        }
    }
    for (index, node) in graph.nodes.iter().enumerate() {
        write!(f, "{indent}{index}: ")?;
        write_node(f, graph, node, depth)?;
        f.write_char('\n')?;
    }
    for output in &graph.outputs {
        writeln!(f, "{indent}out {} = {}", Name(&output.name), Ref(graph, Some(output.value)))?;
    }
    Ok(())
}

fn write_node(f: &mut Formatter<'_>, graph: &Graph, node: &Node, depth: usize) -> fmt::Result {
    for (index, output) in node.outputs.iter().enumerate() {
        f.write_str(if index > 0 { ", " } else { "" })?;
        match output {
            Some(output) => write_definition(f, graph, *output)?,
            None => f.write_char('_')?,
        }
    }
    f.write_str(if node.outputs.is_empty() { "" } else { " = " })?;
    let domain = node.op.domain().as_str();
    let short = domain.strip_prefix("ai.bytesandbrains.").unwrap_or(domain);
    if !short.is_empty() {
        write!(f, "{}::", Name(short))?;
    }
    write!(f, "{}(", Name(node.op.name()))?;
    for (index, input) in node.inputs.iter().enumerate() {
        f.write_str(if index > 0 { ", " } else { "" })?;
        write!(f, "{}", Ref(graph, *input))?;
    }
    f.write_char(')')?;
    for (word, name) in [("on", &node.place), ("slot", &node.slot)] {
        if let Some(name) = name {
            write!(f, " {word} {}", Name(name))?;
        }
    }
    for (index, slot) in node.uses.iter().enumerate() {
        write!(f, "{}{}", if index > 0 { ", " } else { " uses " }, Name(slot))?;
    }
    for (index, before) in node.after.iter().enumerate() {
        write!(f, "{}{}", if index > 0 { ", " } else { " after " }, before.0)?;
    }
    if f.alternate() && node.span.is_known() {
        write!(f, " at {}", Name(&node.span.to_string()))?;
    }
    write_attributes(f, graph, node, depth)
}

fn write_attributes(f: &mut Formatter<'_>, outer: &Graph, node: &Node, depth: usize) -> fmt::Result {
    let is_graph = |attribute: &Attribute| matches!(attribute, Attribute::Graph(_));
    let mut plain = node.attributes.iter().filter(|(_, attribute)| !is_graph(attribute)).peekable();
    if plain.peek().is_some() {
        f.write_str(" {")?;
        for (index, (name, attribute)) in plain.enumerate() {
            write!(f, "{}{} = ", if index > 0 { ", " } else { "" }, Name(name))?;
            write_attribute(f, attribute)?;
        }
        f.write_char('}')?;
    }
    for (name, attribute) in &node.attributes {
        if let Attribute::Graph(graph) = attribute {
            let indent = "  ".repeat(depth + 1);
            writeln!(f, "\n{indent}{} = graph {} {{", Name(name), Name(&graph.name))?;
            write_graph(f, graph, Some(outer), depth + 2)?;
            write!(f, "{indent}}}")?;
        }
    }
    Ok(())
}

fn write_attribute(f: &mut Formatter<'_>, attribute: &Attribute) -> fmt::Result {
    match attribute {
        Attribute::Int(value) => write!(f, "{value}"),
        Attribute::Float(value) => write!(f, "{value:?}f"),
        Attribute::Str(value) => write!(f, "{value:?}"),
        Attribute::Ints(values) => write_list(f, values, |f, value| write!(f, "{value}")),
        Attribute::Floats(values) => write_list(f, values, |f, value| write!(f, "{value:?}f")),
        Attribute::Strs(values) => write_list(f, values, |f, value| write!(f, "{value:?}")),
        Attribute::Tensor(tensor) => write!(f, "{tensor}"),
        Attribute::Value(value) => write!(f, "value {value}"),
        Attribute::Graph(graph) => write_graph(f, graph, None, 0),
    }
}

fn write_list<T>(
    f: &mut Formatter<'_>,
    values: &[T],
    item: impl Fn(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    f.write_char('[')?;
    for (index, value) in values.iter().enumerate() {
        f.write_str(if index > 0 { ", " } else { "" })?;
        item(f, value)?;
    }
    f.write_char(']')
}

fn write_definition(f: &mut Formatter<'_>, graph: &Graph, value: ValueId) -> fmt::Result {
    write!(f, "{}", Ref(graph, Some(value)))?;
    match graph.values.get(value.0 as usize).map(|info| &info.ty) {
        None | Some(ValueType::Any) => Ok(()),
        Some(ty) => write!(f, ": {ty}"),
    }
}

/// A mention of a value.
struct Ref<'a>(&'a Graph, Option<ValueId>);

impl Display for Ref<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.1 {
            None => f.write_char('_'),
            Some(id) => match self.0.values.get(id.0 as usize) {
                Some(info) => write!(f, "%{}", Name(&info.name)),
                None => write!(f, "%?{}", id.0),
            },
        }
    }
}

/// A name, in quotes where it is more than letters, digits and `_ . : / # @`.
struct Name<'a>(&'a str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let plain = |c: char| c.is_alphanumeric() || "_.:/#@".contains(c);
        if self.0.is_empty() || self.0.ends_with(':') || !self.0.chars().all(plain) {
            write!(f, "{:?}", self.0)
        } else {
            f.write_str(self.0)
        }
    }
}
