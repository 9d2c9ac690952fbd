//! Timers against an unordered list of them.

use bb_framework::{Scheduler, SchedulerFull};
use bb_ir::Time;
use proptest::prelude::*;

use crate::any_time;

const CAPACITY: usize = 6;

#[derive(Clone, Debug)]
enum Call {
    Set(u8, Time),
    Cancel(u8),
    Pop(Time),
    Clear,
}

fn any_call() -> impl Strategy<Value = Call> {
    prop_oneof![
        12 => (0_u8..10, any_time()).prop_map(|(key, at)| Call::Set(key, at)),
        4 => (0_u8..10).prop_map(Call::Cancel),
        6 => any_time().prop_map(Call::Pop),
        1 => Just(Call::Clear),
    ]
}

proptest! {
    #[test]
    fn timers_come_due_by_time_and_then_in_the_order_they_were_set(
        calls in prop::collection::vec(any_call(), 0..120),
    ) {
        let mut scheduler = Scheduler::new(CAPACITY);
        // (time, when it was set, key)
        let mut model: Vec<(Time, usize, u8)> = Vec::new();
        let mut refused = 0;
        for (number, call) in calls.into_iter().enumerate() {
            match call {
                Call::Set(key, at) => {
                    let is_known = model.iter().any(|timer| timer.2 == key);
                    if !is_known && model.len() == CAPACITY {
                        refused += 1;
                        prop_assert_eq!(scheduler.set(key, at), Err(SchedulerFull { capacity: CAPACITY }));
                    } else {
                        prop_assert_eq!(scheduler.set(key, at), Ok(()));
                        model.retain(|timer| timer.2 != key);
                        model.push((at, number, key));
                    }
                }
                Call::Cancel(key) => {
                    let held = model.iter().position(|timer| timer.2 == key).map(|at| model.remove(at).0);
                    prop_assert_eq!(scheduler.cancel(&key), held);
                }
                Call::Pop(now) => {
                    let next = model.iter().copied().filter(|timer| timer.0 <= now).min();
                    model.retain(|timer| Some(*timer) != next);
                    prop_assert_eq!(scheduler.pop_due(now), next.map(|(at, _, key)| (at, key)));
                }
                Call::Clear => {
                    scheduler.clear();
                    model.clear();
                }
            }
            model.sort_unstable();
            let held: Vec<_> = scheduler.iter().map(|(at, &key)| (at, key)).collect();
            let expected: Vec<_> = model.iter().map(|&(at, _, key)| (at, key)).collect();
            prop_assert_eq!(held, expected);
            prop_assert_eq!(scheduler.next_deadline(), model.first().map(|timer| timer.0));
            prop_assert_eq!((scheduler.len(), scheduler.is_empty()), (model.len(), model.is_empty()));
            prop_assert_eq!(scheduler.refused(), refused);
            for key in 0..10 {
                let due = model.iter().find(|timer| timer.2 == key).map(|timer| timer.0);
                prop_assert_eq!(scheduler.due(&key), due);
            }
        }
    }
}
