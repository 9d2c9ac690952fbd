//! Taking things in: events, invocations, messages.

use std::sync::Arc;

use smallvec::SmallVec;

use bb_framework::Charge;
use bb_ir::wire_codec::{DecodeLimits, Scanned, ValueError, scan};

use super::Node;
use crate::engine::bus::{self, Bus};
use crate::engine::dense::{Argument, Region, Target};
use crate::engine::frame::Held;
use crate::engine::inbound::held;
use crate::engine::methods::kind;
use crate::error::{DeliveryError, ValueFault};
use crate::ingress::{EventGate, EventInput, IngressHandle};
use crate::{ExecId, PeerId, Value};

/// What other threads can be told of the installed targets.
pub(super) struct Gate(pub(super) Arc<[Arc<Target>]>);

impl Node {
    /// Starts an execution of a target with all its inputs, each in its wire form ([`Value::encode`]).
    ///
    /// # Errors
    /// [`DeliveryError`]; the node is as it was before.
    ///
    /// ```
    /// # use bb_runtime::{DeliveryError, Node, Value};
    /// # fn ask(node: &mut Node) -> Result<(), DeliveryError> {
    /// let run = node.invoke("Double", &[("x", &Value::I64(21).encode())])?;
    /// assert!(node.execution_state(run).is_some(), "until a step reports its end");
    /// # Ok(())
    /// # }
    /// ```
    pub fn invoke(&mut self, module: &str, inputs: &[(&str, &[u8])]) -> Result<ExecId, DeliveryError> {
        let span = tracing::debug_span!("invoke", module);
        let _entered = span.enter();
        let started = self.start(module, inputs);
        self.tell_refused(started)
    }

    fn start(&mut self, module: &str, inputs: &[(&str, &[u8])]) -> Result<ExecId, DeliveryError> {
        self.check_open()?;
        let engine = &mut self.engine;
        let (index, target) = find_target(&engine.targets, module)?;
        let region = entry(target)?;
        let (count, cap) = (inputs.len(), engine.limits.invoke_inputs);
        if count > cap {
            return Err(DeliveryError::TooManyInputs { count, cap });
        }
        let byte_count = inputs.iter().map(|(name, value)| name.len() + value.len()).sum();
        let cap = engine.limits.invoke_bytes;
        if byte_count > cap {
            return Err(DeliveryError::OversizePayload { byte_count, cap });
        }
        let arguments = given(region);
        let mut order: SmallVec<[Option<&[u8]>; 8]> = SmallVec::from_elem(None, arguments.len());
        for &(name, value) in inputs {
            let place = &mut order[find_input(target, region, name)? as usize];
            if place.replace(value).is_some() {
                return Err(DeliveryError::DuplicateInput {
                    module: module.to_owned(),
                    input: name.to_owned(),
                });
            }
        }
        if let Some(missing) = order.iter().position(Option::is_none) {
            let input = arguments[missing].name.to_string();
            return Err(DeliveryError::MissingInput { module: module.to_owned(), input });
        }
        let capacity = engine.limits.executions;
        if engine.executions.len() >= capacity {
            return Err(DeliveryError::QueueFull { capacity });
        }
        let mut scanned: SmallVec<[Scanned<'_>; 4]> = SmallVec::with_capacity(order.len());
        let mut held_bytes = 0;
        for (argument, value) in arguments.iter().zip(order.into_iter().flatten()) {
            let value = look_over(target, argument, value)?;
            held_bytes += value.heap_bytes();
            scanned.push(value);
        }
        let charge = engine.charge(byte_count.max(held_bytes))?;
        let mut values: SmallVec<[Option<Held>; 4]> = SmallVec::with_capacity(scanned.len());
        for (argument, value) in arguments.iter().zip(scanned) {
            values.push(Some(held(decode(target, argument, value)?, &charge)));
        }
        let region = Arc::clone(region);
        Ok(engine.begin(index, &region, None, values))
    }

    /// Feeds one input of a target as a stream; returns the execution that this value completed, if it did.
    ///
    /// Values wait in order; an execution begins when each input of the target has one, with the oldest of each.
    ///
    /// # Errors
    /// [`DeliveryError`]; the node is as it was before.
    ///
    /// ```
    /// # use bb_runtime::{DeliveryError, Node, Value};
    /// # fn feed(node: &mut Node) -> Result<(), DeliveryError> {
    /// assert_eq!(node.deliver_event("Sum", "a", &Value::I64(1).encode())?, None, "`b` is still to come");
    /// let run = node.deliver_event("Sum", "b", &Value::I64(2).encode())?;
    /// assert!(run.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn deliver_event(
        &mut self,
        module: &str,
        input: &str,
        value: &[u8],
    ) -> Result<Option<ExecId>, DeliveryError> {
        let span = tracing::debug_span!("deliver_event", module, input);
        let _entered = span.enter();
        let taken = self.deliver(module, input, value);
        self.tell_refused(taken)
    }

    fn deliver(&mut self, module: &str, input: &str, value: &[u8]) -> Result<Option<ExecId>, DeliveryError> {
        self.check_open()?;
        let (target, held) = find_target(&self.engine.targets, module)?;
        let input = find_input(held, entry(held)?, input)?;
        let (byte_count, cap) = (value.len(), self.engine.limits.app_event_bytes);
        if byte_count > cap {
            return Err(DeliveryError::OversizePayload { byte_count, cap });
        }
        let charge = self.engine.charge(byte_count)?;
        self.take_event(EventInput { target, input }, value, charge)
    }

    /// Takes an envelope that the transport received from `source`.
    ///
    /// # Errors
    /// [`DeliveryError`]; the node is as it was before, but for the counter of the reason.
    ///
    /// ```
    /// # use bb_runtime::{DeliveryError, Node, PeerId};
    /// # fn receive(node: &mut Node, source: PeerId, datagram: &[u8]) {
    /// match node.deliver_inbound(source, datagram) {
    ///     Ok(()) => {}
    ///     Err(DeliveryError::PeerDenied { .. }) => {} // counted, and nothing else
    ///     Err(error) => eprintln!("{source}: {error}"),
    /// }
    /// # }
    /// ```
    pub fn deliver_inbound(&mut self, source: PeerId, envelope: &[u8]) -> Result<(), DeliveryError> {
        let span = tracing::debug_span!("deliver_inbound", %source);
        let _entered = span.enter();
        let load = self.ingress.load(source);
        let taken = self.check_open().and_then(|()| self.engine.deliver_inbound(source, envelope, load));
        self.tell_refused(taken)
    }

    /// Counts an input that was refused, and says so on the bus; of denied peers nothing is said.
    fn tell_refused<T>(&mut self, taken: Result<T, DeliveryError>) -> Result<T, DeliveryError> {
        if let Err(error) = &taken
            && !matches!(error, DeliveryError::PeerDenied { .. })
        {
            self.engine.counters.refused.note(error);
            self.tell_untold();
            self.engine.publish(bus::DELIVERY_REFUSED, || Value::Str(error.to_string().into()));
        }
        taken
    }

    /// Says on the bus what was refused on other threads.
    pub(super) fn tell_untold(&mut self) {
        if self.ingress.untold_count() > 0 {
            let (untold, dropped) = self.ingress.take_untold();
            for text in untold {
                self.engine.publish(bus::DELIVERY_REFUSED, || Value::Str((*text).into()));
            }
            self.engine.bus.dropped += dropped;
        }
    }

    /// What other threads hand things in with.
    ///
    /// ```
    /// # use bb_runtime::{DeliveryError, Node, PeerId, SendResult};
    /// # fn hand_in(node: &Node, source: PeerId, datagram: Vec<u8>) {
    /// let handle = node.ingress_handle();
    /// std::thread::spawn(move || -> Result<(), DeliveryError> {
    ///     handle.deliver_inbound(source, &datagram)?;
    ///     handle.send_result(source, SendResult::Delivered)
    /// });
    /// # }
    /// ```
    pub fn ingress_handle(&self) -> IngressHandle {
        self.ingress.handle()
    }

    fn check_open(&self) -> Result<(), DeliveryError> {
        if self.ingress.is_closed() { Err(DeliveryError::Closed) } else { Ok(()) }
    }

    /// Takes an event whose bytes are charged.
    pub(super) fn take_event(
        &mut self,
        input: EventInput,
        value: &[u8],
        mut charge: Charge,
    ) -> Result<Option<ExecId>, DeliveryError> {
        let EventInput { target: index, input } = input;
        let target = &self.engine.targets[index as usize];
        let region = entry(target)?;
        let arguments = given(region);
        let capacity = self.engine.limits.ingress_queue;
        let completes = self.lines.completes(index, input, region.given_count);
        if !completes && self.lines.len() >= capacity {
            return Err(DeliveryError::QueueFull { capacity });
        }
        let capacity = self.engine.limits.executions;
        if completes && self.engine.executions.len() >= capacity {
            return Err(DeliveryError::QueueFull { capacity });
        }
        let argument = &arguments[input as usize];
        let scanned = look_over(target, argument, value)?;
        if scanned.heap_bytes() > charge.byte_count() {
            charge = self.engine.charge(scanned.heap_bytes())?;
        }
        let value = held(decode(target, argument, scanned)?, &charge);
        if !completes {
            self.lines.push(index, input, value);
            return Ok(None);
        }
        let region = Arc::clone(region);
        let values = self.lines.complete(index, input, value, region.given_count);
        Ok(Some(self.engine.begin(index, &region, None, values)))
    }
}

impl EventGate for Gate {
    fn find(&self, module: &str, input: &str) -> Result<EventInput, DeliveryError> {
        let (index, target) = find_target(&self.0, module)?;
        Ok(EventInput { target: index, input: find_input(target, entry(target)?, input)? })
    }

    fn check(&self, input: EventInput, value: &[u8]) -> Result<(), DeliveryError> {
        let target = &self.0[input.target as usize];
        match scan(value, &DecodeLimits::HOST) {
            Ok(_) => Ok(()),
            Err(error) => {
                let argument = &given(entry(target)?)[input.input as usize];
                Err(invalid(target, argument, ValueFault::Malformed(error)))
            }
        }
    }

    fn hears_refusals(&self) -> bool {
        Bus::new(&self.0, 0).is_heard(bus::DELIVERY_REFUSED)
    }
}

fn find_target<'t>(targets: &'t [Arc<Target>], module: &str) -> Result<(u32, &'t Target), DeliveryError> {
    match targets.iter().position(|target| target.name == *module) {
        Some(index) => Ok((index as u32, &targets[index])),
        None => Err(DeliveryError::UnknownModule {
            module: module.to_owned(),
            available: targets.iter().map(|target| target.name.to_string()).collect(),
        }),
    }
}

/// The region that the host starts.
fn entry(target: &Target) -> Result<&Arc<Region>, DeliveryError> {
    let entry = target.entry.and_then(|entry| target.regions.get(entry as usize));
    entry.ok_or_else(|| DeliveryError::NoEntry { module: target.name.to_string() })
}

/// What the host gives the region.
pub(super) fn given(region: &Region) -> &[Argument] {
    &region.arguments[..region.given_count as usize]
}

fn find_input(target: &Target, region: &Region, input: &str) -> Result<u32, DeliveryError> {
    match given(region).iter().position(|argument| argument.name == *input) {
        Some(index) => Ok(index as u32),
        None => Err(DeliveryError::UnknownInput {
            module: target.name.to_string(),
            input: input.to_owned(),
            available: given(region).iter().map(|argument| argument.name.to_string()).collect(),
        }),
    }
}

fn look_over<'b>(
    target: &Target,
    argument: &Argument,
    bytes: &'b [u8],
) -> Result<Scanned<'b>, DeliveryError> {
    scan(bytes, &DecodeLimits::HOST).map_err(|error| invalid(target, argument, ValueFault::Malformed(error)))
}

fn decode(target: &Target, argument: &Argument, scanned: Scanned<'_>) -> Result<Value, DeliveryError> {
    let value = scanned.decode().map_err(|error| match error {
        ValueError::AllocationFailed { byte_count } => {
            DeliveryError::AllocationFailed { byte_count, reason: error.to_string() }
        }
        error => invalid(target, argument, ValueFault::Malformed(error)),
    })?;
    if argument.ty.admits(&value) {
        return Ok(value);
    }
    let fault = ValueFault::WrongType { expected: argument.ty.clone(), got: kind(&value) };
    Err(invalid(target, argument, fault))
}

fn invalid(target: &Target, argument: &Argument, fault: ValueFault) -> DeliveryError {
    DeliveryError::InvalidValue { module: target.name.to_string(), input: argument.name.to_string(), fault }
}
