//! Sums of products over named axes.

use bb_runtime::{DataType, Shape, Tensor};

use super::cast::convert;
use super::gemm::{Matrix, product};
use super::types::Number;
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::io::Io;
use crate::node::NodeDef;
use crate::shape::{self, Axes, Walk};

pub(super) const OPS: &[Entry] = &[op("Einsum", 12, einsum)];

/// An equation: the axes of each operand and of the result; an ellipsis is a run of axes without names.
#[derive(Clone, Debug)]
struct Equation {
    operands: Vec<Vec<Name>>,
    result: Vec<Name>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Ellipsis,
    Letter(char),
}

impl Equation {
    fn parse(text: &str, operand_count: usize) -> Outcome<Self> {
        let bad = |reason: &str| Fault::attribute("equation", format!("is `{text}`: {reason}"));
        let term = |term: &str| -> Outcome<Vec<Name>> {
            let term = term.replace("...", "\u{2026}");
            let names = term.chars().filter(|letter| !letter.is_whitespace()).map(|letter| match letter {
                '\u{2026}' => Ok(Name::Ellipsis),
                letter if letter.is_ascii_alphabetic() => Ok(Name::Letter(letter)),
                _ => Err(bad("axes are named by letters")),
            });
            names.collect()
        };
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (text, None),
        };
        let operands = left.split(',').map(term).collect::<Outcome<Vec<_>>>()?;
        if operands.len() != operand_count {
            return Err(bad(&format!("it has {} operands, the node {operand_count}", operands.len())));
        }
        let result = match right {
            Some(right) => term(right)?,
            // The axes that occur once, in the order of the alphabet.
            None => {
                let mut all: Vec<Name> = operands.iter().flatten().copied().collect();
                all.sort_unstable();
                let runs = all.chunk_by(|a, b| a == b);
                runs.filter(|run| run[0] == Name::Ellipsis || run.len() == 1).map(|run| run[0]).collect()
            }
        };
        let mut named: Vec<Name> = operands.iter().flatten().copied().collect();
        named.sort_unstable();
        let known = result.iter().all(|name| *name == Name::Ellipsis || named.binary_search(name).is_ok());
        let mut sorted = result.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if !known || sorted.len() != result.len() {
            return Err(bad("the result's axes must be different ones of the operands'"));
        }
        Ok(Self { operands, result })
    }
}

/// An axis as a number: letters first, then those of the ellipsis, counted from the last.
type Label = usize;

const LETTERS: usize = 128;

fn einsum(node: &NodeDef<'_>) -> Outcome<Kernel> {
    let equation = node.string("equation")?.ok_or_else(|| Fault::attribute("equation", "is missing"))?;
    let equation = Equation::parse(equation, node.input_count())?;
    Ok(Kernel::new(move |io| {
        let mut labels: Vec<Vec<Label>> = Vec::new();
        let mut extents: Vec<(Label, usize)> = Vec::new();
        let mut unnamed = 0;
        for (at, names) in equation.operands.iter().enumerate() {
            let own = io.input(at)?.shape();
            let letters = names.iter().filter(|name| **name != Name::Ellipsis).count();
            let has_ellipsis = letters < names.len();
            let rest = own.rank().checked_sub(letters).filter(|&rest| rest == 0 || has_ellipsis);
            let Some(rest) = rest else {
                return Err(Fault::shape(format!("operand {at} of shape {own} has {letters} named axes")));
            };
            unnamed = unnamed.max(rest);
            labels.push(expand(names, rest));
            for (&label, &extent) in labels[at].iter().zip(own.iter()) {
                match extents.iter_mut().find(|(held, _)| *held == label) {
                    None => extents.push((label, extent)),
                    Some((_, held)) if *held == extent || extent == 1 => {}
                    Some((_, held)) if *held == 1 => *held = extent,
                    Some((_, held)) => {
                        return Err(Fault::shape(format!("an axis has extents {held} and {extent}")));
                    }
                }
            }
        }
        let result = expand(&equation.result, unnamed);
        let mut operands: Vec<Tensor> =
            (0..io.input_count()).map(|at| io.input(at).cloned()).collect::<Outcome<_>>()?;
        let dtype = io.input(0)?.dtype();
        let tensor = match dtype {
            DataType::F32 => contract::<f32>(io, &operands, &labels, &result, &extents)?,
            DataType::F64 => contract::<f64>(io, &operands, &labels, &result, &extents)?,
            DataType::Bool => return Err(Fault::Type(dtype)),
            // Integers wrap, so that it does not matter when.
            _ => {
                for operand in &mut operands {
                    *operand = convert(io.pool, operand, DataType::I64)?;
                }
                let wide = contract::<i64>(io, &operands, &labels, &result, &extents)?;
                convert(io.pool, &wide, dtype)?
            }
        };
        io.emit(0, tensor);
        Ok(())
    })
    .via_f32())
}

/// Labels of the axes, the ellipsis being `rest` axes.
fn expand(names: &[Name], rest: usize) -> Vec<Label> {
    let mut labels = Vec::new();
    for name in names {
        match name {
            Name::Ellipsis => labels.extend((0..rest).rev().map(|at| LETTERS + at)),
            Name::Letter(letter) => labels.push(*letter as usize),
        }
    }
    labels
}

/// A tensor with a label for each axis.
struct Labelled<T> {
    labels: Vec<Label>,
    extents: Vec<usize>,
    elements: Vec<T>,
}

impl<T: Number + ndarray::LinalgScalar> Labelled<T> {
    /// The elements of a tensor in the order of `to`; axes that `to` lacks are summed over.
    fn arranged(
        io: &mut Io<'_, '_>,
        tensor: &[T],
        own: &[usize],
        labels: &[Label],
        to: &[Label],
        extents: &[(Label, usize)],
    ) -> Outcome<Self> {
        let strides = shape::strides(own);
        let mut rest: Vec<Label> = labels.iter().copied().filter(|label| !to.contains(label)).collect();
        rest.sort_unstable();
        rest.dedup();
        let find =
            |label: &Label| extents.iter().find(|(held, _)| held == label).map_or(1, |(_, extent)| *extent);
        // An axis of extent 1 is one of any extent; a label twice walks along the diagonal.
        let step = |label: &Label| -> usize {
            let axes = labels
                .iter()
                .zip(own)
                .zip(&strides)
                .filter(|((held, extent), _)| *held == label && **extent != 1);
            axes.map(|(_, stride)| *stride).sum()
        };
        let shape: Vec<usize> =
            to.iter().map(|label| if labels.contains(label) { find(label) } else { 1 }).collect();
        let sums: Vec<usize> = rest.iter().map(find).collect();
        let (shape_steps, sum_steps): (Axes, Axes) =
            (to.iter().map(step).collect(), rest.iter().map(step).collect());
        let count = shape::count(&shape)?;
        io.charge([count, shape::count(&sums)?.saturating_add(4), 4])?;
        io.reserve(count, size_of::<T>())?;
        let mut elements = vec![T::ZERO; count];
        let outer = Walk::new(&shape, [&shape::strides(&shape), &shape_steps]);
        let inner = Walk::new(&sums, [&sum_steps]);
        outer.each(|[at, begin]| {
            let mut sum = T::ZERO;
            inner.each(|[offset]| sum = Number::add(sum, tensor[begin + offset]));
            elements[at] = sum;
        });
        Ok(Self { labels: to.to_vec(), extents: shape, elements })
    }
}

/// Multiplies operand after operand, each time by a batch of matrix products.
fn contract<T: Number + ndarray::LinalgScalar>(
    io: &mut Io<'_, '_>,
    tensors: &[Tensor],
    operands: &[Vec<Label>],
    result: &[Label],
    extents: &[(Label, usize)],
) -> Outcome<Tensor> {
    let find =
        |label: &Label| extents.iter().find(|(held, _)| held == label).map_or(1, |(_, extent)| *extent);
    let wanted_later = |at: usize, label: &Label| {
        result.contains(label) || operands[at + 1..].iter().any(|held| held.contains(label))
    };
    let unique = |labels: &[Label]| {
        let mut unique: Vec<Label> = Vec::new();
        for label in labels {
            if !unique.contains(label) {
                unique.push(*label);
            }
        }
        unique
    };
    let mut held: Option<Labelled<T>> = None;
    for (at, labels) in operands.iter().enumerate() {
        let tensor = &tensors[at];
        let from = tensor.as_slice::<T>()?;
        let Some(left) = held.take() else {
            let to: Vec<Label> = unique(labels).into_iter().filter(|label| wanted_later(at, label)).collect();
            held = Some(Labelled::arranged(io, from, tensor.shape(), labels, &to, extents)?);
            continue;
        };
        let right = unique(labels);
        let is_shared = |label: &Label| left.labels.contains(label) && right.contains(label);
        let batch: Vec<Label> =
            left.labels.iter().filter(|label| is_shared(label) && wanted_later(at, label)).copied().collect();
        let summed: Vec<Label> = left
            .labels
            .iter()
            .filter(|label| is_shared(label) && !wanted_later(at, label))
            .copied()
            .collect();
        let rows: Vec<Label> = left.labels.iter().filter(|label| !right.contains(label)).copied().collect();
        let columns: Vec<Label> = right
            .iter()
            .filter(|label| !left.labels.contains(label) && wanted_later(at, label))
            .copied()
            .collect();
        let size = |labels: &[Label]| shape::count(&labels.iter().map(find).collect::<Vec<_>>());
        let (b, m, k, n) = (size(&batch)?, size(&rows)?, size(&summed)?, size(&columns)?);
        let order = |parts: [&[Label]; 3]| parts.concat();
        let a = widened(io, &left, &order([&batch, &rows, &summed]), extents)?;
        let c = Labelled::arranged(
            io,
            from,
            tensor.shape(),
            labels,
            &order([&batch, &summed, &columns]),
            extents,
        )?;
        let c = widened(io, &c, &c.labels, extents)?;
        let count = shape::count(&[b, m, n])?;
        io.reserve(count, size_of::<T>())?;
        io.charge([b, 16])?;
        let mut elements = vec![T::ZERO; count];
        if count > 0 && k > 0 {
            for (at, to) in elements.chunks_exact_mut(m * n).enumerate() {
                let a = Matrix::new(&a.elements[at * m * k..][..m * k], m, k, false);
                let c = Matrix::new(&c.elements[at * k * n..][..k * n], k, n, false);
                product(T::ONE, a, c, T::ZERO, to, (&mut *io.pool, &mut io.hands.workspace))?;
            }
        }
        let labels = order([&batch, &rows, &columns]);
        held = Some(Labelled { extents: labels.iter().map(find).collect(), labels, elements });
    }
    let Some(held) = held else { return Err(Fault::shape("an equation needs an operand")) };
    let all = widened(io, &held, result, extents)?;
    let mut tensor = io.alloc(T::DTYPE, &Shape::new(&all.extents))?;
    tensor.make_mut::<T>()?.copy_from_slice(&all.elements);
    Ok(tensor)
}

/// The elements in another order of axes, each with its full extent.
fn widened<T: Number + ndarray::LinalgScalar>(
    io: &mut Io<'_, '_>,
    from: &Labelled<T>,
    to: &[Label],
    extents: &[(Label, usize)],
) -> Outcome<Labelled<T>> {
    let find =
        |label: &Label| extents.iter().find(|(held, _)| held == label).map_or(1, |(_, extent)| *extent);
    let shape: Vec<usize> = to.iter().map(find).collect();
    let strides = shape::strides(&from.extents);
    let steps: Axes = to
        .iter()
        .map(|label| match from.labels.iter().position(|held| held == label) {
            Some(at) if from.extents[at] != 1 => strides[at],
            _ => 0,
        })
        .collect();
    let count = shape::count(&shape)?;
    io.charge([count, 4])?;
    io.reserve(count, size_of::<T>())?;
    let mut elements = vec![T::ZERO; count];
    Walk::new(&shape, [&shape::strides(&shape), &steps])
        .each(|[at, begin]| elements[at] = from.elements[begin]);
    Ok(Labelled { labels: to.to_vec(), extents: shape, elements })
}
