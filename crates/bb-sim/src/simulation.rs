//! Nodes, the network between them, and the time they share.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytesandbrains::{Address, DeliveryError, EngineStep, ExecId, Node, Outcome, PeerId, Time};
use hashbrown::HashMap;

use crate::network::{Message, Network};
use crate::{Latency, SimulationError, Traffic};

/// Nodes, the network between them, and the time they share.
///
/// - look: [`now`](Self::now), [`node`](Self::node), [`traffic`](Self::traffic)
/// - feed: [`invoke`](Self::invoke), [`deliver_event`](Self::deliver_event)
/// - command: [`add`](Self::add), [`introduce`](Self::introduce), [`set_online`](Self::set_online),
///   [`node_mut`](Self::node_mut)
/// - drive: [`run`](Self::run), [`run_until`](Self::run_until), [`finish`](Self::finish)
///
/// Time stands still while nodes work and jumps to the next arrival or deadline when none has anything to do. The same
/// nodes, seed, latency and calls give the same events.
#[derive(Debug)]
pub struct Simulation {
    members: Vec<Member>,
    /// Places of `members`; never iterated.
    places: HashMap<PeerId, usize>,
    network: Network,
    now: Time,
    ready: VecDeque<usize>,
    deadlines: BTreeSet<(Time, usize)>,
    /// What the node that works sends; empty between steps.
    sent: Vec<Message>,
    /// How many events the last execution took that was run to its end: as many as the next one may take.
    expected_events: usize,
}

#[derive(Debug)]
struct Member {
    node: Node,
    is_ready: bool,
    is_online: bool,
    deadline: Option<Time>,
    traffic: Traffic,
}

/// What happened at a node.
#[derive(Clone, Debug)]
pub struct Event {
    /// The node.
    pub peer: PeerId,
    /// When.
    pub at: Time,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EventKind {
    /// A message did not reach its receiver: there is no such node, or one of the two is offline.
    Lost {
        /// To whom it was sent.
        to: PeerId,
    },
    /// A message arrived and was refused.
    Refused {
        /// Who sent it.
        from: PeerId,
        /// Why.
        error: Arc<DeliveryError>,
    },
    /// A step of the node that the network does not take.
    Step(EngineStep),
}

impl Simulation {
    /// No nodes at time zero; messages take `latency`, drawn from `seed` where it leaves a choice.
    pub fn new(latency: Latency, seed: u64) -> Self {
        Self {
            members: Vec::new(),
            places: HashMap::new(),
            network: Network::new(latency, seed),
            now: Time::ZERO,
            ready: VecDeque::new(),
            deadlines: BTreeSet::new(),
            sent: Vec::new(),
            expected_events: 0,
        }
    }

    /// The address of a node in the virtual network.
    pub fn address(peer: PeerId) -> Address {
        let place = peer.as_bytes().iter().fold(0_u64, |place, &byte| (place << 8) | u64::from(byte));
        format!("/memory/{place}").parse().unwrap_or_else(|_| Address::empty())
    }

    /// Adds a node.
    ///
    /// # Errors
    /// [`SimulationError::DuplicatePeer`].
    pub fn add(&mut self, node: Node) -> Result<(), SimulationError> {
        let (peer, place) = (node.peer_id(), self.members.len());
        if self.places.contains_key(&peer) {
            return Err(SimulationError::DuplicatePeer { peer });
        }
        self.places.insert(peer, place);
        self.members.push(Member {
            node,
            is_ready: false,
            is_online: true,
            deadline: None,
            traffic: Traffic::default(),
        });
        self.wake(place);
        Ok(())
    }

    /// Makes two nodes known to each other.
    ///
    /// # Errors
    /// [`SimulationError::UnknownPeer`], [`SimulationError::AddressBook`].
    pub fn introduce(&mut self, left: PeerId, right: PeerId) -> Result<(), SimulationError> {
        for (node, other) in [(left, right), (right, left)] {
            let place = self.place(node)?;
            let added = self.members[place].node.add_peer(other, [Self::address(other)]);
            added.map_err(|source| SimulationError::AddressBook { peer: node, source })?;
        }
        Ok(())
    }

    /// Takes a node off the network or puts it back: while it is off, what it sends and what is sent to it is lost.
    ///
    /// # Errors
    /// [`SimulationError::UnknownPeer`].
    pub fn set_online(&mut self, peer: PeerId, is_online: bool) -> Result<(), SimulationError> {
        let place = self.place(peer)?;
        self.members[place].is_online = is_online;
        Ok(())
    }

    /// A node, to command; it is stepped afterwards.
    ///
    /// # Errors
    /// [`SimulationError::UnknownPeer`].
    pub fn node_mut(&mut self, peer: PeerId) -> Result<&mut Node, SimulationError> {
        let place = self.place(peer)?;
        self.wake(place);
        Ok(&mut self.members[place].node)
    }

    /// Starts an execution at a node.
    ///
    /// # Errors
    /// [`SimulationError::UnknownPeer`], [`SimulationError::Delivery`].
    pub fn invoke(
        &mut self,
        peer: PeerId,
        module: &str,
        inputs: &[(&str, &[u8])],
    ) -> Result<ExecId, SimulationError> {
        let started = self.node_mut(peer)?.invoke(module, inputs);
        started.map_err(|source| SimulationError::Delivery { peer, source })
    }

    /// Feeds one input of a module of a node.
    ///
    /// # Errors
    /// [`SimulationError::UnknownPeer`], [`SimulationError::Delivery`].
    pub fn deliver_event(
        &mut self,
        peer: PeerId,
        module: &str,
        input: &str,
        value: &[u8],
    ) -> Result<Option<ExecId>, SimulationError> {
        let started = self.node_mut(peer)?.deliver_event(module, input, value);
        started.map_err(|source| SimulationError::Delivery { peer, source })
    }

    /// Runs until no node has anything to do and no message is under way; deadlines that lie ahead stay ahead.
    #[must_use = "events say what happened"]
    pub fn run(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            self.work(&mut events);
            match self.network.next_arrival() {
                Some(due) => self.advance(due, &mut events),
                None => return events,
            }
        }
    }

    /// Runs to a moment, over all arrivals and deadlines before and at it.
    #[must_use = "events say what happened"]
    pub fn run_until(&mut self, end: Time) -> Vec<Event> {
        let mut events = Vec::new();
        self.work(&mut events);
        while let Some(due) = self.next_due().filter(|due| *due <= end) {
            self.advance(due, &mut events);
            self.work(&mut events);
        }
        self.now = self.now.max(end);
        events
    }

    /// Runs until an execution of a node is over, and gives its end with all that happened.
    ///
    /// # Errors
    /// [`SimulationError::UnknownPeer`]; [`SimulationError::Stalled`] when nothing is left that could end it.
    pub fn finish(
        &mut self,
        peer: PeerId,
        exec_id: ExecId,
    ) -> Result<(Outcome, Vec<Event>), SimulationError> {
        self.place(peer)?;
        let (mut events, mut seen) = (Vec::with_capacity(self.expected_events), 0);
        loop {
            self.work(&mut events);
            if let Some(outcome) = events[seen..].iter().find_map(|event| event.end_of(peer, exec_id)) {
                self.expected_events = events.len();
                return Ok((outcome, events));
            }
            seen = events.len();
            let due = self.next_due().ok_or(SimulationError::Stalled { peer, exec_id })?;
            self.advance(due, &mut events);
        }
    }

    /// The time that all nodes share.
    pub fn now(&self) -> Time {
        self.now
    }

    /// A node.
    pub fn node(&self, peer: PeerId) -> Option<&Node> {
        self.places.get(&peer).map(|&place| &self.members[place].node)
    }

    /// The nodes, in the order in which they were added.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Node> {
        self.members.iter().map(|member| &member.node)
    }

    /// What a node has sent and got since the beginning.
    pub fn traffic(&self, peer: PeerId) -> Option<Traffic> {
        self.places.get(&peer).map(|&place| self.members[place].traffic)
    }

    fn place(&self, peer: PeerId) -> Result<usize, SimulationError> {
        self.places.get(&peer).copied().ok_or(SimulationError::UnknownPeer { peer })
    }

    /// Bytes that these nodes sent, each named by how many were added before it.
    pub(crate) fn bytes_sent(&self, places: std::ops::Range<usize>) -> u64 {
        self.members[places].iter().map(|member| member.traffic.bytes_sent).sum()
    }

    fn wake(&mut self, place: usize) {
        if !std::mem::replace(&mut self.members[place].is_ready, true) {
            self.ready.push_back(place);
        }
    }

    /// The next arrival or deadline.
    fn next_due(&self) -> Option<Time> {
        let deadline = self.deadlines.first().map(|(due, _)| *due);
        match (self.network.next_arrival(), deadline) {
            (Some(arrival), Some(deadline)) => Some(arrival.min(deadline)),
            (arrival, deadline) => arrival.or(deadline),
        }
    }

    /// Steps every node that has something to do, until none has.
    fn work(&mut self, events: &mut Vec<Event>) {
        while let Some(place) = self.ready.pop_front() {
            self.members[place].is_ready = false;
            let steps = self.members[place].node.step(self.now);
            let mut sent = std::mem::take(&mut self.sent);
            for step in steps {
                self.take(place, step, &mut sent, events);
            }
            self.network.send(self.now, &mut sent);
            self.sent = sent;
            self.note_deadline(place);
        }
    }

    fn take(&mut self, place: usize, step: EngineStep, sent: &mut Vec<Message>, events: &mut Vec<Event>) {
        let (peer, at) = (self.members[place].node.peer_id(), self.now);
        match step {
            EngineStep::SendEnvelope { peer: to, bytes, .. } => {
                let member = &mut self.members[place];
                member.traffic.messages_sent += 1;
                member.traffic.bytes_sent += bytes.len() as u64;
                match self.places.get(&to) {
                    Some(&receiver) if member.is_online => {
                        sent.push(Message { from: place, to: receiver, bytes });
                    }
                    _ => events.push(Event { peer, at, kind: EventKind::Lost { to } }),
                }
            }
            step => {
                if matches!(step, EngineStep::CycleBudgetExceeded { .. }) {
                    self.wake(place);
                }
                events.push(Event { peer, at, kind: EventKind::Step(step) });
            }
        }
    }

    fn note_deadline(&mut self, place: usize) {
        let member = &mut self.members[place];
        // A deadline that is due already would be met at this very moment again: it is met a moment later.
        let soonest = self.now + Duration::from_nanos(1);
        let deadline = member.node.next_deadline().map(|deadline| deadline.max(soonest));
        if deadline != member.deadline {
            if let Some(earlier) = std::mem::replace(&mut member.deadline, deadline) {
                self.deadlines.remove(&(earlier, place));
            }
            if let Some(deadline) = deadline {
                self.deadlines.insert((deadline, place));
            }
        }
    }

    /// Moves the time to `due`, wakes whose deadline it is, and delivers one message if one has arrived.
    ///
    /// One at a time: its receiver works on it while its bytes are near, and values do not pile up.
    fn advance(&mut self, due: Time, events: &mut Vec<Event>) {
        self.now = self.now.max(due);
        while let Some(&(deadline, place)) = self.deadlines.first() {
            if deadline > self.now {
                break;
            }
            self.deadlines.pop_first();
            self.members[place].deadline = None;
            self.wake(place);
        }
        if let Some(Message { from, to, bytes }) = self.network.arrived(self.now) {
            let (sender, at) = (self.members[from].node.peer_id(), self.now);
            let member = &mut self.members[to];
            let peer = member.node.peer_id();
            if !member.is_online {
                events.push(Event { peer: sender, at, kind: EventKind::Lost { to: peer } });
                return;
            }
            member.traffic.messages_received += 1;
            member.traffic.bytes_received += bytes.len() as u64;
            if let Err(error) = member.node.deliver_inbound(sender, &bytes) {
                let kind = EventKind::Refused { from: sender, error: Arc::new(error) };
                events.push(Event { peer, at, kind });
            }
            self.wake(to);
        }
    }
}

impl Event {
    /// How the execution ended, if this is its end.
    fn end_of(&self, peer: PeerId, exec_id: ExecId) -> Option<Outcome> {
        match &self.kind {
            EventKind::Step(EngineStep::ExecutionFinished { exec_id: ended, outcome })
                if self.peer == peer && *ended == exec_id =>
            {
                Some(outcome.clone())
            }
            _ => None,
        }
    }
}
