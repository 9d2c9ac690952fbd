//! The node: a state machine that a host feeds and drives.

use std::task::{Context, Poll};

use crate::{Address, Config, DeliveryError, EngineStep, ExecId, NodeConfig, PeerId, Time};

/// A node: installed programs, their components, and what is under way.
#[derive(Debug)]
pub struct Node {
    pub(crate) peer_id: PeerId,
    pub(crate) addresses: Vec<Address>,
    pub(crate) config: Config,
}

impl Node {
    /// Who the node is.
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// Its limits.
    pub fn config(&self) -> &NodeConfig {
        &self.config.node
    }

    /// Where it can be reached.
    pub fn local_addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Starts an execution of a target with all its inputs, each in its wire form ([`Value::encode`](crate::Value::encode)).
    ///
    /// # Errors
    /// [`DeliveryError`]; the node is as it was before.
    pub fn invoke(&mut self, module: &str, inputs: &[(&str, &[u8])]) -> Result<ExecId, DeliveryError> {
        let _ = (module, inputs);
        Err(DeliveryError::Closed)
    }

    /// Feeds one input of a target as a stream; returns the execution that this value completed, if it did.
    ///
    /// # Errors
    /// [`DeliveryError`]; the node is as it was before.
    pub fn deliver_event(
        &mut self,
        module: &str,
        input: &str,
        value: &[u8],
    ) -> Result<Option<ExecId>, DeliveryError> {
        let _ = (module, input, value);
        Err(DeliveryError::Closed)
    }

    /// Takes an envelope that the transport received from `source`.
    ///
    /// # Errors
    /// [`DeliveryError`]; the node is as it was before.
    pub fn deliver_inbound(&mut self, source: PeerId, envelope: &[u8]) -> Result<(), DeliveryError> {
        let _ = (source, envelope);
        Err(DeliveryError::Closed)
    }

    /// Does what there is to do at `now`, up to the op budget of a step.
    #[must_use = "steps say what the host has to do"]
    pub fn step(&mut self, now: Time) -> Vec<EngineStep> {
        let _ = now;
        Vec::new()
    }

    /// [`Node::step`] at the time of the node's clock; `Pending` wakes when another thread hands something in.
    #[must_use = "steps say what the host has to do"]
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Vec<EngineStep>> {
        let _ = cx;
        Poll::Pending
    }

    /// When to step again if nothing comes in.
    pub fn next_deadline(&self) -> Option<Time> {
        None
    }
}
