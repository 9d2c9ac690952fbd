//! Federated averaging.

use bb_runtime::{
    Aggregator, Answer, Component, ComponentError, DataType, Meta, OpContext, PeerId, StateReader,
    StateWriter, TensorMap, Value,
};

use pulp::Arch;

use super::layout::{Float, UpdateError, check_form, check_numbers};

/// The mean of the updates of a round, weighted by the rows that each was trained on.
///
/// It streams: what it holds is one model, whatever the number of clients, and an update is folded in and
/// forgotten. The first update of a round decides names, types (f32 or f64) and shapes; one that differs, or that
/// holds a number that is not finite, is refused and changes nothing. An update of weight 0 counts as answered and adds nothing.
///
/// Sources: McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", 2017,
/// algorithm 1; the running mean `m += (w / Σw) · (x − m)` is West, "Updating Mean and Variance Estimates", 1979, which
/// unlike a running sum cannot overflow.
///
/// ```
/// use bb_learn::aggregators::FedAvg;
/// use bb_runtime::contracts::Detached;
/// use bb_runtime::{Aggregator, Component, Meta, PeerId, Tensor, TensorMap};
///
/// let mut node = Detached::new(0);
/// let mut mean = FedAvg::new(&())?;
/// mean.begin(&mut node.context())?;
/// for (peer, (number, rows)) in [(2.0_f32, 30.0), (6.0, 10.0)].into_iter().enumerate() {
///     let update = TensorMap::from_iter([("w", Tensor::scalar(number))]);
///     mean.contribute(&mut node.context(), PeerId::from_u64(peer as u64), update, Meta { weight: rows })?;
/// }
/// let global = mean.aggregate(&mut node.context())?.into_now().ok_or("not yet")?;
/// assert_eq!(global.find("w"), Some(&Tensor::scalar(3.0_f32)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct FedAvg {
    /// The mean so far and the sum of weights behind it; `None` before the first update.
    round: Option<Round>,
}

#[derive(Debug)]
struct Round {
    mean: TensorMap,
    weight: f64,
}

bb_runtime::component!(FedAvg: Aggregator);

impl FedAvg {
    /// The sum of the weights of the round so far.
    pub fn weight(&self) -> f64 {
        self.round.as_ref().map_or(0.0, |round| round.weight)
    }
}

impl Component for FedAvg {
    const TYPE_NAME: &'static str = "bb_learn::FedAvg";
    type Config = ();

    fn new((): &()) -> Result<Self, ComponentError> {
        Ok(Self::default())
    }

    /// Writes the round so far: the sum of weights and the mean, or nothing.
    fn save(&self, out: &mut StateWriter) -> Result<(), ComponentError> {
        if let Some(round) = &self.round {
            out.u64(1);
            out.value(&Value::F64(round.weight));
            out.tensors(&round.mean);
        } else {
            out.u64(0);
        }
        Ok(())
    }

    fn load(&mut self, state: &mut StateReader<'_>) -> Result<(), ComponentError> {
        let wrong =
            |reason: &str| ComponentError::InvalidInput { argument: "state", reason: reason.to_owned() };
        self.round = match state.u64()? {
            0 => None,
            1 => {
                let Value::F64(weight) = state.value()? else {
                    return Err(wrong("the sum of weights is no number"));
                };
                let mean = state.tensors()?;
                if !(weight.is_finite() && weight >= 0.0) {
                    return Err(UpdateError::Weight { weight }.into());
                }
                check_form(&mean, None)?;
                check_numbers(&mean)?;
                Some(Round { mean, weight })
            }
            _ => return Err(wrong("there is at most one round")),
        };
        Ok(())
    }
}

impl Aggregator for FedAvg {
    fn begin(&mut self, _: &mut OpContext<'_>) -> Result<Answer<()>, ComponentError> {
        self.round = None;
        Ok(Answer::now(()))
    }

    fn contribute(
        &mut self,
        _: &mut OpContext<'_>,
        _from: PeerId,
        update: TensorMap,
        meta: Meta,
    ) -> Result<Answer<()>, ComponentError> {
        let sum = self.weight() + meta.weight;
        if !(meta.weight >= 0.0 && sum.is_finite()) {
            return Err(UpdateError::Weight { weight: meta.weight }.into());
        }
        check_form(&update, self.round.as_ref().map(|round| &round.mean))?;
        match &mut self.round {
            Some(round) if round.weight > 0.0 && meta.weight > 0.0 => {
                fold(&mut round.mean, &update, meta.weight / sum)?;
                round.weight = sum;
            }
            Some(round) if round.weight > 0.0 => check_numbers(&update)?,
            // Nothing that counts yet: the update is the mean.
            _ => {
                check_numbers(&update)?;
                self.round = Some(Round { mean: update, weight: sum });
            }
        }
        Ok(Answer::now(()))
    }

    fn aggregate(&mut self, _: &mut OpContext<'_>) -> Result<Answer<TensorMap>, ComponentError> {
        match self.round.take() {
            Some(round) if round.weight > 0.0 => Ok(Answer::now(round.mean)),
            _ => {
                let reason = "no update with a weight above zero came in this round".to_owned();
                Err(ComponentError::InvalidInput { argument: "updates", reason })
            }
        }
    }
}

/// Moves `mean` towards `update`, which has its form, by this share of the way; on an error `mean` is unchanged.
///
/// Two passes, the check and then the mean, cost less than one that would have to be undone: the second one finds the
/// update in the cache.
fn fold(mean: &mut TensorMap, update: &TensorMap, share: f64) -> Result<(), ComponentError> {
    check_numbers(update)?;
    for ((_, mean), (_, update)) in mean.iter_mut().zip(update.iter()) {
        match mean.dtype() {
            DataType::F64 => fold_into(mean.make_mut::<f64>()?, update.as_slice::<f64>()?, share),
            _ => fold_into(mean.make_mut::<f32>()?, update.as_slice::<f32>()?, share as f32),
        }
    }
    Ok(())
}

fn fold_into<F: Float>(mean: &mut [F], update: &[F], share: F) {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for (mean, &update) in mean.iter_mut().zip(update) {
                *mean = *mean + share * (update - *mean);
            }
        },
    );
}
