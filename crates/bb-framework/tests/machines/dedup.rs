//! The window against a queue that is searched from end to end.

use std::collections::VecDeque;

use bb_framework::{DedupWindow, MessageId};
use bb_ir::PeerId;
use proptest::prelude::*;

use crate::any_peer;

proptest! {
    #[test]
    fn the_window_knows_the_latest_messages_and_no_others(
        capacity in 0_usize..12,
        messages in prop::collection::vec((any_peer(), 0_u64..2, 0_u64..3, 0_u8..20), 0..200),
    ) {
        let mut window = DedupWindow::new(capacity);
        let mut model: VecDeque<(PeerId, MessageId)> = VecDeque::new();
        let mut left = 0;
        for (peer, incarnation, counter, clears) in messages {
            if clears == 0 {
                window.clear();
                left += model.len() as u64;
                model.clear();
            }
            let message = MessageId { incarnation, counter };
            let is_new = !model.contains(&(peer, message));
            prop_assert_eq!(window.contains(peer, message), !is_new);
            prop_assert_eq!(window.insert(peer, message), is_new);
            if is_new {
                model.push_back((peer, message));
            }
            while model.len() > capacity {
                model.pop_front();
                left += 1;
            }
            prop_assert_eq!(window.iter().collect::<VecDeque<_>>(), model.clone());
            prop_assert_eq!((window.len(), window.is_empty()), (model.len(), model.is_empty()));
            prop_assert_eq!(window.evicted(), left);
            for &(peer, message) in &model {
                prop_assert!(window.contains(peer, message));
            }
        }
    }
}

#[test]
fn a_window_that_turned_over_many_times_still_knows_its_messages() {
    let mut window = DedupWindow::new(1_000);
    let peer = PeerId::from_u64(1);
    for counter in 0..100_000 {
        assert!(window.insert(peer, MessageId { incarnation: 1, counter }));
    }
    for counter in 0..100_000 {
        assert_eq!(window.contains(peer, MessageId { incarnation: 1, counter }), counter >= 99_000);
    }
}
