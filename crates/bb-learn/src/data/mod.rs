//! Data sources that hold their rows in memory, and how rows are dealt out to clients.

mod dataset;
pub mod digits;
mod in_memory;
mod partition;

pub use dataset::{Dataset, DatasetError};
pub use in_memory::{InMemoryConfig, InMemoryData};
pub use partition::PartitionError;
