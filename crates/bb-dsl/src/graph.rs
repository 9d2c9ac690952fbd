//! The recorder that a module writes into.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::panic::Location;

use bb_ir::program::{self, NamedValue, Span, domains};
use bb_ir::{Diagnostic, Value, ValueType};

use crate::recorder::{Effect, Frame, FrameKind, NewNode, ValueRecord};
use crate::session::Session;
use crate::wire::PendingCall;
use crate::{CallTo, CastTo, Module, Output, Values};

/// The recorder that a module writes into.
///
/// Where ops run: [`Graph::on`]. What crosses the wire: [`Graph::call`] and [`Graph::send`]. What comes from
/// the host and goes to it: [`Graph::input`] and [`Graph::output`]. Ops of components are methods of their
/// slots, such as [`BackendSlot::matmul`](crate::BackendSlot::matmul).
pub struct Graph {
    pub(crate) session: Session,
    pub(crate) module: String,
    pub(crate) recorder: u32,
    pub(crate) frames: Vec<Frame>,
    pub(crate) current: usize,
    pub(crate) values: Vec<ValueRecord>,
    pub(crate) names: BTreeMap<String, u32>,
    pub(crate) calls: Vec<PendingCall>,
    inputs: BTreeMap<String, &'static Location<'static>>,
    emitted: BTreeMap<(usize, String), &'static Location<'static>>,
}

impl Graph {
    pub(crate) fn open_module(session: Session, module: &str, recorder: u32) -> Self {
        Self {
            session,
            module: module.to_owned(),
            recorder,
            frames: vec![Frame::new(module.to_owned(), FrameKind::Root, None, None)],
            current: 0,
            values: Vec::new(),
            names: BTreeMap::new(),
            calls: Vec::new(),
            inputs: BTreeMap::new(),
            emitted: BTreeMap::new(),
        }
    }

    pub(crate) fn close_module(mut self) -> (program::Graph, BTreeSet<Effect>, Session) {
        for call in mem::take(&mut self.calls) {
            call.report_unused(&mut self);
        }
        let (graph, touched) = self.close();
        (graph, touched, self.session)
    }

    /// Records what `record` records as run by the peers of class `class`.
    ///
    /// Values stay where they are made: what another class needs goes there by [`Graph::call`] or
    /// [`Graph::send`].
    #[track_caller]
    pub fn on<R>(&mut self, class: &str, record: impl FnOnce(&mut Self) -> R) -> R {
        let at = Location::caller();
        self.check_class(class, at);
        let around = self.frame().place.clone();
        if let Some(around) = around.as_deref().filter(|around| *around != class) {
            let error = Diagnostic::new(format!("\"{class}\" inside \"{around}\""))
                .label(Span::of(at), format!("this part is already on \"{around}\""))
                .help(format!(
                    "end the part on \"{around}\" first, or cross the wire: `g.call(peers, values).at(\"{class}\", …)`"
                ));
            self.error(error);
        }
        self.frame().place = Some(class.to_owned());
        let result = record(self);
        self.frame().place = around;
        result
    }

    /// An input of the module: the host gives it, or the module that calls this one.
    #[track_caller]
    pub fn input(&mut self, name: &str) -> Output {
        self.input_at(name, ValueType::Any, Location::caller())
    }

    /// An input of the module, of a known type; the node refuses anything else.
    ///
    /// ```
    /// use bb_dsl::{BackendSlot, Graph, Module, ValueType};
    /// struct Relu(BackendSlot);
    /// impl Module for Relu {
    ///     fn name(&self) -> &str { "Relu" }
    ///     fn body(&self, g: &mut Graph) {
    ///         let x = g.input_of("x", ValueType::ANY_TENSOR);
    ///         let y = self.0.relu(g, x);
    ///         g.output("y", y);
    ///     }
    /// }
    /// assert!(Relu(BackendSlot::named("compute")).build().is_ok());
    /// ```
    #[track_caller]
    pub fn input_of(&mut self, name: &str, ty: ValueType) -> Output {
        self.input_at(name, ty, Location::caller())
    }

    fn input_at(&mut self, name: &str, ty: ValueType, at: &'static Location<'static>) -> Output {
        let span = Span::of(at);
        if self.frame().kind != FrameKind::Root {
            let error = Diagnostic::new(format!("input \"{name}\" inside a body"))
                .label(span, "a body has no inputs of its own")
                .help("record it before the call, and send it with the values");
            self.error(error);
            return Output::poison();
        }
        if name.is_empty() || name.contains([':', '/']) {
            let error = Diagnostic::new(format!("\"{name}\" cannot be the name of an input"))
                .label(span, "named here")
                .help("use a name that is not empty and has no `:` and no `/`");
            self.error(error);
            return Output::poison();
        }
        if let Some(first) = self.inputs.insert(name.to_owned(), at) {
            let error = Diagnostic::new(format!("`{}` has two inputs named \"{name}\"", self.module))
                .label(span, "the second here")
                .label(Span::of(first), "the first here");
            self.error(error);
            return Output::poison();
        }
        let output = self.add(name.to_owned(), ty, None, at);
        let id = self.values[output.value as usize].id;
        self.frame().graph.inputs.push(id);
        output
    }

    /// Hands a value to the host, as an event under this name; or to the module that calls this one.
    ///
    /// Inside a body the event is the receiver's: its host gets it.
    #[track_caller]
    pub fn output(&mut self, name: &str, value: Output) {
        let at = Location::caller();
        if name.is_empty() {
            self.error(Diagnostic::new("an output has no name").label(Span::of(at), "recorded here"));
        }
        if let Some(first) = self.emitted.insert((self.current, name.to_owned()), at) {
            let error = Diagnostic::new(format!("`{}` has two outputs named \"{name}\"", self.module))
                .label(Span::of(at), "the second here")
                .label(Span::of(first), "the first here");
            self.error(error);
            return;
        }
        if self.frame().kind == FrameKind::Root {
            let Some(value) = self.resolve(value, at) else { return };
            self.frame().graph.outputs.push(NamedValue { name: name.to_owned(), value });
        } else {
            let emit = NewNode::new(domains::SYSCALL, "AppEmit").inputs([value]).attr("name", name);
            self.record(emit, at);
        }
    }

    /// A constant: a tensor, a number, a text, …; usable on every class and in every body.
    #[track_caller]
    pub fn constant(&mut self, value: impl Into<Value>) -> Output {
        self.record_constant(value.into().into(), Location::caller())
    }

    /// The value itself, under a node of its own.
    #[track_caller]
    pub fn pass_through(&mut self, value: Output) -> Output {
        let ty = self.type_of(value);
        self.one(NewNode::new(domains::SYSCALL, "PassThrough").inputs([value]).output(ty), Location::caller())
    }

    /// One value that holds them all.
    #[track_caller]
    pub fn bundle(&mut self, values: impl Values) -> Output {
        let values = values.list();
        let types = values.iter().map(|value| self.type_of(*value)).collect();
        let node = NewNode::new(domains::SYSCALL, "Bundle").inputs(values).output(ValueType::Tuple(types));
        self.one(node, Location::caller())
    }

    /// The values that a bundle of `count` holds.
    #[track_caller]
    pub fn unbundle(&mut self, bundle: Output, count: usize) -> Vec<Output> {
        let types = match self.type_of(bundle) {
            ValueType::Tuple(types) if types.len() == count => types,
            _ => vec![ValueType::Any; count],
        };
        let mut node = NewNode::new(domains::SYSCALL, "Unbundle").inputs([bundle]);
        node.outputs = types.into_iter().map(Some).collect();
        self.record(node, Location::caller())
    }

    /// Calls a module that has one output: its inputs take `inputs` in the order in which it records them.
    ///
    /// ```
    /// use bb_dsl::{BackendSlot, Graph, Module};
    /// struct Relu(BackendSlot);
    /// impl Module for Relu {
    ///     fn name(&self) -> &str { "Relu" }
    ///     fn body(&self, g: &mut Graph) {
    ///         let x = g.input("x");
    ///         let y = self.0.relu(g, x);
    ///         g.output("y", y);
    ///     }
    /// }
    /// struct Twice(Relu);
    /// impl Module for Twice {
    ///     fn name(&self) -> &str { "Twice" }
    ///     fn body(&self, g: &mut Graph) {
    ///         let x = g.input("x");
    ///         let y = g.call_module(&self.0, x);
    ///         let z = g.call_module(&self.0, y);
    ///         g.output("z", z);
    ///     }
    /// }
    /// let program = Twice(Relu(BackendSlot::named("compute"))).build()?;
    /// assert_eq!(program.modules.len(), 2);
    /// # Ok::<(), bb_dsl::BuildError>(())
    /// ```
    #[track_caller]
    pub fn call_module(&mut self, module: &(impl Module + ?Sized), inputs: impl Values) -> Output {
        self.call_module_at(module, inputs, Location::caller())
    }

    /// Calls a module with any number of outputs; they come back in the order in which it records them:
    /// `let (loss, accuracy) = g.call_module_outputs(&self.head, (x, labels));`.
    #[track_caller]
    pub fn call_module_outputs<R: Values>(
        &mut self,
        module: &(impl Module + ?Sized),
        inputs: impl Values,
    ) -> R {
        self.call_module_at(module, inputs, Location::caller())
    }

    fn call_module_at<R: Values>(
        &mut self,
        module: &(impl Module + ?Sized),
        inputs: impl Values,
        at: &'static Location<'static>,
    ) -> R {
        let name = module.name();
        let index = self.session.module(
            name,
            std::ptr::from_ref(module).cast(),
            &mut |g| module.body(g),
            &mut |g| module.bootstrap(g),
            at,
        );
        let inputs = inputs.list();
        let Some(index) = index else { return poisoned(R::COUNT.unwrap_or(0)) };
        let place = self.frame().place.clone();
        let (recorded, touched) = self.session.recorded(index);
        let body = &recorded.body;
        let mut node = NewNode::new(domains::MODULE, recorded.name.clone());
        node.outputs = body.outputs.iter().map(|out| Some(body.value(out.value).ty.clone())).collect();
        node.touches =
            touched.iter().map(|(at, slot)| (at.clone().or_else(|| place.clone()), slot.clone())).collect();
        let mut error = None;
        if body.inputs.len() != inputs.len() {
            let names = body.inputs.iter().map(|id| body.value(*id).name.as_str());
            error = Some(count_error(name, "takes", "input", inputs.len(), names));
        } else if R::COUNT.is_some_and(|count| count != body.outputs.len()) {
            let names = body.outputs.iter().map(|out| out.name.as_str());
            error = Some(count_error(name, "gives", "output", R::COUNT.unwrap_or(0), names));
        }
        if let Some(error) = error {
            self.error(error.label(Span::of(at), "called here"));
            return poisoned(R::COUNT.unwrap_or(0));
        }
        let count = node.outputs.len();
        let mut outputs = self.record(node.inputs(inputs), at).into_iter();
        R::of(count, &mut || outputs.next().unwrap_or_else(Output::poison))
    }

    /// Sends values to peers and gets their answers: `g.call(peers, values).at("class", |g, values| …)`.
    ///
    /// The body runs once at each peer; what it returns comes back to this execution, through
    /// [`Call::fold`](crate::Call::fold), [`Call::each`](crate::Call::each) or
    /// [`Call::first`](crate::Call::first).
    #[track_caller]
    pub fn call<V: Values>(&mut self, peers: Output, values: V) -> CallTo<'_, V> {
        CallTo::new(self, peers, values, Location::caller())
    }

    /// Sends values to peers, one way: `g.send(peers, values).to("class").then(|g, values| …)`.
    #[track_caller]
    pub fn send<V: Values>(&mut self, peers: Output, values: V) -> CastTo<'_, V> {
        CastTo::new(self, peers, values, Location::caller())
    }

    /// Records a node with one output.
    pub(crate) fn one(&mut self, node: NewNode, at: &'static Location<'static>) -> Output {
        self.record(node, at).first().copied().unwrap_or_else(Output::poison)
    }

    /// What is known of a value's type.
    pub(crate) fn type_of(&self, output: Output) -> ValueType {
        let Some(record) = self.values.get(output.value as usize) else { return ValueType::Any };
        let graph = &self.frames[record.frame].graph;
        graph.values.get(record.id.0 as usize).map_or(ValueType::Any, |info| info.ty.clone())
    }

    pub(crate) fn check_class(&mut self, class: &str, at: &'static Location<'static>) {
        if class.is_empty() {
            let error = Diagnostic::new("a peer class has no name").label(Span::of(at), "named here");
            self.error(error);
        }
    }
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").field("module", &self.module).field("place", &self.place()).finish()
    }
}

#[track_caller]
fn poisoned<R: Values>(count: usize) -> R {
    R::of(count, &mut Output::poison)
}

fn count_error<'a>(
    module: &str,
    verb: &str,
    noun: &str,
    got: usize,
    names: impl ExactSizeIterator<Item = &'a str>,
) -> Diagnostic {
    let count = names.len();
    let plural = if count == 1 { "" } else { "s" };
    let listed: Vec<&str> = names.collect();
    Diagnostic::new(format!("module `{module}` {verb} {count} {noun}{plural}, not {got}"))
        .note(format!("its {noun}s: {}", if listed.is_empty() { "none".into() } else { listed.join(", ") }))
}
