//! Many nodes in one process: a virtual network, virtual time, one seed.
//!
//! [`Federation`] is one server with its clients, made from one compiled program and driven round by round.
//! [`DigitsWorkload`] makes one that trains on handwritten digits.
//! [`chaos`] puts whole systems under faults and checks what must hold at every step.
//! [`Simulation`] below it knows no roles: any nodes, any programs. Every message goes through envelope bytes, as it
//! would over a real network; nothing here opens a socket, starts a thread or reads a clock.

pub mod chaos;
mod digits;
mod error;
mod federation;
mod network;
mod simulation;

pub use digits::{DigitsWorkload, Partition, WorkloadError};
pub use error::SimulationError;
pub use federation::{Federation, FederationBuilder, Round};
pub use network::{Latency, Traffic};
pub use simulation::{Event, EventKind, Simulation};
