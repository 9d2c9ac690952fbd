//! Reads all tables, checks them against each other and against the node, and makes new ones.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bb_framework::{DedupWindow, OutboundQueue, RequestTracker, Rng, Scheduler};

use super::codec::{At, Bad};
use super::counters::Counted;
use super::{
    Fault, NodeSnapshot, RestoreError, address_book, bootstraps, bus, charges, completions, components,
    counters, executions, frames, frontier, governor, holds, identity, inbox, limits, lines, name, outbound,
    peers, permits, requests, rng, seen, steps, timers, waits,
};
use crate::contracts::CompletionSink;
use crate::engine::call::AskedState;
use crate::engine::components::Components;
use crate::engine::execution::{Execution, Executions};
use crate::engine::frame::{Frame, Frames, Frontier, Held, Open, SavedFrame};
use crate::engine::holds::{Holds, Records};
use crate::engine::peers::Peers;
use crate::engine::permits::Permits;
use crate::engine::wait::{self, Leases, SavedWait, WaitsFor};
use crate::engine::wire::Outgoing;
use crate::engine::{Counters, Engine};
use crate::ingress::{Completed, Door, Epoch, SavedInputs};
use crate::node::lines::Lines;
use crate::{EngineStep, Name, NodeConfig, Time};

/// All that takes the place of what the node has.
pub(crate) struct Restored {
    pub(crate) incarnation: u64,
    pub(crate) now: Time,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) duplicates: u64,
    pub(crate) notices: (u64, u64),
    pub(crate) budget_refused: u64,
    pub(crate) door: Door,
    pub(crate) turned_away: (u64, u64),
    pub(crate) counters: Counters,
    pub(crate) rng: Rng,
    pub(crate) peers: Peers,
    pub(crate) components: Components,
    pub(crate) executions: Executions,
    pub(crate) frames: Frames,
    pub(crate) frontier: Frontier,
    pub(crate) waits: wait::Waits,
    pub(crate) leases: Leases,
    pub(crate) permits: Permits,
    pub(crate) bootstraps: bootstraps::Saved,
    pub(crate) parked: VecDeque<(u32, u32)>,
    pub(crate) is_started: bool,
    pub(crate) timers: Scheduler<(u32, u32)>,
    pub(crate) sources_skipped: u64,
    pub(crate) events: VecDeque<(Name, Held)>,
    pub(crate) bus_dropped: u64,
    pub(crate) phases: (VecDeque<Name>, BTreeMap<Name, u64>),
    pub(crate) holds: Holds,
    pub(crate) records: Records,
    pub(crate) requests: RequestTracker<(u64, u32)>,
    pub(crate) seen: DedupWindow,
    pub(crate) outbound: OutboundQueue<Outgoing>,
    pub(crate) lines: Lines,
    pub(crate) inputs: SavedInputs,
    pub(crate) completions: VecDeque<Completed>,
    pub(crate) steps: Vec<EngineStep>,
    pub(crate) epoch: Arc<Epoch>,
}

/// The waits that were saved, in their order.
pub(crate) type Waits = Vec<SavedWait>;

/// What executions are made of.
struct Running {
    executions: Executions,
    frames: Frames,
    frontier: Frontier,
    waits: wait::Waits,
    leases: Leases,
    permits: Permits,
    bootstraps: bootstraps::Saved,
    parked: VecDeque<(u32, u32)>,
    requests: RequestTracker<(u64, u32)>,
    /// Waits for components.
    answers: BTreeSet<u64>,
}

/// Everything that the snapshot says, checked; the node is not touched.
pub(crate) fn read(
    snapshot: &NodeSnapshot,
    engine: &Engine,
    node: Arc<dyn CompletionSink>,
) -> Result<Restored, RestoreError> {
    check_identity(snapshot, engine)?;
    let section = |number| snapshot.section(number);
    let incarnation = engine.incarnation.max(snapshot.incarnation()).checked_add(1);
    let incarnation = incarnation.ok_or_else(|| RestoreError::LimitExceeded {
        limit: "incarnation".to_owned(),
        got: u64::MAX,
        cap: u64::MAX - 1,
    })?;
    let own = &engine.limits;
    let identity = identity::load(section(1)).named("node")?;
    let installed: Vec<&str> = engine.targets.iter().map(|target| target.name.as_str()).collect();
    if identity.targets != installed {
        return Err(RestoreError::SnapshotMismatch {
            what: "set of targets".to_owned(),
            got: identity.targets.join(", "),
            expected: installed.join(", "),
        });
    }
    // Time never goes back, for neither of the two.
    let now = engine.now.max(identity.now);
    limits::load(section(2)).named("limits")?;
    let counted = counters::load(section(19)).named("counters")?;
    let rng = rng::load(section(3)).named("rng")?;
    let mut book = address_book::load(section(4), engine.peer_id, own).named("address_book")?;
    book.set_counters(counted.book);
    let governor = governor::load(section(5), counted.governor, own, now).named("governor")?;
    let mut peers = Peers::from_parts(book, governor, own);
    peers::load_proofs(section(26), own, &mut peers).named("address_proofs")?;
    peers.proofs.set_counters(counted.proofs.0, counted.proofs.1);
    peers::load_rtt(section(27), own, &mut peers).named("rtt")?;
    peers.rtt.set_evicted(counted.rtt_evicted);
    peers::load_pressure(section(28), own, &mut peers, counted.pressure, now).named("backpressure")?;
    peers::load_heard(section(29), own, &mut peers, now).named("heard")?;
    peers.heard_dropped = counted.heard_dropped;
    let saved = components::load(section(6), &engine.lowered, &engine.components)?;
    let charges = charges::load(section(63), &engine.budget)?;
    let running = read_running(snapshot, engine, &identity, &counted, &charges, now)?;
    let seen = seen::load(section(13), counted.seen_evicted, own.dedup_window).named("seen")?;
    let outbound = outbound::load(section(14), counted.outbound, own).named("outbound")?;
    let lines = lines::load(section(15), &engine.targets, &charges, own.ingress_queue).named("lines")?;
    let inputs = inbox::load(section(16), &engine.targets, &charges, own.ingress_queue).named("inbox")?;
    let completions = completions::load(section(17), own.pending_async).named("completions")?;
    let (steps, ended) = steps::load(section(18), &engine.targets).named("steps")?;
    let (refused, capacity) = (counted.source_timers_refused, own.timers);
    let (is_started, timers) =
        timers::load(section(21), &engine.targets, (refused, capacity), now).named("timers")?;
    let events = bus::load(section(22), &engine.bus, &charges, own.bus).named("bus")?;
    let phases = bus::load_phases(section(23), &engine.phases).named("phases")?;
    let holds = holds::load(section(24), &charges, own.holds).named("holds")?;
    let records =
        holds::load_records(section(25), &charges, own.records, counted.records_refused).named("records")?;
    let epoch = Arc::new(Epoch::staged(node));
    let sink: Arc<dyn CompletionSink> = epoch.clone();
    let components = components::make(&saved, &engine.lowered, &engine.components, &sink, running.answers)?;
    let Running {
        mut executions,
        frames,
        frontier,
        waits,
        leases,
        permits,
        bootstraps,
        parked,
        requests,
        ..
    } = running;
    let mut known: BTreeSet<_> = executions.iter().map(|(_, held)| held.id).collect();
    if !ended.iter().all(|ended| known.insert(ended.id)) {
        return Err(Bad::inconsistent("an execution ends twice, or is under way").named("steps").into());
    }
    executions.ended = ended;
    Ok(Restored {
        incarnation,
        now,
        sent: identity.messages_sent,
        received: counted.messages_received,
        duplicates: counted.duplicates,
        notices: counted.notices,
        budget_refused: counted.budget_refused,
        door: counted.door,
        turned_away: counted.turned_away,
        counters: counted.engine,
        rng,
        peers,
        components,
        executions,
        frames,
        frontier,
        waits,
        leases,
        permits,
        bootstraps,
        parked,
        is_started,
        timers,
        sources_skipped: counted.sources_skipped,
        events,
        bus_dropped: counted.bus_dropped,
        phases,
        holds,
        records,
        requests,
        seen,
        outbound,
        lines,
        inputs,
        completions,
        steps,
        epoch,
    })
}

fn check_identity(snapshot: &NodeSnapshot, engine: &Engine) -> Result<(), RestoreError> {
    if snapshot.peer_id() != engine.peer_id {
        return Err(RestoreError::other_peer(snapshot.peer_id(), engine.peer_id));
    }
    let (got, expected) = (snapshot.program_digest(), engine.wire.program);
    if got != expected {
        return Err(RestoreError::SnapshotMismatch {
            what: "program".to_owned(),
            got: got.to_string(),
            expected: expected.to_string(),
        });
    }
    match snapshot.section_numbers().find(|&number| name(number).is_none()) {
        None => Ok(()),
        Some(number) => {
            let fault = Fault::Unknown { number: u64::from(number) };
            Err(RestoreError::Corrupt { section: "header".to_owned(), fault })
        }
    }
}

fn read_running(
    snapshot: &NodeSnapshot,
    engine: &Engine,
    identity: &identity::Identity,
    counted: &Counted,
    charges: &[bb_framework::Charge],
    now: Time,
) -> Result<Running, RestoreError> {
    let own = &engine.limits;
    let begun = identity.executions_begun;
    let saved =
        executions::load(snapshot.section(8), snapshot.incarnation(), begun, engine.targets.len(), now)
            .named("executions")?;
    within("executions", saved.len(), own.executions)?;
    let (mut executions, leases): (Vec<Execution>, Vec<_>) =
        saved.into_iter().map(|saved| (saved.execution, saved.leases)).unzip();
    let frames = frames::load(
        snapshot.section(9),
        (&engine.targets, &engine.bootstraps.regions),
        charges,
        &mut executions,
    )
    .named("frames")?;
    let (frontier, granted) = frontier::load(snapshot.section(10), &frames).named("frontier")?;
    let waits =
        waits::load(snapshot.section(11), &frames, charges, identity.waits_reserved, now).named("waits")?;
    let requests =
        requests::load(snapshot.section(12), counted.requests, own.pending_async, now).named("requests")?;
    check_waits(&executions, &waits).named("waits")?;
    check_requests(&waits, &requests).named("requests")?;
    let leases = make_leases(leases, &waits, engine.lowered.slots.len()).named("executions")?;
    let needed = |frame: u32, op: u32| permits::needed(&frames[frame as usize].region, op);
    let mut permits = permits::load(snapshot.section(20), &executions, &waits, needed).named("permits")?;
    permits.granted = granted;
    let answers = waits
        .iter()
        .filter(|(_, _, wait)| matches!(wait.on, WaitsFor::Answer))
        .map(|(_, id, _)| *id)
        .collect();
    let bootstraps = bootstraps::load(snapshot.section(30), engine, charges, &executions, frames.len())
        .named("bootstraps")?;
    let (frames, frontier, parked) = make_frames(frames, &frontier, &bootstraps.parked, &waits)?;
    let waits =
        make_waits(waits, identity.waits_reserved, own, counted.timers_refused, now).named("waits")?;
    let executions = Executions::from_saved(executions, begun);
    Ok(Running {
        executions,
        frames,
        frontier,
        waits,
        leases,
        permits,
        bootstraps,
        parked,
        requests,
        answers,
    })
}

fn within(limit: &str, got: usize, cap: usize) -> Result<(), RestoreError> {
    match got > cap {
        false => Ok(()),
        true => {
            Err(RestoreError::LimitExceeded { limit: limit.to_owned(), got: got as u64, cap: cap as u64 })
        }
    }
}

fn make_waits(
    waits: Waits,
    next: u64,
    own: &NodeConfig,
    refused: (u64, u64),
    now: Time,
) -> Result<wait::Waits, Bad> {
    Ok(wait::Waits::from_saved(waits, next, (own.pending_async, own.timers), refused, now)?)
}

/// Each execution lists its own waits, all of them and each once.
fn check_waits(executions: &[Execution], waits: &Waits) -> Result<(), Bad> {
    let holders: BTreeMap<u64, u32> = waits.iter().map(|(_, id, wait)| (*id, wait.execution)).collect();
    let mut listed = BTreeSet::new();
    for (index, execution) in executions.iter().enumerate() {
        let is_own = |id: &u64| holders.get(id) == Some(&(index as u32)) && listed.insert(*id);
        if !execution.waits.iter().all(is_own) {
            return Err(Bad::inconsistent("an execution lists a wait twice, or another's"));
        }
    }
    if listed.len() != waits.len() {
        return Err(Bad::inconsistent("a wait is there twice, or no execution lists it"));
    }
    Ok(())
}

/// Each peer that has not answered has a request, and each request such a peer.
fn check_requests(waits: &Waits, requests: &RequestTracker<(u64, u32)>) -> Result<(), Bad> {
    let mut count = 0;
    for (_, id, wait) in waits {
        let WaitsFor::Peers(call) = &wait.on else { continue };
        for (index, asked) in call.peers.iter().enumerate() {
            if asked.state == AskedState::Waiting {
                count += 1;
                if requests.get(asked.peer, asked.request).map(|(_, held)| *held) != Some((*id, index as u32))
                {
                    return Err(Bad::inconsistent("a peer that was asked has no request"));
                }
            }
        }
    }
    match count == requests.len() {
        true => Ok(()),
        false => Err(Bad::inconsistent("a request belongs to no op that waits")),
    }
}

fn make_leases(saved: Vec<Vec<(u32, VecDeque<u64>)>>, waits: &Waits, slots: usize) -> Result<Leases, Bad> {
    let mut wanted: BTreeMap<u64, u32> = waits
        .iter()
        .filter_map(|(_, id, wait)| match wait.on {
            WaitsFor::Lease(slot) => Some((*id, slot)),
            _ => None,
        })
        .collect();
    let mut leases = Leases::default();
    for (holder, held) in saved.into_iter().enumerate() {
        for (slot, waiting) in held {
            if slot as usize >= slots || waiting.iter().any(|id| wanted.remove(id) != Some(slot)) {
                return Err(Bad::inconsistent("its lease is of no slot, or waited for by another op")
                    .numbered(holder));
            }
            if !leases.lend_again(slot, holder as u32, waiting) {
                return Err(Bad::inconsistent("an aggregator is lent twice").numbered(holder));
            }
        }
    }
    match wanted.is_empty() {
        true => Ok(leases),
        false => Err(Bad::inconsistent("an op waits for an aggregator that nobody has")),
    }
}

/// Frames, what is ready in them, and what is parked.
type MadeFrames = (Frames, Frontier, VecDeque<(u32, u32)>);

fn make_frames(
    saved: Vec<SavedFrame>,
    frontier: &[Option<(u32, u32)>],
    parked: &[Option<(u32, u32)>],
    waits: &Waits,
) -> Result<MadeFrames, RestoreError> {
    let mut open: Vec<BTreeSet<(u32, Open)>> = saved.iter().map(|_| BTreeSet::new()).collect();
    let twice = || Bad::inconsistent("an op is ready or waits twice");
    for (index, entry) in frontier.iter().chain(parked).enumerate() {
        if let Some((frame, op)) = *entry
            && !open[frame as usize].insert((op, Open::Queued))
        {
            return Err(twice().numbered(index).named("frontier").into());
        }
    }
    for (index, (_, id, wait)) in waits.iter().enumerate() {
        let kind = match wait.on {
            WaitsFor::Lease(_) | WaitsFor::Permit(_) => Open::Waiting,
            WaitsFor::Quorum => Open::Quorum(*id),
            WaitsFor::Answer | WaitsFor::Peers(_) | WaitsFor::Timer(_) => Open::Taken,
        };
        if !open[wait.frame as usize].insert((wait.op, kind)) {
            return Err(twice().numbered(index).named("waits").into());
        }
    }
    let mut frames: Vec<Frame> = Vec::with_capacity(saved.len() + 1);
    for (index, (saved, open)) in saved.into_iter().zip(&open).enumerate() {
        let op_count = saved.region.ops.len() as u32;
        let rebuilt = match open.iter().any(|(op, _)| *op >= op_count) {
            true => Err("the region has no such op"),
            false => saved.rebuild(open),
        };
        let rebuilt = rebuilt.map_err(Bad::inconsistent);
        frames.push(rebuilt.numbered(index).named("frames")?);
    }
    let cancelled = frontier.iter().chain(parked).filter(|entry| entry.is_none()).count() as u32;
    let place_of_cancelled = frames.len() as u32;
    if cancelled > 0 {
        frames.push(Frame::cancelled(cancelled));
    }
    let place = |entry: &Option<(u32, u32)>| entry.unwrap_or((place_of_cancelled, 0));
    let (frontier, parked) = (frontier.iter().map(place).collect(), parked.iter().map(place).collect());
    Ok((Frames::from_saved(frames), frontier, parked))
}
