//! The limits of a node: every cap has a public default for servers and one for small devices.

use std::time::Duration;

use thiserror::Error;

use crate::PeerId;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

macro_rules! limits {
    ($($(#[$doc:meta])* $field:ident $with:ident $default_name:ident = $default:expr, $edge_name:ident = $edge:expr;)*) => {
        $(
            #[doc = concat!("The default of [`NodeConfig::", stringify!($with), "`].")]
            pub const $default_name: usize = $default;
            #[doc = concat!("What [`NodeConfig::edge`] has for [`NodeConfig::", stringify!($with), "`].")]
            pub const $edge_name: usize = $edge;
        )*

        /// The limits of a node, and what it reports.
        ///
        /// # Memory
        /// Beside the installed model, what components hold and what running programs made themselves, a node holds
        /// at most [`memory_bound`](Self::memory_bound) bytes: the ingress budget, to which everything from outside is
        /// charged by what it holds; the outbound queue's bytes; and for each table its entries times a small constant.
        ///
        /// ```
        /// use bb_runtime::NodeConfig;
        /// let limits = NodeConfig::edge().with_executions(16);
        /// assert_eq!(limits.executions, 16);
        /// assert!(limits.validate().is_ok());
        /// assert!(limits.with_executions(0).validate().is_err());
        /// ```
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct NodeConfig {
            $($(#[$doc])* pub $field: usize,)*
            /// How long a request waits for its quorum when the program does not say.
            pub request_deadline: Duration,
            /// How long an op that answers later, or waits for an aggregator, may take.
            pub pending_deadline: Duration,
            /// Whether each op that ran yields an `OpCompleted` step.
            pub trace_ops: bool,
            /// The node that the limits are for; `None` is any. Another one refuses them.
            pub peer_id: Option<PeerId>,
        }

        impl Default for NodeConfig {
            fn default() -> Self {
                Self {
                    $($field: $default_name,)*
                    request_deadline: DEFAULT_REQUEST_DEADLINE,
                    pending_deadline: DEFAULT_PENDING_DEADLINE,
                    trace_ops: false,
                    peer_id: None,
                }
            }
        }

        impl NodeConfig {
            /// The limits of a small device.
            pub fn edge() -> Self {
                Self { $($field: $edge_name,)* ..Self::default() }
            }

            $($(#[$doc])* #[must_use] pub fn $with(mut self, limit: usize) -> Self { self.$field = limit; self })*

            /// All limits with their names.
            pub(crate) fn entries(&self) -> impl Iterator<Item = (&'static str, u64)> {
                let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
                [
                    $((stringify!($field), self.$field as u64),)*
                    ("request_deadline", nanos(self.request_deadline)),
                    ("pending_deadline", nanos(self.pending_deadline)),
                    ("trace_ops", u64::from(self.trace_ops)),
                ]
                .into_iter()
            }

            /// Checks that every limit lets the node work.
            ///
            /// # Errors
            /// [`NodeConfigError`] names the first limit that does not.
            pub fn validate(&self) -> Result<(), NodeConfigError> {
                $(if self.$field == 0 { return Err(NodeConfigError::Zero { limit: stringify!($field) }); })*
                if self.request_deadline.is_zero() { return Err(NodeConfigError::Zero { limit: "request_deadline" }); }
                if self.pending_deadline.is_zero() { return Err(NodeConfigError::Zero { limit: "pending_deadline" }); }
                for (limit, part, whole, whole_name) in [
                    ("fill_bytes", self.fill_bytes, self.envelope_bytes, "envelope_bytes"),
                    ("envelope_bytes", self.envelope_bytes, self.ingress_bytes, "ingress_bytes"),
                    ("app_event_bytes", self.app_event_bytes, self.ingress_bytes, "ingress_bytes"),
                    ("invoke_bytes", self.invoke_bytes, self.ingress_bytes, "ingress_bytes"),
                ] {
                    if part > whole {
                        return Err(NodeConfigError::LargerThan { limit, value: part, other: whole_name, other_value: whole });
                    }
                }
                Ok(())
            }
        }
    };
}

/// How long a request waits for its quorum when the program does not say.
pub const DEFAULT_REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// How long an op that answers later may take.
pub const DEFAULT_PENDING_DEADLINE: Duration = Duration::from_secs(300);

limits! {
    /// Ops that one step runs at most; what is left makes the next poll ready.
    cycle_op_budget with_cycle_op_budget DEFAULT_CYCLE_OP_BUDGET = 1_000, EDGE_CYCLE_OP_BUDGET = 1_000;
    /// Ops that may wait for an answer at one time.
    pending_async with_pending_async DEFAULT_PENDING_ASYNC = 10_000, EDGE_PENDING_ASYNC = 10_000;
    /// Envelopes that may wait to be sent.
    outbound_count with_outbound_count DEFAULT_OUTBOUND_COUNT = 10_000, EDGE_OUTBOUND_COUNT = 10_000;
    /// Bytes of the envelopes that may wait to be sent.
    outbound_bytes with_outbound_bytes DEFAULT_OUTBOUND_BYTES = 64 * MIB, EDGE_OUTBOUND_BYTES = 2 * MIB;
    /// Events on the bus.
    bus with_bus DEFAULT_BUS = 1_024, EDGE_BUS = 1_024;
    /// Items that may wait to be taken in; also how many event values may wait for the others of their execution.
    ingress_queue with_ingress_queue DEFAULT_INGRESS_QUEUE = 4 * DEFAULT_BUS, EDGE_INGRESS_QUEUE = 4 * EDGE_BUS;
    /// Bytes from outside that may be held at one time: waiting, in executions, in components.
    ingress_bytes with_ingress_bytes DEFAULT_INGRESS_BYTES = 256 * MIB, EDGE_INGRESS_BYTES = 8 * MIB;
    /// Bytes of one event.
    app_event_bytes with_app_event_bytes DEFAULT_APP_EVENT_BYTES = MIB, EDGE_APP_EVENT_BYTES = 64 * KIB;
    /// Inputs of one invoke.
    invoke_inputs with_invoke_inputs DEFAULT_INVOKE_INPUTS = 100, EDGE_INVOKE_INPUTS = 16;
    /// Bytes of one invoke, names included.
    invoke_bytes with_invoke_bytes DEFAULT_INVOKE_BYTES = 10 * MIB, EDGE_INVOKE_BYTES = 256 * KIB;
    /// Bytes of one answer that came later.
    completion_bytes with_completion_bytes DEFAULT_COMPLETION_BYTES = 4 * MIB, EDGE_COMPLETION_BYTES = 64 * KIB;
    /// Bytes of a failure's text; longer ones are cut at a character.
    failure_text_bytes with_failure_text_bytes DEFAULT_FAILURE_TEXT_BYTES = 4 * KIB, EDGE_FAILURE_TEXT_BYTES = 4 * KIB;
    /// Bytes of one envelope.
    envelope_bytes with_envelope_bytes DEFAULT_ENVELOPE_BYTES = 16 * MIB, EDGE_ENVELOPE_BYTES = 256 * KIB;
    /// Fills of one envelope.
    envelope_fills with_envelope_fills DEFAULT_ENVELOPE_FILLS = 256, EDGE_ENVELOPE_FILLS = 16;
    /// Bytes of one fill.
    fill_bytes with_fill_bytes DEFAULT_FILL_BYTES = 4 * MIB, EDGE_FILL_BYTES = 64 * KIB;
    /// Addresses that one envelope may claim for its sender.
    claimed_addresses with_claimed_addresses DEFAULT_CLAIMED_ADDRESSES = 8, EDGE_CLAIMED_ADDRESSES = 4;
    /// Bytes of one claimed address.
    address_bytes with_address_bytes DEFAULT_ADDRESS_BYTES = 256, EDGE_ADDRESS_BYTES = 256;
    /// Peers in the address book.
    address_book_peers with_address_book_peers DEFAULT_ADDRESS_BOOK_PEERS = 16_384, EDGE_ADDRESS_BOOK_PEERS = 256;
    /// Addresses a peer.
    addresses_per_peer with_addresses_per_peer DEFAULT_ADDRESSES_PER_PEER = 8, EDGE_ADDRESSES_PER_PEER = 4;
    /// Timers.
    timers with_timers DEFAULT_TIMERS = 65_536, EDGE_TIMERS = 1_024;
    /// Message ids remembered to recognize duplicates.
    dedup_window with_dedup_window DEFAULT_DEDUP_WINDOW = 8_192, EDGE_DEDUP_WINDOW = 512;
    /// Peers whose health and backoff is remembered.
    health_entries with_health_entries DEFAULT_HEALTH_ENTRIES = 16_384, EDGE_HEALTH_ENTRIES = 256;
    /// Values that programs hold for later executions, over all holds.
    holds with_holds DEFAULT_HOLDS = 65_536, EDGE_HOLDS = 1_024;
    /// Names under which programs record values, and names of counters.
    records with_records DEFAULT_RECORDS = 1_024, EDGE_RECORDS = 64;
    /// Executions at one time.
    executions with_executions DEFAULT_EXECUTIONS = 100_000, EDGE_EXECUTIONS = 256;
}

impl NodeConfig {
    /// How long a request waits for its quorum when the program does not say.
    #[must_use]
    pub fn with_request_deadline(mut self, deadline: Duration) -> Self {
        self.request_deadline = deadline;
        self
    }

    /// How long an op that answers later, or waits for an aggregator, may take.
    #[must_use]
    pub fn with_pending_deadline(mut self, deadline: Duration) -> Self {
        self.pending_deadline = deadline;
        self
    }

    /// The node that the limits are for.
    #[must_use]
    pub fn with_peer_id(mut self, peer: PeerId) -> Self {
        self.peer_id = Some(peer);
        self
    }

    /// Whether each op that ran yields an `OpCompleted` step.
    #[must_use]
    pub fn with_trace_ops(mut self, trace: bool) -> Self {
        self.trace_ops = trace;
        self
    }
}

/// A limit with which a node could not work; the caller is at fault.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeConfigError {
    /// A part that may be larger than its whole.
    #[error(
        "`{limit}` is {value}, more than `{other}` with {other_value}; raise `{other}` or lower `{limit}`"
    )]
    LargerThan {
        /// The limit.
        limit: &'static str,
        /// Its value.
        value: usize,
        /// The limit it must not exceed.
        other: &'static str,
        /// That one's value.
        other_value: usize,
    },
    /// A limit of zero.
    #[error("`{limit}` must be at least 1")]
    Zero {
        /// The limit.
        limit: &'static str,
    },
}
