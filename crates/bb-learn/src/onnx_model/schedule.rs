//! How the learning rate goes with the steps.

use super::OnnxModelError;

/// By what the learning rate is multiplied in a step; steps count from 0.
///
/// ```
/// use bb_learn::onnx_model::Schedule;
/// let schedule = Schedule::Cosine { warmup: 10, steps: 110, floor: 0.1 };
/// assert_eq!([0, 9, 10].map(|step| schedule.factor(step)), [0.1, 1.0, 1.0]);
/// assert!((schedule.factor(60) - 0.55).abs() < 1e-12);
/// assert_eq!(schedule.factor(1_000), 0.1);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Schedule {
    /// By 1.
    #[default]
    Constant,
    /// Rises evenly to 1 over the first `warmup` steps, then falls by half a cosine to `floor` at step `steps`.
    ///
    /// Loshchilov & Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, equation 5, without restarts.
    Cosine {
        /// Steps in which it rises.
        warmup: u64,
        /// The step from which on it is `floor`: more than `warmup`.
        steps: u64,
        /// What it ends at, from 0 to 1.
        floor: f64,
    },
    /// By another `factor` after every `every` steps.
    Steps {
        /// How many steps: 1 or more.
        every: u64,
        /// The factor, above 0 and at most 1.
        factor: f64,
    },
}

impl Schedule {
    /// The factor in step `step`.
    pub fn factor(&self, step: u64) -> f64 {
        match *self {
            Self::Constant => 1.0,
            Self::Cosine { warmup, .. } if step < warmup => (step + 1) as f64 / warmup as f64,
            Self::Cosine { steps, floor, .. } if step >= steps => floor,
            Self::Cosine { warmup, steps, floor } => {
                let way = (step - warmup) as f64 / (steps - warmup) as f64;
                floor + (1.0 - floor) * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * way))
            }
            Self::Steps { every, factor } => libm::pow(factor, (step / every.max(1)) as f64),
        }
    }

    pub(super) fn check(&self) -> Result<(), OnnxModelError> {
        let refuse = |reason| Err(OnnxModelError::Schedule { reason });
        match *self {
            Self::Cosine { warmup, steps, .. } if steps <= warmup => {
                refuse("the cosine must end after the warmup: `steps` above `warmup`")
            }
            Self::Cosine { floor, .. } if !(0.0..=1.0).contains(&floor) => {
                refuse("`floor` must be from 0 to 1")
            }
            Self::Steps { every: 0, .. } => refuse("`every` must be at least 1"),
            Self::Steps { factor, .. } if !(factor > 0.0 && factor <= 1.0) => {
                refuse("`factor` must be above 0 and at most 1")
            }
            _ => Ok(()),
        }
    }
}
