//! Ordered, named tensors: a model's parameters, a batch, a gradient.

use std::collections::TryReserveError;
use std::sync::Arc;

use crate::{Tensor, Text};

/// Ordered tensors with unique names; cloning shares them.
///
/// ```
/// use bb_ir::{Tensor, TensorMap};
/// let map: TensorMap = [("w", Tensor::scalar(1.0_f32)), ("b", Tensor::scalar(0.5_f32))].into_iter().collect();
/// assert_eq!(map.len(), 2);
/// assert_eq!(map.find("b"), Some(&Tensor::scalar(0.5_f32)));
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TensorMap(Arc<Vec<(Text, Tensor)>>);

/// So few names are compared each with each, without memory for their order.
const FEW: usize = 16;

impl TensorMap {
    /// No tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// The map of these names and tensors, in their order; `None` if two have the same name.
    ///
    /// # Errors
    /// [`TryReserveError`]: there is no memory to compare that many names in.
    pub fn from_entries(entries: Vec<(Text, Tensor)>) -> Result<Option<Self>, TryReserveError> {
        let unique = if entries.len() <= FEW {
            let is_new = |(index, (name, _)): (usize, &(Text, Tensor))| {
                entries[..index].iter().all(|(held, _)| held != name)
            };
            entries.iter().enumerate().all(is_new)
        } else {
            let mut names: Vec<&str> = Vec::new();
            names.try_reserve_exact(entries.len())?;
            names.extend(entries.iter().map(|(name, _)| &**name));
            names.sort_unstable();
            names.windows(2).all(|pair| pair[0] != pair[1])
        };
        Ok(unique.then(|| Self(Arc::new(entries))))
    }

    /// A map of the same names with these tensors, in order; names beyond the tensors, and tensors beyond the names, are
    /// left out.
    ///
    /// ```
    /// use bb_ir::{Tensor, TensorMap};
    /// let map: TensorMap = [("w", Tensor::scalar(1.0_f32))].into_iter().collect();
    /// assert_eq!(map.with_tensors([Tensor::scalar(2.0_f32)]).find("w"), Some(&Tensor::scalar(2.0_f32)));
    /// ```
    #[must_use]
    pub fn with_tensors(&self, tensors: impl IntoIterator<Item = Tensor>) -> Self {
        let names = self.0.iter().map(|(name, _)| name.clone());
        Self(Arc::new(names.zip(tensors).collect()))
    }

    /// Puts a tensor at the end, or in the place of the one with that name, which it returns.
    pub fn insert(&mut self, name: impl Into<Text>, tensor: Tensor) -> Option<Tensor> {
        let name = name.into();
        let entries = Arc::make_mut(&mut self.0);
        match entries.iter_mut().find(|(held, _)| *held == name) {
            Some((_, held)) => Some(std::mem::replace(held, tensor)),
            None => {
                entries.push((name, tensor));
                None
            }
        }
    }

    /// The tensor with that name.
    pub fn find(&self, name: &str) -> Option<&Tensor> {
        self.0.iter().find(|(held, _)| &**held == name).map(|(_, tensor)| tensor)
    }

    /// Names and tensors, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Text, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name, tensor))
    }

    /// Names and tensors to write to, in order; copied first if anybody else holds the map.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&Text, &mut Tensor)> {
        Arc::make_mut(&mut self.0).iter_mut().map(|(name, tensor)| (&*name, tensor))
    }

    /// How many tensors.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of all tensors together.
    pub fn byte_count(&self) -> usize {
        self.0.iter().map(|(_, tensor)| tensor.as_bytes().len()).sum()
    }
}

impl<N: Into<Text>> FromIterator<(N, Tensor)> for TensorMap {
    /// A name met twice keeps its first place and its last tensor.
    fn from_iter<I: IntoIterator<Item = (N, Tensor)>>(entries: I) -> Self {
        let mut map = Self::new();
        for (name, tensor) in entries {
            map.insert(name, tensor);
        }
        map
    }
}

impl std::fmt::Debug for TensorMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, element: f32) -> (Text, Tensor) {
        (name.into(), Tensor::scalar(element))
    }

    #[test]
    fn a_name_inserted_again_keeps_its_place() {
        let mut map: TensorMap = [entry("w", 1.0), entry("b", 2.0)].into_iter().collect();
        assert_eq!(map.insert("w", Tensor::scalar(3.0_f32)), Some(Tensor::scalar(1.0_f32)));
        let names: Vec<&str> = map.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["w", "b"]);
        assert_eq!(map.find("w"), Some(&Tensor::scalar(3.0_f32)));
        assert_eq!(map.byte_count(), 8);
    }

    #[test]
    fn a_clone_is_not_written_through() {
        let map: TensorMap = [entry("w", 1.0)].into_iter().collect();
        let mut clone = map.clone();
        clone.iter_mut().for_each(|(_, tensor)| tensor.make_mut::<f32>().unwrap()[0] = 5.0);
        assert_eq!(map.find("w"), Some(&Tensor::scalar(1.0_f32)));
        assert_eq!(clone.find("w"), Some(&Tensor::scalar(5.0_f32)));
    }

    #[test]
    fn entries_with_one_name_twice_are_no_map() {
        assert!(
            TensorMap::from_entries(vec![entry("w", 1.0), entry("b", 2.0), entry("w", 3.0)])
                .unwrap()
                .is_none()
        );
        let map = TensorMap::from_entries(vec![entry("w", 1.0), entry("b", 2.0)]).unwrap().unwrap();
        assert_eq!((map.len(), map.is_empty()), (2, false));
    }
}
