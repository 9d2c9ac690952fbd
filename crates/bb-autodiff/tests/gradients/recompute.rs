//! Activations that are computed again: less is held at a time, and no gradient changes by a bit.

use bb_autodiff::{Gradients, Loss, Recompute, TrainingOptions, TrainingPlan, peak_bytes};
use bb_runtime::onnx::GraphProto;
use bb_runtime::{DataType, Tensor};

use super::graphs::sum_of;
use super::harness::{NEWEST, Rng, Shapes, float_tensor, listing, named, node, run, tensor, typed, untyped};

/// Layers one after the other, all of one width; with `skips`, every second one is added to what it read.
fn deep(layers: usize, width: usize, skips: bool, rng: &mut Rng) -> GraphProto {
    let mut graph = GraphProto { name: Some("deep".into()), ..Default::default() };
    graph.input.push(typed("x", DataType::F32, &[16, width], Shapes::Declared));
    let mut last = "x".to_owned();
    for layer in 0..layers {
        let values: Vec<f64> = (0..width * width).map(|_| rng.float(-0.5, 0.5)).collect();
        let weights = format!("w{layer}");
        graph.initializer.push(named(float_tensor(DataType::F32, &[width, width], &values), &weights));
        graph.node.push(node("MatMul", &[&last, &weights], &format!("p{layer}")));
        graph.node.push(node(
            ["Tanh", "Sigmoid", "Gelu"][layer % 3],
            &[&format!("p{layer}")],
            &format!("a{layer}"),
        ));
        let made = format!("a{layer}");
        if skips && layer % 2 == 1 {
            graph.node.push(node("Add", &[&made, &last], &format!("h{layer}")));
            last = format!("h{layer}");
        } else {
            last = made;
        }
    }
    graph.node.push(sum_of(&last, "loss"));
    graph.output.push(untyped("loss"));
    graph
}

/// The gradients of all weights, and how much the graph holds at most.
fn gradients(
    graph: &GraphProto,
    layers: usize,
    how: Recompute,
    x: &Tensor,
) -> (Vec<Tensor>, usize, GraphProto) {
    let names: Vec<String> = (0..layers).map(|layer| format!("w{layer}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let made = Gradients::of(graph, NEWEST, "loss", &names).unwrap().recomputing(how).unwrap();
    let mut graph = made.graph;
    graph.output.extend(made.gradients.iter().map(|name| untyped(name)));
    let peak = peak_bytes(&graph, NEWEST).unwrap();
    (run(&graph, NEWEST, std::slice::from_ref(x)), peak, graph)
}

fn input(rng: &mut Rng, width: usize) -> Tensor {
    let values: Vec<f64> = (0..16 * width).map(|_| rng.float(-1.0, 1.0)).collect();
    tensor(DataType::F32, &[16, width], &values)
}

#[test]
fn computing_again_holds_less_and_gives_the_same_gradients() {
    let mut rng = Rng::new(2001);
    for skips in [false, true] {
        let (layers, width) = (36, 8);
        let graph = deep(layers, width, skips, &mut rng);
        let x = input(&mut rng, width);
        let (plain, all, _) = gradients(&graph, layers, Recompute::Nothing, &x);
        let (again, less, rewritten) = gradients(&graph, layers, Recompute::SquareRoot, &x);
        assert_eq!(plain, again, "{}", listing(&rewritten));
        // The weights' gradients are held to the end: only what is above them can fall.
        let weights = layers * width * width * 4;
        println!("skips {skips}: {all} bytes fall to {less}, of which {weights} are the weights' gradients");
        let above = |peak: usize| peak.saturating_sub(weights);
        assert!(2 * less < all || 3 * above(less) < 2 * above(all), "{less} of {all}");
    }
}

#[test]
fn a_budget_is_kept_where_it_can_be() {
    let mut rng = Rng::new(2002);
    let (layers, width) = (30, 8);
    let graph = deep(layers, width, false, &mut rng);
    let x = input(&mut rng, width);
    let (plain, all, _) = gradients(&graph, layers, Recompute::Nothing, &x);
    let (same, unchanged, _) = gradients(&graph, layers, Recompute::Budget(all), &x);
    assert_eq!((&same, unchanged), (&plain, all));
    let (_, best, _) = gradients(&graph, layers, Recompute::Budget(0), &x);
    let budget = (best + all) / 2;
    let (again, peak, _) = gradients(&graph, layers, Recompute::Budget(budget), &x);
    assert_eq!(again, plain);
    assert!(peak <= budget && best < all, "{peak} bytes held of {budget}; {best} at least, {all} at most");
}

#[test]
fn what_is_random_is_not_computed_again() {
    let mut graph = GraphProto { name: Some("random".into()), ..Default::default() };
    graph.input.push(typed("x", DataType::F32, &[4], Shapes::Declared));
    graph.node.push(node("Exp", &["x"], "e"));
    graph.node.push(node("RandomNormalLike", &["e"], "noise"));
    graph.node.push(node("Mul", &["e", "noise"], "n"));
    graph.node.push(node("Tanh", &["n"], "t"));
    graph.node.push(node("Exp", &["t"], "u"));
    graph.node.push(sum_of("u", "loss"));
    graph.output.push(untyped("loss"));
    let made = Gradients::of(&graph, NEWEST, "loss", &["x"]).unwrap();
    let made = made.recomputing(Recompute::Segments(4)).unwrap();
    let random =
        made.graph.node.iter().filter(|node| node.op_type.as_deref() == Some("RandomNormalLike")).count();
    assert_eq!(random, 1, "{}", listing(&made.graph));
}

#[test]
fn a_whole_step_computes_again_and_makes_the_same_parameters() {
    let mut rng = Rng::new(2003);
    let (layers, width) = (24, 8);
    let mut graph = deep(layers, width, true, &mut rng);
    graph.output = vec![untyped("loss")];
    let mut fed: Vec<Tensor> = Vec::new();
    for initializer in &graph.initializer {
        fed.push(Tensor::from_onnx(initializer).unwrap());
    }
    fed.push(input(&mut rng, width));
    fed.push(Tensor::scalar(0.01_f32));
    let mut results = Vec::new();
    let mut peaks = Vec::new();
    for recompute in [Recompute::Nothing, Recompute::SquareRoot] {
        let options = TrainingOptions { loss: Loss::Output("loss".into()), recompute, ..Default::default() };
        let plan = TrainingPlan::new(&graph, NEWEST, &options).unwrap();
        let step = plan.step(None).unwrap();
        peaks.push(peak_bytes(&step.graph, NEWEST).unwrap());
        results.push(run(&step.graph, NEWEST, &fed));
    }
    assert_eq!(results[0], results[1]);
    assert!(peaks[1] < peaks[0], "{peaks:?}");
}
