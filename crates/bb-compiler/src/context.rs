//! What the passes know besides the program.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::time::Duration;

use bb_ir::program::Role;
use bb_runtime::ComponentFactory;

/// How long a call waits where its program does not say.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// What the passes know besides the program: what is bound to each slot, and the options.
#[derive(Debug)]
pub struct Context {
    pub(crate) bound: BTreeMap<String, Vec<Bound>>,
    pub(crate) dependencies: BTreeMap<(String, String), String>,
    pub(crate) default_deadline: Duration,
}

/// A component bound to a slot.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The role it was bound for.
    pub role: Role,
    /// How it is made.
    pub factory: ComponentFactory,
    pub(crate) type_id: TypeId,
}

impl Context {
    pub(crate) const fn new() -> Self {
        Self { bound: BTreeMap::new(), dependencies: BTreeMap::new(), default_deadline: DEFAULT_DEADLINE }
    }

    /// What is bound to a slot.
    pub fn bound(&self, slot: &str) -> Option<&Bound> {
        self.bound.get(slot).and_then(|all| all.first())
    }

    /// The slot that stands for a dependency of the component in `slot`: the one of the dependency's own name,
    /// unless said otherwise.
    pub fn dependency<'a>(&'a self, slot: &str, dependency: &'a str) -> &'a str {
        let key = (slot.to_owned(), dependency.to_owned());
        self.dependencies.get(&key).map_or(dependency, String::as_str)
    }

    /// How long a call waits where its program does not say.
    pub const fn default_deadline(&self) -> Duration {
        self.default_deadline
    }

    /// Type names of what is bound for a role, in order.
    pub(crate) fn bound_for(&self, role: Role) -> Vec<&'static str> {
        let all = self.bound.values().flatten().filter(|bound| bound.factory.roles.contains(&role));
        let mut names: Vec<&str> = all.map(|bound| bound.factory.type_name).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}
