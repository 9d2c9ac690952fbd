//! Bytes in flight are the sum of the charges that are alive.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bb_framework::{Budget, Charge};
use bb_ir::Tensor;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Call {
    Charge(usize),
    Clone(usize),
    Drop(usize),
    MoveOntoTensor(usize),
    SetCapacity(usize),
}

/// Who holds a charge.
enum Holder {
    Charge(Charge),
    Tensor(Tensor),
}

fn any_call() -> impl Strategy<Value = Call> {
    prop_oneof![
        4 => (0_usize..60).prop_map(Call::Charge),
        2 => any::<usize>().prop_map(Call::Clone),
        3 => any::<usize>().prop_map(Call::Drop),
        1 => any::<usize>().prop_map(Call::MoveOntoTensor),
        1 => (0_usize..200).prop_map(Call::SetCapacity),
    ]
}

proptest! {
    #[test]
    fn bytes_in_flight_are_the_sum_of_live_charges(calls in prop::collection::vec(any_call(), 0..100)) {
        let budget = Budget::new(100);
        let (mut capacity, mut refused) = (100, 0);
        // Holders, each with which charge it holds; and the bytes of every charge ever made.
        let mut holders: Vec<(usize, Holder)> = Vec::new();
        let mut charges: Vec<usize> = Vec::new();
        for call in calls {
            let in_flight = sum(&holders, &charges);
            match call {
                Call::Charge(byte_count) => match budget.try_charge(byte_count) {
                    Ok(charge) => {
                        prop_assert!(in_flight + byte_count <= capacity);
                        prop_assert_eq!(charge.byte_count(), byte_count);
                        holders.push((charges.len(), Holder::Charge(charge)));
                        charges.push(byte_count);
                    }
                    Err(exceeded) => {
                        prop_assert!(in_flight + byte_count > capacity);
                        prop_assert_eq!(exceeded.byte_count, byte_count);
                        prop_assert_eq!(exceeded.budget_remaining, capacity.saturating_sub(in_flight));
                        refused += 1;
                    }
                },
                Call::Clone(at) if !holders.is_empty() => {
                    let (id, holder) = &holders[at % holders.len()];
                    let copy = match holder {
                        Holder::Charge(charge) => Holder::Charge(charge.clone()),
                        Holder::Tensor(tensor) => Holder::Tensor(tensor.clone()),
                    };
                    holders.push((*id, copy));
                }
                Call::Drop(at) if !holders.is_empty() => {
                    holders.swap_remove(at % holders.len());
                }
                Call::MoveOntoTensor(at) if !holders.is_empty() => {
                    let (id, holder) = holders.swap_remove(at % holders.len());
                    let Holder::Charge(charge) = holder else { continue };
                    let tensor = Tensor::from_rows([[1.0_f32, 2.0]]).with_charge(charge.into());
                    holders.push((id, Holder::Tensor(tensor)));
                }
                Call::SetCapacity(to) => {
                    budget.set_capacity(to);
                    capacity = to;
                }
                Call::Clone(_) | Call::Drop(_) | Call::MoveOntoTensor(_) => {}
            }
            let in_flight = sum(&holders, &charges);
            prop_assert_eq!(budget.in_flight(), in_flight);
            prop_assert_eq!(budget.remaining(), capacity.saturating_sub(in_flight));
            prop_assert_eq!(budget.refused(), refused);
        }
        drop(holders);
        prop_assert_eq!(budget.in_flight(), 0);
    }
}

fn sum(holders: &[(usize, Holder)], charges: &[usize]) -> usize {
    (0..charges.len()).filter(|id| holders.iter().any(|(held, _)| held == id)).map(|id| charges[id]).sum()
}

#[test]
fn a_charge_of_all_bytes_there_can_be_is_refused_without_overflow() {
    let budget = Budget::new(usize::MAX);
    let held = budget.try_charge(1).unwrap();
    assert_eq!(budget.try_charge(usize::MAX).unwrap_err().budget_remaining, usize::MAX - 1);
    drop(held);
    assert_eq!(budget.try_charge(usize::MAX).unwrap().byte_count(), usize::MAX);
}

#[test]
fn a_written_copy_of_a_charged_tensor_does_not_hold_the_charge() {
    let budget = Budget::new(8);
    let tensor = Tensor::from_rows([[1.0_f32, 2.0]]).with_charge(budget.try_charge(8).unwrap().into());
    let mut copy = tensor.clone();
    copy.make_mut::<f32>().unwrap()[0] = 3.0;
    drop(tensor);
    assert_eq!(budget.in_flight(), 0);
    assert_eq!(copy.as_slice::<f32>().unwrap(), [3.0, 2.0]);
}

#[test]
fn threads_that_charge_at_once_never_hold_more_than_the_capacity() {
    const CAPACITY: usize = 100;
    let budget = Budget::new(CAPACITY);
    let done = Arc::new(AtomicBool::new(false));
    thread::scope(|scope| {
        let watcher = {
            let (budget, done) = (budget.clone(), Arc::clone(&done));
            scope.spawn(move || {
                let mut most = 0;
                while !done.load(Ordering::Acquire) {
                    most = most.max(budget.in_flight());
                }
                most
            })
        };
        let workers: Vec<_> = (1..=4)
            .map(|id| {
                let budget = budget.clone();
                scope.spawn(move || {
                    let mut held = Vec::new();
                    for round in 0..5_000_usize {
                        match budget.try_charge(1 + (round * id) % 40) {
                            Ok(charge) => held.push(charge),
                            Err(_) => held.clear(),
                        }
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
        done.store(true, Ordering::Release);
        assert!(watcher.join().unwrap() <= CAPACITY);
    });
    assert_eq!(budget.in_flight(), 0);
}
