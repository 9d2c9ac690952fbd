//! Saving a node and going on from there.
//!
//! [`format`] is the bytes: a fixed header and sections. Each table of the node has a section, a file here and a message in
//! `proto/bb_snapshot.proto`; [`TABLES`] lists them. [`save`] writes them all, [`restore`] reads them all, checks them
//! against each other and against the node, and only then hands over new tables to be put in the place of the old.
//!
//! To add a table: a message with a section number of its own in the schema, a file with a `save` and a `load`, an entry in
//! [`TABLES`], and its place in [`restore`]. What only counts goes into [`counters`], which the state digest leaves out.
//! A section that is not there is an empty table, so that files written before still are read.

mod address_book;
mod bootstraps;
mod bus;
mod charges;
mod codec;
mod completions;
mod components;
mod counters;
mod error;
mod executions;
mod format;
mod frames;
mod frontier;
mod governor;
mod holds;
mod identity;
mod inbox;
mod limits;
mod lines;
mod outbound;
mod peers;
mod permits;
mod requests;
pub(crate) mod restore;
mod rng;
pub(crate) mod save;
mod seen;
mod steps;
#[cfg(feature = "std")]
mod store;
mod timers;
mod waits;

pub use error::{Fault, RestoreError, SnapshotError};
pub use format::{NodeSnapshot, SNAPSHOT_VERSION};
#[cfg(feature = "std")]
pub use store::{Disk, Folder, Found, SnapshotStore, StoreError};

use bb_ir::wire_codec::write::TryBytes;

use self::save::Saving;

/// When a snapshot may be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotMode {
    /// At any time, in the middle of anything.
    #[default]
    Anytime,
    /// Only when nothing waits in any queue; ops may wait for answers.
    Quiescent,
}

/// A table of the node.
struct Table {
    /// Its section; for ever.
    number: u32,
    /// Its name in messages.
    name: &'static str,
    /// Whether it decides the future, and so is part of the state digest.
    decides: bool,
    save: fn(&mut Saving<'_>, &mut TryBytes) -> Result<(), SnapshotError>,
}

const fn table(
    number: u32,
    name: &'static str,
    save: fn(&mut Saving<'_>, &mut TryBytes) -> Result<(), SnapshotError>,
) -> Table {
    Table { number, name, decides: true, save }
}

/// All tables, in the order in which they are written; the charges last, for the others name them.
const TABLES: &[Table] = &[
    table(1, "node", identity::save),
    table(2, "limits", limits::save),
    table(3, "rng", rng::save),
    table(4, "address_book", address_book::save),
    table(5, "governor", governor::save),
    table(6, "components", components::save),
    table(8, "executions", executions::save),
    table(9, "frames", frames::save),
    table(10, "frontier", frontier::save),
    table(11, "waits", waits::save),
    table(12, "requests", requests::save),
    table(13, "seen", seen::save),
    table(14, "outbound", outbound::save),
    table(15, "lines", lines::save),
    table(16, "inbox", inbox::save),
    table(17, "completions", completions::save),
    table(18, "steps", steps::save),
    Table { number: 19, name: "counters", decides: false, save: counters::save },
    table(20, "permits", permits::save),
    table(21, "timers", timers::save),
    table(22, "bus", bus::save),
    table(23, "phases", bus::save_phases),
    table(24, "holds", holds::save),
    table(25, "records", holds::save_records),
    table(26, "address_proofs", peers::save_proofs),
    table(27, "rtt", peers::save_rtt),
    table(28, "backpressure", peers::save_pressure),
    table(29, "heard", peers::save_heard),
    table(30, "bootstraps", bootstraps::save),
    table(63, "charges", charges::save),
];

/// The name of a section.
fn name(number: u32) -> Option<&'static str> {
    TABLES.iter().find(|table| table.number == number).map(|table| table.name)
}
