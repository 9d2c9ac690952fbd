//! Each machine goes on from what it was saved as, and takes nothing that no machine within these limits would be saved as.

use std::fmt::Debug;
use std::time::Duration;

use bb_framework::address_book::{self, EntryState};
use bb_framework::governor::{self, Event};
use bb_framework::outbound::{self, Dropped};
use bb_framework::{
    AddressBook, BackoffTable, DedupWindow, MessageId, OutboundQueue, PeerGovernor, Remaining, RequestId,
    RequestTracker, Scheduler, StateError, Tier, backoff,
};
use bb_ir::{Address, PeerId, Time};

fn peer(id: u64) -> PeerId {
    PeerId::from_u64(id)
}

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

fn address(n: u8) -> Address {
    format!("/ip4/192.0.2.{n}/udp/4001/quic-v1").parse().unwrap()
}

/// What no machine is saved as.
fn refused<T: Debug>(read: Result<T, StateError>) -> StateError {
    read.unwrap_err()
}

fn is_invalid(error: StateError) -> bool {
    matches!(error, StateError::Invalid { .. })
}

fn book_config() -> address_book::Config {
    address_book::Config {
        peers: 4,
        signed_peers: 2,
        hint_peers: 2,
        addresses_per_peer: 2,
        address_bytes: 64,
    }
}

fn book() -> AddressBook {
    let mut book = AddressBook::new(peer(0), book_config());
    book.register_address(peer(3), address(3), Tier::Hint).unwrap();
    book.register_signed(peer(2), 7, [address(2)]).unwrap();
    book.add_peer(peer(1), [address(1)]).unwrap();
    book.add_local_address(address(9)).unwrap();
    book
}

#[test]
fn an_address_book_goes_on_as_it_was_saved() {
    let (saved, read) = (book().state(), |state| AddressBook::from_state(peer(0), state, book_config()));
    let restored = read(saved.clone()).unwrap();
    assert_eq!(restored.state(), saved);
    for mut book in [book(), restored] {
        assert_eq!(book.lookup(peer(1)), [address(1)]);
        // The one that counts least makes room.
        book.add_peer(peer(5), []).unwrap();
        assert!(!book.contains(peer(3)) && book.contains(peer(2)));
        let stale = book.register_signed(peer(2), 6, [address(4)]);
        assert!(stale.unwrap_err().to_string().contains("number 6 came after number 7"));
    }
    let changed = |change: &dyn Fn(&mut Vec<EntryState>)| {
        let mut state = saved.clone();
        change(&mut state.entries);
        refused(read(state))
    };
    let list = "peers";
    let entry = |id: u64, tier| EntryState {
        peer: peer(id),
        references: 0,
        record: None,
        addresses: vec![(tier, address(id as u8))],
    };
    assert_eq!(changed(&|entries| entries.swap(1, 2)), StateError::Order { list, index: 2 });
    assert_eq!(changed(&|entries| entries.swap(0, 1)), StateError::Order { list, index: 1 });
    let twice = changed(&|entries| {
        let last = entries.len() - 1;
        entries[last] = EntryState { peer: peer(2), ..entries[last].clone() };
    });
    assert!(matches!(twice, StateError::Duplicate { .. }));
    let full = changed(&|entries| entries.push(entry(7, Tier::Hint)));
    assert_eq!(full, StateError::TooMany { list, count: 5, cap: 4 });
    let hints = changed(&|entries| *entries = (4..7).map(|id| entry(id, Tier::Hint)).collect());
    assert_eq!(hints, StateError::TooMany { list: "hint_peers", count: 3, cap: 2 });
    let signed = changed(&|entries| *entries = (4..7).map(|id| entry(id, Tier::Signed)).collect());
    assert_eq!(signed, StateError::TooMany { list: "signed_peers", count: 3, cap: 2 });
    assert!(is_invalid(changed(&|entries| entries[3].addresses.clear())));
    assert!(is_invalid(changed(&|entries| entries[3].addresses[0].1 = Address::empty())));
    assert!(is_invalid(changed(&|entries| entries[3].addresses.push((Tier::Hint, address(3))))));
    assert!(is_invalid(changed(&|entries| entries[3].addresses.push((Tier::Signed, address(4))))));
    let named = format!("/ip4/192.0.2.1/tcp/1/p2p/{}", peer(9));
    assert!(is_invalid(changed(&|entries| entries[3].addresses[0].1 = named.parse().unwrap())));
    let many = changed(&|entries| entries[3].addresses = vec![(Tier::Hint, address(1)); 3]);
    assert_eq!(many, StateError::TooMany { list: "addresses", count: 3, cap: 2 });
}

#[test]
fn a_governor_goes_on_as_it_was_saved() {
    let config =
        governor::Config { listed_peers: 3, health_entries: 3, events: 2, ..governor::Config::default() };
    let mut original = PeerGovernor::new(config, 7);
    for id in [4, 2] {
        original.block(peer(id)).unwrap();
    }
    original.set_allowlist(Some(&[peer(9), peer(8)])).unwrap();
    for _ in 0..5 {
        original.record_failure(peer(8), at(1));
    }
    for id in [6, 7] {
        original.record_failure(peer(id), at(2));
    }
    let saved = original.state(at(3));
    let read = |state| PeerGovernor::from_state(&state, config, at(3));
    let mut restored = read(saved.clone()).unwrap();
    assert_eq!(restored.state(at(3)), saved);
    for governor in [&mut original, &mut restored] {
        assert_eq!(governor.blocklist().collect::<Vec<_>>(), [peer(2), peer(4)]);
        assert_eq!(governor.allowlist().map(Iterator::count), Some(2));
        assert!(governor.is_blocked(peer(2)) && governor.health(peer(8)).is_down);
        assert_eq!(governor.take_events(), [Event::PeerDown(peer(8))]);
        // One that is not down is forgotten first.
        governor.record_failure(peer(5), at(4));
        assert_eq!((governor.health(peer(6)).consecutive_failures, governor.counters().evicted), (0, 1));
    }
    let changed = |change: &dyn Fn(&mut governor::State)| {
        let mut state = saved.clone();
        change(&mut state);
        refused(read(state))
    };
    let (list, count, cap) = ("failing", 4, 3);
    let too_many = |list| StateError::TooMany { list, count, cap };
    let order = |list| StateError::Order { list, index: 1 };
    assert_eq!(changed(&|state| state.blocklist.swap(0, 1)), order("blocklist"));
    assert_eq!(changed(&|state| state.blocklist = (0..4).map(peer).collect()), too_many("blocklist"));
    let twice = changed(&|state| state.allowlist = Some(vec![peer(1); 2]));
    assert_eq!(twice, StateError::Duplicate { list: "allowlist", index: 1 });
    assert_eq!(changed(&|state| state.failing.push(state.failing[0])), too_many(list));
    assert_eq!(changed(&|state| state.failing.swap(1, 2)), StateError::Order { list, index: 2 });
    assert_eq!(
        changed(&|state| state.failing[1] = state.failing[0]),
        StateError::Duplicate { list, index: 1 }
    );
    assert!(is_invalid(changed(&|state| state.failing[0].consecutive_failures = 0)));
    assert!(is_invalid(changed(&|state| state.failing[0].last = Remaining(1))));
    let events = changed(&|state| state.events = vec![Event::PeerUp(peer(1)); 3]);
    assert_eq!(events, StateError::TooMany { list: "events", count: 3, cap: 2 });
    original.forget_counters();
    assert_eq!((original.counters(), original.backoff().evicted()), (governor::Counters::default(), 0));
}

#[test]
fn waits_for_peers_go_on_as_they_were_saved() {
    let config = backoff::Config { entries: 2, ..backoff::Config::default() };
    let mut original = BackoffTable::new(config, 3);
    for id in [1, 2, 3] {
        original.record_failure(peer(id), at(id));
    }
    let saved = original.state(at(4));
    let read = |state: &backoff::State| BackoffTable::from_state(state, config, at(4));
    let mut restored = read(&saved).unwrap();
    assert_eq!(restored.state(at(4)), saved);
    assert_eq!(restored.record_failure(peer(3), at(5)), original.record_failure(peer(3), at(5)));
    assert_eq!((restored.len(), restored.evicted()), (2, 1));
    let changed = |change: &dyn Fn(&mut Vec<backoff::EntryState>)| {
        let mut state = saved.clone();
        change(&mut state.entries);
        refused(read(&state))
    };
    let list = "backoff";
    assert_eq!(changed(&|entries| entries.swap(0, 1)), StateError::Order { list, index: 1 });
    assert_eq!(changed(&|entries| entries[1] = entries[0]), StateError::Duplicate { list, index: 1 });
    assert_eq!(
        changed(&|entries| entries[1].peer = entries[0].peer),
        StateError::Duplicate { list, index: 1 }
    );
    assert_eq!(changed(&|entries| entries.push(entries[1])), StateError::TooMany { list, count: 3, cap: 2 });
    assert!(is_invalid(changed(&|entries| entries[0].retry = Remaining(i64::MAX))));
    restored.clear();
    restored.forget_counters();
    assert_eq!((restored.is_empty(), restored.evicted()), (true, 0));
}

#[test]
fn a_window_of_messages_goes_on_as_it_was_saved_and_counts_anew() {
    let id = |counter| MessageId { incarnation: 1, counter };
    let mut original = DedupWindow::new(3);
    (0..5).for_each(|counter| assert!(original.insert(peer(1), id(counter))));
    let saved = original.state();
    let mut restored = DedupWindow::from_state(&saved, 3).unwrap();
    assert_eq!((restored.state(), restored.evicted()), (saved.clone(), 2));
    for window in [&mut original, &mut restored] {
        window.forget_counters();
        assert_eq!(window.evicted(), 0);
        assert!(window.contains(peer(1), id(4)) && !window.contains(peer(1), id(1)));
        assert!(window.insert(peer(1), id(9)) && !window.insert(peer(1), id(9)));
        assert_eq!((window.evicted(), window.state().evicted), (1, 1));
        assert!(!window.contains(peer(1), id(2)) && window.contains(peer(1), id(3)));
        assert!(format!("{window:?}").contains("evicted: 1"), "{window:?}");
        assert_eq!(window.iter().count(), window.len());
    }
    let list = "seen";
    assert_eq!(refused(DedupWindow::from_state(&saved, 2)), StateError::TooMany { list, count: 3, cap: 2 });
    let mut twice = saved;
    twice.messages[2] = twice.messages[0];
    assert_eq!(refused(DedupWindow::from_state(&twice, 3)), StateError::Duplicate { list, index: 2 });
    original.clear();
    assert!(original.is_empty() && original.insert(peer(1), id(9)));
}

#[test]
fn what_waits_to_be_sent_goes_on_as_it_was_saved() {
    let config = outbound::Config { messages: 2, bytes: 10 };
    let mut original = OutboundQueue::new(config);
    original.push("a", 6).unwrap();
    assert_eq!(original.push("b", 6), Err("b"));
    let saved = original.state();
    let mut restored = OutboundQueue::from_state(saved.clone(), config).unwrap();
    assert_eq!(restored.state(), saved);
    for queue in [&mut original, &mut restored] {
        assert_eq!(queue.unreported(), Dropped { count: 1, bytes: 6 });
        // What was not said yet is not forgotten.
        queue.forget_counters();
        assert_eq!(queue.take_events(), [outbound::Event::OutboundDropped { count: 1, bytes: 6 }]);
        queue.forget_counters();
        assert_eq!((queue.dropped(), queue.take_events().len()), (Dropped::default(), 0));
        assert_eq!((queue.iter().count(), queue.byte_count()), (1, 6));
        queue.clear();
        assert_eq!((queue.is_empty(), queue.byte_count(), queue.pop()), (true, 0, None));
    }
    let changed = |change: &dyn Fn(&mut outbound::State<&'static str>)| {
        let mut state = saved.clone();
        change(&mut state);
        refused(OutboundQueue::from_state(state, config))
    };
    let many = changed(&|state| state.messages = vec![("a", 1); 3]);
    assert_eq!(many, StateError::TooMany { list: "outbound", count: 3, cap: 2 });
    let large = changed(&|state| state.messages[0].1 = 11);
    assert_eq!(large, StateError::TooMany { list: "outbound_bytes", count: 11, cap: 10 });
    assert!(is_invalid(changed(&|state| state.reported.count = 2)));
}

#[test]
fn requests_go_on_as_they_were_saved() {
    let id = |n| RequestId([n; 16]);
    let mut original = RequestTracker::new(2);
    original.begin(peer(1), id(1), at(5), "one").unwrap();
    original.begin(peer(2), id(2), at(9), "two").unwrap();
    assert!(original.begin(peer(3), id(3), at(9), "three").is_err());
    assert_eq!(original.answer(peer(1), id(2)), None);
    let saved = original.state(at(4));
    let read = |state| RequestTracker::from_state(state, 2, at(4));
    let mut restored = read(saved.clone()).unwrap();
    assert_eq!(restored.state(at(4)), saved);
    for tracker in [&mut original, &mut restored] {
        assert_eq!((tracker.unsolicited(), tracker.refused()), (1, 1));
        tracker.forget_counters();
        assert_eq!((tracker.unsolicited(), tracker.refused()), (0, 0));
        assert_eq!(tracker.pop_expired(at(5)), Some((peer(1), id(1), "one")));
        assert_eq!((tracker.pop_expired(at(5)), tracker.next_deadline()), (None, Some(at(9))));
        tracker.clear();
        assert!(tracker.is_empty());
    }
    let (mut swapped, mut twice, mut many) = (saved.clone(), saved.clone(), saved.clone());
    swapped.requests.swap(0, 1);
    twice.requests[1] = twice.requests[0];
    many.requests.push(many.requests[1]);
    let list = "requests";
    assert_eq!(refused(read(swapped)), StateError::Order { list, index: 1 });
    assert_eq!(refused(read(twice)), StateError::Duplicate { list, index: 1 });
    assert_eq!(refused(read(many)), StateError::TooMany { list, count: 3, cap: 2 });
}

#[test]
fn timers_go_on_as_they_were_saved() {
    let mut original = Scheduler::new(2);
    original.set('b', at(5)).unwrap();
    original.set('a', at(5)).unwrap();
    let full = original.set('c', at(1)).unwrap_err();
    assert_eq!(full.to_string(), "all 2 timers are in use; cancel one, or raise the limit");
    let saved = original.state(at(1));
    let read = |state| Scheduler::from_state(state, 2, at(1));
    let mut restored = read(saved.clone()).unwrap();
    assert_eq!(restored.state(at(1)), saved);
    for scheduler in [&mut original, &mut restored] {
        assert_eq!(scheduler.refused(), 1);
        scheduler.forget_counters();
        assert_eq!((scheduler.refused(), scheduler.due(&'a'), scheduler.has_room()), (0, Some(at(5)), false));
        assert_eq!(scheduler.pop_due(at(6)), Some((at(5), 'b')));
        assert_eq!(scheduler.cancel(&'a'), Some(at(5)));
        assert_eq!((scheduler.cancel(&'a'), scheduler.is_empty()), (None, true));
    }
    let (mut late, mut twice, mut many) = (saved.clone(), saved.clone(), saved.clone());
    late.timers[0].0 = Remaining(i64::MAX);
    twice.timers[1].1 = 'b';
    many.timers.push(many.timers[1]);
    let list = "timers";
    assert_eq!(refused(read(late)), StateError::Order { list, index: 1 });
    assert_eq!(refused(read(twice)), StateError::Duplicate { list, index: 1 });
    assert_eq!(refused(read(many)), StateError::TooMany { list, count: 3, cap: 2 });
}
