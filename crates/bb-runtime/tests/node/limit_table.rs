//! The limits that a node has when nobody says otherwise, and those of small devices, as they are promised.

use std::time::Duration;

use bb_runtime::limits::*;
use bb_runtime::{Config, NodeConfig};

use crate::common::{chain, node_with};

const KIB: usize = 1_024;
const MIB: usize = 1_024 * KIB;

#[test]
fn the_defaults_are_those_that_are_promised() {
    let (server, edge) = (NodeConfig::default(), NodeConfig::edge());
    // Of each: the constants, what the two have, and the promise.
    let table = [
        (
            [DEFAULT_CYCLE_OP_BUDGET, EDGE_CYCLE_OP_BUDGET],
            [server.cycle_op_budget, edge.cycle_op_budget],
            [1_000, 1_000],
        ),
        (
            [DEFAULT_PENDING_ASYNC, EDGE_PENDING_ASYNC],
            [server.pending_async, edge.pending_async],
            [10_000, 10_000],
        ),
        (
            [DEFAULT_OUTBOUND_COUNT, EDGE_OUTBOUND_COUNT],
            [server.outbound_count, edge.outbound_count],
            [10_000, 10_000],
        ),
        ([DEFAULT_BUS, EDGE_BUS], [server.bus, edge.bus], [1_024, 1_024]),
        (
            [DEFAULT_OUTBOUND_BYTES, EDGE_OUTBOUND_BYTES],
            [server.outbound_bytes, edge.outbound_bytes],
            [64 * MIB, 2 * MIB],
        ),
        (
            [DEFAULT_INGRESS_QUEUE, EDGE_INGRESS_QUEUE],
            [server.ingress_queue, edge.ingress_queue],
            [4 * 1_024, 4 * 1_024],
        ),
        (
            [DEFAULT_INGRESS_BYTES, EDGE_INGRESS_BYTES],
            [server.ingress_bytes, edge.ingress_bytes],
            [256 * MIB, 8 * MIB],
        ),
        (
            [DEFAULT_APP_EVENT_BYTES, EDGE_APP_EVENT_BYTES],
            [server.app_event_bytes, edge.app_event_bytes],
            [MIB, 64 * KIB],
        ),
        ([DEFAULT_INVOKE_INPUTS, EDGE_INVOKE_INPUTS], [server.invoke_inputs, edge.invoke_inputs], [100, 16]),
        (
            [DEFAULT_INVOKE_BYTES, EDGE_INVOKE_BYTES],
            [server.invoke_bytes, edge.invoke_bytes],
            [10 * MIB, 256 * KIB],
        ),
        (
            [DEFAULT_COMPLETION_BYTES, EDGE_COMPLETION_BYTES],
            [server.completion_bytes, edge.completion_bytes],
            [4 * MIB, 64 * KIB],
        ),
        (
            [DEFAULT_FAILURE_TEXT_BYTES, EDGE_FAILURE_TEXT_BYTES],
            [server.failure_text_bytes, edge.failure_text_bytes],
            [4 * KIB, 4 * KIB],
        ),
        (
            [DEFAULT_ENVELOPE_BYTES, EDGE_ENVELOPE_BYTES],
            [server.envelope_bytes, edge.envelope_bytes],
            [16 * MIB, 256 * KIB],
        ),
        (
            [DEFAULT_ENVELOPE_FILLS, EDGE_ENVELOPE_FILLS],
            [server.envelope_fills, edge.envelope_fills],
            [256, 16],
        ),
        ([DEFAULT_FILL_BYTES, EDGE_FILL_BYTES], [server.fill_bytes, edge.fill_bytes], [4 * MIB, 64 * KIB]),
        (
            [DEFAULT_CLAIMED_ADDRESSES, EDGE_CLAIMED_ADDRESSES],
            [server.claimed_addresses, edge.claimed_addresses],
            [8, 4],
        ),
        ([DEFAULT_ADDRESS_BYTES, EDGE_ADDRESS_BYTES], [server.address_bytes, edge.address_bytes], [256, 256]),
        (
            [DEFAULT_ADDRESS_BOOK_PEERS, EDGE_ADDRESS_BOOK_PEERS],
            [server.address_book_peers, edge.address_book_peers],
            [16_384, 256],
        ),
        (
            [DEFAULT_ADDRESSES_PER_PEER, EDGE_ADDRESSES_PER_PEER],
            [server.addresses_per_peer, edge.addresses_per_peer],
            [8, 4],
        ),
        ([DEFAULT_TIMERS, EDGE_TIMERS], [server.timers, edge.timers], [65_536, 1_024]),
        ([DEFAULT_DEDUP_WINDOW, EDGE_DEDUP_WINDOW], [server.dedup_window, edge.dedup_window], [8_192, 512]),
        (
            [DEFAULT_HEALTH_ENTRIES, EDGE_HEALTH_ENTRIES],
            [server.health_entries, edge.health_entries],
            [16_384, 256],
        ),
        ([DEFAULT_EXECUTIONS, EDGE_EXECUTIONS], [server.executions, edge.executions], [100_000, 256]),
    ];
    for (row, (constants, held, promised)) in table.into_iter().enumerate() {
        assert_eq!((constants, held), (promised, promised), "row {row}");
    }
    assert!(server.validate().is_ok() && edge.validate().is_ok());
    assert_eq!(node_with(1, &chain(1), "Chain", Config::new()).config(), &server);
}

#[test]
fn no_limit_may_be_zero() {
    let edge = NodeConfig::edge;
    let zeros: [(&str, NodeConfig); 26] = [
        ("cycle_op_budget", edge().with_cycle_op_budget(0)),
        ("pending_async", edge().with_pending_async(0)),
        ("outbound_count", edge().with_outbound_count(0)),
        ("outbound_bytes", edge().with_outbound_bytes(0)),
        ("bus", edge().with_bus(0)),
        ("ingress_queue", edge().with_ingress_queue(0)),
        ("ingress_bytes", edge().with_ingress_bytes(0)),
        ("app_event_bytes", edge().with_app_event_bytes(0)),
        ("invoke_inputs", edge().with_invoke_inputs(0)),
        ("invoke_bytes", edge().with_invoke_bytes(0)),
        ("completion_bytes", edge().with_completion_bytes(0)),
        ("failure_text_bytes", edge().with_failure_text_bytes(0)),
        ("envelope_bytes", edge().with_envelope_bytes(0)),
        ("envelope_fills", edge().with_envelope_fills(0)),
        ("fill_bytes", edge().with_fill_bytes(0)),
        ("claimed_addresses", edge().with_claimed_addresses(0)),
        ("address_bytes", edge().with_address_bytes(0)),
        ("address_book_peers", edge().with_address_book_peers(0)),
        ("addresses_per_peer", edge().with_addresses_per_peer(0)),
        ("timers", edge().with_timers(0)),
        ("dedup_window", edge().with_dedup_window(0)),
        ("health_entries", edge().with_health_entries(0)),
        ("holds", edge().with_holds(0)),
        ("records", edge().with_records(0)),
        ("executions", edge().with_executions(0)),
        ("pending_deadline", edge().with_pending_deadline(Duration::ZERO)),
    ];
    for (limit, config) in zeros {
        assert_eq!(config.validate(), Err(NodeConfigError::Zero { limit }));
    }
}
