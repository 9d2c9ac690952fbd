//! What one `build` collects: modules, the roles of slots, mistakes.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::panic::Location;

use bb_ir::Diagnostic;
use bb_ir::program::{self, Program, Role, Span};

use crate::recorder::Effect;
use crate::{BuildError, Graph};

/// How deep modules may call one another.
const MAX_DEPTH: usize = 64;

/// What one `build` collects.
#[derive(Default)]
pub(crate) struct Session {
    modules: Vec<Recorded>,
    stack: Vec<(String, *const ())>,
    slots: BTreeMap<String, (Role, Span)>,
    recorders: u32,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// A module that was recorded.
struct Recorded {
    declared: String,
    module: program::Module,
    touched: BTreeSet<Effect>,
}

impl Session {
    /// Records a module and gives its index; `None` if it calls itself.
    pub(crate) fn module(
        &mut self,
        name: &str,
        address: *const (),
        body: &mut dyn FnMut(&mut Graph),
        bootstrap: &mut dyn FnMut(&mut Graph),
        at: &'static Location<'static>,
    ) -> Option<usize> {
        let calls_itself = self.stack.iter().any(|(held, place)| held == name && *place == address);
        if calls_itself || self.stack.len() >= MAX_DEPTH {
            let mut path: Vec<&str> = self.stack.iter().map(|(held, _)| held.as_str()).collect();
            path.drain(..path.len().saturating_sub(4));
            let error = Diagnostic::new(format!("module `{name}` calls itself"))
                .label(Span::of(at), "called again here")
                .note(format!("the calls: {} -> {name}", path.join(" -> ")))
                .help("a program is a graph without loops: repeat inside an op, or between executions");
            self.diagnostics.push(error);
            return None;
        }
        let is_root = self.stack.is_empty();
        if name.is_empty() {
            self.diagnostics.push(Diagnostic::new("a module has no name").label(Span::of(at), "used here"));
        }
        self.stack.push((name.to_owned(), address));
        if is_root {
            self.modules.push(Recorded {
                declared: name.to_owned(),
                module: program::Module { name: name.to_owned(), ..Default::default() },
                touched: BTreeSet::new(),
            });
        }
        let (body, touched) = self.graph(name, body);
        let (bootstrap, _) = self.graph(name, bootstrap);
        let bootstrap = (!bootstrap.nodes.is_empty() || !bootstrap.inputs.is_empty()).then_some(bootstrap);
        self.stack.pop();
        if is_root {
            self.modules[0].module.body = body;
            self.modules[0].module.bootstrap = bootstrap;
            self.modules[0].touched = touched;
            return Some(0);
        }
        let module = program::Module { name: String::new(), body, bootstrap };
        Some(self.intern(name, module, touched))
    }

    /// The index of a module, an equal one if there is any.
    fn intern(&mut self, name: &str, mut module: program::Module, touched: BTreeSet<Effect>) -> usize {
        let same_name: Vec<usize> =
            (0..self.modules.len()).filter(|&index| self.modules[index].declared == name).collect();
        for &index in &same_name {
            let held = &self.modules[index].module;
            if index > 0 && held.body == module.body && held.bootstrap == module.bootstrap {
                return index;
            }
        }
        module.name = match same_name.len() {
            0 => name.to_owned(),
            count => format!("{name}:{}", count + 1),
        };
        self.modules.push(Recorded { declared: name.to_owned(), module, touched });
        self.modules.len() - 1
    }

    fn graph(
        &mut self,
        module: &str,
        record: &mut dyn FnMut(&mut Graph),
    ) -> (program::Graph, BTreeSet<Effect>) {
        self.recorders += 1;
        let recorder = self.recorders;
        let mut g = Graph::open_module(mem::take(self), module, recorder);
        record(&mut g);
        let (graph, touched, session) = g.close_module();
        *self = session;
        (graph, touched)
    }

    pub(crate) fn recorded(&self, index: usize) -> (&program::Module, &BTreeSet<Effect>) {
        (&self.modules[index].module, &self.modules[index].touched)
    }

    /// Notes that a slot stands for a role.
    pub(crate) fn slot(&mut self, name: &str, role: Role, span: &Span) {
        if name.is_empty() {
            self.diagnostics.push(Diagnostic::new("a slot has no name").label(span.clone(), "used here"));
        }
        let Some((held, first)) = self.slots.get(name) else {
            self.slots.insert(name.to_owned(), (role, span.clone()));
            return;
        };
        if *held == role {
            return;
        }
        let error = Diagnostic::new(format!("slot \"{name}\" is used as {held} and as {role}"))
            .label(span.clone(), format!("used as {role} here"))
            .label(first.clone(), format!("used as {held} here"))
            .help(format!("give the {role} a slot of its own"));
        self.diagnostics.push(error);
    }

    pub(crate) fn finish(self, name: String, opset: i64) -> Result<Program, BuildError> {
        if !self.diagnostics.is_empty() {
            return Err(BuildError::new(name, self.diagnostics));
        }
        let modules = self.modules.into_iter().map(|recorded| recorded.module).collect();
        Ok(Program { name, modules, opset, ..Program::default() })
    }
}
