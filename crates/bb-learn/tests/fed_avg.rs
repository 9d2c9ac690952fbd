//! What federated averaging takes, refuses and answers.

#![cfg(test)]

use bb_learn::aggregators::FedAvg;
use bb_runtime::contracts::Detached;
use bb_runtime::{
    Aggregator, Component, ComponentError, DataType, Meta, PeerId, StateReader, StateWriter, Tensor,
    TensorMap,
};
use proptest::prelude::*;

fn vector(numbers: &[f32]) -> TensorMap {
    [("w", Tensor::from_slice([numbers.len()], numbers).unwrap())].into_iter().collect()
}

fn contribute(mean: &mut FedAvg, update: TensorMap, weight: f64) -> Result<(), ComponentError> {
    let mut node = Detached::new(0);
    mean.contribute(&mut node.context(), PeerId::from_u64(1), update, Meta { weight })
        .map(|answer| answer.into_now().unwrap())
}

fn aggregate(mean: &mut FedAvg) -> Result<TensorMap, ComponentError> {
    mean.aggregate(&mut Detached::new(0).context()).map(|answer| answer.into_now().unwrap())
}

fn saved(mean: &FedAvg) -> Vec<u8> {
    let mut state = StateWriter::default();
    mean.save(&mut state).unwrap();
    state.into_bytes().unwrap()
}

#[test]
fn the_mean_is_weighted() {
    let mut mean = FedAvg::default();
    contribute(&mut mean, vector(&[1.0, 10.0]), 1.0).unwrap();
    contribute(&mut mean, vector(&[5.0, 30.0]), 3.0).unwrap();
    assert_eq!(aggregate(&mut mean).unwrap(), vector(&[4.0, 25.0]));
}

#[test]
fn tensors_of_f64_are_averaged_in_f64() {
    let update = |number: f64| TensorMap::from_iter([("w", Tensor::scalar(number))]);
    let mut mean = FedAvg::default();
    contribute(&mut mean, update(1.0), 1.0).unwrap();
    contribute(&mut mean, update(1.0 + 1e-12), 1.0).unwrap();
    assert_eq!(aggregate(&mut mean).unwrap(), update(1.0 + 5e-13));
}

#[test]
fn a_contribution_leaves_the_senders_tensors_alone() {
    let first = vector(&[1.0]);
    let mut mean = FedAvg::default();
    contribute(&mut mean, first.clone(), 1.0).unwrap();
    contribute(&mut mean, vector(&[3.0]), 1.0).unwrap();
    assert_eq!(first, vector(&[1.0]));
    assert_eq!(aggregate(&mut mean).unwrap(), vector(&[2.0]));
}

#[test]
fn what_does_not_fit_the_round_is_refused_and_changes_nothing() {
    let mut mean = FedAvg::default();
    contribute(&mut mean, vector(&[1.0, 2.0]), 2.0).unwrap();
    let before = saved(&mean);
    let two = |name: &str| TensorMap::from_iter([(name, Tensor::from_slice([2], &[1.0_f32, 2.0]).unwrap())]);
    let mut more = vector(&[1.0, 2.0]);
    more.insert("b", Tensor::scalar(1.0_f32));
    let refused = [
        (TensorMap::new(), 1.0, "the update has no tensors"),
        (more, 1.0, "the update has 2 tensors, the round's have 1"),
        (two("v"), 1.0, "tensor 0 is called `v`, in the round it is `w`"),
        (vector(&[1.0]), 1.0, "tensor `w` has shape [1], in the round [2]"),
        (
            TensorMap::from_iter([("w", Tensor::zeros(DataType::F64, [2]).unwrap())]),
            1.0,
            "tensor `w` holds f64, expected [F32]",
        ),
        (
            TensorMap::from_iter([("w", Tensor::zeros(DataType::I64, [2]).unwrap())]),
            1.0,
            "tensor `w` holds i64, expected [F32, F64]",
        ),
        (
            vector(&[0.0, f32::NAN]),
            1.0,
            "tensor `w` holds NaN at 1; numbers must be finite and below 1.7014118346046923e38",
        ),
        (
            vector(&[f32::NEG_INFINITY, 0.0]),
            1.0,
            "tensor `w` holds -inf at 0; numbers must be finite and below 1.7014118346046923e38",
        ),
        (
            vector(&[f32::MAX, 0.0]),
            1.0,
            "tensor `w` holds 3.4028234663852886e38 at 0; numbers must be finite and below 1.7014118346046923e38",
        ),
        (
            vector(&[0.0; 2]),
            -1.0,
            "weight -1: must be zero or more, finite, and so must the round's sum of weights be",
        ),
        (
            vector(&[0.0; 2]),
            f64::NAN,
            "weight NaN: must be zero or more, finite, and so must the round's sum of weights be",
        ),
        (
            vector(&[0.0; 2]),
            f64::INFINITY,
            "weight inf: must be zero or more, finite, and so must the round's sum of weights be",
        ),
    ];
    for (update, weight, message) in refused {
        assert_eq!(contribute(&mut mean, update, weight).unwrap_err().to_string(), message);
        assert_eq!(saved(&mean), before);
    }
    assert_eq!(aggregate(&mut mean).unwrap(), vector(&[1.0, 2.0]));
}

#[test]
fn an_update_of_weight_zero_adds_nothing() {
    let mut mean = FedAvg::default();
    contribute(&mut mean, vector(&[100.0]), 0.0).unwrap();
    contribute(&mut mean, vector(&[1.0]), 2.0).unwrap();
    contribute(&mut mean, vector(&[100.0]), 0.0).unwrap();
    assert_eq!(aggregate(&mut mean).unwrap(), vector(&[1.0]));
}

#[test]
fn a_round_without_weight_has_no_mean() {
    let mut mean = FedAvg::default();
    assert!(aggregate(&mut mean).is_err());
    contribute(&mut mean, vector(&[100.0]), 0.0).unwrap();
    assert!(aggregate(&mut mean).is_err());
}

#[test]
fn begin_forgets_an_unfinished_round() {
    let mut mean = FedAvg::default();
    contribute(&mut mean, vector(&[1.0]), 1.0).unwrap();
    mean.begin(&mut Detached::new(0).context()).unwrap().into_now().unwrap();
    contribute(&mut mean, vector(&[5.0, 6.0]), 1.0).unwrap();
    assert_eq!(aggregate(&mut mean).unwrap(), vector(&[5.0, 6.0]));
}

#[test]
fn a_saved_round_goes_on_where_it_was() {
    let mut mean = FedAvg::default();
    for state in [saved(&FedAvg::default()), {
        contribute(&mut mean, vector(&[1.0, 2.0]), 0.5).unwrap();
        contribute(&mut mean, vector(&[3.0, 5.0]), 0.25).unwrap();
        saved(&mean)
    }] {
        let mut restored = FedAvg::new(&()).unwrap();
        let mut reader = StateReader::new(&state);
        restored.load(&mut reader).unwrap();
        reader.finish().unwrap();
        assert_eq!(saved(&restored), state);
    }
}

proptest! {
    #[test]
    fn the_mean_is_that_of_f64_arithmetic_to_within_rounding(
        updates in (1_usize..20).prop_flat_map(|width| prop::collection::vec(
            (prop::collection::vec(-1e3_f32..1e3, width), 0.001_f64..1e6),
            1..60,
        )),
    ) {
        let mut mean = FedAvg::default();
        for (update, weight) in &updates {
            contribute(&mut mean, vector(update), *weight).unwrap();
        }
        let total: f64 = updates.iter().map(|(_, weight)| weight).sum();
        let mean = aggregate(&mut mean).unwrap();
        let mean = mean.find("w").unwrap().as_slice::<f32>().unwrap();
        for (index, &got) in mean.iter().enumerate() {
            let expected = updates.iter().map(|(update, weight)| f64::from(update[index]) * weight).sum::<f64>() / total;
            prop_assert!((f64::from(got) - expected).abs() < 2e-3, "{} instead of {}", got, expected);
        }
    }

    #[test]
    fn the_largest_numbers_that_are_taken_do_not_overflow(signs in prop::collection::vec(any::<bool>(), 2..20)) {
        let largest = 1.7e38_f32;
        let mut mean = FedAvg::default();
        for negative in signs {
            contribute(&mut mean, vector(&[if negative { -largest } else { largest }]), 1e300).unwrap();
        }
        prop_assert!(aggregate(&mut mean).unwrap().find("w").unwrap().as_slice::<f32>().unwrap()[0].is_finite());
    }
}

proptest! {
    #[test]
    fn a_round_that_is_saved_anywhere_goes_on_as_it_would_have(
        updates in proptest::collection::vec((proptest::array::uniform3(-1e3_f32..1e3), 0.0..9.0_f64), 1..7),
        cut in 0_usize..7,
    ) {
        let give = |mean: &mut FedAvg, updates: &[([f32; 3], f64)]| {
            updates.iter().for_each(|(update, weight)| contribute(mean, vector(update), *weight).unwrap());
        };
        let (first, rest) = updates.split_at(cut.min(updates.len()));
        let mut mean = FedAvg::default();
        give(&mut mean, first);
        let state = saved(&mean);
        let mut other = FedAvg::default();
        let mut reader = StateReader::new(&state);
        other.load(&mut reader).unwrap();
        reader.finish().unwrap();
        prop_assert_eq!(saved(&other), state);
        give(&mut mean, rest);
        give(&mut other, rest);
        prop_assert_eq!(saved(&other), saved(&mean));
        let ends = [&mut mean, &mut other].map(|mean| aggregate(mean).map_err(|error| error.to_string()));
        prop_assert_eq!(&ends[0], &ends[1]);
        prop_assert_eq!(ends[0].is_ok(), updates.iter().any(|(_, weight)| *weight > 0.0));
    }
}
