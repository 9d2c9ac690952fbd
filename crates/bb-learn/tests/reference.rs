//! The fixed federated workload, as a plain loop without nodes: the accuracy of every round is the reference's.
//!
//! It is the definition in `data/fedavg_digits/README.md`, with the kernels and components that nodes use.

#![cfg(test)]

use std::time::Instant;

use bb_cpu::{CpuBackend, CpuConfig};
use bb_learn::aggregators::FedAvg;
use bb_learn::data::{InMemoryConfig, InMemoryData, digits};
use bb_learn::models::{reference_logreg, reference_mlp};
use bb_learn::onnx_model::{OnnxModel, OnnxModelConfig, OnnxModelOptions};
use bb_runtime::contracts::Detached;
use bb_runtime::onnx::ModelProto;
use bb_runtime::{Aggregator, Component, DataSource, Fit, Meta, Model, PeerId, TensorMap};

const ROUNDS: usize = 20;
/// How far the last round's accuracy may be off: one test image, which the order of summation may move.
const LAST_ROUND: f64 = 0.0028;
/// How far any other round's may be.
const ANY_ROUND: f64 = 0.006;

struct Client {
    node: Detached,
    model: OnnxModel,
    data: InMemoryData,
}

fn backend() -> CpuBackend {
    CpuBackend::new(&CpuConfig::default()).unwrap()
}

fn config(model: ModelProto) -> OnnxModelConfig {
    OnnxModelConfig::new(model, OnnxModelOptions { learning_rate: 0.1, ..OnnxModelOptions::default() })
        .unwrap()
}

fn client(config: &OnnxModelConfig, data: InMemoryConfig) -> Client {
    Client {
        node: Detached::new(0).with("compute", backend()),
        model: OnnxModel::new(config).unwrap(),
        data: InMemoryData::new(&data).unwrap(),
    }
}

impl Client {
    fn train(&mut self, global: &TensorMap) -> (TensorMap, f64) {
        let mut cx = self.node.context();
        self.model.load_parameters(&mut cx, global).unwrap().into_now().unwrap();
        let fit = Fit { epochs: 1, batch: 32 };
        let report = self.model.fit(&mut cx, &mut self.data, fit).unwrap().into_now().unwrap();
        assert_eq!(report.rows, self.data.len() as u64);
        (self.model.parameters(&mut cx).unwrap().into_now().unwrap(), report.rows as f64)
    }

    fn accuracy(&mut self, global: &TensorMap) -> f64 {
        let mut cx = self.node.context();
        self.model.load_parameters(&mut cx, global).unwrap().into_now().unwrap();
        self.model.evaluate(&mut cx, &mut self.data).unwrap().into_now().unwrap().accuracy
    }
}

fn round(clients: &mut [Client], aggregator: &mut FedAvg, global: &TensorMap) -> TensorMap {
    let mut node = Detached::new(0);
    aggregator.begin(&mut node.context()).unwrap().into_now().unwrap();
    for (id, client) in (1..).zip(clients) {
        let (update, weight) = client.train(global);
        let from = PeerId::from_u64(id);
        aggregator
            .contribute(&mut node.context(), from, update, Meta { weight })
            .unwrap()
            .into_now()
            .unwrap();
    }
    aggregator.aggregate(&mut node.context()).unwrap().into_now().unwrap()
}

/// Test accuracy before the first round and after each.
#[expect(clippy::disallowed_methods, reason = "says how long a round takes")]
fn accuracies(model: ModelProto, clients: usize) -> Vec<f64> {
    let digits = digits::load().unwrap();
    let config = config(model);
    let begin = Instant::now();
    let parts = digits.train.contiguous(clients).unwrap();
    let mut clients: Vec<Client> =
        parts.into_iter().map(|part| client(&config, InMemoryConfig::new(part))).collect();
    let mut server = client(&config, InMemoryConfig::new(digits.test));
    let mut aggregator = FedAvg::default();
    let mut global = config.parameters().clone();
    let mut accuracies = vec![server.accuracy(&global)];
    let mut milliseconds = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        global = round(&mut clients, &mut aggregator, &global);
        accuracies.push(server.accuracy(&global));
        milliseconds.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let total = begin.elapsed().as_secs_f64() * 1e3;
    let first = milliseconds.remove(0);
    milliseconds.sort_by(f64::total_cmp);
    eprintln!(
        "{} clients: first round {first:.2} ms, then {:.2} ms at best and {:.2} ms in the median; all with setup {total:.1} ms",
        clients.len(),
        milliseconds[0],
        milliseconds[milliseconds.len() / 2],
    );
    accuracies
}

fn check(case: &str, model: ModelProto, clients: usize) {
    let reference = include_str!("../data/fedavg_digits/reference_accuracy.json");
    let reference: serde_json::Value = serde_json::from_str(reference).unwrap();
    let reference: Vec<f64> =
        reference[case].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect();
    let got = accuracies(model, clients);
    assert_eq!(got.len(), reference.len());
    for (round, (got, expected)) in got.iter().zip(&reference).enumerate() {
        let allowed = if round == ROUNDS { LAST_ROUND } else { ANY_ROUND };
        // The reference is rounded to four places.
        assert!(
            (got - expected).abs() <= allowed + 5e-5,
            "round {round}: accuracy {got}, reference {expected}"
        );
    }
}

#[test]
fn softmax_regression_with_10_clients_is_the_reference() {
    check("logreg_10", reference_logreg().unwrap(), 10);
}

#[test]
fn softmax_regression_with_100_clients_is_the_reference() {
    check("logreg_100", reference_logreg().unwrap(), 100);
}

#[test]
fn the_network_with_10_clients_is_the_reference() {
    check("mlp_10", reference_mlp().unwrap(), 10);
}

#[test]
fn the_network_with_100_clients_is_the_reference() {
    check("mlp_100", reference_mlp().unwrap(), 100);
}
