//! Axes, strides, broadcasting, and walks over several tensors at once.

use bb_runtime::Shape;
use smallvec::SmallVec;

use crate::fault::{Fault, Outcome};

/// One number an axis.
pub(crate) type Axes = SmallVec<[usize; 6]>;

/// The axis that `axis` means in a tensor of `rank` axes.
pub(crate) fn axis(axis: i64, rank: usize) -> Outcome<usize> {
    let signed = i64::try_from(rank).unwrap_or(i64::MAX);
    let index = if axis < 0 { axis.checked_add(signed) } else { Some(axis) };
    match index {
        Some(index) if (0..signed).contains(&index) => Ok(usize::try_from(index).unwrap_or(0)),
        _ => Err(Fault::shape(format!("axis {axis} of a tensor with {rank} axes"))),
    }
}

/// The axes that `axes` mean, in order of appearance, each at most once.
pub(crate) fn axes(list: &[i64], rank: usize) -> Outcome<Axes> {
    let mut found = Axes::new();
    for &one in list {
        let one = axis(one, rank)?;
        if found.contains(&one) {
            return Err(Fault::shape(format!("axis {one} appears twice in {list:?}")));
        }
        found.push(one);
    }
    Ok(found)
}

/// An extent from a signed number.
pub(crate) fn extent(value: i64) -> Outcome<usize> {
    usize::try_from(value).map_err(|_| Fault::shape(format!("{value} cannot be an extent")))
}

/// Number of elements.
pub(crate) fn count(extents: &[usize]) -> Outcome<usize> {
    extents
        .iter()
        .try_fold(1_usize, |all, &extent| all.checked_mul(extent))
        .ok_or_else(|| Fault::shape(format!("a tensor of {extents:?} is larger than memory")))
}

/// Row-major strides, in elements.
pub(crate) fn strides(extents: &[usize]) -> Axes {
    let mut strides: Axes = smallvec::smallvec![0; extents.len()];
    let mut step = 1_usize;
    for (stride, &extent) in strides.iter_mut().zip(extents).rev() {
        *stride = step;
        step = step.saturating_mul(extent.max(1));
    }
    strides
}

/// The shape that two shapes broadcast to.
pub(crate) fn broadcast(a: &[usize], b: &[usize]) -> Outcome<Shape> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], index: usize| match (index + shape.len()).checked_sub(rank) {
        Some(index) => shape[index],
        None => 1,
    };
    (0..rank)
        .map(|index| match (at(a, index), at(b, index)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            _ => Err(Fault::shape(format!("{a:?} and {b:?} do not broadcast"))),
        })
        .collect()
}

/// Strides with which a tensor of shape `from` is read as one of shape `to`; 0 where it is repeated.
pub(crate) fn broadcast_strides(from: &[usize], to: &[usize]) -> Outcome<Axes> {
    let Some(offset) = to.len().checked_sub(from.len()) else {
        return Err(Fault::shape(format!("{from:?} does not broadcast to {to:?}")));
    };
    let own = strides(from);
    (0..to.len())
        .map(|index| match index.checked_sub(offset) {
            None => Ok(0),
            Some(inner) if from[inner] == to[index] => Ok(if from[inner] == 1 { 0 } else { own[inner] }),
            Some(inner) if from[inner] == 1 => Ok(0),
            Some(_) => Err(Fault::shape(format!("{from:?} does not broadcast to {to:?}"))),
        })
        .collect()
}

/// A walk over `N` tensors in the order of a common shape, with axes merged where every tensor allows it.
#[derive(Clone, Debug)]
pub(crate) struct Walk<const N: usize> {
    outer: SmallVec<[(usize, [usize; N]); 4]>,
    inner: usize,
    inner_strides: [usize; N],
}

impl<const N: usize> Walk<N> {
    /// The walk over `extents` with these strides.
    pub(crate) fn new(extents: &[usize], strides: [&[usize]; N]) -> Self {
        let mut merged: SmallVec<[(usize, [usize; N]); 4]> = SmallVec::new();
        for (index, &extent) in extents.iter().enumerate() {
            if extent == 1 {
                continue;
            }
            let step: [usize; N] = std::array::from_fn(|operand| strides[operand][index]);
            match merged.last_mut() {
                Some((last, last_step))
                    if (0..N).all(|operand| last_step[operand] == step[operand].saturating_mul(extent)) =>
                {
                    *last = last.saturating_mul(extent);
                    *last_step = step;
                }
                _ => merged.push((extent, step)),
            }
        }
        let (inner, inner_strides) = merged.pop().unwrap_or((1, [1; N]));
        Self { outer: merged, inner, inner_strides }
    }

    /// Elements a row.
    pub(crate) fn inner(&self) -> usize {
        self.inner
    }

    /// Strides within a row.
    pub(crate) fn inner_strides(&self) -> [usize; N] {
        self.inner_strides
    }

    /// Calls `row` with the offsets at which each row begins.
    ///
    /// A call a row is made through a pointer, so that the walk is compiled once and not for each kernel.
    pub(crate) fn rows(&self, row: &mut dyn FnMut([usize; N])) {
        let mut offsets = [0_usize; N];
        if self.inner == 0 || self.outer.iter().any(|(extent, _)| *extent == 0) {
            return;
        }
        let mut counters: Axes = smallvec::smallvec![0; self.outer.len()];
        loop {
            row(offsets);
            let mut level = self.outer.len();
            loop {
                let Some(next) = level.checked_sub(1) else { return };
                level = next;
                let (extent, steps) = &self.outer[level];
                counters[level] += 1;
                if counters[level] < *extent {
                    for (offset, step) in offsets.iter_mut().zip(steps) {
                        *offset += step;
                    }
                    break;
                }
                counters[level] = 0;
                for (offset, step) in offsets.iter_mut().zip(steps) {
                    *offset -= step * (extent - 1);
                }
            }
        }
    }

    /// Calls `element` with the offsets of each element.
    pub(crate) fn each(&self, mut element: impl FnMut([usize; N])) {
        let steps = self.inner_strides;
        self.rows(&mut |mut offsets| {
            for _ in 0..self.inner {
                element(offsets);
                for (offset, step) in offsets.iter_mut().zip(steps) {
                    *offset += step;
                }
            }
        });
    }
}
