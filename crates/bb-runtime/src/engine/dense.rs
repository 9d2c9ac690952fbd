//! The dense form of a region: what the engine runs. Everything is an index; names are for messages only.

use std::sync::Arc;
use std::time::Duration;

use bb_ir::program::{Program, RegionKind};

use super::frame::EagerOp;
use super::syscall::{Source, Syscall};
use crate::contracts::BackendGraph;
use crate::{Name, OpRef, Role, Value, ValueType};

/// An input that the op left out.
pub(crate) const NO_SITE: u32 = u32::MAX;
/// Set on an input that is a constant; the other bits are its index.
pub(crate) const CONSTANT: u32 = 1 << 31;
/// Set on an op's count of missing inputs when one of them will never come.
pub(crate) const DEAD: u32 = 1 << 31;
/// Set on an op's count of missing inputs when the op takes each input as it comes; the count is not used then.
pub(crate) const EAGER: u32 = 1 << 30;

/// All targets of a program in dense form; one for all nodes of a process that install the program.
#[derive(Debug)]
pub(crate) struct Lowered {
    /// By the order of the program's bindings.
    pub(crate) slots: Box<[Slot]>,
    /// By the order of the program's targets; what could not be resolved instead.
    pub(crate) targets: Box<[Result<Arc<Target>, Vec<crate::error::UnresolvedOp>>]>,
}

/// A slot with the component that the program binds to it.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) name: Name,
    pub(crate) type_name: Name,
    /// Names of dependencies that the program takes from a slot of another name.
    pub(crate) dependencies: Box<[(Name, u32)]>,
}

/// What a peer class runs.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: Name,
    pub(crate) index: u32,
    pub(crate) regions: Box<[Arc<Region>]>,
    pub(crate) entry: Option<u32>,
    /// Ports that receive, sorted: port, region, which of the region's inputs.
    pub(crate) ports: Box<[(u32, u32, u32)]>,
    /// Slots that its ops touch, each with a role it is used in.
    pub(crate) uses: Box<[(u32, Role)]>,
}

/// A graph in dense form.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) program: Arc<Program>,
    pub(crate) target: u32,
    pub(crate) index: u32,
    pub(crate) module: Name,
    pub(crate) kind: RegionKind,
    pub(crate) ops: Box<[Op]>,
    /// For each op its node in the recorded graph; past its end for outputs.
    pub(crate) nodes: Box<[u32]>,
    /// The sites that ops read, all ops in one array.
    pub(crate) inputs: Box<[u32]>,
    /// The sites that ops write, all ops in one array.
    pub(crate) outputs: Box<[Site]>,
    /// The ops that a site or an op's end releases, in one array.
    pub(crate) consumers: Box<[u32]>,
    /// For each op how many inputs and predecessors it waits for.
    pub(crate) missing: Box<[u32]>,
    /// The ops that wait for nothing.
    pub(crate) roots: Box<[u32]>,
    /// How many places for values a frame has.
    pub(crate) place_count: u32,
    pub(crate) constants: Box<[Value]>,
    /// What a frame is given when it starts: the host's inputs or captured values, then what arrives at ports.
    pub(crate) arguments: Box<[Argument]>,
    /// How many of the arguments are not ports.
    pub(crate) given_count: u32,
    pub(crate) sends: Box<[Send]>,
    pub(crate) runs: Box<[Run]>,
    /// How many graphs the regions before it in its target prepare.
    pub(crate) first_run: u32,
    pub(crate) emits: Box<[Name]>,
    pub(crate) syscalls: Box<[Syscall]>,
    /// Ops that take each input as it comes.
    pub(crate) eager: Box<[EagerOp]>,
    /// What starts a source region.
    pub(crate) source: Option<Source>,
    /// Whether some op answers the message that started the region.
    pub(crate) replies: bool,
}

/// One op.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    pub(crate) dispatch: Dispatch,
    /// In [`Region::inputs`].
    pub(crate) inputs: Span,
    /// In [`Region::outputs`].
    pub(crate) outputs: Span,
    /// In [`Region::consumers`]: what its end releases besides the readers of its outputs.
    pub(crate) successors: Span,
}

/// A stretch of a shared array.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// Where a value is kept, and who reads it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    /// Index of the frame's place; unused when nobody reads the value.
    pub(crate) place: u32,
    /// How often it is read.
    pub(crate) reads: u32,
    /// In [`Region::consumers`].
    pub(crate) consumers: Span,
}

/// What a frame is given.
#[derive(Debug)]
pub(crate) struct Argument {
    pub(crate) name: Name,
    pub(crate) ty: ValueType,
    pub(crate) port: Option<u32>,
    pub(crate) site: Site,
}

/// What an op does, resolved once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dispatch {
    /// n values into one tuple.
    Bundle,
    /// Hands its value to the host; the index of the output's name.
    Emit(u32),
    /// Hands its value on.
    PassThrough,
    /// Runs a prepared graph; the index of it in the region.
    Run(u32),
    /// A method of a component.
    Method(Method, u32),
    /// Sends to peers; the index of it in the region.
    Send(u32),
    /// What the engine does itself; the index of it in the region.
    Syscall(u32),
    /// Who sent the message that started the region.
    Source,
    /// One tuple into n values.
    Unbundle,
}

/// A method of a role; numbers that the op carries are with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    AggregatorAggregate,
    AggregatorBegin,
    AggregatorContribute,
    ComponentBootstrap,
    ModelApplyDelta,
    ModelBackward,
    ModelEvaluate { data: u32 },
    ModelFit { data: u32, epochs: u32, batch: u32 },
    ModelForward,
    ModelLoadParameters,
    ModelLoss,
    ModelMix,
    ModelParameters,
    ModelTrainStep,
    PeersSample { count: u32 },
    PeersView,
}

/// A message to peers.
#[derive(Debug)]
pub(crate) struct Send {
    pub(crate) kind: SendKind,
    /// Where the values go, in order.
    pub(crate) ports: Box<[u32]>,
}

/// What kind of message.
#[derive(Debug)]
pub(crate) enum SendKind {
    /// One way.
    Cast,
    /// The answer to the message that started the region.
    Reply,
    /// Asks for answers.
    Request(Request),
}

/// How a request's answers are taken.
#[derive(Debug)]
pub(crate) struct Request {
    /// The region that each answer runs; none: the first answer is the result.
    pub(crate) answer: Option<u32>,
    /// Where answers arrive, with what they may be.
    pub(crate) answer_ports: Box<[(u32, ValueType)]>,
    /// How many answers are needed; all if it is none.
    pub(crate) quorum: Option<u32>,
    pub(crate) deadline: Option<Duration>,
    /// How many of the op's last inputs are captured by the answer region.
    pub(crate) captured: u32,
}

/// A graph that a backend prepares.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) slot: u32,
    pub(crate) graph: BackendGraph,
    /// The op, in [`Region::ops`].
    pub(crate) op: u32,
}

impl Span {
    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    pub(crate) fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}

impl Method {
    /// The role it belongs to.
    pub(crate) fn role(self) -> Role {
        match self {
            Self::AggregatorAggregate | Self::AggregatorBegin | Self::AggregatorContribute => {
                Role::Aggregator
            }
            Self::PeersSample { .. } | Self::PeersView => Role::PeerSelector,
            _ => Role::Model,
        }
    }
}

impl Region {
    /// An op as steps and errors name it.
    pub(crate) fn op_ref(&self, op: u32) -> OpRef {
        let node = self.nodes.get(op as usize).and_then(|&node| {
            let region = self.program.targets.get(self.target as usize)?.regions.get(self.index as usize)?;
            region.graph.nodes.get(node as usize)
        });
        let is_bootstrap = self
            .ops
            .get(op as usize)
            .is_some_and(|op| matches!(op.dispatch, Dispatch::Method(Method::ComponentBootstrap, _)));
        let (id, span) = match node {
            _ if is_bootstrap => (
                crate::OpId::new(bb_ir::program::domains::SYSCALL, "Bootstrap"),
                bb_ir::program::Span::default(),
            ),
            Some(node) => (node.op.clone(), node.span.clone()),
            None => (
                crate::OpId::new(bb_ir::program::domains::SYSCALL, "AppEmit"),
                bb_ir::program::Span::default(),
            ),
        };
        OpRef { module: self.module.clone(), region: self.index, index: op, op: id, span }
    }
}

impl Target {
    /// Which region, and which of its arguments, a port belongs to.
    pub(crate) fn port(&self, port: u32) -> Option<(u32, u32)> {
        let found = self.ports.binary_search_by_key(&port, |entry| entry.0).ok()?;
        self.ports.get(found).map(|&(_, region, argument)| (region, argument))
    }
}
