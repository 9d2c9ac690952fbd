//! What machines hold, measured at the allocator: nothing before use, and at their caps no more than they say.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "all of this is a test")]

use std::alloc::System;
use std::time::Duration;

use bb_framework::{
    AddressBook, AddressProofs, BackoffTable, Backpressure, Budget, DedupWindow, FairQueue, MessageId,
    OutboundQueue, PeerGovernor, RequestId, RequestTracker, Rng, RttTable, Scheduler, Tier, address_book,
    address_proofs, backoff, backpressure, governor, outbound, rtt,
};
use bb_ir::{Address, PeerId, Time};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that `make` left allocated.
fn held<T>(make: impl FnOnce() -> T) -> (T, usize) {
    let region = Region::new(ALLOCATOR);
    let made = make();
    let change = region.change();
    // What a reallocation added is counted in the bytes allocated too.
    (made, change.bytes_allocated - change.bytes_deallocated)
}

fn peer(id: usize) -> PeerId {
    PeerId::from_u64(id as u64)
}

fn scatter(index: usize) -> usize {
    index.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[track_caller]
fn assert_within(name: &str, held: usize, stated: usize) {
    println!("{name}: {held} of {stated} bytes stated");
    assert!(held <= stated, "{name} holds {held} bytes and states {stated}");
    assert!(held * 4 >= stated, "{name} holds {held} bytes: the {stated} that it states say little");
}

// One test, for the allocator counts the whole process.
#[test]
fn machines_hold_nothing_before_use_and_at_their_caps_no_more_than_they_state() {
    for cap in [100, 1_000, 8_192] {
        at_their_caps(cap);
        of_each_peer(cap);
    }
    idle();
}

fn at_their_caps(cap: usize) {
    let (_scheduler, bytes) = held(|| {
        let mut scheduler = Scheduler::new(cap);
        for n in 0..4 * cap {
            let at = Time::from_nanos(scatter(n) as u64);
            // Keys within the cap are set again and again; others are refused.
            assert_eq!(scheduler.set((n % (2 * cap)) as u64, at).is_ok(), n % (2 * cap) < cap);
        }
        scheduler
    });
    assert_within("scheduler", bytes, Scheduler::<u64>::worst_case_bytes(cap));

    let (_requests, bytes) = held(|| {
        let mut requests = RequestTracker::new(cap);
        for n in 0..cap {
            let id = RequestId((scatter(n) as u128).to_le_bytes());
            requests.begin(peer(n), id, Time::from_nanos(n as u64), n as u64).unwrap();
        }
        requests
    });
    assert_within("requests", bytes, RequestTracker::<u64>::worst_case_bytes(cap));

    let (_window, bytes) = held(|| {
        let mut window = DedupWindow::new(cap);
        for n in 0..4 * cap {
            window.insert(peer(n), MessageId { incarnation: 1, counter: scatter(n) as u64 });
        }
        window
    });
    assert_within("dedup", bytes, DedupWindow::worst_case_bytes(cap));

    let config = outbound::Config { messages: cap, bytes: 64 * cap };
    let (_queue, bytes) = held(|| {
        let mut queue = OutboundQueue::new(config);
        for _ in 0..2 * cap {
            let message = vec![0_u8; 64].into_boxed_slice();
            if queue.push(message, 64).is_err() {
                assert_eq!(queue.len(), cap);
            }
        }
        queue
    });
    assert_within("outbound", bytes, OutboundQueue::<Box<[u8]>>::worst_case_bytes(config));

    let (_table, bytes) = held(|| {
        let mut table = BackoffTable::new(backoff::Config { entries: cap, ..Default::default() }, 1);
        for n in 0..4 * cap {
            table.record_failure(peer(scatter(n)), Time::from_nanos(n as u64));
        }
        table
    });
    assert_within("backoff", bytes, BackoffTable::worst_case_bytes(cap));

    let config = governor::Config {
        listed_peers: cap,
        health_entries: cap,
        events: cap,
        backoff: backoff::Config { entries: cap, ..Default::default() },
        ..Default::default()
    };
    let (_governor, bytes) = held(|| {
        let mut governor = PeerGovernor::new(config, 1);
        let listed: Vec<_> = (0..cap).map(|n| peer(scatter(n))).collect();
        governor.set_allowlist(Some(&listed)).unwrap();
        for &peer in &listed {
            governor.block(peer).unwrap();
        }
        for n in 0..20 * cap {
            governor.record_failure(peer(scatter(n % (4 * cap))), Time::from_nanos(n as u64));
        }
        for &peer in &listed {
            for n in 0..5 {
                governor.record_failure(peer, Time::from_nanos(n));
            }
        }
        governor
    });
    assert_within("governor", bytes, PeerGovernor::worst_case_bytes(config));

    let config = address_book::Config {
        peers: cap,
        signed_peers: cap / 2,
        hint_peers: cap / 4,
        ..address_book::Config::default()
    };
    let (_book, bytes) = held(|| {
        let mut book = AddressBook::new(peer(usize::MAX), config);
        for n in 0..cap {
            let id = peer(scatter(n));
            for address in 0..config.addresses_per_peer + 2 {
                let name = format!("/dns4/{:0>width$}/tcp/1", address, width = config.address_bytes - 6);
                let address: Address = name.parse().unwrap();
                let tier = match n % 4 {
                    0 => Tier::Operator,
                    1 => Tier::Hint,
                    _ => Tier::Signed,
                };
                match book.register_address(id, address, tier) {
                    Ok(_) | Err(address_book::AddressBookError::AddressesFull { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        assert!(book.len() > cap / 2);
        book
    });
    assert_within("address book", bytes, AddressBook::worst_case_bytes(config));
}

/// Those of them that remember something of each peer.
fn of_each_peer(cap: usize) {
    let (_rtt, bytes) = held(|| {
        let mut table = RttTable::new(rtt::Config { entries: cap });
        for n in 0..4 * cap {
            table.record(peer(scatter(n)), Duration::from_nanos(n as u64));
        }
        table
    });
    assert_within("rtt", bytes, RttTable::worst_case_bytes(cap));

    let (_fair_queue, bytes) = held(|| {
        let mut queue = FairQueue::new(cap);
        for n in 0..4 * cap {
            let sender = peer(scatter(n));
            if queue.reserve_for_host(sender).is_ok() {
                queue.push(sender, 1, [0_u8; 100]);
            } else if n % 2 == 0 {
                queue.serve(1, drop);
            }
        }
        queue
    });
    assert_within("fair queue", bytes, FairQueue::<PeerId, [u8; 100]>::worst_case_bytes(cap));

    let config = backpressure::Config { entries: cap, events: cap, ..Default::default() };
    let (_backpressure, bytes) = held(|| {
        let mut machine = Backpressure::new(config);
        let load = backpressure::Load { queued: 1, of_sender: 1, senders: 1, capacity: 1 };
        for second in 0..4 {
            for n in 0..2 * cap {
                let _verdict =
                    machine.check(peer(scatter(n % cap)), load, Time::from_nanos(second * 1_000_000_000));
            }
        }
        assert_eq!(machine.counters().mutes, cap as u64);
        machine
    });
    assert_within("backpressure", bytes, Backpressure::worst_case_bytes(config));

    let config = address_proofs::Config { entries: cap, ..Default::default() };
    let address_bytes = 256;
    let (_proofs, bytes) = held(|| {
        let mut proofs = AddressProofs::new(config);
        for n in 0..cap {
            let id = peer(scatter(n));
            proofs.received(id, 1_000);
            for address in 0..=config.addresses_per_peer {
                let name = format!("/dns4/{:0>width$}/tcp/1", address, width = address_bytes - 6);
                let address: Address = name.parse().unwrap();
                assert_eq!(proofs.offer(id, [&address], 1), [address]);
                proofs.proved(id);
            }
        }
        proofs
    });
    assert_within("address proofs", bytes, AddressProofs::worst_case_bytes(config, address_bytes));
}

/// All machines of a node together, which has 8 KiB for everything when it is idle.
fn idle() {
    let (machines, allocated) = held(|| {
        (
            Budget::new(256 << 20),
            PeerGovernor::new(governor::Config::default(), 1),
            AddressBook::new(peer(0), address_book::Config::default()),
            (
                AddressProofs::new(address_proofs::Config::default()),
                Backpressure::new(backpressure::Config::default()),
                RttTable::new(rtt::Config::default()),
            ),
            DedupWindow::new(8_192),
            RequestTracker::<u64>::new(10_000),
            OutboundQueue::<Vec<u8>>::new(outbound::Config::default()),
            Scheduler::<(u64, u64)>::new(65_536),
            Rng::from_u64(1),
        )
    });
    let bytes = allocated + size_of_val(&machines);
    println!("all machines, idle: {bytes} bytes, {allocated} of them allocated");
    assert!(allocated <= 64, "{allocated} bytes are allocated before anything happened");
    assert!(bytes <= 2_048, "idle machines hold {bytes} bytes");
}
