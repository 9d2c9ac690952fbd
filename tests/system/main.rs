//! One program for all whole-system tests, so that everything is linked once; a file a behaviour.

mod a_blocked_peer_changes_one_counter;
mod a_failing_client_is_named;
mod a_toy_backend_runs_in_a_node;
mod book;
mod gossip_has_no_server;
mod readme_shows_the_examples;
mod reference_workload;
mod same_seed_same_bytes;
