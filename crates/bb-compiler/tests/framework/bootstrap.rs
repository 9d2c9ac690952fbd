//! Bootstraps: when they run, in which order, and what waits for them.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bb_compiler::Compiler;
use bb_dsl::{Graph, Module, PeerSelectorSlot, ValueType, secs};
use bb_runtime::{
    Answer, BootstrapError, BootstrapRequest, BootstrapStatus, BootstrapTarget, Completion, Component,
    ComponentError, Config, Dependency, EngineStep, Node, NodeConfig, OpContext, PeerId, PeerSelector, Role,
    StateReader, StateWriter, Value, install,
};

use super::{at, events, outcome, settle, settle_in_place};

/// What a component's bootstrap does.
#[derive(Clone, Default)]
enum Boot {
    Fail,
    /// Whoever holds the list has the right to answer.
    Later(Arc<Mutex<Vec<Completion<()>>>>),
    #[default]
    Now,
}

#[derive(Clone, Default)]
struct Setup {
    name: &'static str,
    log: Arc<Mutex<Vec<String>>>,
    boot: Boot,
}

macro_rules! probes {
    ($($probe:ident $has_bootstrap:literal $dependencies:expr;)*) => {$(
        struct $probe(Setup);

        bb_runtime::component!($probe: PeerSelector);

        impl Component for $probe {
            const TYPE_NAME: &'static str = concat!("test::", stringify!($probe));
            const DEPENDENCIES: &'static [Dependency] = $dependencies;
            const HAS_BOOTSTRAP: bool = $has_bootstrap;
            type Config = Setup;
            fn new(setup: &Setup) -> Result<Self, ComponentError> {
                Ok(Self(setup.clone()))
            }
            fn bootstrap(&mut self, cx: &mut OpContext<'_>) -> Result<Answer<()>, ComponentError> {
                self.0.say("boot");
                match &self.0.boot {
                    Boot::Fail => Err(ComponentError::Cancelled { reason: "no key".to_owned() }),
                    Boot::Now => Ok(Answer::now(())),
                    Boot::Later(list) => {
                        let (completion, answer) = cx.defer();
                        list.lock().unwrap().push(completion);
                        Ok(answer)
                    }
                }
            }
            fn save(&self, _: &mut StateWriter) -> Result<(), ComponentError> {
                Ok(())
            }
            fn load(&mut self, _: &mut StateReader<'_>) -> Result<(), ComponentError> {
                Ok(())
            }
        }

        impl PeerSelector for $probe {
            fn view(&mut self, _: &mut OpContext<'_>) -> Result<Answer<Vec<PeerId>>, ComponentError> {
                self.0.say("view");
                Ok(Answer::now(vec![PeerId::from_u64(9)]))
            }
            fn sample(&mut self, cx: &mut OpContext<'_>, _: usize) -> Result<Answer<Vec<PeerId>>, ComponentError> {
                self.view(cx)
            }
        }
    )*};
}

probes! {
    Plain false &[];
    Booted true &[];
    OnBase true &[Dependency { name: "base", role: Role::PeerSelector }];
}

impl Setup {
    fn say(&self, what: &str) {
        self.log.lock().unwrap().push(format!("{}.{what}", self.name));
    }
}

struct Parts<B, S>(B, S);

impl<B: Fn(&mut Graph), S: Fn(&mut Graph)> Module for Parts<B, S> {
    fn name(&self) -> &str {
        "P"
    }
    fn body(&self, g: &mut Graph) {
        self.0(g);
    }
    fn bootstrap(&self, g: &mut Graph) {
        self.1(g);
    }
}

/// What the components did, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn setup(&self, name: &'static str) -> Setup {
        Setup { name, log: Arc::clone(&self.0), boot: Boot::Now }
    }
}

fn slot(name: &str) -> PeerSelectorSlot {
    PeerSelectorSlot::named(name)
}

/// Classes `a`, `b` and `c`: `a` and `c` use slot `one`, `b` uses `two`. The bootstrap of each calls its slot and goes on
/// after five seconds. `free` is what a body does without its component.
fn classes(g: &mut Graph, is_bootstrap: bool) {
    for (class, name) in [("a", "one"), ("b", "two"), ("c", "one")] {
        g.on(class, |g| {
            if is_bootstrap {
                let seen = slot(name).all(g);
                let seen = g.delay(seen, secs(5));
                g.output(&format!("booted {class}"), seen);
            } else {
                let x = g.input(&format!("x{class}"));
                let free = g.pass_through(x);
                g.output(&format!("free {class}"), free);
                let seen = slot(name).all(g).after(x);
                let both = g.bundle((x, seen));
                g.output(&format!("used {class}"), both);
            }
        });
    }
}

fn three_classes(log: &Log) -> Node {
    let program = Parts(|g: &mut Graph| classes(g, false), |g: &mut Graph| classes(g, true)).build().unwrap();
    let model = Compiler::new()
        .bind_peer_selector::<Plain>("one")
        .bind_peer_selector::<Plain>("two")
        .compile(program)
        .unwrap_or_else(|error| panic!("{error}"));
    let config = Config::new().with("one", log.setup("one")).with("two", log.setup("two"));
    install(PeerId::from_u64(1), [], model, &["P.b", "P.a", "P.c"], config).unwrap()
}

fn completed(steps: &[EngineStep]) -> Vec<String> {
    let done = |step: &EngineStep| match step {
        EngineStep::BootstrapComplete { target } => Some(target.to_string()),
        _ => None,
    };
    steps.iter().filter_map(done).collect()
}

fn waiting(steps: &[EngineStep]) -> Vec<String> {
    let waits = |step: &EngineStep| match step {
        EngineStep::WaitingOnBootstrap { target } => Some(target.to_string()),
        _ => None,
    };
    steps.iter().filter_map(waits).collect()
}

fn names(steps: &[EngineStep]) -> Vec<String> {
    events(steps).into_iter().map(|(_, name, _)| name).collect()
}

fn one() -> Vec<u8> {
    Value::I64(1).encode()
}

#[test]
fn nothing_runs_before_the_host_says_so_and_disjoint_ones_run_together() {
    let log = Log::default();
    let mut node = three_classes(&log);
    settle(&mut node, at(0));
    assert!(log.take().is_empty());
    assert_eq!(node.bootstrap_status(), BootstrapStatus::Idle);

    let steps = node.run_bootstrap(BootstrapTarget::All).unwrap();
    assert_eq!(log.take(), ["two.view", "one.view"], "b and a run; c touches what a touches");
    assert_eq!(waiting(&steps), ["P.b", "P.a"]);
    assert_eq!(node.bootstrap_status(), BootstrapStatus::WaitingForInput);
    let steps = settle(&mut node, at(0));
    assert_eq!(steps.len(), 0, "it is said once a wait: {steps:?}");
    let steps = settle(&mut node, at(5));
    assert_eq!(completed(&steps), ["P.b", "P.a"]);
    assert_eq!((log.take(), waiting(&steps)), (vec!["one.view".to_owned()], vec!["P.c".to_owned()]));
    assert_eq!(completed(&settle(&mut node, at(10))), ["P.c"]);
    assert_eq!(node.bootstrap_status(), BootstrapStatus::Idle);
}

#[test]
fn each_runs_once_and_a_named_one_again() {
    let log = Log::default();
    let mut node = three_classes(&log);
    settle(&mut node, at(0));
    let steps = node.run_bootstrap(BootstrapTarget::ModuleNames(&["P.a"])).unwrap();
    assert_eq!(waiting(&steps), ["P.a"]);
    assert_eq!(node.next_deadline(), Some(at(0)), "its time begins with the next step");
    assert!(settle(&mut node, at(0)).is_empty());
    assert_eq!(completed(&settle(&mut node, at(5))), ["P.a"]);
    node.run_bootstrap(BootstrapTarget::All).unwrap();
    settle(&mut node, at(5));
    let mut steps = settle(&mut node, at(10));
    steps.extend(settle(&mut node, at(15)));
    assert_eq!(
        completed(&steps),
        ["P.b", "P.c"],
        "in the order of installation, without the one that is done"
    );
    assert!(node.run_bootstrap(BootstrapTarget::All).unwrap().is_empty(), "all are done");
    log.take();
    node.run_bootstrap(BootstrapTarget::ModuleNames(&["P.a"])).unwrap();
    settle(&mut node, at(25));
    assert_eq!(completed(&settle(&mut node, at(30))), ["P.a"]);
    assert_eq!(log.take(), ["one.view"]);
}

#[test]
fn ops_that_touch_what_it_touches_wait_in_order_and_all_others_run() {
    let log = Log::default();
    let mut node = three_classes(&log);
    settle(&mut node, at(0));
    node.run_bootstrap(BootstrapTarget::ModuleNames(&["P.a"])).unwrap();
    settle(&mut node, at(0));
    log.take();
    let ids: Vec<_> = [("P.c", "xc"), ("P.b", "xb"), ("P.a", "xa"), ("P.c", "xc")]
        .map(|(module, input)| node.invoke(module, &[(input, &one())]).unwrap())
        .to_vec();
    let steps = settle(&mut node, at(1));
    assert_eq!(names(&steps), ["free c", "free b", "free a", "free c", "used b"]);
    assert!(outcome(&steps, ids[1]).is_some());
    assert_eq!(log.take(), ["two.view"]);
    let steps = settle(&mut node, at(5));
    assert_eq!(completed(&steps), ["P.a"]);
    assert_eq!(names(&steps), ["booted a", "used c", "used a", "used c"]);
    assert!([0, 2, 3].iter().all(|index| outcome(&steps, ids[*index]).is_some()));
    super::assert_idle(&node);
}

#[test]
fn a_wait_is_pending_and_the_completion_resumes_it() {
    let (log, list) = (Log::default(), Arc::new(Mutex::new(Vec::new())));
    let setup = Setup { boot: Boot::Later(Arc::clone(&list)), ..log.setup("one") };
    let mut node = single::<Booted>(Config::new().with("one", setup));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(node.poll(&mut cx).is_pending(), "a new node has nothing to do");
    let steps = node.run_bootstrap(BootstrapTarget::Slots(&["one"])).unwrap();
    assert_eq!(waiting(&steps), ["one"]);
    assert!(node.poll(&mut cx).is_pending());
    assert_eq!(node.bootstrap_status(), BootstrapStatus::WaitingForInput);
    list.lock().unwrap().pop().unwrap().complete(());
    let Poll::Ready(steps) = node.poll(&mut cx) else { panic!("the completion resumes it") };
    assert_eq!(completed(&steps), ["one"]);
    assert_eq!(node.bootstrap_status(), BootstrapStatus::Idle);
}

/// A node whose program uses slot `one`, and has a bootstrap that takes an input.
fn single<C: Component + bb_runtime::Roles + PeerSelector>(config: Config) -> Node {
    let body = |g: &mut Graph| {
        let seen = slot("one").all(g);
        g.output("seen", seen);
    };
    let bootstrap = |g: &mut Graph| {
        let first = g.input_of("first", ValueType::I64);
        g.output("first", first);
    };
    let program = Parts(body, bootstrap).build().unwrap();
    let model = Compiler::new().bind_peer_selector::<C>("one").bind_peer_selector::<Booted>("base");
    let model = model.compile(program).unwrap_or_else(|error| panic!("{error}"));
    install(PeerId::from_u64(1), [], model, &["P"], config).unwrap()
}

#[test]
fn components_come_before_the_targets_that_reach_them_and_dependencies_before_both() {
    let log = Log::default();
    let config = Config::new().with("one", log.setup("one")).with("base", log.setup("base"));
    let mut node = single::<OnBase>(config);
    let requests = [BootstrapRequest { target: "P", inputs: &[("first", &one())] }];
    let steps = node.run_bootstrap(BootstrapTarget::ModuleRequests(&requests)).unwrap();
    assert_eq!(log.take(), ["base.boot", "one.boot"]);
    let mut done = completed(&steps);
    done.extend(completed(&settle(&mut node, at(0))));
    done.sort();
    assert_eq!(done, ["P", "base", "one"]);
    assert_eq!(names(&steps), ["first"]);
    node.run_bootstrap(BootstrapTarget::ModuleRequests(&requests)).unwrap();
    assert!(log.take().is_empty(), "components that are done are not run again for a target");
    let steps = node.run_bootstrap(BootstrapTarget::Slots(&["base", "one"])).unwrap();
    assert_eq!((completed(&steps), log.take().len()), (vec!["base".to_owned(), "one".to_owned()], 2));
}

#[test]
fn ops_wait_for_what_their_component_depends_on() {
    let (log, list) = (Log::default(), Arc::new(Mutex::new(Vec::new())));
    let base = Setup { boot: Boot::Later(Arc::clone(&list)), ..log.setup("base") };
    let mut node = single::<OnBase>(Config::new().with("one", log.setup("one")).with("base", base));
    node.run_bootstrap(BootstrapTarget::Slots(&["base"])).unwrap();
    let id = node.invoke("P", &[]).unwrap();
    assert!(outcome(&settle_in_place(&mut node, at(0)), id).is_none());
    assert_eq!(log.take(), ["base.boot"]);
    list.lock().unwrap().pop().unwrap().complete(());
    assert!(outcome(&settle_in_place(&mut node, at(0)), id).is_some_and(|end| end.is_completed()));
    assert_eq!(log.take(), ["one.view"]);
}

#[test]
fn one_that_fails_is_reported_and_not_done() {
    let log = Log::default();
    let setup = Setup { boot: Boot::Fail, ..log.setup("one") };
    let mut node = single::<Booted>(Config::new().with("one", setup));
    for _ in 0..2 {
        let steps = node.run_bootstrap(BootstrapTarget::Slots(&["one"])).unwrap();
        assert!(completed(&steps).is_empty());
        let failed = |step: &EngineStep| matches!(step, EngineStep::OpFailed { op, .. } if op.op.name() == "Bootstrap");
        assert!(steps.iter().any(failed), "{steps:?}");
        assert_eq!(node.bootstrap_status(), BootstrapStatus::Idle);
    }
    assert_eq!(log.take().len(), 2);
}

#[test]
fn a_batch_is_refused_whole() {
    let log = Log::default();
    let limits = NodeConfig::default().with_invoke_bytes(64);
    let mut node = single::<Booted>(Config::new().with("one", log.setup("one")).node(limits));
    settle(&mut node, at(0));
    let (one, text, large) =
        (one(), Value::Str("1".into()).encode(), Value::Bytes(vec![0; 100].into()).encode());
    let good = BootstrapRequest { target: "P", inputs: &[("first", &one)] };
    fn request<'a>(inputs: &'a [(&'a str, &'a [u8])]) -> BootstrapRequest<'a> {
        BootstrapRequest { target: "P", inputs }
    }
    let mut refuse = |requests: &[BootstrapRequest<'_>]| {
        let before = node.engine_stats();
        let error = node.run_bootstrap(BootstrapTarget::ModuleRequests(requests)).unwrap_err();
        assert_eq!(node.engine_stats(), before);
        assert_eq!(node.bootstrap_status(), BootstrapStatus::Idle);
        assert!(settle(&mut node, at(0)).is_empty());
        error
    };
    let text_of = |name: &str| name.to_owned();
    let (target_name, input_name) = (text_of("P"), text_of("first"));

    assert_eq!(
        refuse(&[good, BootstrapRequest { target: "Q", inputs: &[] }]),
        BootstrapError::UnknownTarget { target_name: text_of("Q"), available: vec![text_of("P")] }
    );
    assert_eq!(
        refuse(&[good, good]),
        BootstrapError::AlreadyTransitivelyQueued { target_name: target_name.clone() }
    );
    assert_eq!(
        refuse(&[request(&[("second", &one)])]),
        BootstrapError::UnknownInput {
            target_name: target_name.clone(),
            input_name: text_of("second"),
            declared: vec![input_name.clone()]
        }
    );
    assert_eq!(
        refuse(&[request(&[])]),
        BootstrapError::MissingInput { target_name: target_name.clone(), input_name: input_name.clone() }
    );
    assert_eq!(
        refuse(&[request(&[("first", &one), ("first", &one)])]),
        BootstrapError::DuplicateInput { target_name: target_name.clone(), input_name: input_name.clone() }
    );
    assert!(matches!(refuse(&[request(&[("first", &text)])]), BootstrapError::InvalidInput { .. }));
    assert_eq!(
        refuse(&[request(&[("first", &large)])]),
        BootstrapError::AllocationFailed {
            target_name: target_name.clone(),
            byte_count: large.len() + 5,
            budget_remaining: 64
        }
    );
    assert_eq!(
        node.run_bootstrap(BootstrapTarget::All).unwrap_err(),
        BootstrapError::MissingInput { target_name, input_name }
    );
    assert_eq!(
        node.run_bootstrap(BootstrapTarget::Slots(&["one", "two"])).unwrap_err(),
        BootstrapError::UnknownTarget { target_name: text_of("two"), available: vec![text_of("one")] }
    );
    assert!(log.take().is_empty());
    assert!(node.run_bootstrap(BootstrapTarget::ModuleRequests(&[good])).is_ok());
}

#[test]
fn what_is_under_way_is_not_queued_again() {
    let log = Log::default();
    let mut node = three_classes(&log);
    node.run_bootstrap(BootstrapTarget::ModuleNames(&["P.a", "P.c"])).unwrap();
    for name in ["P.a", "P.c"] {
        assert_eq!(
            node.run_bootstrap(BootstrapTarget::ModuleNames(&["P.b", name])).unwrap_err(),
            BootstrapError::AlreadyTransitivelyQueued { target_name: name.to_owned() }
        );
    }
    assert_eq!(log.take(), ["one.view"], "P.b was not taken");
    node.run_bootstrap(BootstrapTarget::All).unwrap();
    assert_eq!(log.take(), ["two.view"], "all that is not under way");
}

#[test]
fn time_counts_from_the_first_step_even_for_a_bootstrap_before_it() {
    let log = Log::default();
    let mut node = three_classes(&log);
    node.run_bootstrap(BootstrapTarget::ModuleNames(&["P.a"])).unwrap();
    assert!(completed(&settle(&mut node, at(1_000))).is_empty());
    assert_eq!(node.next_deadline(), Some(at(1_005)));
    assert_eq!(completed(&settle(&mut node, at(1_005))), ["P.a"]);
}

#[test]
fn the_modules_that_a_module_calls_have_theirs_before_its_own() {
    struct Child;
    impl Module for Child {
        fn name(&self) -> &str {
            "Child"
        }
        fn body(&self, g: &mut Graph) {
            let x = g.input("x");
            g.output("y", x);
        }
        fn bootstrap(&self, g: &mut Graph) {
            let first = g.input("first");
            g.output("child", first);
        }
    }
    let body = |g: &mut Graph| {
        let x = g.input("x");
        let y = g.call_module(&Child, x);
        let y = g.call_module(&Child, y);
        g.output("y", y);
    };
    let bootstrap = |g: &mut Graph| {
        let done = g.constant("done");
        g.output("parent", done);
    };
    let model = Compiler::new().compile(Parts(body, bootstrap).build().unwrap()).unwrap();
    let mut node = install(PeerId::from_u64(1), [], model, &["P"], Config::new()).unwrap();
    assert!(matches!(
        node.run_bootstrap(BootstrapTarget::All).unwrap_err(),
        BootstrapError::MissingInput { input_name, .. } if input_name == "Child/first"
    ));
    let requests = [BootstrapRequest { target: "P", inputs: &[("Child/first", &one())] }];
    let steps = node.run_bootstrap(BootstrapTarget::ModuleRequests(&requests)).unwrap();
    assert_eq!(completed(&steps), ["P"]);
    let mut said = names(&steps);
    said.sort();
    assert_eq!(said, ["Child/child", "parent"], "once, though it is called twice");
}

#[test]
fn a_bootstrap_says_where_it_runs_if_the_body_names_classes() {
    let bootstrap = |g: &mut Graph| {
        let seen = slot("one").all(g);
        g.output("seen", seen);
    };
    let compile = |program| {
        Compiler::new().bind_peer_selector::<Plain>("one").bind_peer_selector::<Plain>("two").compile(program)
    };
    let program = Parts(|g: &mut Graph| classes(g, false), bootstrap).build().unwrap();
    let error = compile(program).unwrap_err().to_string();
    assert!(error.contains("has no place"), "{error}");
    let body = |g: &mut Graph| {
        g.on("a", |g| {
            let seen = slot("one").all(g);
            g.output("seen", seen);
        });
    };
    let model = compile(Parts(body, bootstrap).build().unwrap()).unwrap();
    assert_eq!(model.program().targets.len(), 1, "with one class there is no question");
    let timer = |g: &mut Graph| {
        let tick = g.every(secs(1));
        g.output("tick", tick);
    };
    let error = compile(Parts(body, timer).build().unwrap()).unwrap_err().to_string();
    assert!(error.contains("Interval inside a bootstrap"), "{error}");
}
