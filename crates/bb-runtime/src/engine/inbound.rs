//! Messages from peers, checked in this order: size, policy, pressure, structure, program, ports, types, repetition, budget.

use std::sync::Arc;

use smallvec::SmallVec;

use bb_framework::backpressure::Load;
use bb_framework::{Charge, RequestId, Unseen};

use super::Engine;
use super::dense::{Region, SendKind};
use super::execution::Origin;
use super::frame::Held;
use super::methods::kind;
use super::peers::Heard;
use super::wait::WaitsFor;
use crate::envelope::{Correlation, FillError, FillFault, Notice, Scan, ScannedFill, scan};
use crate::error::{DeliveryError, ReceiveError, ValueFault};
use crate::{EngineStep, PeerId, Time, Value, ValueType};
use bb_ir::program::RegionKind;
use bb_ir::wire_codec::ValueError;

/// Fills that could be taken, by argument or answer port, and those that could not.
#[derive(Default)]
struct Taken {
    values: SmallVec<[Option<Value>; 4]>,
    byte_count: usize,
    refused: Vec<(usize, ReceiveError)>,
    /// Bytes for which there was no memory.
    no_memory: Option<usize>,
}

impl Engine {
    /// Takes an envelope from a peer, which came through a queue as full as `load` says.
    pub(crate) fn deliver_inbound(
        &mut self,
        source: PeerId,
        bytes: &[u8],
        load: Load,
    ) -> Result<(), DeliveryError> {
        let (byte_count, cap) = (bytes.len(), self.limits.envelope_bytes);
        if byte_count > cap {
            return Err(DeliveryError::OversizePayload { byte_count, cap });
        }
        self.check_sender(source, load)
            .map_err(|reason| DeliveryError::PeerDenied { peer: source, reason })?;
        let envelope = scan(bytes, &self.wire.limits)?;
        if let Some(Notice::Backpressure { retry_after }) = envelope.notice() {
            self.wire.notices_received += 1;
            self.peers.hear(source, Heard::Notice(retry_after));
            return Ok(());
        }
        if envelope.program() != self.wire.program {
            return Err(DeliveryError::UnknownProgram { digest: envelope.program() });
        }
        match envelope.correlation() {
            Some(Correlation::Failure { request, reason }) => {
                self.receive_failure(source, &envelope, request, reason);
                Ok(())
            }
            Some(Correlation::Response(request)) => self.receive_answer(source, &envelope, request),
            Some(Correlation::Request(request)) => self.receive(source, &envelope, Some(request)),
            None => self.receive(source, &envelope, None),
        }
    }

    /// Starts an execution of the region that a message feeds.
    fn receive(
        &mut self,
        source: PeerId,
        envelope: &Scan<'_>,
        request: Option<RequestId>,
    ) -> Result<(), DeliveryError> {
        let mut region: Option<(u32, Arc<Region>)> = None;
        let mut taken = Taken::default();
        for fill in envelope.fills() {
            taken.take(fill, |port| {
                let (target, found, argument) = self.receiver(port, request.is_some())?;
                match &region {
                    None => region = Some((target, Arc::clone(found))),
                    Some((_, held)) if Arc::ptr_eq(held, found) => {}
                    Some(_) => return Err(ReceiveError::OtherRegion { port }),
                }
                Ok((argument as usize, &found.arguments[argument as usize].ty))
            });
        }
        taken.check_memory()?;
        let capacity = self.limits.executions;
        if region.is_some() && self.executions.len() >= capacity {
            return Err(DeliveryError::QueueFull { capacity });
        }
        let Some(unseen) = self.unseen(source, envelope) else { return Ok(()) };
        let charge = self.charge(taken.byte_count)?;
        self.admit(source, envelope, unseen);
        let refused = taken.refused.first().map(|(_, error)| error.to_string());
        self.report(source, taken.refused);
        match (region, request) {
            (Some((target, region)), unanswered) => {
                let deadline = envelope.deadline();
                let given = taken.values.into_iter().map(|value| held(value?, &charge).into());
                self.begin(target, &region, Some(Origin { peer: source, unanswered, deadline }), given);
            }
            (None, Some(request)) => {
                let reason = refused.unwrap_or_else(|| "the request has no values".to_owned());
                self.send_failure(source, request, &reason);
            }
            (None, None) => {}
        }
        Ok(())
    }

    /// Takes the answer to a request of this node.
    fn receive_answer(
        &mut self,
        source: PeerId,
        envelope: &Scan<'_>,
        request: RequestId,
    ) -> Result<(), DeliveryError> {
        let Some((until, &(wait, asked))) = self.wire.requests.get(source, request) else {
            self.note_late(source, request);
            return Ok(());
        };
        let Some(region) = self.region_of_wait(wait) else { return Ok(()) };
        let send = self.waits.get(wait).and_then(|held| match &held.on {
            WaitsFor::Peers(call) => Some(call.send),
            _ => None,
        });
        let Some(SendKind::Request(sent)) = send.map(|send| &region.sends[send as usize].kind) else {
            return Ok(());
        };
        let mut taken = Taken::default();
        taken.values.resize(sent.answer_ports.len(), None);
        for fill in envelope.fills() {
            taken.take(fill, |port| {
                let found = sent.answer_ports.iter().position(|(held, _)| *held == port);
                let index = found.ok_or(ReceiveError::UnknownPort { port })?;
                Ok((index, &sent.answer_ports[index].1))
            });
        }
        taken.check_memory()?;
        let Some(unseen) = self.unseen(source, envelope) else { return Ok(()) };
        let charge = self.charge(taken.byte_count)?;
        self.admit(source, envelope, unseen);
        self.end_request(source, request, until, wait);
        let refused = taken.refused.first().map(|(_, error)| error.to_string());
        self.report(source, taken.refused);
        let values: Option<SmallVec<[Held; 4]>> =
            taken.values.into_iter().map(|value| Some(held(value?, &charge))).collect();
        match (refused, values) {
            (None, Some(values)) => self.take_answer(wait, asked, source, values),
            (Some(reason), _) => self.take_failure(wait, asked, format!("its answer does not fit: {reason}")),
            (None, None) => self.take_failure(wait, asked, "its answer is incomplete".to_owned()),
        }
        Ok(())
    }

    fn receive_failure(&mut self, source: PeerId, envelope: &Scan<'_>, request: RequestId, reason: &str) {
        let Some((until, &(wait, asked))) = self.wire.requests.get(source, request) else {
            return self.note_late(source, request);
        };
        let Some(unseen) = self.unseen(source, envelope) else { return };
        self.admit(source, envelope, unseen);
        self.end_request(source, request, until, wait);
        self.take_failure(wait, asked, reason.to_owned());
    }

    /// Ends a request, which may be answered `until` then, that its peer answered, well or not.
    fn end_request(&mut self, peer: PeerId, request: RequestId, until: Time, wait: u64) {
        self.wire.requests.answer(peer, request);
        if let Some(after) = self.waits.get(wait).map(|held| held.after) {
            self.peers.answered(peer, until - after);
        }
    }

    /// Counts an answer for which nobody waits.
    fn note_late(&mut self, source: PeerId, request: RequestId) {
        self.wire.requests.answer(source, request);
    }

    /// The region that receives at a port, with the target and which of the region's arguments it is.
    fn receiver(&self, port: u32, is_request: bool) -> Result<(u32, &Arc<Region>, u32), ReceiveError> {
        let found = self.targets.iter().enumerate().find_map(|(index, target)| {
            let (region, argument) = target.port(port)?;
            Some((index as u32, &target.regions[region as usize], argument))
        });
        found
            .filter(|(_, region, _)| region.kind == RegionKind::Receive && region.replies == is_request)
            .ok_or(ReceiveError::UnknownPort { port })
    }

    fn region_of_wait(&self, wait: u64) -> Option<Arc<Region>> {
        self.frames.frame(self.waits.get(wait)?.frame).region.clone()
    }

    /// What [`admit`](Self::admit) takes, unless the message is a repetition.
    fn unseen(&mut self, source: PeerId, envelope: &Scan<'_>) -> Option<Unseen> {
        let unseen = self.wire.seen.unseen(source, envelope.message_id());
        self.wire.duplicates += u64::from(unseen.is_none());
        unseen
    }

    /// Charges bytes that are taken in.
    pub(crate) fn charge(&self, byte_count: usize) -> Result<Charge, DeliveryError> {
        self.budget.try_charge(byte_count).map_err(|error| DeliveryError::BudgetExceeded {
            byte_count,
            budget_remaining: error.budget_remaining,
        })
    }

    /// Notes a message that is taken and no repetition, and where its sender can be reached.
    fn admit(&mut self, source: PeerId, envelope: &Scan<'_>, unseen: Unseen) {
        self.wire.seen.insert_unseen(unseen);
        self.wire.received += 1;
        self.peers.take_claims(source, envelope.wire_bytes(), envelope.address_bytes());
    }

    fn report(&mut self, peer: PeerId, refused: Vec<(usize, ReceiveError)>) {
        self.counters.fills_refused += refused.len() as u64;
        let steps =
            refused.into_iter().map(|(fill, error)| EngineStep::WireReceiveFailed { peer, fill, error });
        self.steps.extend(steps);
    }
}

impl Taken {
    /// A message for which there is no memory is refused whole: it may come again, and its sender did nothing wrong.
    fn check_memory(&self) -> Result<(), DeliveryError> {
        match self.no_memory {
            None => Ok(()),
            Some(byte_count) => {
                let reason = "there is no memory for a value of the message".to_owned();
                Err(DeliveryError::AllocationFailed { byte_count, reason })
            }
        }
    }

    /// Decodes a fill and checks it against what its port takes.
    fn take<'t>(
        &mut self,
        fill: Result<ScannedFill<'_>, FillError>,
        mut find: impl FnMut(u32) -> Result<(usize, &'t ValueType), ReceiveError>,
    ) {
        let fill = match fill {
            Ok(fill) => fill,
            Err(FillError { index, fault, .. }) => return self.refused.push((index, fault.into())),
        };
        let port = fill.port();
        let taken = find(port).and_then(|(slot, ty)| {
            let value = fill.decode().map_err(|error| {
                if let FillFault::Value(ValueError::AllocationFailed { byte_count }) = error.fault {
                    self.no_memory = Some(byte_count);
                }
                ReceiveError::from(error.fault)
            })?;
            if !ty.admits(&value) {
                let fault = ValueFault::WrongType { expected: ty.clone(), got: kind(&value) };
                return Err(ReceiveError::InvalidValue { port, fault });
            }
            if self.values.len() <= slot {
                self.values.resize(slot + 1, None);
            }
            if self.values[slot].is_some() {
                return Err(ReceiveError::FilledTwice { port });
            }
            self.values[slot] = Some(value);
            self.byte_count += fill.wire_bytes().max(fill.heap_bytes());
            Ok(())
        });
        if let Err(error) = taken {
            self.refused.push((fill.index(), error));
        }
    }
}

/// A value from outside with its charge, which its tensors carry on.
pub(crate) fn held(mut value: Value, charge: &Charge) -> Held {
    attach(&mut value, charge);
    Held { value, charge: Some(charge.clone()) }
}

fn attach(value: &mut Value, charge: &Charge) {
    match value {
        Value::Tensor(tensor) => tensor.buffer_mut().attach(charge.clone().into()),
        Value::Tensors(tensors) => {
            for (_, tensor) in tensors.iter_mut() {
                tensor.buffer_mut().attach(charge.clone().into());
            }
        }
        Value::Tuple(items) => {
            for item in items.get_mut().into_iter().flatten() {
                attach(item, charge);
            }
        }
        _ => {}
    }
}
