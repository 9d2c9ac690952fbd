//! Every mistake that recording finds: what is said, and which lines it points at.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by a panic")]

use std::cell::Cell;

use bb_dsl::{
    AggregatorSlot, BackendSlot, BuildError, DataSourceSlot, Fit, Graph, ModelSlot, Module, Output,
    PeerSelectorSlot, Quorum, secs,
};

/// A module that is one closure.
struct Written<F>(F);

impl<F: Fn(&mut Graph, &Slots)> Module for Written<F> {
    fn name(&self) -> &str {
        "Written"
    }
    fn body(&self, g: &mut Graph) {
        (self.0)(g, &Slots::new());
    }
}

struct Slots {
    aggregator: AggregatorSlot,
    compute: BackendSlot,
    data: DataSourceSlot,
    model: ModelSlot,
    peers: PeerSelectorSlot,
}

impl Slots {
    fn new() -> Self {
        Self {
            aggregator: AggregatorSlot::named("aggregator"),
            compute: BackendSlot::named("compute"),
            data: DataSourceSlot::named("data"),
            model: ModelSlot::named("model"),
            peers: PeerSelectorSlot::named("peers"),
        }
    }
}

fn mistakes(record: impl Fn(&mut Graph, &Slots)) -> BuildError {
    Written(record).build().expect_err("a mistake")
}

/// The message of the only mistake, and for each of its labels the text and the line of this file.
fn only(record: impl Fn(&mut Graph, &Slots)) -> (String, Vec<(String, String)>) {
    let error = mistakes(record);
    let [diagnostic] = error.diagnostics() else { panic!("more than one mistake: {error}") };
    let source: Vec<&str> = include_str!("mistakes.rs").lines().collect();
    let line = |label: &bb_ir::diagnostic::Label| source[label.span.line as usize - 1].trim().to_owned();
    let labels = diagnostic.labels.iter().map(|label| (label.text.clone(), line(label))).collect();
    (diagnostic.message.clone(), labels)
}

#[track_caller]
fn assert_mistake(got: (String, Vec<(String, String)>), message: &str, labels: &[(&str, &str)]) {
    assert_eq!(got.0, message);
    assert_eq!(got.1.len(), labels.len(), "{:?}", got.1);
    for ((text, line), (expected, marker)) in got.1.iter().zip(labels) {
        assert_eq!(text, expected);
        assert!(line.ends_with(&format!("// {marker}")), "{text}: points at `{line}`");
    }
}

#[test]
fn a_value_used_on_another_class() {
    let got = only(|g, slots| {
        let global = g.on("server", |g| {
            slots.model.parameters(g) // made
        });
        g.on("client", |g| {
            slots.model.load_parameters(g, global); // used
        });
    });
    let labels = [("used on \"client\" here", "used"), ("made on \"server\" here", "made")];
    assert_mistake(got, "`parameters` is on \"server\" but used on \"client\"", &labels);
}

#[test]
fn a_value_of_the_caller_used_in_a_body_on_another_class() {
    let error = mistakes(|g, slots| {
        g.on("server", |g| {
            let global = slots.model.parameters(g);
            let peers = slots.peers.all(g);
            let call = g.call(peers, ()).at("client", |g, ()| slots.model.load_parameters(g, global));
            call.each(g, |_, _, ()| {});
        });
    });
    let [diagnostic] = error.diagnostics() else { panic!("{error}") };
    assert_eq!(diagnostic.message, "`parameters` is on \"server\" but used on \"client\"");
    assert_eq!(
        diagnostic.help,
        ["take it across: `g.call(peers, parameters).at(\"client\", |g, parameters| …)`"]
    );
}

#[test]
fn a_value_of_the_sender_used_by_a_receiver_of_the_same_class() {
    let got = only(|g, slots| {
        g.on("peer", |g| {
            let mine = slots.model.parameters(g); // made
            let peers = slots.peers.sample(g, 1);
            g.send(peers, ()).to("peer").then(|g, ()| {
                slots.model.load_parameters(g, mine); // used
            });
        });
    });
    let labels = [("used by the receiver here", "used"), ("made by the sender here", "made")];
    let message = "`parameters` is a value of the sender's execution but is used in the receiver's";
    assert_mistake(got, message, &labels);
}

#[test]
fn a_value_kept_beyond_its_body() {
    let got = only(|g, slots| {
        g.on("peer", |g| {
            let peers = slots.peers.sample(g, 1);
            let kept: Cell<Option<Output>> = Cell::new(None);
            g.send(peers, ()).to("peer").then(|g, ()| {
                kept.set(Some(slots.model.parameters(g))); // made
            });
            if let Some(kept) = kept.get() {
                slots.model.load_parameters(g, kept); // used
            }
        });
    });
    let labels = [("used here", "used"), ("made here, in a body", "made")];
    assert_mistake(got, "`parameters` is used outside the body that made it", &labels);
}

#[test]
fn a_value_of_another_module() {
    struct Keeps(Cell<Option<Output>>);
    impl Module for Keeps {
        fn name(&self) -> &str {
            "Keeps"
        }
        fn body(&self, g: &mut Graph) {
            let x = g.input("x"); // made
            self.0.set(Some(x));
            g.output("x", x);
        }
    }
    let got = only(|g, slots| {
        let keeps = Keeps(Cell::new(None));
        let x = g.input("x");
        g.call_module(&keeps, x);
        if let Some(kept) = keeps.0.get() {
            slots.compute.relu(g, kept); // used
        }
    });
    let labels = [("used here", "used"), ("made here", "made")];
    assert_mistake(got, "a value of another module is used in `Written`", &labels);
}

#[test]
fn a_class_inside_another() {
    let got = only(|g, _| {
        g.on("server", |g| {
            g.on("client", |_| {}); // inside
        });
    });
    assert_mistake(got, "\"client\" inside \"server\"", &[("this part is already on \"server\"", "inside")]);
}

#[test]
fn two_inputs_or_outputs_of_one_name() {
    let got = only(|g, _| {
        let x = g.input("x"); // first
        g.input("x"); // second
        g.output("x", x);
    });
    let labels = [("the second here", "second"), ("the first here", "first")];
    assert_mistake(got, "`Written` has two inputs named \"x\"", &labels);

    let got = only(|g, _| {
        let x = g.input("x");
        g.output("y", x); // first
        g.output("y", x); // second
    });
    assert_mistake(got, "`Written` has two outputs named \"y\"", &labels);
}

#[test]
fn an_input_of_a_body() {
    let got = only(|g, slots| {
        g.on("peer", |g| {
            let peers = slots.peers.all(g);
            g.send(peers, ()).to("peer").then(|g, ()| {
                g.input("x"); // input
            });
        });
    });
    assert_mistake(got, "input \"x\" inside a body", &[("a body has no inputs of its own", "input")]);
}

#[test]
fn names_that_cannot_be() {
    let messages = |error: BuildError| -> Vec<String> {
        error.diagnostics().iter().map(|diagnostic| diagnostic.message.clone()).collect()
    };
    let got = messages(mistakes(|g, slots| {
        g.input("a:b");
        g.on("", |g| slots.model.parameters(g));
        ModelSlot::named("").parameters(g);
        let x = g.constant(1_i64);
        g.output("", x);
        slots.compute.op(g, "").output();
    }));
    assert_eq!(
        got,
        [
            "\"a:b\" cannot be the name of an input",
            "a peer class has no name",
            "a slot has no name",
            "an output has no name",
            "an op has no name",
        ]
    );
}

#[test]
fn answers_that_nobody_takes() {
    let got = only(|g, slots| {
        g.on("server", |g| {
            let peers = slots.peers.all(g);
            let call = g.call(peers, ()).at("client", |_, ()| {}); // called
            drop(call);
        });
    });
    assert_mistake(got, "nobody takes the answers of this call at \"client\"", &[("called here", "called")]);
}

#[test]
fn one_slot_in_two_roles() {
    let got = only(|g, _| {
        ModelSlot::named("both").parameters(g); // model
        PeerSelectorSlot::named("both").all(g); // selector
    });
    let labels = [("used as PeerSelector here", "selector"), ("used as Model here", "model")];
    assert_mistake(got, "slot \"both\" is used as Model and as PeerSelector", &labels);
}

#[test]
fn a_module_that_calls_itself() {
    struct Again;
    impl Module for Again {
        fn name(&self) -> &str {
            "Again"
        }
        fn body(&self, g: &mut Graph) {
            let () = g.call_module_outputs(self, ());
        }
    }
    let error = Again.build().expect_err("a mistake");
    assert_eq!(error.diagnostics()[0].message, "module `Again` calls itself");
    assert_eq!(error.diagnostics()[0].notes, ["the calls: Again -> Again"]);
}

#[test]
fn a_module_called_with_the_wrong_number_of_values() {
    struct One;
    impl Module for One {
        fn name(&self) -> &str {
            "One"
        }
        fn body(&self, g: &mut Graph) {
            let x = g.input("x");
            g.output("y", x);
        }
    }
    let got = only(|g, _| {
        g.call_module(&One, ()); // called
    });
    assert_mistake(got, "module `One` takes 1 input, not 0", &[("called here", "called")]);
    let got = only(|g, _| {
        let x = g.input("x");
        let (_, _): (Output, Output) = g.call_module_outputs(&One, x); // called
    });
    assert_mistake(got, "module `One` gives 1 output, not 2", &[("called here", "called")]);
}

#[test]
fn numbers_that_mean_nothing() {
    let error = mistakes(|g, slots| {
        g.on("server", |g| {
            slots.model.fit(g, &slots.data, Fit::epochs(0));
            let peers = slots.peers.sample(g, 0);
            let call = g.call(peers, ()).at("client", |g, ()| slots.model.parameters(g));
            call.fold(g, &slots.aggregator, Quorum::at_least(0).within(secs(0)));
        });
    });
    let messages: Vec<&str> = error.diagnostics().iter().map(|found| found.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "a fit of 0 epochs in batches of 32",
            "a sample of 0 peers",
            "a call waits for at least 0 answers",
            "a call waits 0 ns",
        ]
    );
}

#[test]
fn one_mistake_is_reported_once_and_all_mistakes_together() {
    let error = mistakes(|g, slots| {
        let global = g.on("server", |g| slots.model.parameters(g));
        g.on("client", |g| {
            let y = slots.model.forward(g, global);
            let z = slots.model.forward(g, y);
            g.output("z", z);
            slots.model.load_parameters(g, global);
        });
    });
    assert_eq!(error.diagnostics().len(), 2, "{error}");
    assert!(error.to_string().ends_with("module `Written` was not built: 2 errors"), "{error}");
}
