//! Components of the fuzzed nodes: one that answers later, one that refuses what is not finite.

use std::sync::{Arc, Mutex};

use bb_runtime::{
    Aggregator, Answer, Completion, Component, ComponentError, Meta, OpContext, PeerId, PeerSelector,
    StateReader, StateWriter, Tensor, TensorMap,
};

type Answered<T> = Result<Answer<T>, ComponentError>;

/// Rights to answer that a selector gave away.
pub type Open = Arc<Mutex<Vec<Completion<Vec<PeerId>>>>>;

/// What a [`Chooser`] is made from.
#[derive(Clone, Default)]
pub struct ChooserConfig {
    /// Whom it knows.
    pub peers: Vec<PeerId>,
    /// Where it puts the right to answer a `sample`.
    pub open: Open,
}

/// Gives its peers at once, and samples of them later.
pub struct Chooser(ChooserConfig);

impl Component for Chooser {
    const TYPE_NAME: &'static str = "bb_fuzz::Chooser";
    type Config = ChooserConfig;

    fn new(config: &ChooserConfig) -> Result<Self, ComponentError> {
        Ok(Self(config.clone()))
    }

    fn save(&self, _: &mut StateWriter) -> Result<(), ComponentError> {
        Ok(())
    }

    fn load(&mut self, _: &mut StateReader<'_>) -> Result<(), ComponentError> {
        Ok(())
    }
}

impl PeerSelector for Chooser {
    fn view(&mut self, _: &mut OpContext<'_>) -> Answered<Vec<PeerId>> {
        Ok(Answer::now(self.0.peers.clone()))
    }

    fn sample(&mut self, cx: &mut OpContext<'_>, _: usize) -> Answered<Vec<PeerId>> {
        let (completion, answer) = cx.defer();
        let mut open = self.0.open.lock().map_err(|_| ComponentError::other("a thread panicked"))?;
        open.push(completion);
        Ok(answer)
    }
}

bb_runtime::component!(Chooser: PeerSelector);

/// Sums weights of updates; an update without tensors is refused.
#[derive(Default)]
pub struct Weights {
    sum: f64,
}

impl Component for Weights {
    const TYPE_NAME: &'static str = "bb_fuzz::Weights";
    type Config = ();

    fn new((): &()) -> Result<Self, ComponentError> {
        Ok(Self::default())
    }

    fn save(&self, out: &mut StateWriter) -> Result<(), ComponentError> {
        out.u64(self.sum.to_bits());
        Ok(())
    }

    fn load(&mut self, state: &mut StateReader<'_>) -> Result<(), ComponentError> {
        self.sum = f64::from_bits(state.u64()?);
        Ok(())
    }
}

impl Aggregator for Weights {
    fn begin(&mut self, _: &mut OpContext<'_>) -> Answered<()> {
        *self = Self::default();
        Ok(Answer::now(()))
    }

    fn contribute(
        &mut self,
        _: &mut OpContext<'_>,
        _: PeerId,
        update: TensorMap,
        meta: Meta,
    ) -> Answered<()> {
        if update.is_empty() {
            return Err(ComponentError::other("an update without tensors"));
        }
        self.sum += meta.weight;
        Ok(Answer::now(()))
    }

    fn aggregate(&mut self, _: &mut OpContext<'_>) -> Answered<TensorMap> {
        Ok(Answer::now([("sum", Tensor::scalar(self.sum))].into_iter().collect()))
    }
}

bb_runtime::component!(Weights: Aggregator);
