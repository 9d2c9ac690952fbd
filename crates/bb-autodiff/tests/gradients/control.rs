//! Choice and loops.

use bb_autodiff::{AutodiffError, Gradients};
use bb_runtime::onnx::TensorProto;

use super::graphs::{Model, nested, several, sum_of, with_graph};
use super::harness::{NEWEST, Rng, Shapes, i64_tensor, int, ints, named, node};

fn numbers(rng: &mut Rng, count: usize) -> Vec<f64> {
    (0..count).map(|_| rng.float(-0.8, 0.8)).collect()
}

const KINDS: [Shapes; 3] = [Shapes::Declared, Shapes::Symbolic, Shapes::Unknown];

#[test]
fn a_choice_matches_differences_in_the_branch_that_is_taken() {
    let mut rng = Rng::new(1401);
    for round in 0..24 {
        let shape = [rng.below(1, 4), rng.below(1, 4)];
        let count = shape[0] * shape[1];
        let then = nested(&[], &["t2"], vec![node("Tanh", &["x"], "t1"), node("Mul", &["t1", "w"], "t2")]);
        let other =
            nested(&[], &["e2"], vec![node("Mul", &["w", "w"], "e1"), node("Sub", &["x", "e1"], "e2")]);
        let choice =
            with_graph(with_graph(node("If", &["c"], "y"), "then_branch", then), "else_branch", other);
        let nodes =
            vec![node("Exp", &["v"], "x"), choice, node("Mul", &["y", "y"], "z"), sum_of("z", "loss")];
        let kind = KINDS[round % 2];
        Model::new(nodes)
            .flag("c", round % 4 < 2)
            .float("v", &shape, &numbers(&mut rng, count), kind)
            .float("w", &shape, &numbers(&mut rng, count), kind)
            .check();
    }
}

#[test]
fn what_only_the_other_branch_reads_gets_zeros() {
    let then = nested(&[], &["t"], vec![node("Tanh", &["x"], "t")]);
    let other = nested(&[], &["e"], vec![node("Exp", &["w"], "e")]);
    let choice = with_graph(with_graph(node("If", &["c"], "y"), "then_branch", then), "else_branch", other);
    let model = Model::new(vec![choice, sum_of("y", "loss")])
        .flag("c", true)
        .float("x", &[2], &[0.5, -0.5], Shapes::Declared)
        .float("w", &[2], &[0.1, 0.2], Shapes::Declared);
    model.check();
    assert_eq!(model.gradients()[1], [0.0, 0.0]);
}

#[test]
fn of_a_choice_whose_condition_is_known_the_branch_that_is_taken_tells_the_rank() {
    let mut rng = Rng::new(1409);
    for extents in [vec![2, 3], vec![1, 6]] {
        let then = nested(&[], &["t"], vec![node("Reshape", &["x", "sizes"], "t")]);
        let other = nested(&[], &["e"], vec![node("Identity", &["x"], "e")]);
        let choice = node("If", &["is_matrix"], "m");
        let mut parts = several("Split", &["extents"], &["rows", "columns"]);
        parts.attribute.push(int("num_outputs", 2));
        let mut sizes = node("Concat", &["rows", "columns"], "sizes");
        sizes.attribute.push(int("axis", 0));
        let nodes = vec![
            node("Size", &["extents"], "count"),
            node("Equal", &["count", "two"], "is_matrix"),
            parts,
            sizes,
            with_graph(with_graph(choice, "then_branch", then), "else_branch", other),
            node("MatMul", &["m", "w"], "y"),
            sum_of("y", "loss"),
        ];
        let mut model = Model::new(nodes).float("x", &[6], &numbers(&mut rng, 6), Shapes::Declared);
        let count = extents[1] as usize;
        model = model.float("w", &[count], &numbers(&mut rng, count), Shapes::Declared);
        model.graph.initializer.push(named(i64_tensor(&extents), "extents"));
        let two = TensorProto { dims: vec![], ..i64_tensor(&[2]) };
        model.graph.initializer.push(named(two, "two"));
        model.check();
    }
}

/// `h ← tanh(A·h + x)`, collecting `h·h`; the loss is of the last `h` and of what was collected.
fn recurrence(steps: i64, rng: &mut Rng, shapes: Shapes) -> Model {
    let n = rng.below(1, 4);
    let body = nested(
        &["i", "go", "h"],
        &["go_on", "next", "squares"],
        vec![
            node("Identity", &["go"], "go_on"),
            node("MatMul", &["A", "h"], "product"),
            node("Add", &["product", "x"], "sum"),
            node("Tanh", &["sum"], "next"),
            node("Mul", &["next", "h"], "squares"),
        ],
    );
    let repeated = with_graph(several("Loop", &["M", "", "h0"], &["last", "all"]), "body", body);
    let nodes = vec![
        repeated,
        node("Exp", &["last"], "e"),
        sum_of("e", "s1"),
        node("Sin", &["all"], "sine"),
        sum_of("sine", "s2"),
        node("Add", &["s1", "s2"], "loss"),
    ];
    Model::new(nodes)
        .integer("M", steps)
        .float("A", &[n, n], &numbers(rng, n * n), shapes)
        .float("x", &[n], &numbers(rng, n), shapes)
        .float("h0", &[n], &numbers(rng, n), shapes)
}

#[test]
fn a_loop_matches_differences_for_its_states_and_for_what_its_body_reads() {
    let mut rng = Rng::new(1402);
    for round in 0..24 {
        recurrence(1 + (round % 4) as i64, &mut rng, KINDS[round % 2]).check();
    }
}

#[test]
fn a_state_that_the_body_does_not_read_gets_zeros() {
    let body = nested(
        &["i", "go", "h"],
        &["go_on", "next"],
        vec![node("Identity", &["go"], "go_on"), node("Mul", &["w", "w"], "next")],
    );
    let repeated = with_graph(several("Loop", &["M", "", "h0"], &["last"]), "body", body);
    for shapes in KINDS {
        let model = Model::new(vec![repeated.clone(), sum_of("last", "loss")])
            .integer("M", 3)
            .float("h0", &[2], &[0.5, -0.5], shapes)
            .float("w", &[2], &[0.1, 0.2], shapes);
        model.check();
        assert_eq!(model.gradients()[0], [0.0, 0.0]);
    }
}

#[test]
fn a_loop_that_ends_by_its_condition_matches_differences() {
    let mut rng = Rng::new(1403);
    for round in 0..20 {
        let n = rng.below(1, 4);
        let body = nested(
            &["i", "go", "h"],
            &["go_on", "next", "seen"],
            vec![
                node("Mul", &["h", "w"], "next"),
                sum_of("next", "total"),
                node("Less", &["total", "limit"], "go_on"),
                node("Sin", &["h"], "seen"),
            ],
        );
        let repeated = with_graph(several("Loop", &["", "yes", "h0"], &["last", "all"]), "body", body);
        let nodes =
            vec![repeated, sum_of("last", "s1"), sum_of("all", "s2"), node("Mul", &["s1", "s2"], "loss")];
        let mut model = Model::new(nodes).flag("yes", true);
        let h: Vec<f64> = (0..n).map(|_| rng.float(0.3, 0.6)).collect();
        let w: Vec<f64> = (0..n).map(|_| rng.float(1.2, 1.5)).collect();
        model = model.float("h0", &[n], &h, KINDS[round % 2]).float("w", &[n], &w, KINDS[round % 2]);
        model = model.float("limit", &[], &[4.0], Shapes::Declared);
        model.wrt.pop();
        model.check();
    }
}

#[test]
fn a_scan_matches_differences_along_any_axis_in_both_directions() {
    let mut rng = Rng::new(1404);
    for round in 0..24 {
        let (steps, n) = (rng.below(1, 5), rng.below(1, 4));
        let body = nested(
            &["h", "a", "b"],
            &["next", "put_out"],
            vec![
                node("Mul", &["h", "a"], "p"),
                node("Add", &["p", "b"], "q"),
                node("Tanh", &["q"], "next"),
                node("Mul", &["next", "w"], "put_out"),
            ],
        );
        let flips = [rng.below(0, 2) as i64, rng.below(0, 2) as i64, rng.below(0, 2) as i64];
        let mut scan = with_graph(several("Scan", &["h0", "a", "b"], &["last", "all"]), "body", body);
        scan.attribute.extend([
            int("num_scan_inputs", 2),
            ints("scan_input_axes", &[1, 0]),
            ints("scan_input_directions", &flips[..2]),
            ints("scan_output_axes", &[(round % 2) as i64]),
            ints("scan_output_directions", &flips[2..]),
        ]);
        let nodes = vec![
            scan,
            node("Exp", &["all"], "e"),
            node("Mul", &["e", "a"], "weighted"),
            sum_of(if round % 2 == 1 { "weighted" } else { "e" }, "s1"),
            sum_of("last", "s2"),
            node("Sub", &["s1", "s2"], "loss"),
        ];
        let nodes = nodes.into_iter().filter(|node| round % 2 == 1 || node.output[0] != "weighted").collect();
        let kind = KINDS[round % 2];
        Model::new(nodes)
            .float("h0", &[n], &numbers(&mut rng, n), kind)
            .float("a", &[n, steps], &numbers(&mut rng, n * steps), kind)
            .float("b", &[steps, n], &numbers(&mut rng, n * steps), kind)
            .float("w", &[n], &numbers(&mut rng, n), kind)
            .check();
    }
}

#[test]
fn a_choice_inside_of_a_loop_matches_differences() {
    let mut rng = Rng::new(1405);
    for _ in 0..20 {
        let n = rng.below(1, 4);
        let then = nested(&[], &["t"], vec![node("Mul", &["h", "w"], "t")]);
        let other = nested(&[], &["e"], vec![node("Sin", &["h"], "s"), node("Add", &["s", "v"], "e")]);
        let choice =
            with_graph(with_graph(node("If", &["odd"], "next"), "then_branch", then), "else_branch", other);
        let mut cast = node("Cast", &["rest"], "odd");
        cast.attribute.push(int("to", 9));
        let body = nested(
            &["i", "go", "h"],
            &["go_on", "next"],
            vec![node("Identity", &["go"], "go_on"), node("Mod", &["i", "two"], "rest"), cast, choice],
        );
        let repeated = with_graph(node("Loop", &["M", "", "h0"], "last"), "body", body);
        Model::new(vec![repeated, node("Mul", &["last", "last"], "square"), sum_of("square", "loss")])
            .integer("M", 4)
            .integer("two", 2)
            .float("h0", &[n], &numbers(&mut rng, n), Shapes::Declared)
            .float("w", &[n], &numbers(&mut rng, n), Shapes::Declared)
            .float("v", &[n], &numbers(&mut rng, n), Shapes::Declared)
            .check();
    }
}

#[test]
fn a_gradient_through_a_loop_has_a_gradient_itself() {
    let mut rng = Rng::new(1406);
    for _ in 0..4 {
        let model = recurrence(3, &mut rng, Shapes::Declared);
        let directions: Vec<Vec<f64>> =
            model.wrt.iter().map(|&place| numbers(&mut rng, model.fed[place].element_count())).collect();
        model.second(&directions).check();
    }
}

#[test]
fn an_op_without_a_gradient_inside_of_a_loop_is_named_with_the_path_into_it() {
    let body = nested(
        &["i", "go", "h"],
        &["go_on", "next"],
        vec![
            node("Identity", &["go"], "go_on"),
            node("Exp", &["h"], "e"),
            node("MaxRoiPool", &["e"], "next"),
        ],
    );
    let repeated = with_graph(node("Loop", &["M", "", "h0"], "last"), "body", body);
    let model = Model::new(vec![repeated, sum_of("last", "loss")]).integer("M", 2).float(
        "h0",
        &[2],
        &[1.0, 2.0],
        Shapes::Declared,
    );
    let error = Gradients::of(&model.graph, NEWEST, "loss", &["h0"]).unwrap_err();
    let AutodiffError::NoGradient { node, op, path } = &error else { panic!("{error}") };
    assert_eq!((node.as_str(), op.as_str()), ("next", "MaxRoiPool"));
    assert_eq!(path, &["loss", "last", "next", "e", "h", "h0"]);
}

#[test]
fn a_state_that_no_gradient_needs_may_be_made_by_anything() {
    let body = nested(
        &["i", "go", "h", "noise"],
        &["go_on", "next", "again"],
        vec![
            node("Identity", &["go"], "go_on"),
            node("Tanh", &["h"], "next"),
            node("Floor", &["noise"], "again"),
        ],
    );
    let repeated = with_graph(several("Loop", &["M", "", "h0", "n0"], &["last", "noise_last"]), "body", body);
    Model::new(vec![repeated, sum_of("last", "loss")])
        .integer("M", 2)
        .float("h0", &[2], &[0.5, 0.2], Shapes::Declared)
        .float("n0", &[2], &[1.5, 2.5], Shapes::Declared)
        .check();
}

#[test]
fn a_loop_of_no_iterations_hands_the_gradient_to_its_first_state() {
    let body = nested(
        &["i", "go", "h"],
        &["go_on", "next"],
        vec![node("Identity", &["go"], "go_on"), node("Mul", &["h", "w"], "next")],
    );
    let repeated = with_graph(node("Loop", &["M", "", "h0"], "last"), "body", body);
    let model = Model::new(vec![repeated, sum_of("last", "loss")])
        .integer("M", 0)
        .float("h0", &[2], &[0.5, 0.2], Shapes::Declared)
        .float("w", &[2], &[1.5, 2.5], Shapes::Declared);
    model.check();
    assert_eq!(model.gradients(), [[1.0, 1.0], [0.0, 0.0]]);
}
