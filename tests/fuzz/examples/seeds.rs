//! Writes the seeds: `cargo run --example seeds` in the folder `tests/fuzz`.

use std::path::Path;
use std::{fs, io};

use bb_ir::program::{
    Attribute, Capture, Graph, Module, NamedValue, Node, OpId, Program, Region, RegionKind, Target, domains,
};
use bb_ir::{Address, CustomValue, Digest, PeerId, Tensor, TensorMap, Value, ValueType};
use bb_runtime::envelope::{Correlation, Envelope, Fill, Notice};

const PEER: &str = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
const ADDRESSES: [&str; 3] =
    ["/ip4/192.0.2.1/udp/4001/quic-v1", "/dns4/example.org/tcp/443/wss", "/ip6/2001:db8::1/tcp/1"];

fn main() -> io::Result<()> {
    let peer: PeerId = PEER.parse().expect("a peer id");
    let addresses = ADDRESSES.map(|text| text.parse::<Address>().expect("an address"));
    let values = values(peer, &addresses);
    for (name, value) in &values {
        write("value", name, &value.encode())?;
    }
    for (name, envelope) in envelopes(&values, &addresses) {
        write("envelope", name, &envelope.encode())?;
    }
    for (name, program) in [("recorded", recorded()), ("compiled", compiled())] {
        write("program", name, &prost::Message::encode_to_vec(&program.to_onnx()))?;
    }
    write("peer_id", "text", PEER.as_bytes())?;
    write("peer_id", "bytes", peer.as_bytes())?;
    write("peer_id", "number", PeerId::from_u64(7).as_bytes())?;
    for (name, address) in ["quic", "wss", "ip6"].into_iter().zip(&addresses) {
        write("address", name, address.as_bytes())?;
        write("address", &format!("{name}_text"), address.to_string().as_bytes())?;
    }
    Ok(())
}

fn write(target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let folder = Path::new("corpus").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), bytes)
}

fn values(peer: PeerId, addresses: &[Address]) -> Vec<(&'static str, Value)> {
    let tensor = Tensor::from_rows([[1.0_f32, 2.0], [3.0, 4.0]]);
    let tensors: TensorMap = [("w", tensor.clone()), ("b", Tensor::scalar(1_i64))].into_iter().collect();
    let inner = Value::Tuple([Value::Trigger, Value::I64(1)].into());
    vec![
        ("trigger", Value::Trigger),
        ("bool", Value::Bool(true)),
        ("i64", Value::I64(-300)),
        ("u64", Value::U64(u64::MAX)),
        ("f64", Value::F64(0.5)),
        ("str", Value::from("text")),
        ("bytes", Value::Bytes(vec![1, 2, 3].into())),
        ("tensor", Value::Tensor(tensor)),
        ("tensors", Value::Tensors(tensors)),
        ("peer", Value::Peer(peer)),
        ("peers", Value::Peers([peer, PeerId::from_u64(1)].into())),
        ("addresses", Value::Addresses(addresses.into())),
        ("tuple", Value::Tuple([inner, Value::from("inner")].into())),
        ("custom", Value::Custom(CustomValue::from_encoded("schema", vec![9; 8].into()))),
    ]
}

fn envelopes(values: &[(&str, Value)], addresses: &[Address]) -> Vec<(&'static str, Envelope)> {
    let mut base = Envelope {
        program: Digest::of(b"program"),
        addresses: addresses.into(),
        deadline: Some(std::time::Duration::from_secs(5)),
        ..Envelope::default()
    };
    base.message_id.counter = 1;
    let Some(Correlation::Request(request)) = request() else { unreachable!("a request") };
    let fills =
        values.iter().zip(0..).map(|((_, value), port)| Fill { port, value: value.clone() }).collect();
    let reason = "no memory".into();
    let notice = Notice::Backpressure { retry_after: std::time::Duration::from_secs(1) };
    vec![
        ("request", Envelope { correlation: self::request(), fills, ..base.clone() }),
        ("response", Envelope { correlation: Some(Correlation::Response(request)), ..base.clone() }),
        ("failure", Envelope { correlation: Some(Correlation::Failure { request, reason }), ..base.clone() }),
        ("notice", Envelope { notice: Some(notice), ..base }),
    ]
}

fn request() -> Option<Correlation> {
    Some(Correlation::Request(bb_runtime::envelope::RequestId([5; 16])))
}

fn graph() -> Graph {
    let mut graph = Graph { name: "M".into(), ..Graph::default() };
    let x = graph.add_value("x", ValueType::ANY_TENSOR);
    let y = graph.add_value("y", ValueType::Tuple(vec![ValueType::Peer]));
    graph.inputs.push(x);
    let mut each = Graph { name: "each".into(), ..Graph::default() };
    let seen = each.add_value("seen", ValueType::ANY_TENSOR);
    each.captures.push(Capture { outer: x, inner: seen });
    each.outputs.push(NamedValue { name: "0".into(), value: seen });
    graph.add_node(Node {
        op: OpId::new(domains::SYSCALL, "Constant"),
        inputs: vec![Some(x), None],
        outputs: vec![Some(y)],
        attributes: [
            ("each".to_owned(), Attribute::Graph(each)),
            ("value".to_owned(), Attribute::Value(Value::I64(1))),
            ("tensor".to_owned(), Attribute::Tensor(Tensor::scalar(1.0_f32))),
            ("names".to_owned(), Attribute::Strs(vec!["a".into()])),
        ]
        .into(),
        place: Some("server".into()),
        slot: Some("model".into()),
        uses: vec!["data".into()],
        ..Node::default()
    });
    graph.outputs.push(NamedValue { name: "out".into(), value: y });
    graph
}

fn recorded() -> Program {
    let module = Module { name: "M".into(), body: graph(), bootstrap: Some(Graph::default()) };
    Program { name: "M".into(), modules: vec![module], opset: 21, ..Program::default() }
}

fn compiled() -> Program {
    let region = |kind| Region { kind, graph: graph() };
    let regions = vec![region(RegionKind::Entry), region(RegionKind::Receive)];
    let target = Target { name: "M.server".into(), class: "server".into(), regions };
    let binding = bb_ir::program::Binding { type_name: "T".into(), ..Default::default() };
    Program {
        name: "M".into(),
        targets: vec![target],
        bindings: [("model".to_owned(), binding)].into(),
        passes: vec!["verify".into()],
        opset: 21,
        ..Program::default()
    }
}
