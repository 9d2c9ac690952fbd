//! Rows are dealt out as the three partitioners say.

#![cfg(test)]

use std::collections::BTreeSet;

use bb_learn::data::{Dataset, PartitionError, digits};
use bb_runtime::Tensor;
use proptest::prelude::*;

/// Rows 0, 1, 2, …, each with its number as its feature, and the labels given.
fn numbered(labels: &[i64]) -> Dataset {
    let numbers: Vec<f32> = (0..labels.len()).map(|row| row as f32).collect();
    let features = Tensor::from_slice([labels.len(), 1], &numbers).unwrap();
    Dataset::new(features, Tensor::from_slice([labels.len()], labels).unwrap()).unwrap()
}

fn numbers(part: &Dataset) -> Vec<usize> {
    part.features().unwrap().as_slice::<f32>().unwrap().iter().map(|&row| row as usize).collect()
}

fn labels(part: &Dataset) -> Vec<i64> {
    part.labels().unwrap().as_slice::<i64>().unwrap().to_vec()
}

#[test]
fn contiguous_parts_keep_the_order_and_the_longer_ones_come_first() {
    let parts = numbered(&[0; 7]).contiguous(3).unwrap();
    assert_eq!(parts.iter().map(numbers).collect::<Vec<_>>(), [vec![0, 1, 2], vec![3, 4], vec![5, 6]]);
}

#[test]
fn a_part_of_a_part_is_taken_from_the_part() {
    let picked = numbered(&[5, 6, 7, 8, 9]).select([4, 2, 0, 77]);
    assert_eq!(numbers(&picked), [4, 2, 0]);
    assert_eq!(numbers(&picked.rows(1..9)), [2, 0]);
    assert_eq!(labels(&picked.select([2, 0])), [5, 9]);
}

#[test]
fn parts_that_would_be_empty_are_refused() {
    for parts in [0, 4] {
        let refused = PartitionError::PartCount { parts, rows: 3 };
        assert_eq!(numbered(&[0; 3]).contiguous(parts).unwrap_err(), refused);
        assert_eq!(numbered(&[0; 3]).iid(parts, 0).unwrap_err(), refused);
        assert_eq!(numbered(&[0; 3]).dirichlet(parts, 1.0, 0).unwrap_err(), refused);
    }
}

#[test]
fn a_concentration_that_is_no_positive_number_is_refused() {
    for alpha in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(numbered(&[0; 3]).dirichlet(2, alpha, 0), Err(PartitionError::Alpha { .. })));
    }
}

#[test]
fn a_small_alpha_gives_few_classes_a_client_and_a_large_one_all() {
    let train = digits::load().unwrap().train;
    let mean_classes = |alpha| {
        let parts = train.dirichlet(10, alpha, 1).unwrap();
        let classes = parts.iter().map(|part| labels(part).into_iter().collect::<BTreeSet<_>>().len());
        classes.sum::<usize>() as f64 / 10.0
    };
    let (few, all) = (mean_classes(0.02), mean_classes(1000.0));
    assert!(few < 4.0, "{few} classes a client at alpha 0.02");
    assert!(all > 9.5, "{all} classes a client at alpha 1000");
}

proptest! {
    #[test]
    fn every_row_is_in_exactly_one_part_and_no_part_is_empty(
        labels in prop::collection::vec(0_i64..6, 1..120),
        parts in 1_usize..40,
        alpha in prop_oneof![Just(1e-300), Just(1e-3), 0.01..10.0, Just(1e6)],
        seed: u64,
    ) {
        let parts = parts.min(labels.len());
        let all = numbered(&labels);
        for dealt in [all.contiguous(parts), all.iid(parts, seed), all.dirichlet(parts, alpha, seed)] {
            let dealt: Vec<Vec<usize>> = dealt.unwrap().iter().map(numbers).collect();
            let sizes: Vec<usize> = dealt.iter().map(Vec::len).collect();
            prop_assert!(sizes.is_sorted_by(|a, b| a >= b) && sizes[0] - sizes[parts - 1] <= 1 && sizes[parts - 1] > 0);
            let mut rows: Vec<usize> = dealt.concat();
            rows.sort_unstable();
            prop_assert_eq!(rows, (0..labels.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_seed_decides_the_parts(seed: u64) {
        let train = digits::load().unwrap().train;
        let dealt = |seed| train.dirichlet(7, 0.5, seed).unwrap().iter().map(labels).collect::<Vec<_>>();
        prop_assert_eq!(dealt(seed), dealt(seed));
        prop_assert_ne!(dealt(seed), dealt(seed ^ 1));
    }
}
