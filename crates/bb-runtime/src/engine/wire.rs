//! What the engine knows of messages: requests in flight, messages seen, messages to be sent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bb_framework::{
    Decision, DedupWindow, DenyReason, MessageId, OutboundQueue, RequestId, RequestTracker, outbound,
};
use bb_ir::Digest;
use bb_ir::wire_codec::write::NoMemory;
use bytes::Bytes;
use thiserror::Error;

use super::{Engine, bus};
use crate::envelope::{Correlation, Envelope, EnvelopeLimits, Fill, Notice};
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
    /// Notices of peers.
    pub(crate) notices_received: u64,
    /// Notices to peers.
    pub(crate) notices_sent: u64,
}

/// A message that waits to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) peer: PeerId,
    pub(crate) bytes: Bytes,
    /// Whether it was queued before a restore, so that the peer may have it already.
    pub(crate) redelivered: bool,
}

/// A message to one or more peers. All get the same bytes, so that it is encoded once: ids need to be unique only
/// between two nodes.
#[derive(Debug)]
pub(crate) struct Message {
    envelope: Envelope,
    /// Its bytes, once it was sent to somebody.
    bytes: Option<Bytes>,
}

/// Why a message was not sent. Each is visible: a `PeerBlocked` step, an `OutboundDropped` step, or the op's failure.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum Unsent {
    #[error(transparent)]
    Denied(DenyReason),
    #[error(transparent)]
    NoMemory(#[from] NoMemory),
    #[error("the outbound queue is full")]
    QueueFull,
    #[error("a message of {byte_count} bytes exceeds the cap of {cap} bytes")]
    TooLarge { byte_count: usize, cap: usize },
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
            notices_received: 0,
            notices_sent: 0,
        }
    }

    /// Drops all messages that wait, and all requests; forgets what was counted, but not what ids are counted from.
    pub(crate) fn clear(&mut self) {
        self.outbound.clear();
        self.outbound.forget_counters();
        self.requests.clear();
        self.requests.forget_counters();
        self.seen.forget_counters();
        self.received = 0;
        self.duplicates = 0;
        self.notices_received = 0;
        self.notices_sent = 0;
    }

    /// A message with these fills.
    pub(crate) fn message(
        &self,
        fills: Vec<Fill>,
        correlation: Option<Correlation>,
        deadline: Option<Duration>,
    ) -> Result<Message, OpError> {
        for fill in &fills {
            let (byte_count, cap) = (fill.value.encoded_len(), self.limits.fill_bytes);
            if byte_count > cap {
                return Err(OpError::MessageTooLarge { byte_count, cap });
            }
        }
        Ok(self.bare(Envelope { correlation, deadline, fills, ..Envelope::default() }))
    }

    /// A message with this envelope, which gets the program's digest and the node's addresses.
    fn bare(&self, envelope: Envelope) -> Message {
        let addresses = Arc::clone(&self.addresses);
        Message { envelope: Envelope { program: self.program, addresses, ..envelope }, bytes: None }
    }
}

impl Engine {
    /// Queues a message to a peer, unless policy or the peer's health speak against it; else why not.
    pub(crate) fn post(&mut self, peer: PeerId, message: &mut Message) -> Result<(), Unsent> {
        match self.peers.governor.check_outbound(peer, self.now) {
            Decision::Allow => self.queue(peer, message),
            Decision::Deny(reason) => Err(self.denied(peer, reason)),
        }
    }

    /// Queues an answer to a peer that policy allows.
    pub(crate) fn answer(&mut self, peer: PeerId, message: &mut Message) -> Result<(), Unsent> {
        match self.peers.governor.policy(peer) {
            Decision::Allow => self.queue(peer, message),
            Decision::Deny(reason) => Err(self.denied(peer, reason)),
        }
    }

    /// Asks a peer to send less for a while; if that cannot be sent, the outbound queue counts it.
    pub(super) fn send_notice(&mut self, peer: PeerId, retry_after: Duration) {
        let notice = Some(Notice::Backpressure { retry_after });
        let mut message = self.wire.bare(Envelope { notice, ..Envelope::default() });
        match self.queue(peer, &mut message) {
            Ok(()) => self.wire.notices_sent += 1,
            Err(unsent) => tracing::debug!(%peer, %unsent, "a notice was not sent"),
        }
    }

    fn denied(&mut self, peer: PeerId, reason: DenyReason) -> Unsent {
        self.steps.push(EngineStep::PeerBlocked { peer, reason });
        Unsent::Denied(reason)
    }

    /// Tells a peer that its request will not be answered; if that cannot be sent, the outbound queue counts it.
    pub(crate) fn send_failure(&mut self, peer: PeerId, request: RequestId, reason: &str) {
        let correlation = Correlation::Failure { request, reason: reason.into() };
        if let Ok(mut message) = self.wire.message(Vec::new(), Some(correlation), None)
            && let Err(unsent) = self.answer(peer, &mut message)
        {
            tracing::debug!(%peer, %unsent, "a failure was not sent");
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
        let mut unresolved = BTreeSet::new();
        self.steps.reserve(self.wire.outbound.len());
        while let Some(Outgoing { peer, bytes, redelivered }) = self.wire.outbound.pop() {
            if let Decision::Deny(reason) = self.peers.governor.policy(peer) {
                self.steps.push(EngineStep::PeerBlocked { peer, reason });
                continue;
            }
            let addresses = self.peers.route(peer, bytes.len());
            if addresses.is_empty() && unresolved.insert(peer) {
                self.steps.push(EngineStep::PeerResolveFailed { peer });
            }
            self.steps.push(EngineStep::SendEnvelope { peer, addresses, bytes, redelivered });
        }
    }

    fn queue(&mut self, peer: PeerId, message: &mut Message) -> Result<(), Unsent> {
        let Message { envelope, bytes } = message;
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => {
                envelope.message_id = MessageId { incarnation: self.incarnation, counter: self.wire.sent };
                bytes.insert(Bytes::from(envelope.try_encode()?))
            }
        };
        let (byte_count, cap) = (bytes.len(), self.wire.limits.envelope_bytes);
        if byte_count > cap {
            return Err(Unsent::TooLarge { byte_count, cap });
        }
        match self.wire.outbound.push(Outgoing { peer, bytes: bytes.clone(), redelivered: false }, byte_count)
        {
            Ok(()) => {
                self.wire.sent += 1;
                Ok(())
            }
            Err(_) => Err(Unsent::QueueFull),
        }
    }
}
