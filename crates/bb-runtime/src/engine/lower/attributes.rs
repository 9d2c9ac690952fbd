//! Attributes of a node, read as what the op needs them to be.

use bb_ir::program::{Attribute, Graph, Node};

/// Reads a node's attributes; an error says what is wrong, for [`UnresolvedOp`](crate::error::UnresolvedOp).
pub(super) struct Attributes<'a>(pub(super) &'a Node);

impl<'a> Attributes<'a> {
    pub(super) fn int(&self, name: &str) -> Result<i64, String> {
        match self.0.attributes.get(name) {
            Some(Attribute::Int(number)) => Ok(*number),
            other => Err(wrong(name, "an integer", other)),
        }
    }

    pub(super) fn int_or(&self, name: &str, default: i64) -> Result<i64, String> {
        if self.0.attributes.contains_key(name) { self.int(name) } else { Ok(default) }
    }

    /// A count of at least 1.
    pub(super) fn count(&self, name: &str) -> Result<u32, String> {
        let number = self.int(name)?;
        match u32::try_from(number) {
            Ok(count) if count > 0 => Ok(count),
            _ => Err(format!("attribute `{name}` is {number}; it must be at least 1")),
        }
    }

    pub(super) fn text_or(&self, name: &str, default: &'a str) -> Result<&'a str, String> {
        match self.0.attributes.get(name) {
            Some(Attribute::Str(text)) => Ok(text),
            None => Ok(default),
            other => Err(wrong(name, "text", other)),
        }
    }

    pub(super) fn graph(&self, name: &str) -> Result<&'a Graph, String> {
        match self.0.attributes.get(name) {
            Some(Attribute::Graph(graph)) => Ok(graph),
            other => Err(wrong(name, "a graph", other)),
        }
    }

    pub(super) fn ports(&self, name: &str) -> Result<Box<[u32]>, String> {
        match self.0.attributes.get(name) {
            Some(Attribute::Ints(ports)) => ports
                .iter()
                .map(|&port| {
                    u32::try_from(port).map_err(|_| format!("attribute `{name}`: {port} is no port"))
                })
                .collect(),
            None => Ok(Box::default()),
            other => Err(wrong(name, "ports", other)),
        }
    }
}

fn wrong(name: &str, expected: &str, got: Option<&Attribute>) -> String {
    match got {
        None => format!("attribute `{name}` is missing; it must be {expected}"),
        Some(_) => format!("attribute `{name}` must be {expected}"),
    }
}
