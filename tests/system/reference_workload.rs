//! The fixed workload, through nodes, envelopes and the aggregator, reaches the published accuracies.

use bb_tests::{Error, number, reference_federation};

const PUBLISHED: &str = include_str!("../../crates/bb-learn/data/fedavg_digits/reference_accuracy.json");
/// One test image of 360: what another order of summation may move at the end.
const FINAL_TOLERANCE: f64 = 0.0028;
/// Two of them, on the way there.
const ROUND_TOLERANCE: f64 = 0.006;

fn follows_the_published_rounds(model: &str, clients: usize) -> Result<(), Error> {
    let published: serde_json::Value = serde_json::from_str(PUBLISHED)?;
    let expected: Vec<f64> = published[format!("{model}_{clients}")]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(serde_json::Value::as_f64)
        .collect();
    assert_eq!(expected.len(), 21, "the accuracy before round 1 and after each of 20");
    let mut federation = reference_federation(model, clients)?;
    for (index, expected) in expected.iter().enumerate().skip(1) {
        let round = federation.round()?;
        assert!(round.incidents.is_empty(), "round {index}: {:?}", round.incidents);
        assert!(round.bytes_up > 0 && round.bytes_down > 0);
        let accuracy = number(&round, "accuracy")?;
        let tolerance = if index == 20 { FINAL_TOLERANCE } else { ROUND_TOLERANCE };
        assert!(
            (accuracy - expected).abs() <= tolerance,
            "{model}, {clients} clients, round {index}: accuracy {accuracy}, published {expected}"
        );
    }
    Ok(())
}

#[test]
fn logreg_with_10_clients() -> Result<(), Error> {
    follows_the_published_rounds("logreg", 10)
}

#[test]
fn logreg_with_100_clients() -> Result<(), Error> {
    follows_the_published_rounds("logreg", 100)
}

#[test]
fn mlp_with_10_clients() -> Result<(), Error> {
    follows_the_published_rounds("mlp", 10)
}

#[test]
fn mlp_with_100_clients() -> Result<(), Error> {
    follows_the_published_rounds("mlp", 100)
}
