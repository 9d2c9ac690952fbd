//! A context outside any node: for tests of a component, and for using one on its own.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use smallvec::SmallVec;

use super::{
    Answer, Backend, CompletionSink, ComponentError, ExecId, OpContext, OpOutput, Pending, Services,
};
use crate::{DynComponent, PeerId, Role, Time, Value};

/// Lends a component the context that a node would: for tests, and for using one on its own.
///
/// What a component declares as dependencies is given by name; time, execution, peers and the source of the
/// message are set by hand; the random numbers follow from the seed.
///
/// ```
/// use bb_runtime::contracts::Detached;
/// use bb_runtime::{PeerId, Time};
///
/// let mut detached = Detached::new(7)
///     .at(Time::from_nanos(5))
///     .from_peer(PeerId::from_u64(2))
///     .knowing([PeerId::from_u64(2), PeerId::from_u64(3)]);
/// let mut cx = detached.context();
/// assert_eq!(cx.now(), Time::from_nanos(5));
/// assert_eq!(cx.known_peers().len(), 2);
/// assert_eq!(cx.random(), Detached::new(7).context().random());
/// assert!(cx.backend("compute").is_err());
/// ```
pub struct Detached {
    now: Time,
    execution: ExecId,
    local_peer: PeerId,
    source_peer: Option<PeerId>,
    services: DetachedServices,
}

struct DetachedServices {
    dependencies: BTreeMap<String, Box<dyn DynComponent>>,
    /// Names of those that are lent, the last one last.
    lent: Vec<String>,
    known_peers: Vec<PeerId>,
    random: u64,
    deferred: u64,
    sink: Arc<Completions>,
}

/// The outputs of an op, or why there are none.
pub type Outcome = Result<SmallVec<[Value; 2]>, ComponentError>;

#[derive(Default)]
struct Completions(Mutex<BTreeMap<u64, Outcome>>);

impl Detached {
    /// A context of peer 0 at time zero in execution 0.0: no dependencies, no known peers, no source.
    pub fn new(seed: u64) -> Self {
        Self {
            now: Time::ZERO,
            execution: ExecId { incarnation: 0, counter: 0 },
            local_peer: PeerId::from_u64(0),
            source_peer: None,
            services: DetachedServices {
                dependencies: BTreeMap::new(),
                lent: Vec::new(),
                known_peers: Vec::new(),
                random: seed,
                deferred: 0,
                sink: Arc::default(),
            },
        }
    }

    /// With `component` as the dependency `name`; an earlier one of that name is replaced.
    #[must_use]
    pub fn with(mut self, name: &str, component: impl DynComponent + 'static) -> Self {
        self.services.dependencies.insert(name.to_owned(), Box::new(component));
        self
    }

    /// At `now`.
    #[must_use]
    pub fn at(mut self, now: Time) -> Self {
        self.now = now;
        self
    }

    /// In `execution`.
    #[must_use]
    pub fn in_execution(mut self, execution: ExecId) -> Self {
        self.execution = execution;
        self
    }

    /// On the node of `peer`.
    #[must_use]
    pub fn on_peer(mut self, peer: PeerId) -> Self {
        self.local_peer = peer;
        self
    }

    /// Started by a message of `peer`.
    #[must_use]
    pub fn from_peer(mut self, peer: PeerId) -> Self {
        self.source_peer = Some(peer);
        self
    }

    /// Knowing `peers`, in order and each once.
    #[must_use]
    pub fn knowing(mut self, peers: impl IntoIterator<Item = PeerId>) -> Self {
        self.services.known_peers = peers.into_iter().collect();
        self.services.known_peers.sort_unstable();
        self.services.known_peers.dedup();
        self
    }

    /// Moves the time.
    pub fn set_now(&mut self, now: Time) {
        self.now = now;
    }

    /// The context to call a component's method with.
    pub fn context(&mut self) -> OpContext<'_> {
        OpContext {
            now: self.now,
            execution: self.execution,
            local_peer: self.local_peer,
            source_peer: self.source_peer,
            services: &mut self.services,
        }
    }

    /// What an answer is, as the outputs of the op; the answer itself again if it is still to come.
    ///
    /// # Errors
    /// The answer, while its [`Completion`](super::Completion) is unused.
    pub fn outcome<T: OpOutput>(&mut self, answer: Answer<T>) -> Result<Outcome, Answer<T>> {
        match answer.into_parts() {
            Ok(result) => {
                let mut values = SmallVec::new();
                result.into_values(&mut values);
                Ok(Ok(values))
            }
            Err(pending) => self.services.sink.take(pending).ok_or(Answer::later(pending)),
        }
    }
}

impl fmt::Debug for Detached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detached")
            .field("now", &self.now)
            .field("execution", &self.execution)
            .field("local_peer", &self.local_peer)
            .field("source_peer", &self.source_peer)
            .field("dependencies", &self.services.dependencies.keys())
            .finish_non_exhaustive()
    }
}

impl DetachedServices {
    fn missing(&self, name: &str, role: Role) -> ComponentError {
        OpContext::no_dependency(name, role, self.dependencies.keys().cloned().collect())
    }

    fn has(&self, name: &str, role: Role) -> bool {
        self.dependencies.get(name).is_some_and(|component| component.roles().contains(&role))
    }
}

impl Services for DetachedServices {
    fn backend(&mut self, name: &str) -> Result<&mut dyn Backend, ComponentError> {
        if !self.has(name, Role::Backend) {
            return Err(self.missing(name, Role::Backend));
        }
        let component = self.dependencies.get_mut(name);
        component
            .and_then(|component| component.as_backend())
            .ok_or_else(|| OpContext::no_dependency(name, Role::Backend, Vec::new()))
    }

    fn lend(&mut self, name: &str, role: Role) -> Result<Box<dyn DynComponent>, ComponentError> {
        if self.lent.iter().any(|lent| lent == name) {
            return Err(ComponentError::Busy { name: name.to_owned() });
        }
        if !self.has(name, role) {
            return Err(self.missing(name, role));
        }
        let (name, component) =
            self.dependencies.remove_entry(name).ok_or_else(|| self.missing(name, role))?;
        self.lent.push(name);
        Ok(component)
    }

    fn give_back(&mut self, component: Box<dyn DynComponent>) {
        if let Some(name) = self.lent.pop() {
            self.dependencies.insert(name, component);
        }
    }

    /// Here all components have the same dependencies.
    fn enter(&mut self, _: u32) {}

    fn leave(&mut self) {}

    /// Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014: SplitMix64.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn known_peers(&self) -> Vec<PeerId> {
        self.known_peers.clone()
    }

    fn defer(&mut self) -> (Pending, Arc<dyn CompletionSink>) {
        let pending = Pending(self.deferred);
        self.deferred += 1;
        (pending, self.sink.clone())
    }
}

impl Completions {
    fn take(&self, pending: Pending) -> Option<Outcome> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&pending.0)
    }
}

impl CompletionSink for Completions {
    fn complete(&self, pending: Pending, result: Outcome) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(pending.0, result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_comes_later_is_there_once_it_was_given() {
        let mut detached = Detached::new(0);
        let (completion, answer) = detached.context().defer::<i64>();
        let Err(answer) = detached.outcome(answer) else { panic!("nothing was given yet") };
        std::thread::spawn(move || completion.complete(5)).join().expect("the thread ends");
        let values = detached.outcome(answer).ok().expect("it was given").expect("it was no failure");
        assert_eq!(values.as_slice(), [Value::I64(5)]);
    }

    #[test]
    fn a_dropped_completion_is_a_cancelled_answer() {
        let mut detached = Detached::new(0);
        let (completion, answer) = detached.context().defer::<()>();
        drop(completion);
        let outcome = detached.outcome(answer).ok().expect("it is over");
        assert!(matches!(outcome, Err(ComponentError::Cancelled { .. })));
    }

    /// As many rows as it was made with.
    struct Rows(usize);

    impl crate::Component for Rows {
        const TYPE_NAME: &'static str = "test::Rows";
        type Config = ();
        fn new((): &()) -> Result<Self, ComponentError> {
            Ok(Self(0))
        }
        fn save(&self, _: &mut crate::StateWriter) -> Result<(), ComponentError> {
            Ok(())
        }
        fn load(&mut self, _: &mut crate::StateReader<'_>) -> Result<(), ComponentError> {
            Ok(())
        }
    }

    impl crate::DataSource for Rows {
        fn next_batch(
            &mut self,
            _: &mut OpContext<'_>,
            _: usize,
        ) -> Result<Answer<Option<crate::Batch>>, ComponentError> {
            Ok(Answer::now(None))
        }
        fn reset(&mut self, _: &mut OpContext<'_>) -> Result<Answer<()>, ComponentError> {
            Ok(Answer::now(()))
        }
        fn len(&self) -> usize {
            self.0
        }
    }

    crate::component!(Rows: DataSource);

    #[test]
    fn a_data_source_is_lent_once_and_comes_back() {
        let mut detached = Detached::new(0).with("rows", Rows(3));
        let mut cx = detached.context();
        let (len, again) = cx
            .with_data_source("rows", |rows, cx| {
                Ok((rows.len(), cx.with_data_source("rows", |_, _| Ok(())).err()))
            })
            .expect("it was given");
        assert_eq!(len, 3);
        assert!(matches!(again, Some(ComponentError::Busy { name }) if name == "rows"));
        assert!(cx.with_data_source("rows", |_, _| Ok(())).is_ok());
        let missing = cx.with_data_source("other", |_, _| Ok(()));
        assert!(
            matches!(missing, Err(ComponentError::NoDependency { declared, .. }) if declared == ["rows"])
        );
    }

    #[test]
    fn a_dependency_that_was_not_given_is_named_with_those_that_were() {
        let error = Detached::new(0).context().backend("compute").err().expect("there is none").to_string();
        assert_eq!(error, "no dependency `compute` with role Backend; declared: []");
    }
}
