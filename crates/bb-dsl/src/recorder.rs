//! What recording keeps of the module being recorded: its frames and values.
//!
//! A *frame* is a graph under construction: the module's own, the body of a call, or the region that takes
//! an answer. [`Graph`] holds them in a list that only grows, so that a handle kept for too long can still be
//! named in an error.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::panic::Location;

use bb_ir::program::{self, Attribute, Capture, NamedValue, NodeId, OpId, Role, Span, ValueId, domains};
use bb_ir::{Diagnostic, ValueType};

use crate::values::{After, POISON};
use crate::{Graph, Output};

/// A slot on a peer class: what effect edges go through.
pub(crate) type Effect = (Option<String>, String);

/// A recorded value.
pub(crate) struct ValueRecord {
    /// Its name without a number, for messages.
    hint: String,
    pub(crate) frame: usize,
    pub(crate) id: ValueId,
    pub(crate) place: Option<String>,
    pub(crate) made_at: &'static Location<'static>,
    pub(crate) constant: Option<Attribute>,
}

/// A graph under construction.
pub(crate) struct Frame {
    pub(crate) graph: program::Graph,
    pub(crate) kind: FrameKind,
    pub(crate) place: Option<String>,
    pub(crate) touched: BTreeSet<Effect>,
    parent: Option<usize>,
    last: BTreeMap<Effect, NodeId>,
    constants: BTreeMap<(u32, Option<String>), ValueId>,
    captures: BTreeMap<u32, ValueId>,
    /// What was handed on after other values, for constants and inputs.
    pub(crate) handed_on: BTreeMap<(ValueId, After), ValueId>,
}

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// The module's own.
    Root,
    /// Runs elsewhere, on what came in the message.
    Body,
    /// Takes an answer; sees the caller's values.
    Each,
}

/// A node to record.
pub(crate) struct NewNode {
    pub(crate) op: OpId,
    pub(crate) inputs: Vec<Option<Output>>,
    pub(crate) attributes: BTreeMap<String, Attribute>,
    pub(crate) slot: Option<(String, Role)>,
    pub(crate) uses: Vec<(String, Role)>,
    pub(crate) touches: BTreeSet<Effect>,
    pub(crate) after: Vec<NodeId>,
    pub(crate) outputs: Vec<Option<ValueType>>,
}

impl NewNode {
    pub(crate) fn new(domain: &'static str, name: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self {
            op: OpId::new(domain, name),
            inputs: Vec::new(),
            attributes: BTreeMap::new(),
            slot: None,
            uses: Vec::new(),
            touches: BTreeSet::new(),
            after: Vec::new(),
            outputs: Vec::new(),
        }
    }

    pub(crate) fn inputs(mut self, inputs: impl IntoIterator<Item = Output>) -> Self {
        self.inputs.extend(inputs.into_iter().map(Some));
        self
    }

    pub(crate) fn attr(mut self, name: &str, value: impl Into<Attribute>) -> Self {
        self.attributes.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn slot(mut self, name: &str, role: Role) -> Self {
        self.slot = Some((name.to_owned(), role));
        self
    }

    pub(crate) fn uses(mut self, name: &str, role: Role) -> Self {
        self.uses.push((name.to_owned(), role));
        self
    }

    pub(crate) fn output(mut self, ty: ValueType) -> Self {
        self.outputs.push(Some(ty));
        self
    }
}

impl Frame {
    pub(crate) fn new(name: String, kind: FrameKind, place: Option<String>, parent: Option<usize>) -> Self {
        Self {
            graph: program::Graph { name, ..Default::default() },
            kind,
            place,
            touched: BTreeSet::new(),
            parent,
            last: BTreeMap::new(),
            constants: BTreeMap::new(),
            captures: BTreeMap::new(),
            handed_on: BTreeMap::new(),
        }
    }
}

impl Graph {
    pub(crate) fn frame(&mut self) -> &mut Frame {
        &mut self.frames[self.current]
    }

    /// The frame around a frame.
    pub(crate) fn parent(&self, frame: usize) -> Option<usize> {
        self.frames[frame].parent
    }

    pub(crate) fn place(&self) -> Option<&str> {
        self.frames[self.current].place.as_deref()
    }

    pub(crate) fn error(&mut self, diagnostic: Diagnostic) {
        self.session.diagnostics.push(diagnostic);
    }

    /// Opens a frame within the current one.
    pub(crate) fn open(&mut self, name: &str, kind: FrameKind, place: Option<String>) -> usize {
        let name = self.unique(name);
        self.frames.push(Frame::new(name, kind, place, Some(self.current)));
        self.current = self.frames.len() - 1;
        self.current
    }

    /// Closes the current frame; its graph is taken.
    pub(crate) fn close(&mut self) -> (program::Graph, BTreeSet<Effect>) {
        let frame = self.frame();
        let graph = mem::take(&mut frame.graph);
        let touched = mem::take(&mut frame.touched);
        self.current = self.frames[self.current].parent.unwrap_or(0);
        (graph, touched)
    }

    /// A name that no value and no graph of the module has.
    pub(crate) fn unique(&mut self, hint: &str) -> String {
        let count = self.names.entry(hint.to_owned()).or_insert(0);
        *count += 1;
        format!("{hint}:{count}")
    }

    /// Adds a value to the current frame.
    pub(crate) fn add(
        &mut self,
        name: String,
        ty: ValueType,
        constant: Option<Attribute>,
        at: &'static Location<'static>,
    ) -> Output {
        let place = self.frame().place.clone();
        let hint = name.split(':').next().unwrap_or_default().to_owned();
        let id = self.frame().graph.add_value(name, ty);
        let value = self.values.len() as u32;
        self.values.push(ValueRecord { hint, frame: self.current, id, place, made_at: at, constant });
        Output { recorder: self.recorder, value, made_at: at, after: After::NONE }
    }

    /// Adds inputs to the current frame, typed as `types` say.
    pub(crate) fn frame_inputs(
        &mut self,
        hint: &str,
        types: impl IntoIterator<Item = ValueType>,
        at: &'static Location<'static>,
    ) -> Vec<Output> {
        let mut inputs = Vec::new();
        for ty in types {
            let name = self.unique(hint);
            let output = self.add(name, ty, None, at);
            let id = self.values[output.value as usize].id;
            self.frame().graph.inputs.push(id);
            inputs.push(output);
        }
        inputs
    }

    /// Hands values of the current frame out, named by their position.
    pub(crate) fn frame_outputs(&mut self, outputs: &[Output], at: &'static Location<'static>) {
        for (index, output) in outputs.iter().enumerate() {
            let Some(value) = self.resolve(*output, at) else { continue };
            self.frame().graph.outputs.push(NamedValue { name: index.to_string(), value });
        }
    }

    /// Records a node and gives one handle an output; those left out are not given.
    pub(crate) fn record(&mut self, new: NewNode, at: &'static Location<'static>) -> Vec<Output> {
        let span = Span::of(at);
        let mut resolved = true;
        let mut inputs = Vec::with_capacity(new.inputs.len());
        for input in new.inputs {
            let id = input.map(|output| self.resolve(output, at));
            resolved &= id != Some(None);
            inputs.push(id.flatten());
        }
        let place = self.frame().place.clone();
        let mut touches = new.touches;
        for (name, role) in new.slot.iter().chain(&new.uses) {
            self.session.slot(name, *role, &span);
            if *role != Role::Backend {
                touches.insert((place.clone(), name.clone()));
            }
        }
        if let Some(kind) = new.op.shared_state() {
            let name = new.attributes.get("name").and_then(Attribute::as_str).unwrap_or_default();
            touches.insert((place.clone(), format!("{kind}:{name}")));
        }
        let known = new.outputs.iter().flatten().count();
        if !resolved {
            return vec![Output { recorder: 0, value: POISON, made_at: at, after: After::NONE }; known];
        }

        let mut outputs = Vec::with_capacity(new.outputs.len());
        let mut handles = Vec::with_capacity(known);
        let hint = snake(new.op.name());
        for ty in new.outputs {
            let Some(ty) = ty else {
                outputs.push(None);
                continue;
            };
            let name = self.unique(&hint);
            let handle = self.add(name, ty, None, at);
            outputs.push(Some(self.values[handle.value as usize].id));
            handles.push(handle);
        }
        let frame = self.frame();
        let mut after: Vec<NodeId> =
            touches.iter().filter_map(|effect| frame.last.get(effect)).copied().chain(new.after).collect();
        after.sort_unstable();
        after.dedup();
        let id = frame.graph.add_node(program::Node {
            op: new.op,
            inputs,
            outputs,
            attributes: new.attributes,
            place,
            slot: new.slot.map(|(name, _)| name),
            uses: new.uses.into_iter().map(|(name, _)| name).collect(),
            after,
            span,
        });
        for effect in touches {
            frame.last.insert(effect.clone(), id);
            frame.touched.insert(effect);
        }
        handles
    }

    /// Records a constant in the current frame.
    pub(crate) fn record_constant(&mut self, value: Attribute, at: &'static Location<'static>) -> Output {
        let name = self.unique("constant");
        let ty = value.value_type().unwrap_or_default();
        let output = self.add(name, ty, Some(value), at);
        let id = self.values[output.value as usize].id;
        self.constant_node(output.value, id);
        output
    }

    fn constant_node(&mut self, value: u32, id: ValueId) {
        let record = &self.values[value as usize];
        let Some(attribute) = record.constant.clone() else { return };
        let span = Span::of(record.made_at);
        let frame = self.frame();
        let place = frame.place.clone();
        frame.graph.add_node(program::Node {
            op: OpId::new(domains::SYSCALL, "Constant"),
            outputs: vec![Some(id)],
            attributes: BTreeMap::from([("value".to_owned(), attribute)]),
            place: place.clone(),
            span,
            ..program::Node::default()
        });
        frame.constants.insert((value, place), id);
    }

    /// The value that stands for `output` in the current frame.
    pub(crate) fn resolve(&mut self, output: Output, at: &'static Location<'static>) -> Option<ValueId> {
        if output.after.count > 0 && !output.is_poison() {
            return self.resolve_after(output, at);
        }
        if output.is_poison() {
            return None;
        }
        let record = self.values.get(output.value as usize);
        let Some(record) = record.filter(|record| {
            output.recorder == self.recorder && std::ptr::eq(record.made_at, output.made_at)
        }) else {
            let error = Diagnostic::new(format!("a value of another module is used in `{}`", self.module))
                .label(Span::of(at), "used here")
                .label(Span::of(output.made_at), "made here")
                .help("hand it over: as an input of the module, or as an output of the one that made it");
            self.error(error);
            return None;
        };
        if let Some(constant) = &record.constant {
            let key = (output.value, self.frames[self.current].place.clone());
            if let Some(id) = self.frames[self.current].constants.get(&key) {
                return Some(*id);
            }
            let ty = constant.value_type().unwrap_or_default();
            let name = self.unique("constant");
            let id = self.frame().graph.add_value(name, ty);
            self.constant_node(output.value, id);
            return Some(id);
        }
        if let Err(error) = self.check_reach(output, at) {
            self.error(error);
            return None;
        }
        Some(self.reach(self.current, output.value))
    }

    /// The value that stands for `value` in `frame`, captured through the frames between.
    fn reach(&mut self, frame: usize, value: u32) -> ValueId {
        let record = &self.values[value as usize];
        if record.frame == frame {
            return record.id;
        }
        if let Some(id) = self.frames[frame].captures.get(&value) {
            return *id;
        }
        let parent = self.frames[frame].parent.unwrap_or(record.frame);
        let outer = self.reach(parent, value);
        let info = self.frames[parent].graph.value(outer).clone();
        let hint = self.values[value as usize].hint.clone();
        let name = self.unique(&hint);
        let graph = &mut self.frames[frame].graph;
        let inner = graph.add_value(name, info.ty);
        graph.captures.push(Capture { outer, inner });
        self.frames[frame].captures.insert(value, inner);
        inner
    }

    /// Whether a value may be used in the current frame.
    fn check_reach(&self, output: Output, at: &'static Location<'static>) -> Result<(), Diagnostic> {
        let record = &self.values[output.value as usize];
        let here = self.place();
        let made = Span::of(record.made_at);
        let name = || variable(&Span::of(record.made_at), &record.hint);
        let used = Span::of(at);
        let elsewhere = match (record.place.as_deref(), here) {
            (Some(there), Some(here)) if there != here => Some((there, here)),
            _ => None,
        };
        let mut frame = self.current;
        while frame != record.frame {
            match (self.frames[frame].kind, self.frames[frame].parent) {
                (FrameKind::Each, Some(parent)) => frame = parent,
                (FrameKind::Body, Some(mut outer)) => {
                    while outer != record.frame {
                        match self.frames[outer].parent {
                            Some(parent) => outer = parent,
                            None => return Err(leaked(&name(), used, made)),
                        }
                    }
                    return Err(match elsewhere {
                        Some((there, here)) => misplaced(&name(), (there, made), (here, used)),
                        None => Diagnostic::new(format!(
                            "`{}` is a value of the sender's execution but is used in the receiver's",
                            name()
                        ))
                        .label(used, "used by the receiver here")
                        .label(made, "made by the sender here")
                        .note("a body sees what came in the message, constants and components")
                        .help(format!("add `{}` to the values that are sent", name())),
                    });
                }
                _ => return Err(leaked(&name(), used, made)),
            }
        }
        match elsewhere {
            Some((there, here)) => Err(misplaced(&name(), (there, made), (here, used))),
            None => Ok(()),
        }
    }
}

/// What to call a value in a message: the variable that the author's line binds, where the line can be read,
/// or else `hint`.
fn variable(made: &Span, hint: &str) -> String {
    let bound = std::fs::read_to_string(&*made.file).ok().and_then(|text| {
        let line = text.lines().nth(made.line.saturating_sub(1) as usize)?;
        let rest = line.trim_start().strip_prefix("let ")?.trim_start();
        let rest = rest.strip_prefix("mut ").unwrap_or(rest);
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
        let is_alone = rest[end..].trim_start().starts_with(['=', ':']);
        (is_alone && end > 0).then(|| rest[..end].to_owned())
    });
    bound.unwrap_or_else(|| hint.to_owned())
}

fn misplaced(name: &str, made: (&str, Span), used: (&str, Span)) -> Diagnostic {
    let ((there, made), (here, used)) = (made, used);
    Diagnostic::new(format!("`{name}` is on \"{there}\" but used on \"{here}\""))
        .label(used, format!("used on \"{here}\" here"))
        .label(made, format!("made on \"{there}\" here"))
        .help(format!("take it across: `g.call(peers, {name}).at(\"{here}\", |g, {name}| …)`"))
}

fn leaked(name: &str, used: Span, made: Span) -> Diagnostic {
    Diagnostic::new(format!("`{name}` is used outside the body that made it"))
        .label(used, "used here")
        .label(made, "made here, in a body")
        .help("return it from the body: results come back through `.fold`, `.each` or `.first`")
}

/// `MatMul` as `mat_mul`.
fn snake(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 4);
    let mut lower_before = false;
    for c in name.chars() {
        if c.is_uppercase() && lower_before {
            text.push('_');
        }
        lower_before = c.is_lowercase() || c.is_ascii_digit();
        text.extend(c.to_lowercase());
    }
    text
}
