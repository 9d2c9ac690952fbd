//! Slots: the components that a module calls, by name and role.
//!
//! A slot is a name; which component stands in it is said when the program is compiled. Each method records
//! one op, run by the component of the node that the op is placed on.

mod backend;
mod learning;
mod model;

pub use backend::{BackendSlot, OpBuilder};
pub use learning::{AggregatorSlot, DataSourceSlot, PeerSelectorSlot};
pub use model::{Fit, ModelSlot};

/// A slot type: its name, and how it is made.
macro_rules! slot {
    ($(#[$doc:meta])* $slot:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct $slot(std::sync::Arc<str>);

        impl $slot {
            /// The slot of that name.
            pub fn named(name: impl Into<std::sync::Arc<str>>) -> Self {
                Self(name.into())
            }

            /// Its name.
            pub fn name(&self) -> &str {
                &self.0
            }
        }
    };
}
use slot;
