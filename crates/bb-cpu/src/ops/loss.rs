//! Losses over classes.

use bb_runtime::{DataType, Shape, Tensor};

use super::softmax;
use super::types::{Float, by_float};
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::io::read_ints;
use crate::node::NodeDef;
use crate::shape;

pub(super) const OPS: &[Entry] = &[
    op("NegativeLogLikelihoodLoss", 12, |node| loss(node, false)),
    op("SoftmaxCrossEntropyLoss", 12, |node| loss(node, true)),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reduce {
    Mean,
    None,
    Sum,
}

/// Both losses: minus the weighted log-probability of each target; with `scores` the logarithm of the softmax is
/// taken first, and is the second output.
fn loss(node: &NodeDef<'_>, scores: bool) -> Outcome<Kernel> {
    let reduce = match node.string_or("reduction", "mean")? {
        "mean" => Reduce::Mean,
        "none" => Reduce::None,
        "sum" => Reduce::Sum,
        other => return Err(Fault::attribute("reduction", format!("is `{other}`; use mean, none or sum"))),
    };
    let ignored = node.int("ignore_index");
    Ok(Kernel::new(move |io| {
        let (input, target) = (io.input(0)?, io.input(1)?);
        let extents = input.shape();
        let &[rows, classes, ..] = &**extents else {
            return Err(Fault::shape("scores need a row and a class axis"));
        };
        let inner = shape::count(&extents[2..])?;
        let targets: Shape = std::iter::once(rows).chain(extents[2..].iter().copied()).collect();
        if *target.shape() != targets {
            return Err(Fault::shape(format!("targets must have shape {targets}")));
        }
        let weights = io.optional(2);
        let mut log = None;
        if scores {
            let mut held = io.alloc(input.dtype(), extents)?;
            by_float!(input.dtype(), T => {
                softmax::over_axis(io, input.as_slice::<T>()?, held.make_mut::<T>()?, classes, inner, true)
            })?;
            log = Some(held);
        }
        let shape = if reduce == Reduce::None { targets } else { Shape::scalar() };
        let mut result = io.alloc(input.dtype(), &shape)?;
        by_float!(input.dtype(), T => {
            let weights = weights.map(|weights| weights.as_slice::<T>()).transpose()?;
            if weights.is_some_and(|weights| weights.len() != classes) {
                return Err(Fault::shape(format!("one weight is needed for each of {classes} classes")));
            }
            let log = log.as_ref().unwrap_or(input).as_slice::<T>()?;
            sum_up(log, target, weights, (classes, inner), ignored, reduce, result.make_mut::<T>()?)
        })?;
        io.emit(0, result);
        if let Some(log) = log {
            io.emit(1, log);
        }
        Ok(())
    })
    .via_f32())
}

fn sum_up<T: Float>(
    log: &[T],
    target: &Tensor,
    weights: Option<&[T]>,
    (classes, inner): (usize, usize),
    ignored: Option<i64>,
    reduce: Reduce,
    to: &mut [T],
) -> Outcome {
    let held;
    let targets: &[i64] = if target.dtype() == DataType::I64 {
        target.as_slice::<i64>()?
    } else {
        held = read_ints(target)?;
        &held
    };
    let (mut total, mut weight_total) = (T::ZERO, T::ZERO);
    for (at, &class) in targets.iter().enumerate() {
        let (mut loss, mut weight) = (T::ZERO, T::ZERO);
        if Some(class) != ignored {
            let index = usize::try_from(class).ok().filter(|&index| index < classes).ok_or_else(|| {
                Fault::shape(format!("target {class} at {at} is not one of {classes} classes"))
            })?;
            weight = weights.map_or(T::ONE, |weights| weights[index]);
            loss = log[at / inner * classes * inner + index * inner + at % inner].neg().mul(weight);
        }
        if reduce == Reduce::None {
            to[at] = loss;
        } else {
            total = total.add(loss);
            weight_total = weight_total.add(weight);
        }
    }
    match reduce {
        Reduce::Mean => to[0] = total.div(weight_total),
        Reduce::None => {}
        Reduce::Sum => to[0] = total,
    }
    Ok(())
}
