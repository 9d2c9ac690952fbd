//! From gradients to new parameters: scaling, clipping and the optimizer, as nodes.

use bb_ir::{DataType, Shape};

use super::TrainingOptions;
use crate::AutodiffError;
use crate::attributes::int;
use crate::builder::{Builder, Val};
use crate::facts::Fact;
use crate::optimizer::{Clip, LARGEST_SCALE, LossScale, Optimizer};

/// What a step remembers for the next one beside the model: an input of the step graph, and an output.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Its name; no other state of the plan has it.
    pub name: String,
    /// Its element type.
    pub dtype: DataType,
    /// Its shape.
    pub shape: Shape,
    /// The number that all its elements are before the first step.
    pub initial: f64,
}

/// The state of steps for these parameters, of which each has a name, a type and a shape; `loss` is the loss's type.
pub(super) fn state(
    options: &TrainingOptions,
    parameters: &[super::Parameter],
    loss: DataType,
) -> Vec<State> {
    let mut all = Vec::new();
    let mut single = |name: &str, dtype, initial| {
        all.push(State { name: name.to_owned(), dtype, shape: Shape::new(&[]), initial });
    };
    if let LossScale::Dynamic { initial, .. } = options.loss_scale {
        single("loss_scale", loss, initial);
        single("loss_scale/steps", DataType::I64, 0.0);
    }
    let moments: &[&str] = match options.optimizer {
        Optimizer::Adam { .. } | Optimizer::AdamW { .. } => {
            single("optimizer/steps", DataType::I64, 0.0);
            &["mean", "variance"]
        }
        Optimizer::Momentum { .. } => &["velocity"],
        Optimizer::Sgd => &[],
    };
    for parameter in parameters {
        all.extend(moments.iter().map(|moment| State {
            name: format!("{}/{moment}", parameter.name),
            dtype: parameter.dtype,
            shape: parameter.shape.clone(),
            initial: 0.0,
        }));
    }
    all
}

/// Adds the inputs that hold the state.
pub(super) fn define(b: &mut Builder, state: &[State]) -> Vec<Val> {
    let inputs = state.iter().map(|state| {
        let dims = state.shape.iter().map(|&extent| bb_ir::Dim::Known(extent)).collect();
        let name = b.fresh(&format!("state/{}", state.name));
        b.define(&name, Fact::new(Some(state.dtype), Some(dims)))
    });
    inputs.collect()
}

/// What gradients are multiplied by while they are made: rank 0, of the loss's type; `None` for 1.
pub(super) fn scale(
    b: &mut Builder,
    options: &TrainingOptions,
    loss: Val,
    state: &[Val],
) -> Result<Option<Val>, AutodiffError> {
    Ok(match options.loss_scale {
        LossScale::Dynamic { .. } => state.first().copied(),
        LossScale::None => None,
        LossScale::Static(scale) => Some(b.scalar_like(loss, scale)?),
    })
}

/// A step on its way.
pub(super) struct Update<'a> {
    pub(super) b: &'a mut Builder,
    pub(super) options: &'a TrainingOptions,
    /// Rank 0, of the loss's type.
    pub(super) rate: Val,
    pub(super) scale: Option<Val>,
    pub(super) parameters: &'a [Val],
    /// Running moments before the step, and after it.
    pub(super) buffers: Vec<(Val, Val)>,
    pub(super) state: &'a [Val],
}

impl Update<'_> {
    /// The parameters, the buffers and the state after the step, in this order.
    pub(super) fn apply(mut self, gradients: Vec<Val>) -> Result<Vec<Val>, AutodiffError> {
        let gradients = self.unscaled(gradients)?;
        let dynamic = match self.options.loss_scale {
            LossScale::Dynamic { interval, .. } => Some((interval, self.all_finite(&gradients)?)),
            _ => None,
        };
        let gradients = self.clipped(gradients)?;
        let own_state = if dynamic.is_some() { &self.state[2..] } else { self.state };
        let (next, next_state) = self.optimized(&gradients, own_state)?;
        let old = [self.parameters.to_vec(), self.buffers.iter().map(|(old, _)| *old).collect()].concat();
        let new = [next, self.buffers.iter().map(|(_, new)| *new).collect()].concat();
        let Some((interval, finite)) = dynamic else { return Ok([new, next_state].concat()) };
        let mut chosen = |old: &[Val], new: &[Val]| -> Vec<Val> {
            let pairs = old.iter().zip(new);
            pairs.map(|(&old, &new)| self.b.op("Where", &[finite, new, old], vec![])).collect()
        };
        let (model, kept) = (chosen(&old, &new), chosen(own_state, &next_state));
        let scale = self.next_scale(finite, interval)?;
        Ok([model, scale, kept].concat())
    }

    /// The gradients of the loss itself.
    fn unscaled(&mut self, gradients: Vec<Val>) -> Result<Vec<Val>, AutodiffError> {
        let Some(scale) = self.scale else { return Ok(gradients) };
        let share = self.b.op("Reciprocal", &[scale], vec![]);
        gradients
            .into_iter()
            .map(|gradient| {
                let share = self.like(share, gradient)?;
                Ok(self.b.mul(gradient, share))
            })
            .collect()
    }

    /// Whether all numbers of all gradients are finite: comparisons with what is no number are false.
    fn all_finite(&mut self, gradients: &[Val]) -> Result<Val, AutodiffError> {
        let mut count = self.b.scalar(DataType::F32, 0.0);
        for &gradient in gradients {
            let size = self.b.op("Abs", &[gradient], vec![]);
            let infinite = self.b.scalar_like(gradient, f64::INFINITY)?;
            let finite = self.b.op("Less", &[size, infinite], vec![]);
            let wrong = self.b.op("Not", &[finite], vec![]);
            let wrong = self.b.cast(wrong, DataType::F32);
            let wrong = self.b.reduce_sum_all(wrong);
            count = self.b.add(count, wrong);
        }
        let half = self.b.scalar(DataType::F32, 0.5);
        Ok(self.b.op("Less", &[count, half], vec![]))
    }

    fn clipped(&mut self, gradients: Vec<Val>) -> Result<Vec<Val>, AutodiffError> {
        let b = &mut *self.b;
        match self.options.clip {
            None => Ok(gradients),
            Some(Clip::Value(limit)) => gradients
                .into_iter()
                .map(|gradient| {
                    let (low, high) = (b.scalar_like(gradient, -limit)?, b.scalar_like(gradient, limit)?);
                    let above = b.op("Max", &[gradient, low], vec![]);
                    Ok(b.op("Min", &[above, high], vec![]))
                })
                .collect(),
            Some(Clip::Norm(limit)) => {
                let mut squares: Option<Val> = None;
                for &gradient in &gradients {
                    let square = b.op("ReduceSumSquare", &[gradient], vec![int("keepdims", 0)]);
                    squares = Some(match squares {
                        None => square,
                        Some(sum) => {
                            let square = like(b, square, sum)?;
                            b.add(sum, square)
                        }
                    });
                }
                let Some(squares) = squares else { return Ok(gradients) };
                let norm = b.op("Sqrt", &[squares], vec![]);
                let limit = b.scalar_like(norm, limit)?;
                let most = b.op("Max", &[norm, limit], vec![]);
                let share = b.div(limit, most);
                gradients
                    .into_iter()
                    .map(|gradient| {
                        let share = like(b, share, gradient)?;
                        Ok(b.mul(gradient, share))
                    })
                    .collect()
            }
        }
    }

    /// The parameters and the optimizer's own state after the step.
    fn optimized(&mut self, gradients: &[Val], state: &[Val]) -> Result<(Vec<Val>, Vec<Val>), AutodiffError> {
        match self.options.optimizer {
            Optimizer::Adam { beta1, beta2, epsilon } => {
                self.adam(gradients, state, [beta1, beta2, epsilon], 0.0)
            }
            Optimizer::AdamW { beta1, beta2, epsilon, weight_decay } => {
                self.adam(gradients, state, [beta1, beta2, epsilon], weight_decay)
            }
            Optimizer::Momentum { momentum, nesterov } => self.momentum(gradients, state, momentum, nesterov),
            Optimizer::Sgd => {
                let pairs = self.parameters.iter().zip(gradients);
                let next = pairs.map(|(&parameter, &gradient)| self.moved(parameter, gradient, self.rate));
                Ok((next.collect::<Result<_, _>>()?, Vec::new()))
            }
        }
    }

    fn momentum(
        &mut self,
        gradients: &[Val],
        state: &[Val],
        momentum: f64,
        nesterov: bool,
    ) -> Result<(Vec<Val>, Vec<Val>), AutodiffError> {
        let (mut next, mut velocities) = (Vec::new(), Vec::new());
        for ((&parameter, &gradient), &velocity) in self.parameters.iter().zip(gradients).zip(state) {
            let kept = self.b.scale(velocity, momentum)?;
            let velocity = self.b.add(kept, gradient);
            let mut direction = velocity;
            if nesterov {
                let ahead = self.b.scale(velocity, momentum)?;
                direction = self.b.add(gradient, ahead);
            }
            next.push(self.moved(parameter, direction, self.rate)?);
            velocities.push(velocity);
        }
        Ok((next, velocities))
    }

    /// The corrections `1 - βᵗ` are made in f64: in f32 they would be off by a hundred-thousandth in the first steps.
    fn adam(
        &mut self,
        gradients: &[Val],
        state: &[Val],
        [beta1, beta2, epsilon]: [f64; 3],
        weight_decay: f64,
    ) -> Result<(Vec<Val>, Vec<Val>), AutodiffError> {
        let Some((&steps, moments)) = state.split_first() else { return Ok((Vec::new(), Vec::new())) };
        let b = &mut *self.b;
        let one = b.scalar(DataType::I64, 1.0);
        let steps = b.add(steps, one);
        let exponent = b.cast(steps, DataType::F64);
        let [first, second] = [beta1, beta2].map(|beta| {
            let (beta, one) = (b.scalar(DataType::F64, beta), b.scalar(DataType::F64, 1.0));
            let power = b.op("Pow", &[beta, exponent], vec![]);
            b.sub(one, power)
        });
        let wide_rate = b.cast(self.rate, DataType::F64);
        let rate = b.div(wide_rate, first);
        let root = b.op("Sqrt", &[second], vec![]);
        let share = b.op("Reciprocal", &[root], vec![]);
        let decay = b.scale(wide_rate, weight_decay)?;
        let one = b.scalar(DataType::F64, 1.0);
        let stays = b.sub(one, decay);
        let (mut next, mut kept) = (Vec::new(), vec![steps]);
        for ((&parameter, &gradient), moments) in self.parameters.iter().zip(gradients).zip(moments.chunks(2))
        {
            let &[mean, variance] = moments else { continue };
            let b = &mut *self.b;
            let (old, new) = (b.scale(mean, beta1)?, b.scale(gradient, 1.0 - beta1)?);
            let mean = b.add(old, new);
            let square = b.mul(gradient, gradient);
            let (old, new) = (b.scale(variance, beta2)?, b.scale(square, 1.0 - beta2)?);
            let variance = b.add(old, new);
            let root = b.op("Sqrt", &[variance], vec![]);
            let share = like(b, share, root)?;
            let root = b.mul(root, share);
            let epsilon = b.scalar_like(root, epsilon)?;
            let divisor = b.add(root, epsilon);
            let direction = b.div(mean, divisor);
            let mut parameter = parameter;
            if weight_decay != 0.0 {
                let stays = like(b, stays, parameter)?;
                parameter = b.mul(parameter, stays);
            }
            next.push(self.moved(parameter, direction, rate)?);
            kept.extend([mean, variance]);
        }
        Ok((next, kept))
    }

    /// `parameter - rate · direction`.
    fn moved(&mut self, parameter: Val, direction: Val, rate: Val) -> Result<Val, AutodiffError> {
        let rate = like(self.b, rate, parameter)?;
        let change = self.b.mul(direction, rate);
        Ok(self.b.sub(parameter, change))
    }

    /// The scale and its count of good steps after the step.
    fn next_scale(&mut self, finite: Val, interval: u32) -> Result<Vec<Val>, AutodiffError> {
        let &[scale, steps, ..] = self.state else { return Ok(Vec::new()) };
        let b = &mut *self.b;
        let (none, one) = (b.scalar(DataType::I64, 0.0), b.scalar(DataType::I64, 1.0));
        let steps = b.add(steps, one);
        let enough = b.scalar(DataType::I64, f64::from(interval));
        let waits = b.op("Less", &[steps, enough], vec![]);
        let (most, least) = (b.scalar_like(scale, LARGEST_SCALE)?, b.scalar_like(scale, 1.0)?);
        let (double, half) = (b.scale(scale, 2.0)?, b.scale(scale, 0.5)?);
        let (double, half) = (b.op("Min", &[double, most], vec![]), b.op("Max", &[half, least], vec![]));
        let grown = b.op("Where", &[waits, scale, double], vec![]);
        let scale = b.op("Where", &[finite, grown, half], vec![]);
        let counts = b.op("And", &[finite, waits], vec![]);
        Ok(vec![scale, b.op("Where", &[counts, steps, none], vec![])])
    }

    fn like(&mut self, val: Val, other: Val) -> Result<Val, AutodiffError> {
        like(self.b, val, other)
    }
}

/// `val` in the element type of `other`.
fn like(b: &mut Builder, val: Val, other: Val) -> Result<Val, AutodiffError> {
    let dtype = b.dtype(other)?;
    Ok(b.cast(val, dtype))
}
