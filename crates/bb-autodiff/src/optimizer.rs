//! How gradients change parameters: optimizers, clipping and the scaling of losses.

use crate::AutodiffError;

/// The rule by which a step changes parameters `p` with gradients `g` at a rate `η`.
///
/// What a rule remembers from step to step is state: inputs and outputs of the step graph
/// ([`TrainingPlan::state`](crate::TrainingPlan::state)), all zero before the first step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Optimizer {
    /// `m ← β₁m + (1-β₁)g`, `v ← β₂v + (1-β₂)g²`, `p ← p - η·(m/(1-β₁ᵗ)) / (√(v/(1-β₂ᵗ)) + ε)`.
    ///
    /// Kingma & Ba, "Adam: A Method for Stochastic Optimization", 2015, algorithm 1.
    Adam {
        /// How much of the mean gradient stays, `β₁`: from 0 to below 1.
        beta1: f64,
        /// How much of the mean square stays, `β₂`: from 0 to below 1.
        beta2: f64,
        /// What keeps the quotient finite, `ε`: above 0.
        epsilon: f64,
    },
    /// Adam, and `p ← p - η·λ·p` beside it: the weights decay by what they are, not through the gradient's moments.
    ///
    /// Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019, algorithm 2, `λ` being multiplied by the rate.
    AdamW {
        /// `β₁`: from 0 to below 1.
        beta1: f64,
        /// `β₂`: from 0 to below 1.
        beta2: f64,
        /// `ε`: above 0.
        epsilon: f64,
        /// `λ`: 0 or more.
        weight_decay: f64,
    },
    /// `v ← μv + g`, then `p ← p - η·v`, or with Nesterov's look ahead `p ← p - η·(g + μv)`.
    ///
    /// Sutskever et al., "On the Importance of Initialization and Momentum in Deep Learning", 2013, equations 1 to 4, with the
    /// rate outside of the velocity, so that a change of the rate acts at once.
    Momentum {
        /// How much of the velocity stays, `μ`: from 0 to below 1.
        momentum: f64,
        /// Whether the gradient counts as if it were taken one velocity further on.
        nesterov: bool,
    },
    /// `p ← p - η·g`.
    #[default]
    Sgd,
}

impl Optimizer {
    /// [`Optimizer::Adam`] with the constants of its paper: 0.9, 0.999, 1e-8.
    pub const fn adam() -> Self {
        Self::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }

    /// [`Optimizer::AdamW`] with Adam's constants.
    pub const fn adam_w(weight_decay: f64) -> Self {
        Self::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay }
    }

    /// Whether its numbers are in their ranges.
    pub(crate) fn check(&self) -> Result<(), AutodiffError> {
        let share = |option, number: f64| within(option, "from 0 to below 1", number, 0.0..1.0);
        match *self {
            Self::Adam { beta1, beta2, epsilon } => {
                share("beta1", beta1)?;
                share("beta2", beta2)?;
                positive("epsilon", epsilon)
            }
            Self::AdamW { beta1, beta2, epsilon, weight_decay } => {
                share("beta1", beta1)?;
                share("beta2", beta2)?;
                positive("epsilon", epsilon)?;
                within("weight_decay", "0 or more", weight_decay, 0.0..f64::INFINITY)
            }
            Self::Momentum { momentum, .. } => share("momentum", momentum),
            Self::Sgd => Ok(()),
        }
    }
}

/// How far gradients may go before the optimizer sees them.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Clip {
    /// All gradients are multiplied by `c / max(c, ‖g‖)`, `‖g‖` being the 2-norm of all of them together.
    ///
    /// Pascanu et al., "On the Difficulty of Training Recurrent Neural Networks", 2013, algorithm 1.
    Norm(f64),
    /// Each number is brought into `[-c, c]`.
    Value(f64),
}

impl Clip {
    pub(crate) fn check(&self) -> Result<(), AutodiffError> {
        let (Self::Norm(limit) | Self::Value(limit)) = *self;
        positive("clip", limit)
    }
}

/// By what the loss is multiplied while gradients are made, and those divided by afterwards.
///
/// Small gradients would vanish in half precision; scaled they do not. (Micikevicius et al., "Mixed Precision
/// Training", 2018, section 3.2.)
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum LossScale {
    /// By a number that follows what the gradients can bear; it is state of the step.
    ///
    /// A step with a gradient that is infinite or no number changes nothing but the scale, which is halved, to 1 at
    /// least; after `interval` steps without one it is doubled, to 2²⁴ at most.
    Dynamic {
        /// The scale of the first step, from 1 to 2²⁴.
        initial: f64,
        /// Good steps until it is doubled: 1 or more.
        interval: u32,
    },
    /// By 1.
    #[default]
    None,
    /// By this number, above 0.
    Static(f64),
}

/// The largest scale that [`LossScale::Dynamic`] comes to.
pub(crate) const LARGEST_SCALE: f64 = 16_777_216.0;

impl LossScale {
    /// [`LossScale::Dynamic`] from 2¹⁶, doubled after 2,000 good steps.
    pub const fn dynamic() -> Self {
        Self::Dynamic { initial: 65_536.0, interval: 2_000 }
    }

    pub(crate) fn check(&self) -> Result<(), AutodiffError> {
        match *self {
            Self::Dynamic { initial, interval } => {
                within("loss scale", "from 1 to 2^24", initial, 1.0..LARGEST_SCALE + 1.0)?;
                within("loss scale's interval", "1 or more", f64::from(interval), 1.0..f64::INFINITY)
            }
            Self::None => Ok(()),
            Self::Static(scale) => positive("loss scale", scale),
        }
    }
}

fn positive(option: &'static str, number: f64) -> Result<(), AutodiffError> {
    within(option, "a number above 0", number, f64::MIN_POSITIVE..f64::INFINITY)
}

fn within(
    option: &'static str,
    expected: &'static str,
    number: f64,
    range: std::ops::Range<f64>,
) -> Result<(), AutodiffError> {
    if range.contains(&number) {
        return Ok(());
    }
    Err(AutodiffError::Option { expected, got: number.to_string(), option })
}
