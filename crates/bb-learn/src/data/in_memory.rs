//! A data source over rows in memory.

use bb_runtime::{
    Answer, Batch, Component, ComponentError, DataSource, OpContext, StateReader, StateWriter, Tensor,
    TensorMap,
};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::Dataset;
use super::dataset::with_rows;
use crate::random::shuffle;

/// What an [`InMemoryData`] is made from.
#[derive(Clone, Debug)]
pub struct InMemoryConfig {
    /// The rows.
    pub dataset: Dataset,
    /// The name of the features in a batch; `features` stands for a model's first input, whatever its name.
    pub features_name: String,
    /// The name of the labels in a batch.
    pub labels_name: String,
    /// Seeds a new random order for every pass; `None`: the rows stay in their order.
    pub shuffle: Option<u64>,
}

impl InMemoryConfig {
    /// The rows of `dataset` in their order, as `features` and `label`.
    pub fn new(dataset: Dataset) -> Self {
        Self { dataset, features_name: "features".to_owned(), labels_name: "label".to_owned(), shuffle: None }
    }

    /// The rows in another order every pass, which follows from `seed`.
    #[must_use]
    pub fn shuffled(self, seed: u64) -> Self {
        Self { shuffle: Some(seed), ..self }
    }

    /// With these names for the tensors of a batch.
    #[must_use]
    pub fn named(self, features: impl Into<String>, labels: impl Into<String>) -> Self {
        Self { features_name: features.into(), labels_name: labels.into(), ..self }
    }
}

/// Gives the rows of a [`Dataset`] batch by batch.
///
/// A batch whose user has dropped it is filled again, so a loop over batches allocates nothing.
///
/// ```
/// use bb_learn::data::{InMemoryConfig, InMemoryData, digits};
/// use bb_runtime::contracts::Detached;
/// use bb_runtime::{Component, DataSource};
///
/// let mut data = InMemoryData::new(&InMemoryConfig::new(digits::load()?.test))?;
/// let mut node = Detached::new(0);
/// let batch = data.next_batch(&mut node.context(), 32)?.into_now().flatten().ok_or("no batch")?;
/// assert_eq!(batch.rows, 32);
/// assert_eq!(batch.tensors.find("features").map(|features| features.shape().to_vec()), Some(vec![32, 64]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct InMemoryData {
    config: InMemoryConfig,
    /// The pass that runs, from 0.
    pass: u64,
    /// Rows of the pass that were given.
    given: usize,
    /// The places of the rows in the order of the pass, if that is shuffled.
    order: Vec<usize>,
    /// The batches given last, one for each of the sizes seen, the newest last.
    spare: Vec<Batch>,
}

/// A pass has batches of one size and a shorter last one; an evaluation may come between.
const SPARE_BATCHES: usize = 3;

bb_runtime::component!(InMemoryData: DataSource);

impl InMemoryData {
    /// Begins the pass `pass`.
    fn begin(&mut self, pass: u64) {
        self.pass = pass;
        self.given = 0;
        if let Some(seed) = self.config.shuffle {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            random.set_stream(pass);
            self.order.clear();
            self.order.extend(0..self.config.dataset.len());
            shuffle(&mut random, &mut self.order);
        }
    }

    /// A batch of `rows` rows with any content, nobody else's.
    fn blank(&mut self, rows: usize) -> Result<Batch, ComponentError> {
        let known = self.spare.iter().position(|batch| batch.rows == rows);
        let (features, labels) = (self.config.dataset.all_features(), self.config.dataset.all_labels());
        let Some(known) = known else {
            let names = [(&self.config.features_name, features), (&self.config.labels_name, labels)];
            let mut tensors = TensorMap::new();
            for (name, like) in names {
                tensors.insert(name.as_str(), with_rows(like, rows)?);
            }
            return Ok(Batch { tensors, rows });
        };
        let mut batch = self.spare.remove(known);
        for ((_, held), like) in batch.tensors.iter_mut().zip([features, labels]) {
            if held.buffer_mut().unique_mut().is_none() {
                *held = with_rows(like, rows)?;
            }
        }
        Ok(batch)
    }
}

impl Component for InMemoryData {
    const TYPE_NAME: &'static str = "bb_learn::InMemoryData";
    type Config = InMemoryConfig;

    fn new(config: &InMemoryConfig) -> Result<Self, ComponentError> {
        if config.features_name == config.labels_name {
            let reason = format!("features and labels are both called `{}`", config.labels_name);
            return Err(ComponentError::InvalidConfig { field: "labels_name", reason });
        }
        let mut data = Self {
            config: config.clone(),
            pass: 0,
            given: 0,
            order: Vec::new(),
            spare: Vec::with_capacity(SPARE_BATCHES),
        };
        data.begin(0);
        Ok(data)
    }

    /// Writes how far the pass is; the rows are the configuration's.
    fn save(&self, out: &mut StateWriter) -> Result<(), ComponentError> {
        out.u64(self.pass);
        out.u64(self.given as u64);
        Ok(())
    }

    fn load(&mut self, state: &mut StateReader<'_>) -> Result<(), ComponentError> {
        let pass = state.u64()?;
        let given = state.u64()?;
        let rows = self.config.dataset.len();
        let given = usize::try_from(given).ok().filter(|&given| given <= rows).ok_or_else(|| {
            let reason = format!("the saved pass is at row {given}, but there are {rows}");
            ComponentError::InvalidInput { argument: "state", reason }
        })?;
        self.begin(pass);
        self.given = given;
        Ok(())
    }
}

impl DataSource for InMemoryData {
    fn next_batch(
        &mut self,
        _: &mut OpContext<'_>,
        rows: usize,
    ) -> Result<Answer<Option<Batch>>, ComponentError> {
        if rows == 0 {
            let reason = "a batch has at least one row".to_owned();
            return Err(ComponentError::InvalidInput { argument: "rows", reason });
        }
        let rows = rows.min(self.len() - self.given);
        if rows == 0 {
            return Ok(Answer::now(None));
        }
        let mut batch = self.blank(rows)?;
        let range = self.given..self.given + rows;
        let dataset = &self.config.dataset;
        let sources: [&Tensor; 2] = [dataset.all_features(), dataset.all_labels()];
        for ((_, held), from) in batch.tensors.iter_mut().zip(sources) {
            let into = held.buffer_mut().make_mut();
            match self.config.shuffle {
                Some(_) => dataset.copy_rows(from, self.order[range.clone()].iter().copied(), into),
                None => dataset.copy_range(from, range.clone(), into),
            }
        }
        self.given = range.end;
        if self.spare.len() == SPARE_BATCHES {
            self.spare.remove(0);
        }
        self.spare.push(batch.clone());
        Ok(Answer::now(Some(batch)))
    }

    fn reset(&mut self, _: &mut OpContext<'_>) -> Result<Answer<()>, ComponentError> {
        self.begin(self.pass.wrapping_add(1));
        Ok(Answer::now(()))
    }

    fn len(&self) -> usize {
        self.config.dataset.len()
    }
}
