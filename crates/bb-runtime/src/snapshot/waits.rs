//! Section 11: ops that wait, with what they wait for.

use std::collections::BTreeMap;
use std::time::Duration;

use bb_framework::state::Remaining;
use bb_framework::{Charge, RequestId};
use bb_ir::wire_codec::Cursor;
use bb_ir::wire_codec::write::{put_bytes, put_varint_field, zigzag};

use super::codec::{
    At, Bad, Read, close, fields, index32, list, message, open, put_moment, put_number, put_numbers,
    put_peer, set, unknown,
};
use super::frames::load_held;
use super::permits::needed;
use super::restore::Waits;
use super::save::Saving;
use super::{Fault, SnapshotError};
use crate::engine::call::{Asked, AskedState, Call};
use crate::engine::dense::{Dispatch, SendKind};
use crate::engine::frame::SavedFrame;
use crate::engine::syscall::Syscall;
use crate::engine::wait::{Wait, WaitsFor};
use crate::{PeerId, Role, Time};

const ANSWER: u64 = 1;
const LEASE: u64 = 2;
const PEERS: u64 = 3;
const PERMIT: u64 = 4;
const QUORUM: u64 = 5;
const TIME: u64 = 6;

const ASKED_WAITING: u64 = 1;
const ASKED_WORKING: u64 = 2;
const ASKED_ANSWERED: u64 = 3;
const ASKED_FAILED: u64 = 4;

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    let engine = cx.engine;
    for (due, id, wait) in engine.waits.in_order() {
        let entry = open(out, 1);
        put_number(out, 1, id);
        put_number(out, 2, cx.frame_number(wait.frame).map_or(0, u64::from));
        put_number(out, 3, u64::from(wait.op));
        put_number(out, 4, nanos(wait.after));
        put_moment(out, 5, Remaining::of(due, cx.now));
        if let Some(own) = wait.own {
            put_varint_field(out, 10, zigzag(Remaining::of(own, cx.now).0));
        }
        match &wait.on {
            WaitsFor::Answer => put_number(out, 6, ANSWER),
            WaitsFor::Lease(slot) => {
                put_number(out, 6, LEASE);
                put_number(out, 7, u64::from(*slot));
            }
            WaitsFor::Permit(_) => put_number(out, 6, PERMIT),
            WaitsFor::Quorum => put_number(out, 6, QUORUM),
            WaitsFor::Timer(held) => {
                put_number(out, 6, TIME);
                cx.put_held(out, 9, held);
            }
            WaitsFor::Peers(call) => {
                put_number(out, 6, PEERS);
                let entry = open(out, 8);
                put_call(cx, out, call);
                close(out, entry);
            }
        }
        close(out, entry);
    }
    Ok(())
}

fn put_call(cx: &mut Saving<'_>, out: &mut super::TryBytes, call: &Call) {
    put_number(out, 1, u64::from(call.send));
    for held in &call.captured {
        cx.put_held(out, 2, held);
    }
    for asked in &call.peers {
        message(out, 3, |out| {
            put_peer(out, 1, asked.peer);
            put_bytes(out, 2, &asked.request.0);
            let (state, failure) = match &asked.state {
                AskedState::Waiting => (ASKED_WAITING, None),
                AskedState::Working(_) => (ASKED_WORKING, None),
                AskedState::Answered => (ASKED_ANSWERED, None),
                AskedState::Failed(reason) => (ASKED_FAILED, Some(reason)),
            };
            put_number(out, 3, state);
            if let Some(failure) = failure {
                put_bytes(out, 4, failure.as_bytes());
            }
        });
    }
    let places: BTreeMap<PeerId, u64> = call.peers.iter().map(|asked| asked.peer).zip(0..).collect();
    let answered: Vec<u64> = call.answered.iter().filter_map(|peer| places.get(peer).copied()).collect();
    put_numbers(out, 4, &answered);
}

/// The waits, each checked against the op that waits.
pub(super) fn load(
    section: &[u8],
    frames: &[SavedFrame],
    charges: &[Charge],
    reserved: u64,
    now: Time,
) -> Result<Waits, Bad> {
    // Frames by the answer that they work on.
    let working: BTreeMap<(u64, u32), u32> =
        frames.iter().zip(0..).filter_map(|(frame, index)| Some((frame.answers?, index))).collect();
    let mut all = Vec::new();
    let mut used = 0;
    list(Cursor::new(section), "waits", |entry| {
        let (due, id, wait) = wait(entry, (frames, charges), &working, &mut used, now)?;
        if id >= reserved {
            return Err(Bad::inconsistent("it has an id that was not given yet").named("id"));
        }
        all.push((due, id, wait));
        Ok(())
    })?;
    if used != working.len() || working.len() != frames.iter().filter(|held| held.answers.is_some()).count() {
        return Err(Bad::inconsistent("a frame works on an answer that nobody asked for"));
    }
    Ok(all)
}

fn wait(
    entry: Cursor<'_>,
    (frames, charges): (&[SavedFrame], &[Charge]),
    working: &BTreeMap<(u64, u32), u32>,
    used: &mut usize,
    now: Time,
) -> Result<(Remaining, u64, Wait), Bad> {
    let mut numbers = [None; 7];
    let (mut due, mut call, mut value, mut own) = (None, None, None, None);
    fields(entry, |field| match field.number {
        number @ (1..=4 | 6 | 7) => set(&mut numbers[number as usize - 1], &field, field.varint()?),
        5 => set(&mut due, &field, field.moment()?),
        8 => set(&mut call, &field, field.bytes()?),
        10 => set(&mut own, &field, field.moment()?.at(now)),
        9 => set(&mut value, &field, load_held(field.bytes()?, charges)?),
        _ => Err(unknown(&field)),
    })?;
    let number = |field: usize| numbers[field - 1].unwrap_or(0);
    let (id, frame, op) = (number(1), index32(number(2))?, index32(number(3))?);
    let held = frames.get(frame as usize);
    let held = held.ok_or_else(|| Bad::inconsistent("no such frame").named("frame"))?;
    let dispatch = held.region.ops.get(op as usize).map(|op| op.dispatch);
    let dispatch = dispatch.ok_or_else(|| Bad::inconsistent("no such op").named("op"))?;
    let syscall = match dispatch {
        Dispatch::Syscall(syscall) => held.region.syscalls.get(syscall as usize),
        _ => None,
    };
    let other_op = || Bad::inconsistent("the op does not wait for that").named("kind");
    let on = match number(6) {
        ANSWER => match dispatch {
            Dispatch::Method(..) => WaitsFor::Answer,
            _ => return Err(other_op()),
        },
        LEASE => match dispatch {
            Dispatch::Method(method, slot)
                if method.role() == Role::Aggregator && u64::from(slot) == number(7) =>
            {
                WaitsFor::Lease(slot)
            }
            _ => return Err(other_op()),
        },
        PEERS => {
            let Dispatch::Send(send) = dispatch else { return Err(other_op()) };
            let call = call.take().ok_or_else(|| Bad::missing("call"))?;
            let read = read_call(call, (id, send), held, frames, charges, working, used);
            WaitsFor::Peers(Box::new(read.named("call")?))
        }
        PERMIT => match needed(&held.region, op) {
            Some((key, _)) => WaitsFor::Permit(key),
            None => return Err(other_op()),
        },
        QUORUM => match syscall {
            Some(Syscall::Quorum { deadline: Some(_), .. }) => WaitsFor::Quorum,
            _ => return Err(other_op()),
        },
        TIME => match syscall {
            Some(Syscall::After { .. } | Syscall::Sleep) => {
                WaitsFor::Timer(value.take().ok_or_else(|| Bad::missing("held"))?)
            }
            _ => return Err(other_op()),
        },
        number => return Err(Bad::new(Fault::Unknown { number }).named("kind")),
    };
    if call.is_some() || value.is_some() {
        return Err(other_op());
    }
    let after = Duration::from_nanos(number(4));
    Ok((due.unwrap_or_default(), id, Wait { execution: held.execution, frame, op, after, own, on }))
}

fn read_call(
    entry: Cursor<'_>,
    (wait, send): (u64, u32),
    caller: &SavedFrame,
    frames: &[SavedFrame],
    charges: &[Charge],
    working: &BTreeMap<(u64, u32), u32>,
    used: &mut usize,
) -> Result<Call, Bad> {
    let SendKind::Request(request) = &caller.region.sends[send as usize].kind else {
        return Err(Bad::inconsistent("the op sends no request"));
    };
    let (mut saved_send, mut answered) = (None, None);
    let mut captured = Vec::new();
    let mut peers: Vec<Asked> = Vec::new();
    let mut work = Vec::new();
    fields(entry, |field| {
        match field.number {
            1 => set(&mut saved_send, &field, index32(field.varint()?)?)?,
            2 => {
                captured.push(load_held(field.bytes()?, charges).numbered(captured.len()).named("captured")?)
            }
            3 => {
                let read = field.bytes().map_err(Bad::from).and_then(asked);
                let (asked, works) = read.numbered(peers.len()).named("peers")?;
                if works {
                    work.push(peers.len());
                }
                peers.push(asked);
            }
            4 => set(&mut answered, &field, field.numbers()?)?,
            _ => return Err(unknown(&field)),
        }
        Ok(())
    })?;
    if saved_send.unwrap_or(0) != send || captured.len() != request.captured as usize {
        return Err(Bad::inconsistent("it is not what the op sends"));
    }
    for index in work {
        let frame = working.get(&(wait, index as u32)).copied();
        let frame = frame.filter(|&frame| {
            let held = &frames[frame as usize];
            held.execution == caller.execution && Some(held.region.index) == request.answer
        });
        let missing = || Bad::inconsistent("no frame works on its answer").numbered(index).named("peers");
        peers[index].state = AskedState::Working(frame.ok_or_else(missing)?);
        *used += 1;
    }
    let mut seen: Vec<PeerId> = peers.iter().map(|asked| asked.peer).collect();
    seen.sort_unstable();
    if seen.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Bad::inconsistent("a peer is asked twice").named("peers"));
    }
    let mut order = Vec::new();
    for place in answered.unwrap_or_default() {
        let asked = usize::try_from(place).ok().and_then(|place| peers.get(place));
        let asked = asked.filter(|asked| asked.state == AskedState::Answered && !order.contains(&asked.peer));
        order.push(asked.ok_or_else(|| Bad::inconsistent("it did not answer").named("answered"))?.peer);
    }
    if order.len() != peers.iter().filter(|asked| asked.state == AskedState::Answered).count() {
        return Err(Bad::inconsistent("a peer that answered is missing").named("answered"));
    }
    let failed = peers.iter().filter(|asked| matches!(asked.state, AskedState::Failed(_))).count();
    let needed = request.quorum.map_or(peers.len(), |quorum| quorum as usize);
    if order.len() >= needed || peers.len() - failed < needed {
        return Err(Bad::inconsistent("it is decided already"));
    }
    Ok(Call { send, captured: captured.into(), peers, needed, answered: order, failed })
}

/// Who was asked, and whether a frame works on the answer.
fn asked(entry: Cursor<'_>) -> Result<(Asked, bool), Bad> {
    let (mut peer, mut request, mut state, mut failure) = (None, None, None, None);
    fields(entry, |field| match field.number {
        1 => set(&mut peer, &field, field.peer()?),
        2 => set(&mut request, &field, RequestId(field.array()?)),
        3 => set(&mut state, &field, field.varint()?),
        4 => set(&mut failure, &field, field.string()?),
        _ => Err(unknown(&field)),
    })?;
    let works = state == Some(ASKED_WORKING);
    let state = match (state, failure) {
        (Some(ASKED_WAITING | ASKED_WORKING), None) => AskedState::Waiting,
        (Some(ASKED_ANSWERED), None) => AskedState::Answered,
        (Some(ASKED_FAILED), failure) => AskedState::Failed(failure.unwrap_or_default()),
        (number, _) => return Err(Bad::new(Fault::Unknown { number: number.unwrap_or(0) }).named("state")),
    };
    let asked = Asked {
        peer: peer.ok_or_else(|| Bad::missing("peer"))?,
        request: request.ok_or_else(|| Bad::missing("request"))?,
        state,
    };
    Ok((asked, works))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
