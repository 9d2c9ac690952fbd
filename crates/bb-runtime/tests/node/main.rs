//! A node as its host sees it: programs built by hand, installed, fed and driven through the public API.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that panics has failed")]

mod against_reference;
mod artifact;
#[macro_use]
mod common;
mod counted;
mod dataflow;
mod deferred;
mod determinism;
mod failures;
mod federation;
mod feeding;
mod golden;
mod installing;
mod limit_table;
mod messages;
mod mistakes;
mod new_process;
mod policy;
mod pressure;
mod reference;
mod refusals;
mod saved_peers;
mod saved_steps;
mod snapshot_damage;
mod snapshot_grammar;
mod snapshots;
