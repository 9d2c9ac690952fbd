//! Why a program was not installed.

use bb_ir::Digest;
use bb_ir::passport::{PassportError, SignatureError, VerifyingKey};
use bb_ir::program::{Span, VerifyError};
use thiserror::Error;

use crate::contracts::{BackendError, ComponentError};
use crate::limits::NodeConfigError;
use crate::{OpId, OpRef, PeerId, Role};

/// Why a program was not installed; nothing is left behind.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The artifact's signature does not hold.
    #[error(transparent)]
    BadSignature(#[from] SignatureError),
    /// The limits are for another peer.
    #[error("the limits are for {got}, the node is {expected}")]
    OtherPeer {
        /// Who the node is.
        expected: PeerId,
        /// Whom the limits are for.
        got: PeerId,
    },
    /// A slot without a component.
    #[error("slot `{slot}` is not bound to a component; bind it with the compiler")]
    Unbound {
        /// The slot.
        slot: String,
    },
    /// A component could not be made.
    #[error("slot `{slot}`: {type_name} could not be made: {source}")]
    ComponentFailed {
        /// The slot.
        slot: String,
        /// The component's type.
        type_name: String,
        /// Its error.
        source: ComponentError,
    },
    /// A component's constructor panicked.
    #[error("slot `{slot}`: {type_name} panicked while it was made: {message}")]
    ComponentPanicked {
        /// The slot.
        slot: String,
        /// The component's type.
        type_name: String,
        /// What it said.
        message: String,
    },
    /// A slot configured twice.
    #[error("slot `{slot}` is configured twice")]
    ConfigTwice {
        /// The slot.
        slot: String,
    },
    /// The artifact is not the one that its passport speaks of.
    #[error(
        "the artifact's digest is {got}, its passport says {expected}: it was altered after it was compiled"
    )]
    DigestMismatch {
        /// The digest in the passport.
        expected: Digest,
        /// The digest of the artifact.
        got: Digest,
    },
    /// An address that the node cannot have.
    #[error(transparent)]
    InvalidAddress(#[from] bb_framework::AddressBookError),
    /// A limit with which the node could not work.
    #[error(transparent)]
    InvalidLimits(#[from] NodeConfigError),
    /// The artifact's program is not well-formed.
    #[error("the artifact is not well-formed: {}", each(errors))]
    Malformed {
        /// What is wrong.
        errors: Vec<VerifyError>,
    },
    /// A component needs a configuration.
    #[error("slot `{slot}`: {type_name} needs a configuration of type {expected}; give it with Config::with")]
    MissingConfig {
        /// The slot.
        slot: String,
        /// The component's type.
        type_name: String,
        /// The configuration's type.
        expected: &'static str,
    },
    /// A component's dependency has no slot, or one with another role.
    #[error("slot `{slot}`: {type_name} depends on `{dependency}` with role {role}, {reason}")]
    MissingDependency {
        /// The slot.
        slot: String,
        /// The component's type.
        type_name: String,
        /// The dependency's name.
        dependency: String,
        /// The role it must have.
        role: Role,
        /// What is wrong with the slot it is taken from.
        reason: String,
    },
    /// The artifact's passport is missing or cannot be read.
    #[error("{source}")]
    NoPassport {
        /// What is wrong with it.
        source: PassportError,
    },
    /// Nothing is to be installed.
    #[error("no targets are given; the artifact has {available:?}")]
    NoTargets {
        /// The targets of the artifact.
        available: Vec<String>,
    },
    /// The program is recorded but not compiled.
    #[error("the program is not compiled; give it to a Compiler first")]
    NotCompiled,
    /// A backend cannot prepare a graph of the program.
    #[error("slot `{slot}`: the backend cannot prepare {op}: {source}")]
    PrepareFailed {
        /// The slot.
        slot: String,
        /// The op.
        op: Box<OpRef>,
        /// The backend's error.
        source: BackendError,
    },
    /// A target given twice.
    #[error("target `{target}` is given twice")]
    TargetTwice {
        /// The target.
        target: String,
    },
    /// Two different types under one name.
    #[error("two component types are called {type_name}; rename one")]
    TypeNameTwice {
        /// The name.
        type_name: String,
    },
    /// A configuration for a slot that the targets do not have.
    #[error("no slot `{slot}` to configure; the targets have {available:?}")]
    UnknownSlot {
        /// The name given.
        slot: String,
        /// The slots there are.
        available: Vec<String>,
    },
    /// The host trusts keys, and none of them vouches for the artifact.
    #[error(
        "no key that Config::trust names signed the artifact, but {signers:?}; have it signed, or trust one of these"
    )]
    Untrusted {
        /// Who vouches for it.
        signers: Vec<VerifyingKey>,
    },
    /// No such target.
    #[error("the artifact has no target `{target}`; it has {available:?}")]
    UnknownTarget {
        /// The name given.
        target: String,
        /// The targets of the artifact.
        available: Vec<String>,
    },
    /// A component type that this process does not know.
    #[error(
        "slot `{slot}` needs component {type_name}; register it with Config::register. Known: {registered:?}"
    )]
    UnregisteredComponent {
        /// The slot.
        slot: String,
        /// The component's type.
        type_name: String,
        /// The types known.
        registered: Vec<String>,
    },
    /// Ops that this runtime does not know, all of them.
    #[error("the runtime does not know {}", each(ops))]
    UnresolvedOps {
        /// The ops.
        ops: Vec<UnresolvedOp>,
    },
    /// Ops that the backends bound to them do not run, all of them.
    #[error("not supported: {}", each(ops))]
    UnsupportedOps {
        /// The ops.
        ops: Vec<UnsupportedOp>,
    },
    /// The artifact was compiled by a version that this runtime does not understand.
    #[error("the artifact was compiled by version {got}, this runtime takes {expected}; compile it again")]
    WrongCompilerVersion {
        /// What this runtime takes.
        expected: String,
        /// The artifact's.
        got: String,
    },
    /// A configuration of another type than the component takes.
    #[error("slot `{slot}`: {type_name} takes a configuration of type {expected}, got {got}")]
    WrongConfigType {
        /// The slot.
        slot: String,
        /// The component's type.
        type_name: String,
        /// What it takes.
        expected: &'static str,
        /// What was given.
        got: &'static str,
    },
    /// A slot's component does not have the role that the program uses it in.
    #[error("slot `{slot}` is used as {role}, but {type_name} has {has:?}")]
    WrongRole {
        /// The slot.
        slot: String,
        /// The role used.
        role: Role,
        /// The component's type.
        type_name: String,
        /// The roles it has.
        has: Vec<Role>,
    },
}

/// An op that the runtime does not know, or whose parts are not what the op needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnresolvedOp {
    /// The target.
    pub target: String,
    /// The op.
    pub op: OpId,
    /// What is wrong.
    pub reason: String,
    /// Where it was recorded.
    pub span: Span,
}

/// An op that the backend bound to it does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedOp {
    /// The op.
    pub op: OpId,
    /// The slot.
    pub slot: String,
    /// The backend's type.
    pub type_name: String,
    /// Where it was recorded.
    pub span: Span,
}

impl std::fmt::Display for UnresolvedOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {}", self.op, self.target)?;
        if self.span.is_known() {
            write!(f, " at {}", self.span)?;
        }
        write!(f, " ({})", self.reason)
    }
}

impl std::fmt::Display for UnsupportedOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} by {} in slot `{}`", self.op, self.type_name, self.slot)?;
        if self.span.is_known() { write!(f, " at {}", self.span) } else { Ok(()) }
    }
}

fn each<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}
