//! A hostile peer at full speed, in a thread of its own, while an honest one asks and is answered: half of the honest work
//! is done at least, memory stays within its bound, and what is known of others is untouched.
//!
//! One test alone in its file, because it measures the memory of the whole process: what the system says is resident, for
//! an allocator that counts would be shared by both threads and slow the one by the other. It takes two seconds;
//! `BB_HOSTILE_SECONDS=60` makes it the whole proof.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what was measured is shown")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bb_framework::{DenyReason, MessageId, RequestId};
use bb_ir::Digest;
use bb_ir::program::{Attribute, Graph, Node as Op, OpId, Program, Region, RegionKind, Target, domains};
use bb_runtime::envelope::{Correlation, Envelope, EnvelopeLimits, Fill, Notice, scan};
use bb_runtime::{
    Address, CompiledModel, Config, DeliveryError, EngineStep, IngressHandle, Node, NodeConfig, PeerId, Time,
    Value, ValueType,
};

const SEED: u64 = 0x5eed_ba11;
const HONEST: u64 = 1;
const BLOCKED: u64 = 2;
const HOSTILE: u64 = 666;
/// Questions of the honest peer that have no answer yet.
const WINDOW: u64 = 32;
/// How long the hostile peer is silent, and how long it is not.
const PHASE: Duration = Duration::from_millis(125);
/// What the thread of the hostile peer does: nothing, or press under this id.
const SILENT: u64 = 0;
/// The test is over.
const OVER: u64 = u64::MAX;

/// A target that answers what comes to port 20 with the same, and hands out what comes to port 10.
fn program() -> CompiledModel {
    let region = |port: i64, sink: Op, is_output: bool| {
        let mut graph = Graph { name: "region".to_owned(), ..Graph::default() };
        let x = graph.add_value("x", ValueType::Any);
        graph.add_node(Op {
            op: OpId::new(domains::WIRE, "Recv"),
            outputs: vec![Some(x)],
            attributes: [("port".to_owned(), Attribute::Int(port))].into(),
            ..Op::default()
        });
        if is_output {
            graph.outputs.push(bb_ir::program::NamedValue { name: "x".to_owned(), value: x });
        } else {
            graph.add_node(Op { inputs: vec![Some(x)], ..sink });
        }
        Region { kind: RegionKind::Receive, graph }
    };
    let reply = Op {
        op: OpId::new(domains::WIRE, "Send"),
        attributes: [
            ("kind".to_owned(), Attribute::Str("reply".to_owned())),
            ("ports".to_owned(), Attribute::Ints(vec![21])),
        ]
        .into(),
        ..Op::default()
    };
    let regions = vec![region(10, Op::default(), true), region(20, reply, false)];
    let target = Target { name: "Echo".to_owned(), class: "Echo".to_owned(), regions };
    let program = Program { name: "Test".to_owned(), opset: 21, targets: vec![target], ..Program::default() };
    CompiledModel::new(program, BTreeMap::new())
}

fn request(program: Digest, counter: u64, value: Value) -> Envelope {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&counter.to_le_bytes());
    Envelope {
        message_id: MessageId { incarnation: 1, counter },
        program,
        correlation: Some(Correlation::Request(RequestId(id))),
        fills: vec![Fill { port: 20, value }],
        ..Envelope::default()
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A message of every kind in turn, each of them unlike all before.
fn hostile(program: Digest, counter: u64, rng: &mut Rng) -> Vec<u8> {
    let ask = request(program, counter, Value::I64(counter as i64));
    let guessed = RequestId([(rng.next() % 256) as u8; 16]);
    let cast = |port, value| Envelope {
        correlation: None,
        fills: vec![Fill { port, value }],
        ..request(program, counter, Value::Trigger)
    };
    match counter % 16 {
        0 => ask.encode(),
        1 => request(program, counter, Value::Bytes(vec![6; 2_000].into())).encode(),
        2 => Envelope { correlation: Some(Correlation::Response(guessed)), ..ask }.encode(),
        3 => {
            let failure = Correlation::Failure { request: guessed, reason: "no".into() };
            Envelope { correlation: Some(failure), fills: Vec::new(), ..ask }.encode()
        }
        4 => {
            let notice = Some(Notice::Backpressure { retry_after: Duration::from_secs(9) });
            Envelope { notice, correlation: None, fills: Vec::new(), ..ask }.encode()
        }
        5 => {
            let text = format!("/ip4/192.0.2.{}/udp/{}/quic-v1", rng.next() % 256, rng.next() % 65_536);
            Envelope { addresses: [text.parse::<Address>().unwrap()].into(), ..ask }.encode()
        }
        6 => Envelope { program: Digest([rng.next() as u8; 32]), ..ask }.encode(),
        7 => cast(10, Value::from("to the application")).encode(),
        8 => cast(99, Value::from("to a port that is not there")).encode(),
        9 => request(program, counter, Value::Tuple(vec![Value::Trigger; 60].into())).encode(),
        // The same again.
        10 => request(program, counter / 1_000, Value::Trigger).encode(),
        11 => vec![0xff; 500],
        12 => {
            let mut bytes = ask.encode();
            bytes.truncate(rng.next() as usize % bytes.len());
            bytes
        }
        13 => {
            let mut bytes = ask.encode();
            let place = rng.next() as usize % bytes.len();
            bytes[place] ^= 1 << (rng.next() % 8);
            bytes
        }
        // Large, and larger than an envelope may be.
        14 if counter % 256 == 14 => cast(10, Value::Bytes(vec![7; 60_000].into())).encode(),
        15 if counter % 256 == 15 => vec![8; 300_000],
        _ => ask.encode(),
    }
}

/// Presses as `who` says, until it is over; how many messages were handed in and how many of them were taken.
fn press(handle: &IngressHandle, program: Digest, who: &AtomicU64) -> (u64, u64) {
    let mut rng = Rng(SEED);
    let (mut tried, mut taken) = (0, 0);
    loop {
        match who.load(Ordering::Acquire) {
            OVER => return (tried, taken),
            SILENT => thread::park(),
            id => {
                tried += 1;
                let bytes = hostile(program, tried, &mut rng);
                match handle.deliver_inbound(PeerId::from_u64(id), &bytes) {
                    Ok(()) => taken += 1,
                    Err(
                        DeliveryError::QueueFull { .. }
                        | DeliveryError::BudgetExceeded { .. }
                        | DeliveryError::OversizePayload { .. }
                        | DeliveryError::PeerDenied { .. },
                    ) => {}
                    Err(error) => panic!("seed {SEED:#x}, message {tried}: {error}"),
                }
            }
        }
    }
}

/// The host, which drives the node, and the honest peer, which asks it.
struct Honest {
    node: Node,
    handle: IngressHandle,
    program: Digest,
    begin: Instant,
    asked: u64,
    answered: u64,
}

/// Ends the thread of the hostile peer, also when the test fails: who made it waits for its end.
struct Presser<'a> {
    who: &'a AtomicU64,
    thread: thread::Thread,
}

impl Presser<'_> {
    /// Presses as `id`, or is silent, from now on.
    fn set(&self, id: u64) {
        self.who.store(id, Ordering::Release);
        self.thread.unpark();
    }
}

impl Drop for Presser<'_> {
    fn drop(&mut self) {
        self.set(OVER);
    }
}

impl Honest {
    /// Asks and is answered for so long; questions answered a second, of the clock and of this thread.
    fn work(&mut self, duration: Duration) -> [f64; 2] {
        let (begin, ran, before) = (now(), thread_time(), self.answered);
        while begin.elapsed() < duration {
            while self.asked < self.answered + WINDOW {
                let question = request(self.program, self.asked, Value::I64(self.asked as i64));
                match self.handle.deliver_inbound(PeerId::from_u64(HONEST), &question.encode()) {
                    Ok(()) => self.asked += 1,
                    Err(DeliveryError::QueueFull { .. } | DeliveryError::BudgetExceeded { .. }) => break,
                    Err(error) => panic!("question {}: {error}", self.asked),
                }
            }
            self.step();
        }
        let took = [begin.elapsed(), thread_time().saturating_sub(ran)];
        took.map(|took| (self.answered - before) as f64 / took.as_secs_f64())
    }

    /// Works until nothing waits.
    fn drain(&mut self) {
        while self.node.engine_stats().ingress > 0 || self.node.engine_stats().executions > 0 {
            self.step();
        }
    }

    fn step(&mut self) {
        for step in self.node.step(Time::ZERO + self.begin.elapsed()) {
            if let EngineStep::SendEnvelope { peer, bytes, .. } = step
                && peer == PeerId::from_u64(HONEST)
            {
                let scanned = scan(&bytes, &EnvelopeLimits::default()).unwrap();
                if let Some(Notice::Backpressure { retry_after }) = scanned.notice() {
                    assert_eq!(retry_after, Duration::ZERO, "it is told, and not asked for silence");
                    continue;
                }
                assert!(matches!(scanned.correlation(), Some(Correlation::Response(_))), "{scanned:?}");
                self.answered += 1;
            }
        }
    }
}

#[test]
fn half_of_the_honest_work_is_done_at_least_and_memory_stays_within_its_bound() {
    let whole = std::env::var("BB_HOSTILE_SECONDS").ok().map(|text| text.parse::<u64>().unwrap());
    let limits = NodeConfig::edge();
    let bound = limits.memory_bound();
    let model = program();
    let program = model.digest();
    let config = Config::new().node(limits);
    let mut node = bb_runtime::install(PeerId::from_u64(0), [], model, &["Echo"], config).unwrap();
    let known: Address = "/ip4/198.51.100.1/udp/4001/quic-v1".parse().unwrap();
    node.add_peer(PeerId::from_u64(HONEST), [known.clone()]).unwrap();
    node.block_peer(PeerId::from_u64(BLOCKED)).unwrap();
    let handle = node.ingress_handle();
    let mut honest = Honest { node, handle: handle.clone(), program, begin: now(), asked: 0, answered: 0 };
    let who = AtomicU64::new(SILENT);
    let (before, mut peak) = (resident_bytes(), 0);

    let mut rates = [[Vec::new(), Vec::new(), Vec::new()], [Vec::new(), Vec::new(), Vec::new()]];
    let (tried, taken) = thread::scope(|scope| {
        let running = scope.spawn(|| press(&handle, program, &who));
        let presser = Presser { who: &who, thread: running.thread().clone() };
        let begin = now();
        let mut rounds = 0;
        while begin.elapsed() < Duration::from_secs(whole.unwrap_or(2)) {
            rounds += 1;
            // Silence; one that is not known yet, so that no notice has come to bear on it; one that presses on and on.
            for (kind, id) in [SILENT, HOSTILE + rounds, HOSTILE].into_iter().enumerate() {
                // What is left of the phase before is nobody's to wait for.
                presser.set(SILENT);
                honest.drain();
                presser.set(id);
                let [clock, own] = honest.work(PHASE);
                peak = peak.max(resident_bytes().saturating_sub(before));
                rates[0][kind].push(clock);
                rates[1][kind].push(own);
            }
        }
        drop(presser);
        running.join().unwrap()
    });
    honest.drain();
    let stats = honest.node.engine_stats();
    let mean = |rates: &Vec<f64>| rates.iter().sum::<f64>() / rates.len() as f64;
    let [clock, own] = rates.map(|kinds| {
        let [silent, unknown, pressing] = kinds.each_ref().map(mean);
        [silent, unknown / silent, pressing / silent]
    });
    println!(
        "seed {SEED:#x}: {} questions answered, {:.0} a second in silence; beside a hostile peer not known yet {:.2} \
         of that, beside one that is {:.2} (of the time of the thread: {:.2}, {:.2}); it tried {tried} messages and \
         {taken} were taken; peak {peak} of {bound} bytes; muted {} times, {} turned away, refused {:?}",
        honest.answered,
        clock[0],
        clock[1],
        clock[2],
        own[1],
        own[2],
        stats.mutes,
        stats.turned_away,
        stats.ingress_refusals,
    );
    // The whole proof has the machine to itself; beside other work only the thread's own time tells something.
    let ratios = if whole.is_some() { clock } else { own };
    assert!(ratios[1] >= 0.5 && ratios[2] >= 0.5, "{clock:?} {own:?} {stats:?}");
    assert_eq!(honest.asked, honest.answered, "{stats:?}");
    assert!(taken > 1_000, "the hostile peer was hardly heard: {stats:?}");
    assert!(peak <= bound, "{peak} of {bound} bytes");
    assert_eq!((stats.bytes_in_flight, stats.executions, stats.ingress), (0, 0, 0), "{stats:?}");
    let node = &honest.node;
    assert_eq!(node.resolve_peer_addresses(PeerId::from_u64(HONEST)), [known]);
    assert!(node.peer_health(PeerId::from_u64(HONEST)).muted_until.is_none());
    assert!(stats.peers_known <= node.config().address_book_peers);
    let refused =
        honest.node.deliver_inbound(PeerId::from_u64(BLOCKED), &request(program, 0, Value::Trigger).encode());
    assert!(
        matches!(refused, Err(DeliveryError::PeerDenied { reason: DenyReason::Blocklisted, .. })),
        "{refused:?}"
    );
}

#[expect(clippy::disallowed_methods, reason = "what is measured is speed")]
fn now() -> Instant {
    Instant::now()
}

/// Bytes of the process in memory; 0 where the system does not tell.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split_whitespace().nth(1)?.parse::<usize>().ok());
    pages.unwrap_or_default() * 4_096
}

/// For how long this thread ran; where the system does not tell, the time of the clock.
fn thread_time() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|text| text.split_whitespace().next()?.parse().ok());
    static BEGIN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    nanos.map_or_else(|| BEGIN.get_or_init(now).elapsed(), Duration::from_nanos)
}
