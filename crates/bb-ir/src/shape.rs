//! The extents of a tensor.

use std::fmt;
use std::ops::Deref;

use smallvec::SmallVec;

use crate::TensorError;

/// The extents of a tensor, outermost first; no extent at all is a scalar.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape(SmallVec<[usize; INLINE_RANK]>);

/// Axes that need no memory of their own.
const INLINE_RANK: usize = 4;

impl Shape {
    /// The shape with these extents.
    pub fn new(extents: &[usize]) -> Self {
        Self(SmallVec::from_slice(extents))
    }

    /// The shape of a scalar: no axes, one element.
    pub fn scalar() -> Self {
        Self::default()
    }

    /// No extent yet, with room for `rank` of them.
    ///
    /// # Errors
    /// [`TensorError::AllocationFailed`].
    pub(crate) fn with_rank(rank: usize) -> Result<Self, TensorError> {
        let mut extents = SmallVec::new();
        let byte_count = Self::heap_bytes(rank);
        extents.try_reserve_exact(rank).map_err(|_| TensorError::AllocationFailed { byte_count })?;
        Ok(Self(extents))
    }

    /// Adds an extent, innermost.
    pub(crate) fn push(&mut self, extent: usize) {
        self.0.push(extent);
    }

    /// Memory that a shape of `rank` axes holds beside itself.
    pub(crate) const fn heap_bytes(rank: usize) -> usize {
        if rank > INLINE_RANK { rank.saturating_mul(size_of::<usize>()) } else { 0 }
    }

    /// How many elements it has; `None` if that number does not fit.
    pub fn element_count(&self) -> Option<usize> {
        self.0.iter().try_fold(1_usize, |count, &extent| count.checked_mul(extent))
    }

    /// How many axes it has.
    pub fn rank(&self) -> usize {
        self.0.len()
    }
}

impl Deref for Shape {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl From<&[usize]> for Shape {
    fn from(extents: &[usize]) -> Self {
        Self::new(extents)
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(extents: [usize; N]) -> Self {
        Self::new(&extents)
    }
}

impl From<Vec<usize>> for Shape {
    fn from(extents: Vec<usize>) -> Self {
        Self(SmallVec::from_vec(extents))
    }
}

impl FromIterator<usize> for Shape {
    fn from_iter<I: IntoIterator<Item = usize>>(extents: I) -> Self {
        Self(extents.into_iter().collect())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (axis, extent) in self.0.iter().enumerate() {
            if axis > 0 {
                f.write_str(",")?;
            }
            write!(f, "{extent}")?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
