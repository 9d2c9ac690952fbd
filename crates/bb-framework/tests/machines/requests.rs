//! Requests against an unordered list of them.

use bb_framework::{RequestError, RequestId, RequestTracker};
use bb_ir::{PeerId, Time};
use proptest::prelude::*;

use crate::{any_peer, any_time};

const CAPACITY: usize = 6;

#[derive(Clone, Debug)]
enum Call {
    Begin(PeerId, RequestId, Time),
    Answer(PeerId, RequestId),
    Cancel(PeerId, RequestId),
    Expire(Time),
    Clear,
}

fn any_id() -> impl Strategy<Value = RequestId> {
    (0_u8..3).prop_map(|id| RequestId([id; 16]))
}

fn any_call() -> impl Strategy<Value = Call> {
    prop_oneof![
        12 => (any_peer(), any_id(), any_time()).prop_map(|(peer, id, at)| Call::Begin(peer, id, at)),
        6 => (any_peer(), any_id()).prop_map(|(peer, id)| Call::Answer(peer, id)),
        2 => (any_peer(), any_id()).prop_map(|(peer, id)| Call::Cancel(peer, id)),
        4 => any_time().prop_map(Call::Expire),
        1 => Just(Call::Clear),
    ]
}

proptest! {
    #[test]
    fn only_the_peer_that_was_asked_can_end_a_request_and_only_once(
        calls in prop::collection::vec(any_call(), 0..120),
    ) {
        let mut requests = RequestTracker::new(CAPACITY);
        // (deadline, payload: the number of the call that began it, peer, id)
        let mut model: Vec<(Time, usize, PeerId, RequestId)> = Vec::new();
        let (mut unsolicited, mut refused) = (0, 0);
        for (number, call) in calls.into_iter().enumerate() {
            match call {
                Call::Begin(peer, id, deadline) => {
                    let begun = requests.begin(peer, id, deadline, number);
                    if model.iter().any(|held| (held.2, held.3) == (peer, id)) {
                        refused += 1;
                        prop_assert_eq!(begun, Err(RequestError::Duplicate { id, peer }));
                    } else if model.len() == CAPACITY {
                        refused += 1;
                        prop_assert_eq!(begun, Err(RequestError::Full { capacity: CAPACITY }));
                    } else {
                        prop_assert_eq!(begun, Ok(()));
                        model.push((deadline, number, peer, id));
                    }
                }
                Call::Answer(peer, id) => {
                    let held = take(&mut model, peer, id);
                    unsolicited += u64::from(held.is_none());
                    prop_assert_eq!(requests.answer(peer, id), held);
                }
                Call::Cancel(peer, id) => {
                    let held = take(&mut model, peer, id);
                    prop_assert_eq!(requests.cancel(peer, id), held);
                }
                Call::Expire(now) => {
                    let next = model.iter().copied().filter(|held| held.0 <= now).min();
                    model.retain(|held| Some(*held) != next);
                    prop_assert_eq!(
                        requests.pop_expired(now),
                        next.map(|(_, payload, peer, id)| (peer, id, payload))
                    );
                }
                Call::Clear => {
                    requests.clear();
                    model.clear();
                }
            }
            model.sort_unstable();
            let held: Vec<_> =
                requests.iter().map(|(deadline, peer, id, &payload)| (deadline, payload, peer, id)).collect();
            prop_assert_eq!(&held, &model);
            for &(deadline, payload, peer, id) in &model {
                prop_assert_eq!(requests.get(peer, id), Some((deadline, &payload)));
            }
            prop_assert_eq!(requests.next_deadline(), model.first().map(|held| held.0));
            prop_assert_eq!((requests.len(), requests.is_empty()), (model.len(), model.is_empty()));
            prop_assert_eq!((requests.unsolicited(), requests.refused()), (unsolicited, refused));
        }
    }
}

fn take(model: &mut Vec<(Time, usize, PeerId, RequestId)>, peer: PeerId, id: RequestId) -> Option<usize> {
    let at = model.iter().position(|held| (held.2, held.3) == (peer, id))?;
    Some(model.remove(at).1)
}

#[test]
fn a_request_id_is_shown_as_32_hexadecimal_digits() {
    let id = RequestId([0, 0xab, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12]);
    assert_eq!(id.to_string(), "00ab0000000000000000000000000012");
}
