//! The node's bus: what is said on topics, and the source regions that listen.
//!
//! State: the events of [`Bus`] and its counters; who listens is given by the installed targets.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Engine;
use super::dense::Target;
use super::frame::Held;
use super::syscall::Source;
use crate::{Name, Value};

/// A peer answered again.
pub(crate) const PEER_UP: &str = "node.peer_up";
/// A peer failed too often.
pub(crate) const PEER_DOWN: &str = "node.peer_down";
/// An input was refused.
pub(crate) const DELIVERY_REFUSED: &str = "node.delivery_refused";
/// Messages found no room.
pub(crate) const OUTBOUND_DROPPED: &str = "node.outbound_dropped";

/// Events that wait for the regions that listen. Holds at most as many as its capacity; further ones are dropped and
/// counted. What nobody listens to is not kept.
#[derive(Debug)]
pub(crate) struct Bus {
    pub(crate) events: VecDeque<(Name, Held)>,
    capacity: usize,
    pub(crate) dropped: u64,
    listeners: BTreeMap<Name, Vec<Listener>>,
}

/// A region that listens.
#[derive(Clone, Copy, Debug)]
struct Listener {
    target: u32,
    region: u32,
    /// Whether it takes each event, or is told once a step that there were some.
    takes_each: bool,
}

impl Bus {
    pub(crate) fn new(targets: &[Arc<Target>], capacity: usize) -> Self {
        let mut listeners: BTreeMap<Name, Vec<Listener>> = BTreeMap::new();
        for (target, held) in targets.iter().enumerate() {
            for region in &held.regions {
                let (topic, takes_each) = match &region.source {
                    Some(Source::Event { topic }) => (topic, true),
                    Some(Source::Trigger { topic }) => (topic, false),
                    _ => continue,
                };
                let listener = Listener { target: target as u32, region: region.index, takes_each };
                listeners.entry(topic.clone()).or_default().push(listener);
            }
        }
        Self { events: VecDeque::new(), capacity, dropped: 0, listeners }
    }

    /// Whether anybody listens to a topic.
    pub(crate) fn is_heard(&self, topic: &str) -> bool {
        self.listeners.contains_key(topic)
    }

    /// How many regions listen.
    pub(crate) fn subscriptions(&self) -> usize {
        self.listeners.values().map(Vec::len).sum()
    }

    /// Says something.
    pub(crate) fn publish(&mut self, topic: Name, value: Held) {
        if !self.is_heard(&topic) {
            return;
        }
        if self.events.len() >= self.capacity {
            self.dropped += 1;
            return;
        }
        self.events.push_back((topic, value));
    }
}

impl Engine {
    /// Says something of the node itself.
    pub(crate) fn publish(&mut self, topic: &'static str, value: impl FnOnce() -> Value) {
        if self.bus.is_heard(topic) {
            self.bus.publish(Name::from(topic), Held::own(value()));
        }
    }

    /// Hands what waits on the bus to who listens; what these say is for the next step.
    pub(crate) fn run_bus(&mut self) {
        let mut told: Vec<(u32, u32)> = Vec::new();
        for _ in 0..self.bus.events.len() {
            let Some((topic, value)) = self.bus.events.pop_front() else { return };
            let listeners = self.bus.listeners.get(&topic).cloned().unwrap_or_default();
            for Listener { target, region, takes_each } in listeners {
                if takes_each {
                    self.start_source(target, region, value.clone());
                } else if !told.contains(&(target, region)) {
                    told.push((target, region));
                    self.start_source(target, region, Held::own(Value::Trigger));
                }
            }
        }
    }
}
