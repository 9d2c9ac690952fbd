//! Bring your ONNX model: from a file to a federation, and back to a file.

use std::path::Path;

use bb_sim::Federation;
use bb_tests::Error;
use bytesandbrains::autodiff;
use bytesandbrains::cpu::CpuConfig;
use bytesandbrains::learn::onnx_model::{Clip, Inspection, Optimizer, Schedule, read_model};
use bytesandbrains::prelude::*;
use bytesandbrains::runtime::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TypeProto, ValueInfoProto,
    type_proto,
};
use bytesandbrains::runtime::{Backend, BackendGraph, Component};

/// A convolutional network with batch normalization, written by the `onnx` Python package.
fn model_path() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/bb-learn/tests/data/curves/cnn.onnx")
}

#[test]
fn a_model_says_what_it_is_made_of() -> Result<(), Error> {
    let path = model_path();
    let model = read_model(path)?;
    let backend = CpuBackend::new(&CpuConfig::default())?;
    let inspection = Inspection::of(&model, &OnnxModelOptions::default(), &backend)?;
    println!("{inspection}");
    assert!(inspection.running.is_ok() && inspection.training.is_ok() && inspection.unsupported.is_empty());
    // The chapter shows what is printed, some lines left out.
    let chapter = include_str!("../../../docs/src/onnx-models.md");
    let shown = chapter.split("```text\n").nth(1).and_then(|rest| rest.split("```").next());
    let printed = inspection.to_string();
    for line in shown.ok_or("the chapter shows nothing")?.lines().filter(|line| !line.contains('…')) {
        assert!(printed.lines().any(|printed| printed == line), "{line} is not in\n{printed}");
    }
    Ok(())
}

#[test]
fn a_model_from_a_file_is_federated_and_written_back() -> Result<(), Error> {
    let path = model_path();
    let options = OnnxModelOptions {
        learning_rate: 0.01,
        optimizer: Optimizer::adam_w(0.01),
        clip: Some(Clip::Norm(1.0)),
        schedule: Schedule::Cosine { warmup: 10, steps: 500, floor: 0.1 },
        inputs: [("image".to_owned(), "features".to_owned())].into(),
        ..OnnxModelOptions::default()
    };
    let config = OnnxModelConfig::from_file(path, options)?;
    let compiled = Compiler::new()
        .bind_backend::<CpuBackend>("compute")
        .bind_model::<OnnxModel>("model")
        .bind_data_source::<InMemoryData>("data")
        .bind_data_source::<InMemoryData>("test")
        .bind_aggregator::<FedAvg>("aggregator")
        .bind_peer_selector::<AllPeers>("clients")
        .compile(FedAvgRound::new(Fit::epochs(1).batch(32)).build()?)?;

    let digits = digits::load()?;
    let base = || Config::new().with("model", config.clone()).with("compute", CpuConfig::default());
    let clients = digits.train.contiguous(4)?;
    let mut federation = Federation::builder(compiled)
        .server(FedAvgRound::SERVER, base().with("test", InMemoryConfig::new(digits.test)))
        .clients(
            FedAvgRound::CLIENT,
            clients.into_iter().map(|rows| base().with("data", InMemoryConfig::new(rows))),
        )
        .build()?;
    let mut losses = Vec::new();
    let mut parameters = TensorMap::new();
    for _ in 0..3 {
        let round = federation.round()?;
        if let (Some(Value::F64(loss)), Some(Value::Tensors(global))) =
            (round.output("loss"), round.output("global"))
        {
            losses.push(*loss);
            parameters = global.clone();
        }
    }
    assert!(losses.len() == 3 && losses[2] < losses[0], "{losses:?}");

    let folder = tempfile::tempdir()?;
    let trained_path = folder.path().join("trained.onnx");
    config.export_to(&trained_path, &parameters)?;
    let trained = OnnxModelConfig::from_file(&trained_path, OnnxModelOptions::default())?;
    assert_eq!(trained.parameters(), &parameters);
    Ok(())
}

/// A value of the type `DOUBLE`.
fn double(name: &str) -> ValueInfoProto {
    let tensor = type_proto::Tensor { elem_type: Some(11), shape: None };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

#[test]
fn a_gradient_that_a_model_asks_for_is_written_out() -> Result<(), Error> {
    let op = |domain: &str, op: &str, inputs: &[&str], output: &str| NodeProto {
        domain: Some(domain.into()),
        op_type: Some(op.into()),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    };
    const TRAINING: &str = "ai.onnx.preview.training";
    let mut slope = op(TRAINING, "Gradient", &["x"], "slope");
    slope.attribute = vec![
        AttributeProto { name: Some("xs".into()), strings: vec!["x".into()], ..AttributeProto::default() },
        AttributeProto { name: Some("y".into()), s: Some("y".into()), ..AttributeProto::default() },
    ];
    let graph = GraphProto {
        node: vec![op("", "Mul", &["x", "x"], "y"), slope],
        input: vec![double("x")],
        output: vec![double("slope")],
        ..GraphProto::default()
    };
    let set =
        |domain: &str, version| OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) };
    let model = ModelProto {
        opset_import: vec![set("", 22), set(TRAINING, 1)],
        graph: Some(graph),
        ..ModelProto::default()
    };

    let backend = CpuBackend::new(&CpuConfig::default())?;
    assert!(backend.prepare(&BackendGraph::from_model(&model)?).is_err(), "the op itself is not run");
    let model = autodiff::expand_gradients(&model)?;
    let mut ready = backend.prepare(&BackendGraph::from_model(&model)?)?;

    let slopes = ready.run(&[Tensor::from_slice([3], &[-1.0, 0.5, 4.0])?])?;
    assert_eq!(slopes[0].as_slice::<f64>()?, [-2.0, 1.0, 8.0]);
    Ok(())
}
