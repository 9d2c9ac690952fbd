//! The queue against one that counts anew each time.

use std::collections::VecDeque;

use bb_framework::OutboundQueue;
use bb_framework::outbound::{Config, Dropped, Event};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Call {
    Push(usize),
    Pop,
    TakeEvents,
    Clear,
}

fn any_call() -> impl Strategy<Value = Call> {
    prop_oneof![
        8 => (0_usize..50).prop_map(Call::Push),
        1 => Just(Call::Push(usize::MAX)),
        6 => Just(Call::Pop),
        2 => Just(Call::TakeEvents),
        1 => Just(Call::Clear),
    ]
}

proptest! {
    #[test]
    fn messages_leave_in_order_and_those_without_room_are_handed_back_and_reported_once(
        config in (0_usize..8, 0_usize..150).prop_map(|(messages, bytes)| Config { messages, bytes }),
        calls in prop::collection::vec(any_call(), 0..120),
    ) {
        let mut queue = OutboundQueue::new(config);
        let mut model: VecDeque<(usize, usize)> = VecDeque::new();
        let (mut dropped, mut reported) = (Dropped::default(), Dropped::default());
        for (number, call) in calls.into_iter().enumerate() {
            match call {
                Call::Push(byte_count) => {
                    let bytes: usize = model.iter().map(|message| message.1).sum();
                    if model.len() < config.messages && bytes.saturating_add(byte_count) <= config.bytes {
                        prop_assert_eq!(queue.push(number, byte_count), Ok(()));
                        model.push_back((number, byte_count));
                    } else {
                        prop_assert_eq!(queue.push(number, byte_count), Err(number));
                        dropped.count += 1;
                        dropped.bytes = dropped.bytes.saturating_add(byte_count as u64);
                    }
                }
                Call::Pop => prop_assert_eq!(queue.pop(), model.pop_front().map(|message| message.0)),
                Call::TakeEvents => {
                    let count = dropped.count - reported.count;
                    let bytes = dropped.bytes - reported.bytes;
                    let expected =
                        (count > 0).then_some(Event::OutboundDropped { count, bytes }).into_iter();
                    prop_assert_eq!(queue.take_events(), expected.collect::<Vec<_>>());
                    reported = dropped;
                }
                Call::Clear => {
                    queue.clear();
                    model.clear();
                }
            }
            prop_assert!(queue.len() <= config.messages && queue.byte_count() <= config.bytes);
            prop_assert_eq!(queue.byte_count(), model.iter().map(|message| message.1).sum::<usize>());
            prop_assert_eq!(
                queue.iter().copied().collect::<Vec<_>>(),
                model.iter().map(|message| message.0).collect::<Vec<_>>()
            );
            prop_assert_eq!((queue.len(), queue.is_empty()), (model.len(), model.is_empty()));
            prop_assert_eq!(queue.dropped(), dropped);
        }
    }
}

#[test]
fn counting_what_was_dropped_never_overflows() {
    let mut queue = OutboundQueue::new(Config::default());
    for _ in 0..3 {
        assert_eq!(queue.push((), usize::MAX), Err(()));
    }
    assert_eq!(queue.take_events(), [Event::OutboundDropped { count: 3, bytes: u64::MAX }]);
}
