//! What `compile` gives as a whole: targets, digests, the ONNX form, users' passes.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by a panic")]

mod support;

use std::cell::RefCell;
use std::rc::Rc;

use bb_compiler::{CompiledModel, Compiler, Point, Program};
use bb_dsl::{
    AggregatorSlot, BackendSlot, DataSourceSlot, Fit, Graph, ModelSlot, Module, PeerSelectorSlot, Quorum,
    Tensor,
};
use bb_ir::program::{Attribute, Node, OpId, ValueId, domains};
use support::components::{IdleAggregator, IdleBackend, IdleData, IdleModel, IdlePeers};

/// A dense layer: `relu(x·w)`.
struct Dense(BackendSlot);

impl Module for Dense {
    fn name(&self) -> &str {
        "Dense"
    }
    fn body(&self, g: &mut Graph) {
        let x = g.input("x");
        let w = g.constant(Tensor::from_rows([[1.0_f32, -1.0], [0.5, 2.0]]));
        let y = self.0.matmul(g, x, w);
        let y = self.0.relu(g, y);
        g.output("y", y);
    }
}

/// A round of federated averaging that scores its result with a layer of its own.
struct Round;

impl Module for Round {
    fn name(&self) -> &str {
        "Round"
    }
    fn body(&self, g: &mut Graph) {
        let model = ModelSlot::named("model");
        let dense = Dense(BackendSlot::named("compute"));
        g.on("server", |g| {
            let x = g.input("x");
            let global = model.parameters(g);
            let clients = PeerSelectorSlot::named("clients").sample(g, 10);
            let updates = g.call(clients, global).at("client", |g, global| {
                model.load_parameters(g, global);
                let rows = model.fit(g, &DataSourceSlot::named("data"), Fit::epochs(1).batch(32));
                (model.parameters(g), rows)
            });
            let global = updates.fold(g, &AggregatorSlot::named("aggregator"), Quorum::at_least(8));
            model.load_parameters(g, global);
            g.output("global", global);
            let y = g.call_module(&dense, x);
            let y = g.call_module(&dense, y);
            g.output("score", y);
        });
    }
}

fn compiler() -> Compiler {
    Compiler::new()
        .bind_aggregator::<IdleAggregator>("aggregator")
        .bind_backend::<IdleBackend>("compute")
        .bind_data_source::<IdleData>("data")
        .bind_model::<IdleModel>("model")
        .bind_peer_selector::<IdlePeers>("clients")
}

fn compiled() -> CompiledModel {
    compiler().compile(Round.build().unwrap()).unwrap()
}

fn ops(program: &Program, target: &str, region: usize) -> Vec<String> {
    let region = &program.target(target).unwrap().regions[region];
    region.graph.nodes.iter().map(|node| node.op.name().to_owned()).collect()
}

#[test]
fn a_module_with_one_place_keeps_its_name_and_one_with_two_has_two_targets() {
    let dense = compiler().compile(Dense(BackendSlot::named("compute")).build().unwrap()).unwrap();
    let targets: Vec<&str> = dense.program().targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(targets, ["Dense"]);
    assert_eq!(ops(dense.program(), "Dense", 0), ["Run"]);

    let round = compiled();
    let targets: Vec<&str> = round.program().targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(targets, ["Round.server", "Round.client"]);
    assert_eq!(
        ops(round.program(), "Round.client", 0),
        ["Recv", "LoadParameters", "Fit", "Parameters", "Send"]
    );
    assert_eq!(ops(round.program(), "Round.server", 1), ["Source", "Recv", "Recv", "Contribute"]);
    let entry = ops(round.program(), "Round.server", 0);
    assert_eq!(
        entry.iter().filter(|op| *op == "Run").count(),
        1,
        "both calls of the layer are one run: {entry:?}"
    );
}

#[test]
fn only_what_is_bound_and_used_is_in_the_artifact() {
    let dense = compiler().compile(Dense(BackendSlot::named("compute")).build().unwrap()).unwrap();
    assert_eq!(dense.factories().keys().copied().collect::<Vec<_>>(), ["test::IdleBackend"]);
    assert_eq!(dense.program().bindings.keys().collect::<Vec<_>>(), ["compute"]);
    assert_eq!(compiled().factories().len(), 5);
}

#[test]
fn the_same_program_has_the_same_digest_and_another_has_another() {
    assert_eq!(compiled().digest(), compiled().digest());
    let longer = compiler().default_deadline(std::time::Duration::from_secs(31));
    let longer = longer.compile(Round.build().unwrap()).unwrap();
    assert_ne!(compiled().digest(), longer.digest());
}

#[test]
fn the_onnx_form_loses_nothing() {
    let compiled = compiled();
    let read = Program::from_onnx(&compiled.program().to_onnx()).unwrap();
    assert_eq!(&read, compiled.program().as_ref());
    let recorded = Round.build().unwrap();
    let read = Program::from_onnx(&recorded.to_onnx()).unwrap();
    let again = compiler().compile(read).unwrap();
    assert_eq!(again.digest(), compiled.digest());
}

#[test]
fn passes_of_a_user_run_at_their_points_and_are_part_of_the_artifact() {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let mut compiler = compiler();
    for point in [Point::Lowered, Point::Typed, Point::Inlined, Point::Partitioned, Point::Placed] {
        let seen = Rc::clone(&seen);
        compiler = compiler.pass_at(point, format!("{point:?}"), move |program, _| {
            seen.borrow_mut().push((point, program.modules.len(), program.targets.len()));
            Ok(())
        });
    }
    let compiled = compiler.compile(Round.build().unwrap()).unwrap();
    let expected = [
        (Point::Inlined, 1, 0),
        (Point::Typed, 1, 0),
        (Point::Placed, 1, 0),
        (Point::Partitioned, 0, 2),
        (Point::Lowered, 0, 2),
    ];
    assert_eq!(*seen.borrow(), expected);
    let passes = &compiled.program().passes;
    assert_eq!(passes.iter().filter(|pass| pass.as_str() == "Typed").count(), 1);
    assert_eq!(passes.last().map(String::as_str), Some("stamp"));
}

#[test]
fn a_pass_that_breaks_the_program_is_named() {
    let compiler = compiler().pass_at(Point::Typed, "careless", |program, _| {
        program.modules[0].body.add_node(Node {
            op: OpId::new(domains::SYSCALL, "PassThrough"),
            inputs: vec![Some(ValueId(9_999))],
            attributes: [("n".to_owned(), Attribute::Int(1))].into(),
            ..Node::default()
        });
        Ok(())
    });
    let error = compiler.compile(Round.build().unwrap()).unwrap_err();
    assert!(error.to_string().contains("after pass `careless`"), "{error}");
}

#[test]
fn a_long_program_keeps_every_op() {
    let compiled = compiler().compile(Long(10_000).build().unwrap()).unwrap();
    assert_eq!(ops(compiled.program(), "Long", 0).len(), 10_002);
}

/// As many steps, each of which changes the model.
struct Long(usize);

impl Module for Long {
    fn name(&self) -> &str {
        "Long"
    }
    fn body(&self, g: &mut Graph) {
        let model = ModelSlot::named("model");
        let mut batch = g.input("batch");
        for _ in 0..self.0 {
            batch = model.forward(g, batch);
        }
        model.load_parameters(g, batch);
        let parameters = model.parameters(g);
        g.output("parameters", parameters);
    }
}
