//! What recording gives: the programs that modules write.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by a panic")]

use bb_dsl::{
    AggregatorSlot, BackendSlot, DataSourceSlot, Fit, Graph, ModelSlot, Module, PeerSelectorSlot, Program,
    Quorum, Tensor, secs,
};
use bb_ir::program::{Attribute, Node, NodeId, domains};

struct FedAvgRound {
    model: ModelSlot,
    data: DataSourceSlot,
    aggregator: AggregatorSlot,
    clients: PeerSelectorSlot,
}

impl Module for FedAvgRound {
    fn name(&self) -> &str {
        "FedAvgRound"
    }
    fn body(&self, g: &mut Graph) {
        g.on("server", |g| {
            let global = self.model.parameters(g);
            let clients = self.clients.all(g);
            let updates = g.call(clients, global).at("client", |g, global| {
                self.model.load_parameters(g, global);
                let rows = self.model.fit(g, &self.data, Fit::epochs(1).batch(32));
                (self.model.parameters(g), rows)
            });
            let global = updates.fold(g, &self.aggregator, Quorum::all().deadline(secs(5)));
            self.model.load_parameters(g, global);
            g.output("global", global);
        });
    }
}

fn names(nodes: &[Node]) -> Vec<&str> {
    nodes.iter().map(|node| node.op.name()).collect()
}

fn round() -> Program {
    FedAvgRound {
        model: ModelSlot::named("model"),
        data: DataSourceSlot::named("data"),
        aggregator: AggregatorSlot::named("aggregator"),
        clients: PeerSelectorSlot::named("clients"),
    }
    .build()
    .unwrap()
}

#[test]
fn a_round_reads_as_it_is_written() {
    let program = round();
    program.verify().unwrap();
    let body = &program.modules[0].body;
    assert_eq!(names(&body.nodes), ["Parameters", "View", "Begin", "Call", "Aggregate", "LoadParameters"]);
    let call = &body.nodes[3];
    assert_eq!(call.attributes["quorum"], Attribute::Int(-1));
    assert_eq!(call.attributes["deadline_ns"], Attribute::Int(5_000_000_000));
    let client = call.attributes["body"].as_graph().unwrap();
    assert_eq!(names(&client.nodes), ["LoadParameters", "Fit", "Parameters"]);
    assert!(client.nodes.iter().all(|node| node.place.as_deref() == Some("client")));
    let each = call.attributes["each"].as_graph().unwrap();
    assert_eq!(names(&each.nodes), ["Contribute"]);
    assert_eq!(each.inputs.len(), 3);
}

#[test]
fn ops_on_one_slot_keep_their_order() {
    let program = round();
    let body = &program.modules[0].body;
    let after: Vec<&[NodeId]> = body.nodes.iter().map(|node| node.after.as_slice()).collect();
    assert_eq!(after, [&[][..], &[], &[], &[NodeId(2)], &[NodeId(3)], &[NodeId(0)]]);
    let client = body.nodes[3].attributes["body"].as_graph().unwrap();
    let after: Vec<&[NodeId]> = client.nodes.iter().map(|node| node.after.as_slice()).collect();
    assert_eq!(after, [&[][..], &[NodeId(0)], &[NodeId(1)]]);
}

#[test]
fn a_module_recorded_twice_is_the_same_program() {
    assert_eq!(round(), round());
    assert_eq!(round().to_string(), round().to_string());
}

/// Scales by a constant of its own.
struct Scale {
    compute: BackendSlot,
    by: f32,
}

impl Module for Scale {
    fn name(&self) -> &str {
        "Scale"
    }
    fn body(&self, g: &mut Graph) {
        let x = g.input("x");
        let by = g.constant(Tensor::scalar(self.by));
        let y = self.compute.mul(g, x, by);
        g.output("y", y);
    }
}

#[test]
fn modules_of_one_name_are_one_if_they_are_equal_and_two_if_not() {
    struct Both([Scale; 3]);
    impl Module for Both {
        fn name(&self) -> &str {
            "Both"
        }
        fn body(&self, g: &mut Graph) {
            let mut x = g.input("x");
            for scale in &self.0 {
                x = g.call_module(scale, x);
            }
            g.output("y", x);
        }
    }
    let scale = |by| Scale { compute: BackendSlot::named("compute"), by };
    let program = Both([scale(2.0), scale(3.0), scale(2.0)]).build().unwrap();
    program.verify().unwrap();
    let modules: Vec<&str> = program.modules.iter().map(|module| module.name.as_str()).collect();
    assert_eq!(modules, ["Both", "Scale", "Scale:2"]);
    assert_eq!(names(&program.modules[0].body.nodes), ["Scale", "Scale:2", "Scale"]);
}

#[test]
fn constants_go_anywhere_and_captures_go_into_answers_only() {
    struct Mixed(PeerSelectorSlot, ModelSlot);
    impl Module for Mixed {
        fn name(&self) -> &str {
            "Mixed"
        }
        fn body(&self, g: &mut Graph) {
            let scale = g.constant(0.5);
            g.on("a", |g| {
                let mine = self.1.parameters(g);
                let peers = self.0.all(g);
                let call = g.call(peers, mine).at("b", |g, theirs| {
                    self.1.apply_delta(g, theirs, scale);
                    [self.1.parameters(g)]
                });
                call.within(secs(1)).each(g, |g, peer, [theirs]| {
                    let all = g.bundle((peer, mine, theirs, scale));
                    g.output("all", all);
                });
            });
        }
    }
    let program = Mixed(PeerSelectorSlot::named("peers"), ModelSlot::named("model")).build().unwrap();
    program.verify().unwrap();
    let call = program.modules[0].body.nodes.iter().find(|node| node.op.is(domains::WIRE, "Call")).unwrap();
    let body = call.attributes["body"].as_graph().unwrap();
    assert_eq!(names(&body.nodes), ["Constant", "ApplyDelta", "Parameters"]);
    assert!(body.captures.is_empty());
    let each = call.attributes["each"].as_graph().unwrap();
    assert_eq!(each.captures.len(), 1);
    assert_eq!(names(&each.nodes), ["Constant", "Bundle", "AppEmit"]);
}

#[test]
fn a_bootstrap_is_a_graph_of_its_own_and_only_there_if_recorded() {
    struct Starts(ModelSlot);
    impl Module for Starts {
        fn name(&self) -> &str {
            "Starts"
        }
        fn body(&self, g: &mut Graph) {
            let parameters = self.0.parameters(g);
            g.output("parameters", parameters);
        }
        fn bootstrap(&self, g: &mut Graph) {
            let first = g.input("first");
            self.0.load_parameters(g, first);
        }
    }
    let program = Starts(ModelSlot::named("model")).build().unwrap();
    let bootstrap = program.modules[0].bootstrap.as_ref().unwrap();
    assert_eq!(names(&bootstrap.nodes), ["LoadParameters"]);
    assert_eq!(round().modules[0].bootstrap, None);
}

#[test]
fn any_onnx_op_can_be_recorded() {
    struct Pool(BackendSlot);
    impl Module for Pool {
        fn name(&self) -> &str {
            "Pool"
        }
        fn body(&self, g: &mut Graph) {
            let x = g.input("x");
            let op = self.0.op(g, "MaxPool").input(x).no_input().attr("kernel_shape", [2, 2]);
            let outputs = op.attr("auto_pad", "VALID").outputs(2);
            g.output("y", outputs[0]);
            g.output("indices", outputs[1]);
        }
    }
    let program = Pool(BackendSlot::named("compute")).build().unwrap();
    let node = &program.modules[0].body.nodes[0];
    assert_eq!(node.attributes["kernel_shape"], Attribute::Ints(vec![2, 2]));
    assert_eq!((node.inputs.len(), node.inputs[1], node.outputs.len()), (2, None, 2));
    assert!(node.span.file.ends_with("programs.rs"));
}
