//! What an in-memory data source gives.

#![cfg(test)]

use bb_learn::data::{Dataset, InMemoryConfig, InMemoryData};
use bb_runtime::contracts::Detached;
use bb_runtime::{Batch, Component, ComponentError, DataSource, StateReader, StateWriter, Tensor};

fn config(rows: usize) -> InMemoryConfig {
    let numbers: Vec<f32> = (0..rows).map(|row| row as f32).collect();
    let labels: Vec<i64> = (0..rows as i64).collect();
    let features = Tensor::from_slice([rows, 1], &numbers).unwrap();
    InMemoryConfig::new(Dataset::new(features, Tensor::from_slice([rows], &labels).unwrap()).unwrap())
}

fn next(data: &mut InMemoryData, rows: usize) -> Option<Batch> {
    data.next_batch(&mut Detached::new(0).context(), rows).unwrap().into_now().unwrap()
}

fn reset(data: &mut InMemoryData) {
    data.reset(&mut Detached::new(0).context()).unwrap().into_now().unwrap();
}

fn labels(batch: &Batch) -> Vec<i64> {
    batch.tensors.find("label").unwrap().as_slice::<i64>().unwrap().to_vec()
}

/// The labels of the rest of the pass, in batches of 4.
fn rest(data: &mut InMemoryData) -> Vec<i64> {
    std::iter::from_fn(|| next(data, 4).map(|batch| labels(&batch))).flatten().collect()
}

#[test]
fn a_pass_gives_the_rows_in_order_with_a_shorter_batch_at_the_end() {
    let mut data = InMemoryData::new(&config(5)).unwrap();
    for _ in 0..3 {
        assert_eq!(next(&mut data, 2).map(|batch| labels(&batch)), Some(vec![0, 1]));
        assert_eq!(next(&mut data, 2).map(|batch| labels(&batch)), Some(vec![2, 3]));
        let last = next(&mut data, 2).unwrap();
        assert_eq!((last.rows, labels(&last)), (1, vec![4]));
        assert_eq!(last.tensors.find("features"), Some(&Tensor::from_rows([[4.0_f32]])));
        assert_eq!(next(&mut data, 2), None);
        reset(&mut data);
    }
}

#[test]
fn a_batch_that_is_kept_does_not_change_and_one_that_is_dropped_is_filled_again() {
    let mut data = InMemoryData::new(&config(8)).unwrap();
    let kept = next(&mut data, 2).unwrap();
    let second = next(&mut data, 2).unwrap();
    assert_eq!((labels(&kept), labels(&second)), (vec![0, 1], vec![2, 3]));
    let memory = second.tensors.find("label").unwrap().as_bytes().as_ptr();
    drop(second);
    let third = next(&mut data, 2).unwrap();
    assert_eq!((labels(&kept), labels(&third)), (vec![0, 1], vec![4, 5]));
    assert_eq!(third.tensors.find("label").unwrap().as_bytes().as_ptr(), memory);
}

#[test]
fn a_shuffled_pass_has_every_row_once_in_an_order_that_the_seed_decides() {
    let mut data = InMemoryData::new(&config(50).shuffled(3)).unwrap();
    let first = rest(&mut data);
    reset(&mut data);
    let second = rest(&mut data);
    assert_ne!(first, second);
    for pass in [&first, &second] {
        let mut sorted = pass.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
    }
    assert_eq!(rest(&mut InMemoryData::new(&config(50).shuffled(3)).unwrap()), first);
    assert_ne!(rest(&mut InMemoryData::new(&config(50).shuffled(4)).unwrap()), first);
}

#[test]
fn a_restored_source_goes_on_where_it_was() {
    let config = config(50).shuffled(9);
    let mut data = InMemoryData::new(&config).unwrap();
    reset(&mut data);
    next(&mut data, 7).unwrap();
    let mut state = StateWriter::default();
    data.save(&mut state).unwrap();
    let state = state.into_bytes().unwrap();

    let mut restored = InMemoryData::new(&config).unwrap();
    let mut reader = StateReader::new(&state);
    restored.load(&mut reader).unwrap();
    reader.finish().unwrap();
    assert_eq!(rest(&mut restored), rest(&mut data));
    reset(&mut restored);
    reset(&mut data);
    assert_eq!(rest(&mut restored), rest(&mut data));
}

#[test]
fn a_state_beyond_the_rows_is_refused() {
    let mut state = StateWriter::default();
    state.u64(0);
    state.u64(51);
    let state = state.into_bytes().unwrap();
    let mut data = InMemoryData::new(&config(50)).unwrap();
    let refused = data.load(&mut StateReader::new(&state));
    assert!(matches!(refused, Err(ComponentError::InvalidInput { .. })));
    assert_eq!(next(&mut data, 1).map(|batch| labels(&batch)), Some(vec![0]));
}

#[test]
fn batches_without_rows_are_refused() {
    let mut data = InMemoryData::new(&config(5)).unwrap();
    assert!(data.next_batch(&mut Detached::new(0).context(), 0).is_err());
}
