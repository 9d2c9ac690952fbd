//! Multi-layer perceptrons; one without a hidden layer is a softmax regression.

use bb_runtime::onnx::{GraphProto, ModelProto};
use bb_runtime::{Dim, Tensor, TensorError};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use thiserror::Error;

use super::builder::{model, node, port};
use crate::data::digits;
use crate::random::unit;

/// What stands between two layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// `max(x, 0)`.
    #[default]
    Relu,
    /// `1 / (1 + exp(−x))`.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
}

/// How the weights of a layer with `m` inputs and `n` outputs begin; biases begin at zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Init {
    /// Uniform within ± √(6 / (m + n)): Glorot and Bengio, "Understanding the Difficulty of Training Deep Feedforward
    /// Neural Networks", 2010, equation 16.
    Glorot,
    /// Uniform within ± √(6 / m), which has the variance 2 / m of He et al., "Delving Deep into Rectifiers", 2015, equation 10.
    #[default]
    He,
    /// Zero; only for a model without hidden layers.
    Zeros,
}

/// Builds a multi-layer perceptron as an ONNX model: f32 `features` \[batch, inputs\] to `logits` \[batch, classes\].
///
/// Layer `i`, from 1, has the weights `w{i}` (inputs × outputs) and the bias `b{i}`. The softmax is left to the loss.
///
/// ```
/// use bb_learn::models::{Init, Mlp};
/// let model = Mlp::new([64, 32, 10]).init(Init::Glorot).seed(1).build()?;
/// let names: Vec<_> = model.graph.iter().flat_map(|graph| &graph.initializer).filter_map(|w| w.name.as_deref()).collect();
/// assert_eq!(names, ["w1", "b1", "w2", "b2"]);
/// # Ok::<(), bb_learn::models::ModelError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Mlp {
    sizes: Vec<usize>,
    activation: Activation,
    init: Init,
    seed: u64,
}

/// Why a model cannot be built.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelError {
    /// Sizes that make no layer.
    #[error("a network needs at least two sizes, inputs and outputs, and none of them zero; got {sizes:?}")]
    Sizes {
        /// The sizes.
        sizes: Vec<usize>,
    },
    /// A parameter could not be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// Hidden layers that begin at zero stay there.
    #[error("hidden layers cannot learn from zero: use Init::He or Init::Glorot")]
    ZeroHidden,
}

impl Mlp {
    /// Layers between these sizes: inputs first, classes last; one pair is a softmax regression.
    pub fn new(sizes: impl Into<Vec<usize>>) -> Self {
        Self { sizes: sizes.into(), activation: Activation::default(), init: Init::default(), seed: 0 }
    }

    /// With this between the layers.
    #[must_use]
    pub fn activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// With weights that begin so.
    #[must_use]
    pub fn init(self, init: Init) -> Self {
        Self { init, ..self }
    }

    /// With random weights that follow from `seed`.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The model.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn build(&self) -> Result<ModelProto, ModelError> {
        if self.sizes.len() < 2 || self.sizes.contains(&0) {
            return Err(ModelError::Sizes { sizes: self.sizes.clone() });
        }
        if self.sizes.len() > 2 && self.init == Init::Zeros {
            return Err(ModelError::ZeroHidden);
        }
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut parameters = Vec::new();
        for pair in self.sizes.windows(2) {
            let (inputs, outputs) = (pair[0], pair[1]);
            let bound = match self.init {
                Init::Glorot => (6.0 / (inputs as f64 + outputs as f64)).sqrt(),
                Init::He => (6.0 / inputs as f64).sqrt(),
                Init::Zeros => 0.0,
            };
            let mut weights = Tensor::zeros(bb_runtime::DataType::F32, [inputs, outputs])?;
            for weight in weights.make_mut::<f32>()? {
                *weight = ((2.0 * unit(random.next_u64()) - 1.0) * bound) as f32;
            }
            parameters.push(weights);
            parameters.push(Tensor::zeros(bb_runtime::DataType::F32, [outputs])?);
        }
        Ok(perceptron(&self.sizes, self.activation, &parameters))
    }
}

/// The 64-64-10 network of the fixed digits workload, with its initial parameters.
///
/// # Errors
/// No memory for them.
pub fn reference_mlp() -> Result<ModelProto, ModelError> {
    Ok(perceptron(&[64, 64, 10], Activation::Relu, &digits::mlp_parameters()?))
}

/// The softmax regression of the fixed digits workload, at zero.
///
/// # Errors
/// No memory for it.
pub fn reference_logreg() -> Result<ModelProto, ModelError> {
    Mlp::new([digits::PIXELS, digits::CLASSES]).init(Init::Zeros).build()
}

/// A perceptron with these sizes and parameters: weights and bias, layer after layer.
fn perceptron(sizes: &[usize], activation: Activation, parameters: &[Tensor]) -> ModelProto {
    let layers = sizes.len() - 1;
    let mut graph = GraphProto { name: Some("mlp".to_owned()), ..GraphProto::default() };
    let mut value = "features".to_owned();
    for (layer, pair) in (1..=layers).zip(parameters.chunks(2)) {
        let (weights, bias) = (format!("w{layer}"), format!("b{layer}"));
        let sum = if layer == layers { "logits".to_owned() } else { format!("sum{layer}") };
        graph.node.push(node("Gemm", &[&value, &weights, &bias], &sum));
        graph
            .initializer
            .extend(pair.iter().zip([&weights, &bias]).map(|(tensor, name)| tensor.to_onnx(name)));
        value = sum;
        if layer < layers {
            let op = match activation {
                Activation::Relu => "Relu",
                Activation::Sigmoid => "Sigmoid",
                Activation::Tanh => "Tanh",
            };
            let hidden = format!("hidden{layer}");
            graph.node.push(node(op, &[&value], &hidden));
            value = hidden;
        }
    }
    let batch = || Dim::Named("batch".to_owned());
    graph.input.push(port("features", &[batch(), Dim::Known(sizes[0])]));
    graph.output.push(port("logits", &[batch(), Dim::Known(sizes[layers])]));
    model(graph)
}
