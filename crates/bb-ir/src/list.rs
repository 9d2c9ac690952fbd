//! A shared list whose memory can be asked for without a risk to the process.

use std::collections::TryReserveError;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Items in order; cloning shares them.
///
/// An `Arc<[T]>` cannot be made without ending the process where memory is short; this can, see
/// [`List::try_with_capacity`].
///
/// ```
/// use bb_ir::List;
/// let list: List<u8> = [1, 2, 3].into();
/// assert_eq!(list.clone().iter().sum::<u8>(), 6);
/// ```
pub struct List<T>(Arc<Vec<T>>);

impl<T> List<T> {
    /// No item yet, in a vector with room for `count`; [`List::from`] makes it a list without asking for more.
    ///
    /// # Errors
    /// [`TryReserveError`]: there is no memory for so many.
    pub fn try_with_capacity(count: usize) -> Result<Vec<T>, TryReserveError> {
        let mut items = Vec::new();
        items.try_reserve_exact(count)?;
        Ok(items)
    }

    /// The items, to write to, unless anybody else holds them.
    pub fn get_mut(&mut self) -> Option<&mut [T]> {
        Arc::get_mut(&mut self.0).map(Vec::as_mut_slice)
    }
}

impl<T> Clone for List<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(items: Vec<T>) -> Self {
        Self(Arc::new(items))
    }
}

impl<T, const N: usize> From<[T; N]> for List<T> {
    fn from(items: [T; N]) -> Self {
        Self::from(Vec::from(items))
    }
}

impl<T: Clone> From<&[T]> for List<T> {
    fn from(items: &[T]) -> Self {
        Self::from(items.to_vec())
    }
}

impl<T: Clone> From<Arc<[T]>> for List<T> {
    fn from(items: Arc<[T]>) -> Self {
        Self::from(&*items)
    }
}

impl<T> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self(Arc::new(items.into_iter().collect()))
    }
}

impl<'l, T> IntoIterator for &'l List<T> {
    type Item = &'l T;
    type IntoIter = std::slice::Iter<'l, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: PartialEq> PartialEq for List<T> {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl<T: Eq> Eq for List<T> {}

impl<T: fmt::Debug> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
