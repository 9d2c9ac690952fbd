//! How a program is written: modules record ops into a [`Graph`].
//!
//! A [`Module`] says which peer class runs each part ([`Graph::on`]) and where values cross the wire
//! ([`Graph::call`], [`Graph::send`]); [`Module::build`] gives the recorded program or says what is wrong
//! with it, with the lines of the author. Recording runs nothing.
//!
//! ```
//! use bb_dsl::{AggregatorSlot, DataSourceSlot, Fit, Graph, ModelSlot, Module, PeerSelectorSlot, Quorum, secs};
//!
//! struct FedAvgRound {
//!     model: ModelSlot,
//!     data: DataSourceSlot,
//!     aggregator: AggregatorSlot,
//!     clients: PeerSelectorSlot,
//! }
//!
//! impl Module for FedAvgRound {
//!     fn name(&self) -> &str { "FedAvgRound" }
//!     fn body(&self, g: &mut Graph) {
//!         g.on("server", |g| {
//!             let global = self.model.parameters(g);
//!             let clients = self.clients.sample(g, 10);
//!             let updates = g.call(clients, global).at("client", |g, global| {
//!                 self.model.load_parameters(g, global);
//!                 let rows = self.model.fit(g, &self.data, Fit::epochs(1).batch(32));
//!                 (self.model.parameters(g), rows)
//!             });
//!             let global = updates.fold(g, &self.aggregator, Quorum::at_least(8).within(secs(30)));
//!             self.model.load_parameters(g, global);
//!             g.output("global", global);
//!         });
//!     }
//! }
//!
//! let round = FedAvgRound {
//!     model: ModelSlot::named("model"),
//!     data: DataSourceSlot::named("data"),
//!     aggregator: AggregatorSlot::named("aggregator"),
//!     clients: PeerSelectorSlot::named("clients"),
//! };
//! let program = round.build()?;
//! assert_eq!(program.modules[0].name, "FedAvgRound");
//! # Ok::<(), bb_dsl::BuildError>(())
//! ```

mod error;
mod flow;
mod graph;
mod module;
mod order;
mod quorum;
mod recorder;
mod session;
mod shared;
mod slots;
mod timers;
mod values;
mod wire;

pub use bb_ir::program::Program;
pub use bb_ir::{Tensor, Value, ValueType};
pub use error::BuildError;
pub use graph::Graph;
pub use module::{Module, OPSET};
pub use quorum::{Quorum, millis, secs};
pub use shared::{Hold, Limit, Serialize};
pub use slots::{AggregatorSlot, BackendSlot, DataSourceSlot, Fit, ModelSlot, OpBuilder, PeerSelectorSlot};
pub use timers::Phase;
pub use values::{Output, Update, Values};
pub use wire::{Call, CallTo, Cast, CastTo};
