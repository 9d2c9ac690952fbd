//! Values that come after others: [`Output::after`] in the graph.

use std::panic::Location;

use bb_ir::Diagnostic;
use bb_ir::program::{NodeId, Span, ValueId, domains};

use crate::recorder::NewNode;
use crate::values::{After, MAX_AFTER};
use crate::{Graph, Output};

impl Graph {
    /// The value that stands for `output` in the current frame, with the order that was asked for.
    pub(crate) fn resolve_after(
        &mut self,
        output: Output,
        at: &'static Location<'static>,
    ) -> Option<ValueId> {
        let plain = Output { after: After::NONE, ..output };
        let id = self.resolve(plain, at)?;
        let count = usize::from(output.after.count);
        if count > MAX_AFTER {
            let error =
                Diagnostic::new(format!("a value comes after {count} others, {MAX_AFTER} are possible"))
                    .label(Span::of(at), "used here")
                    .help("join the others first: `g.barrier((a, b, …))`");
            self.error(error);
            return None;
        }
        let mut before = Vec::with_capacity(count);
        for &other in &output.after.values[..count] {
            let Some(record) = self.values.get(other as usize) else { continue };
            if record.frame != self.current || record.constant.is_some() {
                if record.constant.is_none() && !self.is_around(record.frame) {
                    let error = Diagnostic::new("a value comes after one of another body")
                        .label(Span::of(at), "used here")
                        .label(Span::of(record.made_at), "this one is of another body");
                    self.error(error);
                    return None;
                }
                // What is there before the body starts comes before all of it.
                continue;
            }
            before.extend(self.maker(record.id));
        }
        let maker = self.maker(id).filter(|maker| {
            let op = &graph_node(self, *maker).op;
            !op.is(domains::SYSCALL, "Constant") && !op.is_source()
        });
        if let Some(maker) = maker {
            if let Some(late) = before.iter().find(|before| **before >= maker) {
                let error = Diagnostic::new("a value comes after one that is recorded later")
                    .label(graph_node(self, maker).span.clone(), "made here")
                    .label(graph_node(self, *late).span.clone(), "to come after this")
                    .help("record what it comes after first");
                self.error(error);
                return None;
            }
            let node = &mut self.frame().graph.nodes[maker.0 as usize];
            node.after.extend(before);
            node.after.sort_unstable();
            node.after.dedup();
            return Some(id);
        }
        if let Some(handed_on) = self.frame().handed_on.get(&(id, output.after)) {
            return Some(*handed_on);
        }
        let ty = self.type_of(plain);
        let mut node = NewNode::new(domains::SYSCALL, "PassThrough").inputs([plain]).output(ty);
        node.after = before;
        let copy = self.one(node, at);
        let copied = self.resolve(copy, at)?;
        self.frame().handed_on.insert((id, output.after), copied);
        Some(copied)
    }

    /// The node of the current frame that makes a value.
    fn maker(&self, value: ValueId) -> Option<NodeId> {
        let nodes = &self.frames[self.current].graph.nodes;
        let made = |node: &bb_ir::program::Node| node.outputs.contains(&Some(value));
        nodes.iter().rposition(made).map(|index| NodeId(index as u32))
    }

    /// Whether the current frame is within `frame`.
    fn is_around(&self, frame: usize) -> bool {
        let mut inner = self.current;
        loop {
            if inner == frame {
                return true;
            }
            match self.parent(inner) {
                Some(parent) => inner = parent,
                None => return false,
            }
        }
    }
}

fn graph_node(g: &Graph, id: NodeId) -> &bb_ir::program::Node {
    &g.frames[g.current].graph.nodes[id.0 as usize]
}
