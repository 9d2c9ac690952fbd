//! How the rows of a data set are dealt out to clients.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use rand_distr::{Distribution, Gamma};
use thiserror::Error;

use super::Dataset;
use crate::random::{below, shuffle, unit};

/// Why rows cannot be dealt out that way.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum PartitionError {
    /// A concentration that is no positive number.
    #[error("alpha must be a positive number, got {alpha}")]
    Alpha {
        /// The concentration.
        alpha: f64,
    },
    /// Labels that do not name classes.
    #[error("Dirichlet parts need i64 labels of shape [rows]: {reason}")]
    Labels {
        /// What they are instead.
        reason: String,
    },
    /// Parts that would have no row.
    #[error("{rows} rows cannot be dealt out to {parts} clients: from 1 to {rows} can have some each")]
    PartCount {
        /// Parts asked for.
        parts: usize,
        /// Rows there are.
        rows: usize,
    },
}

impl Dataset {
    /// Consecutive parts, as equal as possible, the longer ones first.
    ///
    /// # Errors
    /// [`PartitionError::PartCount`].
    ///
    /// ```
    /// use bb_learn::data::digits;
    /// let parts = digits::load()?.train.contiguous(10)?;
    /// assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [144, 144, 144, 144, 144, 144, 144, 143, 143, 143]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn contiguous(&self, parts: usize) -> Result<Vec<Self>, PartitionError> {
        let mut begin = 0;
        let cut = |size: usize| {
            let part = self.rows(begin..begin + size);
            begin += size;
            part
        };
        Ok(self.sizes(parts)?.map(cut).collect())
    }

    /// Parts of rows drawn at random, as equal in size as possible, the longer ones first.
    ///
    /// # Errors
    /// [`PartitionError::PartCount`].
    pub fn iid(&self, parts: usize, seed: u64) -> Result<Vec<Self>, PartitionError> {
        let mut places: Vec<usize> = (0..self.len()).collect();
        shuffle(&mut ChaCha8Rng::seed_from_u64(seed), &mut places);
        self.select(places).contiguous(parts)
    }

    /// Parts in which the classes are mixed differently, the more so the smaller `alpha`.
    ///
    /// Each part draws its mix of classes from a Dirichlet distribution with concentration
    /// `alpha · classes · share of the class in the data`, which is `alpha` for each of equally frequent classes; its
    /// rows are drawn from that mix without replacement, and a class that has run out leaves the mixes of the
    /// parts after it. As in the source every part has the same number of rows (the longer ones first where that
    /// does not come out even), so none is left without; every row is in exactly one part.
    ///
    /// Source: Hsu, Qi and Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
    /// Classification", 2019, section 3.
    ///
    /// # Errors
    /// [`PartitionError::Alpha`], [`PartitionError::Labels`], [`PartitionError::PartCount`].
    ///
    /// ```
    /// use bb_learn::data::digits;
    /// let parts = digits::load()?.train.dirichlet(10, 0.5, 0)?;
    /// assert_eq!(parts.iter().map(|part| part.len()).sum::<usize>(), 1437);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn dirichlet(&self, parts: usize, alpha: f64, seed: u64) -> Result<Vec<Self>, PartitionError> {
        if !(alpha.is_finite() && alpha > 0.0) {
            return Err(PartitionError::Alpha { alpha });
        }
        let sizes = self.sizes(parts)?;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut classes = self.classes()?;
        classes.iter_mut().for_each(|class| shuffle(&mut random, class));
        let spread = alpha * classes.len() as f64 / self.len() as f64;
        let concentrations = classes
            .iter()
            .map(|class| Gamma::new(spread * class.len() as f64, 1.0))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| PartitionError::Alpha { alpha })?;
        let part = |size: usize| {
            // Gamma draws, divided by their sum, are a Dirichlet draw; `choose` divides.
            let mix: Vec<f64> = concentrations.iter().map(|gamma| gamma.sample(&mut random)).collect();
            let draw = |_| {
                let class = choose(&mut random, &mix, &classes);
                classes[class].pop()
            };
            self.select((0..size).filter_map(draw).collect::<Vec<_>>())
        };
        Ok(sizes.map(part).collect())
    }

    /// The sizes of `parts` parts, as equal as possible, the longer ones first.
    fn sizes(&self, parts: usize) -> Result<impl Iterator<Item = usize> + use<>, PartitionError> {
        let rows = self.len();
        if parts == 0 || parts > rows {
            return Err(PartitionError::PartCount { parts, rows });
        }
        Ok((0..parts).map(move |part| rows / parts + usize::from(part < rows % parts)))
    }

    /// The places of the rows of each class, classes in the order of their labels.
    fn classes(&self) -> Result<Vec<Vec<usize>>, PartitionError> {
        let wrong = |reason: String| PartitionError::Labels { reason };
        let labels = self.all_labels();
        if labels.shape().rank() != 1 {
            return Err(wrong(format!("their shape is {}", labels.shape())));
        }
        let labels = labels.as_slice::<i64>().map_err(|error| wrong(error.to_string()))?;
        let mut classes = std::collections::BTreeMap::<i64, Vec<usize>>::new();
        for place in 0..self.len() {
            classes.entry(labels[self.place(place)]).or_default().push(place);
        }
        Ok(classes.into_values().collect())
    }
}

/// A class that still has rows, drawn from `mix`; where the mix gives none of those any chance, by rows left.
fn choose(random: &mut ChaCha8Rng, mix: &[f64], classes: &[Vec<usize>]) -> usize {
    let left = || mix.iter().zip(classes).enumerate().filter(|(_, (_, rows))| !rows.is_empty());
    let total: f64 = left().map(|(_, (share, _))| share).sum();
    if total > 0.0 && total.is_finite() {
        let mut rest = unit(random.next_u64()) * total;
        for (class, (share, _)) in left() {
            rest -= share;
            if rest < 0.0 {
                return class;
            }
        }
    }
    let mut rest = below(random, left().map(|(_, (_, rows))| rows.len()).sum());
    for (class, (_, rows)) in left() {
        if rest < rows.len() {
            return class;
        }
        rest -= rows.len();
    }
    0
}
