//! What other threads hand to a node: the one place where threads meet.
//!
//! Two lanes lead into the node. *Inputs* — envelopes, events, what became of sends — are refused beyond a cap, and each
//! sender's beyond its share of that; senders are served in turn, so that none keeps the node from another
//! ([`FairQueue`](bb_framework::FairQueue)).
//! *Completions* are never refused, for each is the end of an op that waits and would otherwise wait for ever; there
//! can be no more of them than ops that wait, because a [`Completion`](crate::Completion) ends one and is used up.
//! The cap on pending answers bounds that lane, so it has none of its own.
//!
//! Both lanes grow as they are used; a node that was never handed anything has neither.
//!
//! A sleeping node misses nothing: a push writes first and wakes then, while the node registers its waker first,
//! works then, and sleeps only if [`Ingress::has_work`] still says no.

mod door;
mod epoch;
mod inbox;
mod lanes;
mod shut_out;
#[cfg(all(test, not(loom)))]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

use bb_framework::backpressure::{self, Load};
use bb_framework::fair_queue::Turn;
use bb_framework::{Budget, Charge, DenyReason};
use smallvec::SmallVec;

pub(crate) use self::door::Door;
use self::door::{Desk, Reason};
pub(crate) use self::shut_out::SHUT_OUT;
use self::shut_out::ShutOut;

pub(crate) use self::epoch::Epoch;
use self::inbox::Inbox;
pub(crate) use self::inbox::SavedInputs;
use self::lanes::{Lanes, NoPlace, Refused};
use crate::contracts::{CompletionSink, Pending};
use crate::{ComponentError, DeliveryError, NodeConfig, PeerId, Value};

/// Bytes of an input that cost as much as taking up a small one.
const COST_BYTES: usize = 4_096;

/// What the inputs that one step takes may cost: so many small ones, or 256 KiB.
const INTAKE: usize = 64;

/// Who handed an input in: a peer, or the host.
pub(crate) type Sender = Option<PeerId>;

/// Hands things to a node, from any thread; a clone hands them to the same node.
///
/// What was accepted is delivered, or a step reports what became of it. After the node is closed or gone
/// everything is refused with [`DeliveryError::Closed`].
#[derive(Clone)]
pub struct IngressHandle(Arc<Shared>);

/// What became of an envelope that the host was asked to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendResult {
    /// The peer has it.
    Delivered,
    /// The peer could not be reached.
    Failed,
}

/// The node's end of both lanes; there is one, and it closes them when it goes.
pub(crate) struct Ingress {
    shared: Arc<Shared>,
    inbox: Inbox,
}

/// What came in, in the order in which it was handed in.
#[derive(Debug)]
pub(crate) enum Input {
    /// An envelope, as the transport received it.
    Envelope { source: PeerId, bytes: Vec<u8>, charge: Charge },
    /// One value of an input of a target.
    Event { input: EventInput, value: Vec<u8>, charge: Charge },
    /// What became of a send.
    SendResult { peer: PeerId, result: SendResult },
}

impl Input {
    /// Whose line it waits in.
    pub(crate) const fn sender(&self) -> Sender {
        match self {
            Self::Envelope { source, .. } => Some(*source),
            Self::Event { .. } | Self::SendResult { .. } => None,
        }
    }

    /// What it takes of its line's turn.
    fn cost(&self) -> usize {
        1 + self.byte_count() / COST_BYTES
    }

    /// Its bytes from outside.
    fn byte_count(&self) -> usize {
        match self {
            Self::Envelope { bytes, .. } | Self::Event { value: bytes, .. } => bytes.len(),
            Self::SendResult { .. } => 0,
        }
    }
}

/// What a step takes in.
#[derive(Debug)]
pub(crate) struct Intake {
    /// How full the queue was before; `of_sender` is each turn's.
    pub(crate) load: Load,
    pub(crate) turns: Vec<Turn<Sender, Input>>,
}

/// The end of an op that answered later.
#[derive(Debug)]
pub(crate) struct Completed {
    pub(crate) pending: Pending,
    pub(crate) result: Result<SmallVec<[Value; 2]>, ComponentError>,
}

/// An input of an installed target, by their positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventInput {
    pub(crate) target: u32,
    pub(crate) input: u32,
}

/// What a node can tell of an event on any thread, before anything of it is copied.
pub(crate) trait EventGate: Send + Sync {
    /// The input that the names mean.
    fn find(&self, module: &str, input: &str) -> Result<EventInput, DeliveryError>;
    /// Whether `value`, which is not too long, may be one of the input's values.
    fn check(&self, input: EventInput, value: &[u8]) -> Result<(), DeliveryError>;
    /// Whether a program listens to what is refused.
    fn hears_refusals(&self) -> bool;
}

struct Shared {
    shut_out: ShutOut,
    lanes: Lanes<Input, Box<Completed>>,
    late_completions: AtomicU64,
    desk: Desk,
    budget: Budget,
    gate: Arc<dyn EventGate>,
    envelope_bytes: AtomicUsize,
    event_bytes: AtomicUsize,
}

impl IngressHandle {
    /// Hands in an envelope that the transport received from `source`.
    ///
    /// Peers are served in turn, each in the order of its messages. One peer may take eight places of the queue for each
    /// that is still free, so that there is always one for another.
    ///
    /// # Errors
    /// [`DeliveryError::Closed`], [`DeliveryError::OversizePayload`], [`DeliveryError::QueueFull`],
    /// [`DeliveryError::BudgetExceeded`], [`DeliveryError::AllocationFailed`]; nothing was handed in then. Nor was it with
    /// [`DeliveryError::PeerDenied`]: a peer that is denied and presses all the same finds no place in the queue.
    pub fn deliver_inbound(&self, source: PeerId, envelope: &[u8]) -> Result<(), DeliveryError> {
        if let Some(reason) = self.0.shut_out.reason(source) {
            return Err(DeliveryError::PeerDenied { peer: source, reason });
        }
        let cap = self.0.envelope_bytes.load(Ordering::Acquire);
        self.0.push(Some(source), |shared| {
            within(envelope, cap)?;
            let (bytes, charge) = shared.take_in(envelope)?;
            Ok(Input::Envelope { source, bytes, charge })
        })
    }

    /// Hands in one value, in its wire form, of an input of a target.
    ///
    /// # Errors
    /// Those of [`IngressHandle::deliver_inbound`], [`DeliveryError::UnknownModule`],
    /// [`DeliveryError::UnknownInput`], [`DeliveryError::InvalidValue`]; nothing was handed in then.
    pub fn deliver_event(&self, module: &str, input: &str, value: &[u8]) -> Result<(), DeliveryError> {
        let cap = self.0.event_bytes.load(Ordering::Acquire);
        self.0.push(None, |shared| {
            let input = shared.gate.find(module, input)?;
            within(value, cap)?;
            shared.gate.check(input, value)?;
            let (value, charge) = shared.take_in(value)?;
            Ok(Input::Event { input, value, charge })
        })
    }

    /// Reports what became of an envelope to `peer`.
    ///
    /// # Errors
    /// [`DeliveryError::Closed`], [`DeliveryError::QueueFull`]; nothing was handed in then.
    pub fn send_result(&self, peer: PeerId, result: SendResult) -> Result<(), DeliveryError> {
        self.0.push(None, |_| Ok(Input::SendResult { peer, result }))
    }

    /// Closes the node to input from other threads, for ever; what was accepted before is still delivered, and ops
    /// that wait are still answered. Whether it was open.
    pub fn close(&self) -> bool {
        self.0.lanes.close_inputs()
    }

    /// Whether the node takes no more input from other threads.
    pub fn is_closed(&self) -> bool {
        self.0.lanes.is_closed()
    }

    /// How many inputs wait.
    pub fn depth(&self) -> usize {
        self.0.lanes.depth()
    }

    /// How many inputs may wait.
    pub fn capacity(&self) -> usize {
        self.0.lanes.capacity()
    }
}

impl Ingress {
    /// Empty lanes within `limits`; what is handed in is charged to `budget`.
    ///
    /// At most `limits.ingress_queue` inputs wait and the newest is refused beyond, a peer's beyond its share; they take
    /// [`FairQueue::worst_case_bytes`](bb_framework::FairQueue::worst_case_bytes) and their own bytes, which the budget bounds.
    pub(crate) fn new(limits: &NodeConfig, budget: Budget, gate: Arc<dyn EventGate>) -> Self {
        let shared = Shared {
            lanes: Lanes::new(),
            shut_out: ShutOut::default(),
            late_completions: AtomicU64::new(0),
            desk: Desk::new(gate.hears_refusals()),
            budget,
            gate,
            envelope_bytes: AtomicUsize::new(0),
            event_bytes: AtomicUsize::new(0),
        };
        let ingress = Self { shared: Arc::new(shared), inbox: Inbox::default() };
        ingress.set_limits(limits);
        ingress
    }

    /// Takes up other limits; what waits already stays.
    pub(crate) fn set_limits(&self, limits: &NodeConfig) {
        self.shared.lanes.set_capacity(limits.ingress_queue);
        self.shared.envelope_bytes.store(limits.envelope_bytes, Ordering::Release);
        self.shared.event_bytes.store(limits.app_event_bytes, Ordering::Release);
        self.shared.budget.set_capacity(limits.ingress_bytes);
        self.shared.desk.set_capacity(limits.bus);
    }

    /// What other threads hand in with.
    pub(crate) fn handle(&self) -> IngressHandle {
        IngressHandle(Arc::clone(&self.shared))
    }

    /// What completions go to.
    pub(crate) fn completion_sink(&self) -> Arc<dyn CompletionSink> {
        Arc::clone(&self.shared) as Arc<dyn CompletionSink>
    }

    /// Whom the next push wakes. To be called before the lanes are emptied.
    pub(crate) fn register(&self, waker: &Waker) {
        self.shared.lanes.register(waker);
    }

    /// Takes what one step works on: of each sender in turn, until one of them has nothing more or 64 were taken (of
    /// large ones less, but one at least).
    pub(crate) fn take(&self) -> Intake {
        self.shared.lanes.free_places(|inputs| {
            let queue = &mut inputs.queue;
            let (queued, senders, capacity) = (queue.len(), queue.senders(), queue.capacity());
            let mut turns = Vec::with_capacity(queued.min(INTAKE));
            queue.serve(INTAKE, |turn| turns.push(turn));
            Intake { load: Load { queued, of_sender: 0, senders, capacity }, turns }
        })
    }

    /// How full the queue is for one more message of `sender`, which does not come through it.
    pub(crate) fn load(&self, sender: PeerId) -> Load {
        let (queued, capacity) = self.depth();
        let load = Load { queued, of_sender: 1, senders: 1, capacity };
        if !load.is_full(backpressure::Config::default().threshold_percent) {
            return load;
        }
        self.shared.lanes.with_inputs(|inputs| {
            let queue = &inputs.queue;
            let of_sender = queue.taken_by(Some(sender));
            let senders = queue.senders() + usize::from(of_sender == 0);
            Load { queued: queue.len(), of_sender: of_sender + 1, senders, capacity: queue.capacity() }
        })
    }

    /// Takes the oldest completion.
    pub(crate) fn pop_completion(&self) -> Option<Completed> {
        let held = self.inbox.completions.borrow_mut().pop_front();
        held.or_else(|| self.shared.lanes.pop_completion().map(|completed| *completed))
    }

    /// Whether anything waits in either lane, or was refused and is yet to be told.
    pub(crate) fn has_work(&self) -> bool {
        self.shared.lanes.has_work() || !self.inbox.is_empty() || self.untold_count() > 0
    }

    /// Refusals that are yet to be told.
    pub(crate) fn untold_count(&self) -> usize {
        self.shared.desk.waiting()
    }

    /// Takes the refusals that are yet to be told, oldest first, and how many found no room.
    pub(crate) fn take_untold(&self) -> (VecDeque<Box<str>>, u64) {
        self.shared.desk.take()
    }

    /// The refusals that are yet to be told, oldest first, and how many found no room.
    pub(crate) fn untold(&self) -> (Vec<Box<str>>, u64) {
        self.shared.desk.look()
    }

    /// Refuses everything from now on, completions too, so every op that waits must be ended by the caller; what
    /// was accepted before can still be taken. Whether it was open to input.
    pub(crate) fn close(&self) -> bool {
        self.shared.lanes.close_completions();
        self.shared.lanes.close_inputs()
    }

    /// Refuses inputs from now on; completions are still taken. Whether it was open to input.
    pub(crate) fn close_inputs(&self) -> bool {
        self.shared.lanes.close_inputs()
    }

    /// Turns these peers away, and nobody else.
    pub(crate) fn shut_out(&self, peers: Vec<(PeerId, DenyReason)>) {
        self.shared.shut_out.set(peers);
    }

    /// Messages of peers that were turned away, and how many of them because their peer is muted.
    pub(crate) fn turned_away(&self) -> (u64, u64) {
        self.shared.shut_out.turned_away()
    }

    /// Whether it refuses inputs.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.lanes.is_closed()
    }

    /// Inputs that wait, and how many may.
    pub(crate) fn depth(&self) -> (usize, usize) {
        (self.shared.lanes.depth(), self.shared.lanes.capacity())
    }

    /// Bytes of the inputs that wait, counted one by one: there are as many as the queue has places.
    pub(crate) fn byte_count(&self) -> usize {
        match self.shared.lanes.waiting() {
            0 => 0,
            _ => self.look_at_inputs(|inputs| inputs.map(|(_, _, input)| input.byte_count()).sum()),
        }
    }

    /// Inputs refused: no room, no budget, no memory, too large, no such input.
    pub(crate) fn door(&self) -> Door {
        self.shared.desk.door()
    }

    /// Completions that came after the end, when no op waited any more.
    pub(crate) fn late_completions(&self) -> u64 {
        self.shared.late_completions.load(Ordering::Relaxed)
    }
}

impl Drop for Ingress {
    /// Nobody can take what waits any more, so its charges end here and not with the last handle.
    fn drop(&mut self) {
        self.close();
        drop(self.take_all());
        while self.pop_completion().is_some() {}
    }
}

impl Shared {
    /// Hands in what `make` makes once there is a place for it; a refusal is counted, and told if somebody listens.
    fn push(
        &self,
        sender: Sender,
        make: impl FnOnce(&Self) -> Result<Input, DeliveryError>,
    ) -> Result<(), DeliveryError> {
        let pushed =
            self.lanes.push(sender, || make(self).map(|input| (input.cost(), input)).map_err(Shut::Out));
        pushed.map_err(|shut| {
            let reason = match shut {
                Shut::NoPlace(Refused::NoPlace(NoPlace::Share { .. })) => Reason::SenderShare,
                _ => Reason::Error,
            };
            let error = shut.into();
            if self.desk.refuse(&error, reason) {
                self.lanes.wake();
            }
            error
        })
    }

    /// Charges and copies bytes, in this order.
    fn take_in(&self, bytes: &[u8]) -> Result<(Vec<u8>, Charge), DeliveryError> {
        let byte_count = bytes.len();
        let charge = self.budget.try_charge(byte_count).map_err(|exceeded| {
            DeliveryError::BudgetExceeded { byte_count, budget_remaining: exceeded.budget_remaining }
        })?;
        let mut copy = Vec::new();
        copy.try_reserve_exact(byte_count)
            .map_err(|error| DeliveryError::AllocationFailed { byte_count, reason: error.to_string() })?;
        copy.extend_from_slice(bytes);
        Ok((copy, charge))
    }
}

/// Why an input was not taken in.
enum Shut {
    /// There was no place for it.
    NoPlace(Refused),
    /// It could not be made.
    Out(DeliveryError),
}

impl From<Refused> for Shut {
    fn from(refused: Refused) -> Self {
        Self::NoPlace(refused)
    }
}

impl From<Shut> for DeliveryError {
    fn from(shut: Shut) -> Self {
        match shut {
            Shut::Out(error) => error,
            Shut::NoPlace(Refused::Closed) => Self::Closed,
            Shut::NoPlace(Refused::NoPlace(NoPlace::Full { capacity } | NoPlace::Share { capacity, .. })) => {
                Self::QueueFull { capacity }
            }
            Shut::NoPlace(Refused::NoPlace(no_memory)) => {
                Self::AllocationFailed { byte_count: size_of::<Input>(), reason: no_memory.to_string() }
            }
        }
    }
}

fn within(bytes: &[u8], cap: usize) -> Result<(), DeliveryError> {
    match bytes.len() {
        byte_count if byte_count > cap => Err(DeliveryError::OversizePayload { byte_count, cap }),
        _ => Ok(()),
    }
}

impl CompletionSink for Shared {
    /// Closed, it only counts: all ops that waited were ended when the node closed.
    fn complete(&self, pending: Pending, result: Result<SmallVec<[Value; 2]>, ComponentError>) {
        if !self.lanes.complete(Box::new(Completed { pending, result })) {
            self.late_completions.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for IngressHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.describe("IngressHandle", f)
    }
}

impl fmt::Debug for Ingress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.describe("Ingress", f)
    }
}

impl Shared {
    fn describe(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("depth", &self.lanes.depth())
            .field("completions", &self.lanes.completions())
            .field("closed", &self.lanes.is_closed())
            .finish_non_exhaustive()
    }
}
