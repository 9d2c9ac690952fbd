//! What needs onnxruntime: `cargo xtask ort` fetches it, names it in the environment and runs these.

use bb_ort::{ExecutionProvider, OrtBackend, OrtConfig};
use bb_runtime::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TypeProto, ValueInfoProto, attribute_proto::AttributeType, tensor_proto::DataLocation,
    type_proto,
};
use bb_runtime::{
    Backend, BackendError, BackendGraph, Component, ComponentError, DataType, Executable, OpId, Shape, Tensor,
};

fn backend() -> OrtBackend {
    match OrtBackend::new(&OrtConfig::default()) {
        Ok(backend) => backend,
        Err(error) => panic!("{error}"),
    }
}

fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        op_type: Some(op.to_owned()),
        name: Some(format!("the {op}")),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: outputs.iter().map(|&name| name.to_owned()).collect(),
        ..NodeProto::default()
    }
}

fn value(name: &str, dtype: Option<DataType>) -> ValueInfoProto {
    let tensor = |dtype: DataType| type_proto::Tensor { elem_type: Some(dtype.to_onnx()), shape: None };
    let r#type = dtype.map(|dtype| TypeProto {
        value: Some(type_proto::Value::TensorType(tensor(dtype))),
        ..TypeProto::default()
    });
    ValueInfoProto { name: Some(name.to_owned()), r#type, ..ValueInfoProto::default() }
}

fn graph(
    nodes: Vec<NodeProto>,
    inputs: &[(&str, Option<DataType>)],
    outputs: &[&str],
    initializers: &[(&str, Tensor)],
) -> BackendGraph {
    let proto = GraphProto {
        node: nodes,
        input: inputs.iter().map(|(name, dtype)| value(name, *dtype)).collect(),
        output: outputs.iter().map(|name| value(name, None)).collect(),
        initializer: initializers.iter().map(|(name, tensor)| tensor.to_onnx(name)).collect(),
        ..GraphProto::default()
    };
    BackendGraph::new(proto, &[OperatorSetIdProto { domain: None, version: Some(21) }])
}

fn prepare(graph: &BackendGraph) -> Result<Box<dyn Executable>, BackendError> {
    backend().prepare(graph)
}

#[test]
fn a_graph_without_types_runs_with_the_types_of_each_run() {
    let sum = graph(vec![node("Add", &["a", "b"], &["c"])], &[("a", None), ("b", None)], &["c"], &[]);
    let mut sum = prepare(&sum).unwrap();
    let floats = sum.run(&[Tensor::from_rows([[1.0_f32, 2.0]]), Tensor::scalar(0.5_f32)]).unwrap();
    assert_eq!(floats[0], Tensor::from_rows([[1.5_f32, 2.5]]));
    let integers = sum.run(&[Tensor::from_rows([[1_i64], [2]]), Tensor::scalar(40_i64)]).unwrap();
    assert_eq!(integers[0], Tensor::from_rows([[41_i64], [42]]));
}

#[test]
fn every_element_type_comes_through_unchanged() {
    for dtype in DataType::ALL {
        let same = graph(vec![node("Identity", &["x"], &["y"])], &[("x", Some(dtype))], &["y"], &[]);
        for shape in [Shape::from([2, 3]), Shape::scalar(), Shape::from([0, 3])] {
            let mut tensor = Tensor::zeros(dtype, shape).unwrap();
            let size = dtype.size();
            for (at, element) in tensor.buffer_mut().make_mut().chunks_exact_mut(size).enumerate() {
                element[0] = if dtype == DataType::Bool { at as u8 % 2 } else { at as u8 + 1 };
            }
            let outputs = prepare(&same).unwrap().run(std::slice::from_ref(&tensor)).unwrap();
            assert_eq!(outputs[0].as_bytes(), tensor.as_bytes(), "{dtype}");
            assert_eq!((outputs[0].dtype(), outputs[0].shape()), (dtype, tensor.shape()));
        }
    }
}

#[test]
fn a_second_run_writes_into_the_tensor_of_the_first_unless_somebody_holds_it() {
    let negation = graph(vec![node("Neg", &["x"], &["y"])], &[("x", Some(DataType::F32))], &["y"], &[]);
    let mut negation = prepare(&negation).unwrap();
    let mut outputs = negation.run(&[Tensor::from_rows([[1.0_f32, 2.0]])]).unwrap();
    let place = outputs[0].as_bytes().as_ptr();
    negation.run_into(&[Tensor::from_rows([[3.0_f32, 4.0]])], &mut outputs).unwrap();
    assert_eq!(
        (outputs[0].as_bytes().as_ptr(), &outputs[0]),
        (place, &Tensor::from_rows([[-3.0_f32, -4.0]]))
    );
    let held = outputs[0].clone();
    negation.run_into(&[Tensor::from_rows([[5.0_f32, 6.0]])], &mut outputs).unwrap();
    assert_eq!(
        (held, &outputs[0]),
        (Tensor::from_rows([[-3.0_f32, -4.0]]), &Tensor::from_rows([[-5.0_f32, -6.0]]))
    );
}

#[test]
fn an_output_named_twice_is_given_twice_and_initializers_are_constants() {
    let scaled = graph(
        vec![node("Mul", &["x", "two"], &["y"])],
        &[("x", Some(DataType::F32)), ("two", Some(DataType::F32))],
        &["y", "x", "y"],
        &[("two", Tensor::scalar(2.0_f32))],
    );
    let outputs = prepare(&scaled).unwrap().run(&[Tensor::scalar(21.0_f32)]).unwrap();
    assert_eq!(
        outputs.as_slice(),
        [Tensor::scalar(42.0_f32), Tensor::scalar(21.0_f32), Tensor::scalar(42.0_f32)]
    );
}

#[test]
fn it_says_which_ops_it_knows() {
    let backend = backend();
    for name in ["Add", "Conv", "LSTM", "If", "Upsample", "Attention", "TopK"] {
        assert!(backend.supports(&OpId::new("", name)), "{name}");
    }
    assert!(backend.supports(&OpId::new("com.microsoft", "FusedMatMul")));
    assert!(backend.supports(&OpId::new("ai.onnx.ml", "Scaler")));
    for (domain, name) in [("", "Frobnicate"), ("acme", "Add"), ("com.microsoft", "Frobnicate")] {
        assert!(!backend.supports(&OpId::new(domain, name)), "{domain} {name}");
    }
}

#[test]
fn what_it_cannot_run_is_refused_at_prepare_with_names() {
    let unknown = |dtype| graph(vec![node("Frobnicate", &["x"], &["y"])], &[("x", dtype)], &["y"], &[]);
    for graph in [unknown(None), unknown(Some(DataType::F32))] {
        match prepare(&graph).err().unwrap() {
            BackendError::Unsupported { op, node, opset } => {
                assert_eq!((op, node.as_str(), opset), (OpId::new("", "Frobnicate"), "the Frobnicate", 21));
            }
            other => panic!("{other}"),
        }
    }
    let typed =
        |op, dtype| prepare(&graph(vec![node(op, &["x"], &["y"])], &[("x", Some(dtype))], &["y"], &[]));
    match typed("Relu", DataType::Bool).err().unwrap() {
        BackendError::Type { dtype, node, op } => {
            assert_eq!((dtype, node.as_str(), op), (DataType::Bool, "the Relu", OpId::new("", "Relu")));
        }
        other => panic!("{other}"),
    }
    // ImageDecoder is defined, and no kernel of it is in the library.
    match typed("ImageDecoder", DataType::U8).err().unwrap() {
        BackendError::Unsupported { op, .. } => assert_eq!(op, OpId::new("", "ImageDecoder")),
        other => panic!("{other}"),
    }
    let malformed = graph(vec![node("Relu", &["nothing"], &["y"])], &[], &["y"], &[]);
    assert!(matches!(prepare(&malformed), Err(BackendError::Engine { engine: "onnxruntime", .. })));
}

#[test]
fn a_graph_cannot_make_the_library_read_files() {
    let outside = TensorProto {
        name: Some("w".to_owned()),
        data_type: Some(DataType::F32.to_onnx()),
        dims: vec![1],
        data_location: Some(DataLocation::External as i32),
        external_data: vec![StringStringEntryProto {
            key: Some("location".to_owned()),
            value: Some("Cargo.toml".to_owned()),
        }],
        ..TensorProto::default()
    };
    let initializer = GraphProto {
        node: vec![node("Neg", &["w"], &["y"])],
        initializer: vec![outside.clone()],
        output: vec![value("y", None)],
        ..GraphProto::default()
    };
    let mut constant = node("Constant", &[], &["w"]);
    constant.attribute = vec![AttributeProto {
        name: Some("value".to_owned()),
        r#type: Some(AttributeType::Tensor as i32),
        t: Some(outside),
        ..AttributeProto::default()
    }];
    let attribute = GraphProto {
        node: vec![constant, node("Neg", &["w"], &["y"])],
        output: vec![value("y", None)],
        ..GraphProto::default()
    };
    for proto in [initializer, attribute] {
        let opset_import = vec![OperatorSetIdProto { domain: None, version: Some(21) }];
        let model = ModelProto { graph: Some(proto), opset_import, ..ModelProto::default() };
        let error = prepare(&BackendGraph::from_model(&model).unwrap()).err().unwrap();
        assert!(error.to_string().contains("in another file"), "{error}");
    }
}

#[test]
fn wrong_inputs_are_errors_and_the_graph_stays_usable() {
    let sum = graph(
        vec![node("Add", &["a", "b"], &["c"])],
        &[("a", Some(DataType::F32)), ("b", Some(DataType::F32))],
        &["c"],
        &[],
    );
    let mut sum = prepare(&sum).unwrap();
    let pair = Tensor::from_rows([[1.0_f32, 2.0]]);
    assert!(matches!(
        sum.run(std::slice::from_ref(&pair)),
        Err(BackendError::InputCount { expected: 2, got: 1 })
    ));
    let triple = Tensor::from_rows([[1.0_f32, 2.0, 3.0]]);
    assert!(matches!(sum.run(&[pair.clone(), triple]), Err(BackendError::Engine { .. })));
    let integers = sum.run(&[pair.clone(), Tensor::scalar(1_i64)]).unwrap_err().to_string();
    assert!(integers.contains("`b` is declared f32 and was given i64"), "{integers}");
    assert_eq!(sum.run(&[pair.clone(), pair]).unwrap()[0], Tensor::from_rows([[2.0_f32, 4.0]]));
}

#[test]
fn a_boolean_that_is_neither_is_an_error() {
    let negation = graph(vec![node("Not", &["x"], &["y"])], &[("x", Some(DataType::Bool))], &["y"], &[]);
    let mut odd = Tensor::zeros(DataType::Bool, [2]).unwrap();
    odd.buffer_mut().make_mut()[1] = 7;
    assert!(matches!(prepare(&negation).unwrap().run(&[odd]), Err(BackendError::Engine { .. })));
}

#[test]
fn a_second_library_and_a_missing_accelerator_are_refused() {
    let _first = backend();
    let other = OrtConfig { library: Some("another/libonnxruntime.so".into()), ..OrtConfig::default() };
    let error = OrtBackend::new(&other).unwrap_err();
    assert!(
        matches!(error, ComponentError::Other(_)) && error.to_string().contains("a process loads one"),
        "{error}"
    );
    let directml = vec![ExecutionProvider::DirectMl { device: 0 }];
    let backend = OrtBackend::new(&OrtConfig { providers: directml, ..OrtConfig::default() }).unwrap();
    let sum = graph(vec![node("Neg", &["x"], &["y"])], &[("x", Some(DataType::F32))], &["y"], &[]);
    assert!(matches!(backend.prepare(&sum), Err(BackendError::Engine { .. })));
}

#[test]
fn threads_change_no_result() {
    let product = graph(
        vec![node("MatMul", &["a", "b"], &["c"])],
        &[("a", Some(DataType::F32)), ("b", Some(DataType::F32))],
        &["c"],
        &[],
    );
    let numbers: Vec<f32> = (0..64 * 64).map(|at| (at % 13) as f32).collect();
    let matrix = Tensor::from_slice([64, 64], &numbers).unwrap();
    let run = |threads| {
        let backend = OrtBackend::new(&OrtConfig { threads, ..OrtConfig::default() }).unwrap();
        backend.prepare(&product).unwrap().run(&[matrix.clone(), matrix.clone()]).unwrap()
    };
    assert_eq!(run(1), run(2));
}
