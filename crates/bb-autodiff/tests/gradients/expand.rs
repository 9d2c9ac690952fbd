//! ONNX's own op for gradients, written out.

use bb_autodiff::{AutodiffError, TrainingOptions, TrainingPlan, expand_gradients};
use bb_runtime::onnx::attribute_proto::AttributeType;
use bb_runtime::onnx::{AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto};
use bb_runtime::{DataType, Tensor};

use super::graphs::{compare, sum_of};
use super::harness::{
    NEWEST, Rng, Shapes, float_tensor, floats, int, named, node, run, tensor, text, typed, untyped,
};

const DOMAIN: &str = "ai.onnx.preview.training";

/// `outputs = Gradient(inputs)` of `y` for `xs`, with `zs` kept.
fn gradient(y: &str, xs: &[&str], zs: &[&str], inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let texts = |name: &str, values: &[&str]| AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::Strings as i32),
        strings: values.iter().map(|value| value.as_bytes().to_vec()).collect(),
        ..Default::default()
    };
    let mut made = node("Gradient", inputs, "");
    made.domain = Some(DOMAIN.into());
    made.output = outputs.iter().map(|&name| name.to_owned()).collect();
    made.attribute = vec![texts("xs", xs), text("y", y)];
    if !zs.is_empty() {
        made.attribute.push(texts("zs", zs));
    }
    made
}

fn model(nodes: Vec<NodeProto>, inputs: &[(&str, &[usize])], outputs: &[&str]) -> ModelProto {
    let set =
        |domain: &str, version| OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) };
    let graph = GraphProto {
        node: nodes,
        input: inputs
            .iter()
            .map(|(name, shape)| typed(name, DataType::F64, shape, Shapes::Declared))
            .collect(),
        output: outputs.iter().map(|name| untyped(name)).collect(),
        ..Default::default()
    };
    ModelProto {
        opset_import: vec![set("", NEWEST), set(DOMAIN, 1)],
        graph: Some(graph),
        ..Default::default()
    }
}

/// The outputs of the model whose gradients are written out.
fn outputs(model: &ModelProto, fed: &[Tensor]) -> Vec<Vec<f64>> {
    let expanded = expand_gradients(model).unwrap().into_owned();
    assert_eq!(expanded.opset_import.len(), 1, "the domain of training is no longer used");
    run(&expanded.graph.unwrap(), NEWEST, fed).iter().map(floats).collect()
}

fn fed(rng: &mut Rng, shape: &[usize]) -> Tensor {
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| rng.float(-1.0, 1.0)).collect();
    tensor(DataType::F64, shape, &values)
}

/// `h = tanh(x·w)`, `y = Σ h²`.
fn layers() -> Vec<NodeProto> {
    vec![
        node("MatMul", &["x", "w"], "product"),
        node("Tanh", &["product"], "h"),
        node("Mul", &["h", "h"], "squares"),
        sum_of("squares", "y"),
    ]
}

#[test]
fn gradients_for_inputs_and_for_values_between_are_those_of_differences() {
    let mut rng = Rng::new(2601);
    for _ in 0..20 {
        let (rows, inner, columns) = (rng.below(1, 4), rng.below(1, 4), rng.below(1, 4));
        let mut nodes = layers();
        nodes.push(gradient("y", &["x", "w"], &[], &["x", "w"], &["dx", "dw"]));
        nodes.push(gradient("y", &["h"], &["x"], &["h", "x"], &["dh"]));
        let shapes: [(&str, &[usize]); 2] = [("x", &[rows, inner]), ("w", &[inner, columns])];
        let given = [fed(&mut rng, shapes[0].1), fed(&mut rng, shapes[1].1)];
        let made = outputs(&model(nodes, &shapes, &["dx", "dw", "dh", "h"]), &given);
        let forward = model(layers(), &shapes, &["y"]).graph.unwrap();
        for (place, got) in made[..2].iter().enumerate() {
            let values = floats(&given[place]);
            let at = |element: usize, offset: f64| {
                let (mut moved, mut given) = (values.clone(), given.clone());
                moved[element] += offset;
                given[place] = tensor(DataType::F64, shapes[place].1, &moved);
                floats(&run(&forward, NEWEST, &given)[0])[0]
            };
            let slopes: Vec<f64> =
                (0..values.len()).map(|element| (at(element, 1e-5) - at(element, -1e-5)) / 2e-5).collect();
            compare(got, &slopes, 1e-5, shapes[place].0);
        }
        let twice: Vec<f64> = made[3].iter().map(|h| 2.0 * h).collect();
        compare(&made[2], &twice, 1e-12, "dh");
    }
}

#[test]
fn a_gradient_of_a_gradient_is_the_second_derivative() {
    let nodes = vec![
        node("Exp", &["x"], "e"),
        node("Mul", &["e", "w"], "y"),
        gradient("y", &["x"], &["w"], &["x", "w"], &["dy_dx"]),
        node("Sin", &["dy_dx"], "z"),
        gradient("z", &["x", "w"], &[], &["x", "w"], &["dz_dx", "dz_dw"]),
    ];
    let model = model(nodes, &[("x", &[2]), ("w", &[2])], &["dz_dx", "dz_dw"]);
    let (x, w) = ([0.3_f64, -0.5], [1.5_f64, -0.7]);
    let made = outputs(&model, &[tensor(DataType::F64, &[2], &x), tensor(DataType::F64, &[2], &w)]);
    for at in 0..2 {
        let inner = w[at] * x[at].exp();
        let (dx, dw) = (inner.cos() * inner, inner.cos() * x[at].exp());
        compare(&[made[0][at], made[1][at]], &[dx, dw], 1e-12, "second derivatives");
    }
}

#[test]
fn gradients_at_other_values_compute_what_lies_between_once_more() {
    // y = (x + c)·x·v at x = p and v = p, which is one value given for two.
    let nodes = vec![
        node("Exp", &["p"], "unused"),
        node("Add", &["x", "c"], "sum"),
        node("Mul", &["sum", "x"], "product"),
        node("Mul", &["product", "v"], "y"),
        gradient("y", &["x", "v"], &[], &["p", "p"], &["dx", "dv"]),
        gradient("y", &["x", "product"], &[], &["x", "p"], &["", "dproduct"]),
    ];
    let shapes: [(&str, &[usize]); 4] = [("x", &[]), ("c", &[]), ("v", &[]), ("p", &[])];
    let (x, c, v, p) = (0.5, 0.25, -1.5, 2.0);
    let given = [x, c, v, p].map(|value| tensor(DataType::F64, &[], &[value]));
    let made = outputs(&model(nodes, &shapes, &["y", "dx", "dv", "dproduct"]), &given);
    let expected = [(x + c) * x * v, (2.0 * p + c) * p, (p + c) * p, v];
    compare(&made.concat(), &expected, 1e-12, "gradients at other values");
}

#[test]
fn what_it_does_not_depend_on_gets_zeros_in_its_shape() {
    let nodes = vec![node("Exp", &["x"], "y"), gradient("y", &["x", "w"], &[], &["x", "w"], &["dx", "dw"])];
    let mut rng = Rng::new(2602);
    let given = [fed(&mut rng, &[2]), fed(&mut rng, &[3])];
    let made = outputs(&model(nodes, &[("x", &[2]), ("w", &[3])], &["dx", "dw"]), &given);
    assert_eq!(made[1], [0.0; 3]);
}

#[test]
fn a_model_that_has_its_gradients_in_it_trains() {
    // The loss asks for a gradient to be small: its own gradient is of second order.
    let nodes = vec![
        node("Mul", &["x", "w"], "p"),
        node("Tanh", &["p"], "h"),
        gradient("h", &["x"], &["w"], &["x", "w"], &["slope"]),
        node("Mul", &["slope", "slope"], "squares"),
        sum_of("squares", "loss"),
    ];
    let mut model = model(nodes, &[("x", &[4])], &["loss"]);
    let weights = float_tensor(DataType::F64, &[1], &[0.5]);
    model.graph.as_mut().unwrap().initializer.push(named(weights, "w"));
    let options = TrainingOptions { loss: bb_autodiff::Loss::Output("loss".into()), ..Default::default() };
    let plan = TrainingPlan::of_model(&model, &options).unwrap();
    assert_eq!(plan.parameters().len(), 1);
    assert!(plan.step(None).unwrap().graph.node.iter().all(|node| node.op_type() != "Gradient"));
}

#[test]
fn a_model_without_the_op_stays_as_it_is() {
    let model = model(layers(), &[("x", &[1, 2]), ("w", &[2, 1])], &["y"]);
    assert!(matches!(expand_gradients(&model), Ok(std::borrow::Cow::Borrowed(same)) if *same == model));
}

#[test]
fn a_gradient_that_names_what_is_not_there_or_counts_wrong_is_refused() {
    let asked = |node: NodeProto| {
        let mut nodes = layers();
        nodes.push(node);
        let model = model(nodes, &[("x", &[1, 2]), ("w", &[2, 1])], &["dx"]);
        expand_gradients(&model).unwrap_err()
    };
    let error = asked(gradient("nowhere", &["x"], &[], &["x"], &["dx"]));
    assert!(matches!(&error, AutodiffError::Unknown { name, .. } if name == "nowhere"), "{error}");
    let error = asked(gradient("y", &["x"], &["w"], &["x"], &["dx"]));
    assert!(matches!(&error, AutodiffError::Attribute { attribute, .. } if attribute == "xs"), "{error}");
    let error = asked(gradient("y", &["x"], &[], &["x"], &["h"]));
    assert!(matches!(&error, AutodiffError::Order { value, .. } if value == "h"), "{error}");
    let mut headless = gradient("y", &["x"], &[], &["x"], &["dx"]);
    headless.attribute.retain(|attribute| attribute.name() != "y");
    let error = asked(headless);
    assert!(matches!(&error, AutodiffError::Attribute { attribute, .. } if attribute == "y"), "{error}");
}

#[test]
fn gradients_of_gradients_without_end_are_refused() {
    let mut nodes = vec![node("Tanh", &["x"], "y0")];
    for order in 0..70 {
        let (from, to) = (format!("y{order}"), format!("y{}", order + 1));
        nodes.push(gradient(&from, &["x"], &[], &["x"], &[&to]));
    }
    let mut flat = node("Flatten", &["y70"], "flat");
    flat.attribute.push(int("axis", 0));
    nodes.push(flat);
    let error = expand_gradients(&model(nodes, &[("x", &[])], &["flat"])).unwrap_err();
    assert!(matches!(error, AutodiffError::Unsupported { .. }), "{error}");
}
