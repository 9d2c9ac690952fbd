//! What the engine knows of messages: requests in flight, messages seen, messages to be sent.

use std::sync::Arc;
use std::time::Duration;

use bb_framework::{Decision, DedupWindow, MessageId, OutboundQueue, RequestId, RequestTracker, outbound};
use bb_ir::Digest;
use bytes::Bytes;

use super::{Engine, bus};
use crate::envelope::{Correlation, Envelope, EnvelopeLimits, Fill};
use crate::error::OpError;
use crate::{Address, EngineStep, NodeConfig, PeerId, Value};

/// Messages in both directions.
#[derive(Debug)]
pub(crate) struct Wire {
    /// The artifact whose ports messages name.
    pub(crate) program: Digest,
    pub(crate) limits: EnvelopeLimits,
    /// Requests of this node, each with its wait and which of the asked peers it is for.
    pub(crate) requests: RequestTracker<(u64, u32)>,
    pub(crate) seen: DedupWindow,
    pub(crate) outbound: OutboundQueue<Outgoing>,
    /// What every message says of where the node can be reached.
    pub(crate) addresses: Arc<[Address]>,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) duplicates: u64,
    pub(crate) unknown_programs: u64,
}

/// A message that waits to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) peer: PeerId,
    pub(crate) bytes: Bytes,
}

impl Wire {
    pub(crate) fn new(program: Digest, limits: &NodeConfig, addresses: Arc<[Address]>) -> Self {
        let queue = outbound::Config { messages: limits.outbound_count, bytes: limits.outbound_bytes };
        Self {
            program,
            limits: EnvelopeLimits::of(limits),
            requests: RequestTracker::new(limits.pending_async),
            seen: DedupWindow::new(limits.dedup_window),
            outbound: OutboundQueue::new(queue),
            addresses,
            sent: 0,
            received: 0,
            duplicates: 0,
            unknown_programs: 0,
        }
    }

    /// A message with these fills; whom it is for is still to be set.
    pub(crate) fn message(&self, fills: Vec<Fill>, deadline: Option<Duration>) -> Result<Envelope, OpError> {
        for fill in &fills {
            let (byte_count, cap) = (fill.value.encoded_len(), self.limits.fill_bytes);
            if byte_count > cap {
                return Err(OpError::MessageTooLarge { byte_count, cap });
            }
        }
        Ok(Envelope {
            program: self.program,
            deadline,
            addresses: Arc::clone(&self.addresses),
            fills,
            ..Envelope::default()
        })
    }
}

impl Engine {
    /// Queues a message to a peer, unless policy or the peer's health speak against it; else why not.
    pub(crate) fn post(
        &mut self,
        peer: PeerId,
        message: &mut Envelope,
        correlation: Option<Correlation>,
    ) -> Result<(), String> {
        match self.peers.may_send(peer, self.now) {
            Decision::Allow => self.queue(peer, message, correlation),
            Decision::Deny(reason) => Err(reason.to_string()),
        }
    }

    /// Queues an answer to a peer that policy allows.
    pub(crate) fn answer(
        &mut self,
        peer: PeerId,
        message: &mut Envelope,
        correlation: Correlation,
    ) -> Result<(), String> {
        if !self.peers.governor.is_allowed(peer) {
            return Err("policy does not allow the peer any more".to_owned());
        }
        self.queue(peer, message, Some(correlation))
    }

    /// Tells a peer that its request will not be answered; if that cannot be sent, the outbound queue counts it.
    pub(crate) fn send_failure(&mut self, peer: PeerId, request: RequestId, reason: &str) {
        let correlation = Correlation::Failure { request, reason: reason.into() };
        if let Ok(mut message) = self.wire.message(Vec::new(), None)
            && let Err(reason) = self.answer(peer, &mut message, correlation)
        {
            tracing::debug!(%peer, reason, "a failure was not sent");
        }
    }

    /// Hands the messages that wait to the host.
    pub(crate) fn flush_outbound(&mut self) {
        for event in self.wire.outbound.take_events() {
            if let outbound::Event::OutboundDropped { count, bytes } = event {
                self.steps.push(EngineStep::OutboundDropped { count, bytes });
                self.publish(bus::OUTBOUND_DROPPED, || Value::U64(count));
            }
        }
        while let Some(Outgoing { peer, bytes }) = self.wire.outbound.pop() {
            let addresses = self.peers.addresses(peer);
            self.steps.push(EngineStep::SendEnvelope { peer, addresses, bytes });
        }
    }

    fn queue(
        &mut self,
        peer: PeerId,
        message: &mut Envelope,
        correlation: Option<Correlation>,
    ) -> Result<(), String> {
        message.message_id = MessageId { incarnation: self.incarnation, counter: self.wire.sent };
        message.correlation = correlation;
        let bytes = Bytes::from(message.encode());
        let (byte_count, cap) = (bytes.len(), self.wire.limits.envelope_bytes);
        if byte_count > cap {
            return Err(format!("a message of {byte_count} bytes exceeds the cap of {cap} bytes"));
        }
        match self.wire.outbound.push(Outgoing { peer, bytes }, byte_count) {
            Ok(()) => {
                self.wire.sent += 1;
                Ok(())
            }
            Err(_) => Err("the outbound queue is full".to_owned()),
        }
    }
}
