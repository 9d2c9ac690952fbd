//! One run: nodes, network, time, faults; the invariants after each step.

use std::time::Duration;

use bytesandbrains::framework::Rng;
use bytesandbrains::ir::Digest;
use bytesandbrains::{DeliveryError, DenyReason, EngineStep, Node, PeerId, SendResult, Time};

use super::disk::WriteFault;
use super::member::{Member, peer};
use super::network::{FaultyNetwork, Packet};
use super::plan::{FAULTS, HEALING};
use super::{Action, Counts, Failure, Fault, Plan, Report, Violation, Workload, Workloads, stranger, twin};

/// How rarely a slow host lets its node work.
const SLOW: Duration = Duration::from_millis(700);
/// Steps that a node may take at one moment.
const STEPS_AT_ONCE: usize = 10_000;

struct World<'w> {
    plan: &'w Plan,
    workload: Workload,
    members: Vec<Member>,
    network: FaultyNetwork,
    rng: Rng,
    now: Time,
    stranger: PeerId,
    stranger_until: Time,
    counts: Counts,
    digest: Digest,
    is_healed: bool,
    is_probed: bool,
}

/// Plays a plan to its end, or until something does not hold.
pub fn run(workloads: &Workloads, plan: &Plan) -> Report {
    let played = World::new(workloads, plan).and_then(|mut world| {
        let played = world.play();
        world.counts.healed = u64::from(plan.heals);
        world.counts.simulated = world.now.since(Time::ZERO);
        match played {
            Ok(()) => Ok((world.counts, world.digest)),
            Err(violation) => Err(violation),
        }
    });
    match played {
        Ok((counts, digest)) => Report { counts, digest, failure: None },
        Err(violation) => Report::failed(Failure::new(violation, plan.clone())),
    }
}

impl<'w> World<'w> {
    fn new(workloads: &Workloads, plan: &'w Plan) -> Result<Self, Violation> {
        let mut rng = Rng::from_u64(plan.seed);
        let workload = workloads.of(plan.seed);
        let parts = workloads.parts(workload);
        let count = parts.len();
        let stranger = PeerId::from_u64(666);
        let blocked = (rng.below(2) == 0).then_some(stranger);
        let members = parts
            .into_iter()
            .enumerate()
            .map(|(place, part)| {
                let known = (0..count).filter(|other| *other != place).map(peer).collect();
                Member::new(place, part, known, blocked, &mut rng)
            })
            .collect::<Result<_, _>>()?;
        let network = FaultyNetwork::new(rng.u64());
        Ok(Self {
            plan,
            workload,
            members,
            network,
            rng,
            now: Time::ZERO,
            stranger,
            stranger_until: Time::ZERO,
            counts: Counts::default(),
            digest: Digest::default(),
            is_healed: false,
            is_probed: false,
        })
    }

    fn play(&mut self) -> Result<(), Violation> {
        for member in &mut self.members {
            member.save(None, &mut self.counts)?;
        }
        let mut actions = self.plan.actions.iter().map(|(_, action)| *action).peekable();
        let (heals_at, probes_at) = (Time::ZERO + FAULTS, Time::ZERO + FAULTS + HEALING);
        let end = self.plan.end();
        loop {
            let dues = [
                actions.peek().map(|action| action.at),
                self.network.next_arrival(),
                self.members.iter().filter_map(|member| member.wake).min(),
                (self.plan.heals && !self.is_healed).then_some(heals_at),
                (self.plan.heals && !self.is_probed).then_some(probes_at),
            ];
            let Some(due) = dues.into_iter().flatten().min().filter(|due| *due <= end) else { break };
            self.now = self.now.max(due);
            if self.plan.heals && !self.is_healed && self.now >= heals_at {
                self.heal()?;
            }
            if self.plan.heals && !self.is_probed && self.now >= probes_at {
                self.probe()?;
            }
            while let Some(action) = actions.next_if(|action| action.at <= self.now) {
                self.act(action)?;
            }
            while let Some(packet) = self.network.arrived(self.now, &mut self.counts) {
                self.deliver(packet)?;
            }
            for place in 0..self.members.len() {
                if self.members[place].wake.is_some_and(|wake| wake <= self.now) {
                    self.work(place)?;
                }
            }
        }
        self.now = end;
        if self.plan.heals { self.all_ended("did not end well") } else { Ok(()) }
    }

    fn act(&mut self, Action { lasts, node, fault, .. }: Action) -> Result<(), Violation> {
        *self.counts.faults.entry(fault).or_default() += 1;
        let (count, until) = (self.members.len(), self.now + lasts);
        let place = node % count;
        let member = &mut self.members[place];
        match fault {
            Fault::Invoke => {
                let invoked: Vec<usize> = (0..count).filter(|n| self.members[*n].part.is_invoked).collect();
                if !invoked.is_empty() {
                    self.invoke(invoked[node % invoked.len()])?;
                }
            }
            Fault::Snapshot => member.save(None, &mut self.counts)?,
            Fault::DiskFault => {
                let faults = [WriteFault::Full, WriteFault::Short, WriteFault::Torn];
                member.save(Some(faults[node % 3]), &mut self.counts)?;
            }
            Fault::Crash => member.crash(until),
            Fault::ClockJump => {
                member.clock.jump(lasts);
                self.wake(place);
            }
            Fault::Pause => member.paused_until = member.paused_until.max(until),
            Fault::Slow => member.slow_until = member.slow_until.max(until),
            Fault::Delay => self.network.delay_until = until,
            Fault::Loss => self.network.loss_until = until,
            Fault::Duplication => self.network.duplication_until = until,
            Fault::OneWayCut => {
                for other in (0..count).filter(|other| *other != place) {
                    self.network.cut(place, other, until);
                }
            }
            Fault::Cut => {
                let other = (place + 1 + node / count % (count - 1)) % count;
                self.network.cut(place, other, until);
                self.network.cut(other, place, until);
            }
            Fault::Stranger => self.stranger_until = self.stranger_until.max(until),
        }
        Ok(())
    }

    fn heal(&mut self) -> Result<(), Violation> {
        self.is_healed = true;
        self.network.heal();
        self.stranger_until = Time::ZERO;
        for place in 0..self.members.len() {
            let member = &mut self.members[place];
            (member.paused_until, member.slow_until) = (self.now, self.now);
            member.down_until = member.down_until.min(self.now);
            self.wake(place);
        }
        Ok(())
    }

    /// All has healed for long enough: nothing is open, and something new succeeds.
    fn probe(&mut self) -> Result<(), Violation> {
        self.is_probed = true;
        self.all_ended("did not end")?;
        for place in 0..self.members.len() {
            if self.members[place].part.is_invoked {
                self.invoke(place)?;
                let ledger = &mut self.members[place].ledger;
                ledger.unhindered.extend(ledger.open.keys());
            }
        }
        Ok(())
    }

    fn all_ended(&self, what: &str) -> Result<(), Violation> {
        match self.members.iter().find_map(|member| Some((member.peer, *member.ledger.open.keys().next()?))) {
            Some((peer, exec_id)) => Err(Violation::NotHealed { peer, exec_id, what: what.to_owned() }),
            None => Ok(()),
        }
    }

    fn invoke(&mut self, place: usize) -> Result<(), Violation> {
        let peers: Vec<PeerId> = self.members.iter().map(|member| member.peer).collect();
        let (inputs, expected) = self.workload.inputs(&mut self.rng, &peers);
        let inputs: Vec<(&str, Vec<u8>)> =
            inputs.into_iter().map(|(name, value)| (name, value.encode())).collect();
        let given: Vec<(&str, &[u8])> = inputs.iter().map(|(name, value)| (*name, &value[..])).collect();
        let now = self.now;
        let member = &mut self.members[place];
        let Some(node) = member.node.as_mut().filter(|_| now >= member.paused_until) else { return Ok(()) };
        let invoked = node.invoke(member.part.target, &given);
        twin::invoke(&mut member.twin, (member.part.target, &given), &invoked, member.peer)?;
        match invoked {
            Ok(exec_id) => {
                self.counts.invocations += 1;
                member.ledger.accept(member.peer, exec_id, expected)?;
                self.wake(place);
                Ok(())
            }
            Err(DeliveryError::QueueFull { .. } | DeliveryError::BudgetExceeded { .. }) => Ok(()),
            Err(error) => Err(member.violation(error)),
        }
    }

    fn deliver(&mut self, packet: Packet) -> Result<(), Violation> {
        let source = packet.from.map_or(self.stranger, peer);
        let member = &mut self.members[packet.to];
        if self.now < member.paused_until {
            // It waits in front of a host that does nothing.
            let later = member.paused_until;
            self.network.send(later, packet, &mut self.counts);
            return Ok(());
        }
        let is_slow = self.now < member.slow_until;
        let Some(node) = &mut member.node else {
            self.counts.messages_lost += 1;
            return Ok(());
        };
        if is_slow {
            let taken = node.ingress_handle().deliver_inbound(source, &packet.bytes);
            twin::push(&mut member.twin, source, &packet.bytes, taken.is_ok());
            match taken {
                Ok(()) => self.counts.messages_accepted += 1,
                Err(_) => self.counts.messages_refused += 1,
            }
            if member.wake.is_none() {
                member.wake = Some(self.now + SLOW);
            }
            return Ok(());
        }
        let before = packet.from.is_none().then(|| essence(node));
        let stats = node.engine_stats();
        let delivered = node.deliver_inbound(source, &packet.bytes);
        twin::deliver(&mut member.twin, (source, &packet.bytes), &delivered, member.peer)?;
        match delivered {
            Ok(()) => self.counts.messages_accepted += 1,
            Err(error) => {
                self.counts.messages_refused += 1;
                if let DeliveryError::PeerDenied { reason: DenyReason::Blocklisted, .. } = error {
                    let mut expected = stats;
                    expected.denied_inbound += 1;
                    if expected != node.engine_stats() {
                        let what = "a denied peer changed more than its counter".to_owned();
                        return Err(Violation::ChangedByRefusal { peer: member.peer, what });
                    }
                }
                if let Some(before) = before
                    && before != essence(node)
                {
                    let what = format!("{error}: {before} became {}", essence(node));
                    return Err(Violation::ChangedByRefusal { peer: member.peer, what });
                }
            }
        }
        self.wake(packet.to);
        Ok(())
    }

    /// Lets a node work until it has nothing to do, and checks all that must hold then.
    fn work(&mut self, place: usize) -> Result<(), Violation> {
        let now = self.now;
        let member = &mut self.members[place];
        member.wake = None;
        if now < member.down_until {
            member.wake = Some(member.down_until);
            return Ok(());
        }
        if now < member.paused_until {
            member.wake = Some(member.paused_until);
            return Ok(());
        }
        if member.node.is_none() {
            member.restart(&mut self.counts)?;
        }
        let local = self.members[place].clock.local(now);
        for _ in 0..STEPS_AT_ONCE {
            let Member { node: Some(node), twin, peer, .. } = &mut self.members[place] else {
                return Ok(());
            };
            let steps = node.step(local);
            self.counts.steps += 1;
            twin::step(twin, local, &steps, *peer, &mut self.counts)?;
            self.take(place, steps)?;
            let member = &self.members[place];
            let Some(node) = &member.node else { return Ok(()) };
            member.ledger.check(node, self.workload.is_stateless())?;
            if node.next_deadline().is_none_or(|deadline| deadline > local) {
                break;
            }
        }
        let member = &mut self.members[place];
        let Some(node) = &mut member.node else { return Ok(()) };
        if node.next_deadline().is_none_or(|deadline| deadline > local) {
            let idle = node.step(local);
            twin::step(&mut member.twin, local, &idle, member.peer, &mut self.counts)?;
            if !idle.is_empty() {
                let what = format!("{idle:?}");
                return Err(Violation::WorkBeforeDeadline { peer: member.peer, what });
            }
        }
        let due = node.next_deadline().map(|deadline| member.clock.world(deadline));
        let soonest = if now < member.slow_until { now + SLOW } else { now + Duration::from_nanos(1) };
        member.wake = due.map(|due| due.max(soonest));
        Ok(())
    }

    fn take(&mut self, place: usize, steps: Vec<EngineStep>) -> Result<(), Violation> {
        let mut said = self.digest.0.to_vec();
        let has_steps = !steps.is_empty();
        for step in steps {
            let member = &mut self.members[place];
            member.ledger.take(member.peer, &step, &mut self.counts)?;
            if let EngineStep::SendEnvelope { peer: to, bytes, .. } = step {
                said.extend_from_slice(&bytes);
                let Some(to) = (0..self.members.len()).find(|other| peer(*other) == to) else { continue };
                self.ship(place, to, bytes);
            } else {
                said.extend_from_slice(format!("{}: {step:?}", peer(place)).as_bytes());
            }
        }
        if has_steps {
            self.digest = Digest::of(&said);
        }
        Ok(())
    }

    fn ship(&mut self, from: usize, to: usize, bytes: bytes::Bytes) {
        let is_watched = self.now < self.stranger_until;
        let seen = bytes.clone();
        let is_sent = self.network.send(self.now, Packet { from: Some(from), to, bytes }, &mut self.counts);
        if self.rng.below(4) == 0
            && let Member { node: Some(node), twin, .. } = &mut self.members[from]
        {
            // A host that says what became of its sends, and may err.
            let result = if is_sent { SendResult::Delivered } else { SendResult::Failed };
            let taken = node.ingress_handle().send_result(peer(to), result).is_ok();
            twin::send_result(twin, peer(to), result, taken);
            if taken {
                self.wake(from);
            }
        }
        if is_watched {
            for _ in 0..self.rng.below(3) {
                let victim = if self.rng.below(2) == 0 {
                    to
                } else {
                    self.rng.below(self.members.len() as u64) as usize
                };
                let bytes = stranger::twist(&mut self.rng, &seen);
                self.counts.messages_of_strangers += 1;
                self.network.send(self.now, Packet { from: None, to: victim, bytes }, &mut self.counts);
            }
        }
    }

    fn wake(&mut self, place: usize) {
        let soon = self.now + Duration::from_nanos(1);
        let member = &mut self.members[place];
        let soon = if self.now < member.slow_until { self.now + SLOW } else { soon };
        member.wake = Some(member.wake.map_or(soon, |wake| wake.min(soon)));
    }
}

/// What a refused message must not change.
fn essence(node: &Node) -> String {
    node.state_digest().map_or_else(|error| error.to_string(), |digest| digest.to_string())
}
