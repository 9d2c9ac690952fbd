//! What a method may use besides its arguments.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use super::{Answer, Backend, Completion, CompletionSink, ComponentError, DataSource, OpOutput, Pending};
use crate::{DynComponent, PeerId, Role, Time};

/// An execution of a node; never repeats, not over restarts either, if each snapshot is gone on from once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExecId {
    /// The node's incarnation when the execution began.
    pub incarnation: u64,
    /// Counts the executions of that incarnation.
    pub counter: u64,
}

impl fmt::Display for ExecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.counter)
    }
}

/// What a node lends a component for the length of one call.
pub(crate) trait Services {
    /// Another component, by the name under which the running one declared it.
    fn backend(&mut self, name: &str) -> Result<&mut dyn Backend, ComponentError>;
    /// Takes another component out, by the name under which the running one declared it; its dependencies are what names
    /// mean until it is given back.
    fn lend(&mut self, name: &str, role: Role) -> Result<Box<dyn DynComponent>, ComponentError>;
    /// Puts back the component that was taken out last.
    fn give_back(&mut self, component: Box<dyn DynComponent>);
    /// Lets names mean the dependencies of the component in `slot`, until [`Services::leave`].
    fn enter(&mut self, slot: u32);
    /// Lets names mean what they did before.
    fn leave(&mut self);
    fn random(&mut self) -> u64;
    fn known_peers(&self) -> Vec<PeerId>;
    /// Reserves a place for an answer that comes later.
    fn defer(&mut self) -> (Pending, Arc<dyn CompletionSink>);
}

/// What a method may use besides its arguments: time, chance, its dependencies, the source of the message.
pub struct OpContext<'a> {
    pub(crate) now: Time,
    pub(crate) execution: ExecId,
    pub(crate) local_peer: PeerId,
    pub(crate) source_peer: Option<PeerId>,
    pub(crate) services: &'a mut dyn Services,
}

impl OpContext<'_> {
    /// The time of the step.
    pub fn now(&self) -> Time {
        self.now
    }

    /// The running execution.
    pub fn execution(&self) -> ExecId {
        self.execution
    }

    /// This node.
    pub fn local_peer(&self) -> PeerId {
        self.local_peer
    }

    /// Who sent the message that started this region, if a message did.
    pub fn source_peer(&self) -> Option<PeerId> {
        self.source_peer
    }

    /// A backend that the component declared as a dependency.
    ///
    /// # Errors
    /// [`ComponentError::NoDependency`], [`ComponentError::Busy`].
    pub fn backend(&mut self, name: &str) -> Result<&mut dyn Backend, ComponentError> {
        self.services.backend(name)
    }

    /// Lets `read` use a data source that the component declared as a dependency. In the context that `read` gets, names
    /// mean the data source's own dependencies.
    ///
    /// # Errors
    /// [`ComponentError::NoDependency`], [`ComponentError::Busy`], and those of `read`.
    ///
    /// ```
    /// # use bb_runtime::{Answer, Batch, ComponentError, OpContext};
    /// # fn first(cx: &mut OpContext<'_>) -> Result<Option<Answer<Option<Batch>>>, ComponentError> {
    /// cx.with_data_source("rows", |rows, cx| {
    ///     if rows.is_empty() { Ok(None) } else { rows.next_batch(cx, 32).map(Some) }
    /// })
    /// # }
    /// ```
    pub fn with_data_source<R>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut dyn DataSource, &mut OpContext<'_>) -> Result<R, ComponentError>,
    ) -> Result<R, ComponentError> {
        let mut component = self.services.lend(name, Role::DataSource)?;
        let called = catch_unwind(AssertUnwindSafe(|| match component.as_data_source() {
            Some(source) => read(source, self),
            None => Err(Self::no_dependency(name, Role::DataSource, Vec::new())),
        }));
        self.services.give_back(component);
        called.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// 64 random bits of the node's seeded generator.
    pub fn random(&mut self) -> u64 {
        self.services.random()
    }

    /// A random number below `bound`, without bias; 0 if `bound` is 0.
    pub fn random_below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        // Lemire, "Fast Random Integer Generation in an Interval", 2019, algorithm 5.
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let wide = u128::from(self.random()) * u128::from(bound);
            if wide as u64 >= threshold {
                return (wide >> 64) as u64;
            }
        }
    }

    /// Peers in the address book that policy allows, in order, this node left out.
    pub fn known_peers(&self) -> Vec<PeerId> {
        self.services.known_peers()
    }

    /// An answer that comes later: the right to give it, and what the method answers now.
    pub fn defer<T: OpOutput>(&mut self) -> (Completion<T>, Answer<T>) {
        let (pending, sink) = self.services.defer();
        (Completion::new(pending, sink), Answer::later(pending))
    }

    pub(crate) fn no_dependency(name: &str, role: Role, declared: Vec<String>) -> ComponentError {
        ComponentError::NoDependency { name: name.to_owned(), role, declared }
    }
}

impl fmt::Debug for OpContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpContext")
            .field("now", &self.now)
            .field("execution", &self.execution)
            .field("source_peer", &self.source_peer)
            .finish_non_exhaustive()
    }
}
