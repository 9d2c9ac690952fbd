//! What folds the updates of a round into one.

mod fed_avg;
mod layout;

pub use fed_avg::FedAvg;
pub use layout::UpdateError;
