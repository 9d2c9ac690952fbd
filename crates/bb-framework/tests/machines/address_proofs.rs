//! What may be sent to addresses that have not proved themselves, on random sequences of calls.

use bb_framework::{AddressProofs, address_proofs::Config};
use bb_ir::{Address, PeerId};
use proptest::prelude::*;

const PEER: u64 = 1;

fn address(n: usize) -> Address {
    format!("/ip4/192.0.2.{n}/udp/4001/quic-v1").parse().unwrap()
}

fn only(address: &Address) -> Vec<Address> {
    vec![address.clone()]
}

fn proofs(received: usize) -> AddressProofs {
    let mut proofs = AddressProofs::new(Config::default());
    proofs.received(PeerId::from_u64(PEER), received);
    proofs
}

#[test]
fn nothing_goes_to_the_address_of_a_peer_that_sent_nothing() {
    let mut proofs = AddressProofs::new(Config::default());
    assert!(proofs.offer(PeerId::from_u64(PEER), [&address(1)], 1).is_empty());
    assert_eq!(proofs.withheld(), 1);
}

#[test]
fn one_address_is_tried_at_a_time_and_the_next_after_it_failed() {
    let (peer, mut proofs) = (PeerId::from_u64(PEER), proofs(1_000));
    let (a, b) = (address(1), address(2));
    assert_eq!(proofs.offer(peer, [&a, &b], 1), only(&a));
    assert_eq!(proofs.offer(peer, [&a, &b], 1), only(&a));
    proofs.unanswered(peer);
    assert_eq!(proofs.offer(peer, [&a, &b], 1), only(&b));
    proofs.failed(peer);
    assert_eq!(proofs.offer(peer, [&a, &b], 1), only(&a));
}

#[test]
fn a_proved_address_is_used_alone_until_the_transport_does_not_reach_it() {
    let (peer, mut proofs) = (PeerId::from_u64(PEER), proofs(10));
    let (a, b) = (address(1), address(2));
    assert_eq!(proofs.offer(peer, [&a], 10), only(&a));
    proofs.proved(peer);
    assert_eq!(proofs.offer(peer, [&b, &a], 1_000_000), only(&a));
    // Slowness is not absence.
    proofs.unanswered(peer);
    assert_eq!(proofs.offer(peer, [&b, &a], 1_000_000), only(&a));
    proofs.failed(peer);
    assert!(proofs.offer(peer, [&b, &a], 1_000_000).is_empty());
    assert_eq!(proofs.offer(peer, [&b, &a], 10), only(&b));
}

#[test]
fn the_peer_heard_of_longest_ago_is_forgotten_with_its_proofs_and_counted() {
    let mut proofs = AddressProofs::new(Config { entries: 2, ..Config::default() });
    let [first, second, third] = [1, 2, 3].map(PeerId::from_u64);
    let a = address(1);
    for peer in [first, second] {
        proofs.received(peer, 10);
        assert_eq!(proofs.offer(peer, [&a], 10), only(&a));
        proofs.proved(peer);
    }
    proofs.received(first, 1);
    proofs.received(third, 10);
    assert_eq!((proofs.len(), proofs.evicted()), (2, 1));
    assert_eq!(proofs.iter().map(|(peer, _)| peer).collect::<Vec<_>>(), [first, third]);
    assert_eq!(proofs.offer(first, [&a], 1_000_000), only(&a), "who was heard of since is remembered");
    proofs.received(second, 10);
    assert!(proofs.offer(second, [&a], 1_000_000).is_empty(), "its address must prove itself anew");
    assert_eq!((proofs.evicted(), proofs.withheld()), (2, 1));
    proofs.set_counters(7, 8);
    assert_eq!((proofs.withheld(), proofs.evicted()), (7, 8));
    proofs.clear();
    assert!(proofs.is_empty());
}

#[test]
fn of_the_proved_addresses_of_a_peer_the_first_makes_room() {
    let peer = PeerId::from_u64(PEER);
    let mut proofs = AddressProofs::new(Config { addresses_per_peer: 1, ..Config::default() });
    proofs.received(peer, 1_000);
    let (a, b) = (address(1), address(2));
    for address in [&a, &b] {
        assert_eq!(proofs.offer(peer, [address], 1), only(address));
        proofs.proved(peer);
    }
    assert_eq!(proofs.offer(peer, [&a, &b], 1_000_000), only(&b));
    // What was not tried proves nothing, nor does a peer that is not known.
    proofs.proved(peer);
    proofs.proved(PeerId::from_u64(9));
    proofs.unanswered(PeerId::from_u64(9));
    proofs.failed(PeerId::from_u64(9));
    assert_eq!(proofs.len(), 1);
    assert!(proofs.offer(peer, [], 1).is_empty());
    assert_eq!(proofs.withheld(), 0);
}

#[derive(Clone, Debug)]
enum Call {
    Received(usize),
    Offer(Vec<usize>, usize),
    Proved,
    Unanswered,
    Failed,
}

fn any_call() -> impl Strategy<Value = Call> {
    prop_oneof![
        (0_usize..100).prop_map(Call::Received),
        (prop::sample::subsequence(vec![1, 2, 3, 4], 0..=4), 0_usize..300)
            .prop_map(|(addresses, bytes)| Call::Offer(addresses, bytes)),
        Just(Call::Proved),
        Just(Call::Unanswered),
        Just(Call::Failed),
    ]
}

proptest! {
    #[test]
    fn an_address_that_has_not_proved_itself_gets_at_most_three_times_what_came(
        calls in prop::collection::vec(any_call(), 0..150),
    ) {
        let peer = PeerId::from_u64(PEER);
        const PROVED: usize = 2;
        let mut proofs = AddressProofs::new(Config { addresses_per_peer: PROVED, ..Config::default() });
        let (mut received, mut sent) = (0, 0);
        let mut tried: Option<Address> = None;
        let mut proved: Vec<Address> = Vec::new();
        for call in calls {
            match call {
                Call::Received(bytes) => {
                    received += bytes;
                    proofs.received(peer, bytes);
                }
                Call::Offer(claimed, bytes) => {
                    let claimed: Vec<Address> = claimed.into_iter().map(address).collect();
                    let offered = proofs.offer(peer, &claimed, bytes);
                    prop_assert!(offered.iter().all(|address| claimed.contains(address)));
                    if offered.iter().any(|address| !proved.contains(address)) {
                        prop_assert_eq!(offered.len(), 1);
                        prop_assert!(claimed.iter().all(|address| !proved.contains(address)));
                        sent += bytes;
                        tried = Some(offered[0].clone());
                    }
                    prop_assert!(sent <= 3 * received, "{} bytes for {}", sent, received);
                }
                Call::Proved => {
                    proofs.proved(peer);
                    let new = tried.take().filter(|address| !proved.contains(address));
                    if new.is_some() && proved.len() == PROVED {
                        proved.remove(0);
                    }
                    proved.extend(new);
                }
                Call::Unanswered => {
                    proofs.unanswered(peer);
                    tried = None;
                }
                Call::Failed => {
                    proofs.failed(peer);
                    tried = None;
                    proved.clear();
                }
            }
        }
    }
}
