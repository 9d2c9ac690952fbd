//! The step with burn's modules, loss and optimizer on its backend for processors, flex.

use std::error::Error;

use burn::module::{Module, Param};
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::nn::{Linear, Relu};
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::{BATCH, CLASSES, Contender, HIDDEN, RATE, Start, WIDTH};

#[derive(Module, Debug)]
struct Network {
    hidden: Linear,
    activation: Relu,
    output: Linear,
}

pub(crate) struct Trainer {
    network: Option<Network>,
    criterion: CrossEntropyLoss,
    optimizer: ModuleOptimizer,
    x: Tensor<2>,
    y: Tensor<1, Int>,
    loss: Option<Tensor<1>>,
}

impl Trainer {
    pub(crate) fn new(start: &Start) -> Self {
        let device = Device::flex().autodiff();
        let layer = |inputs: usize, outputs: usize, weight: &[f32], bias: &[f32]| Linear {
            weight: Param::from_data(TensorData::new(weight.to_vec(), [inputs, outputs]), &device),
            bias: Some(Param::from_data(TensorData::new(bias.to_vec(), [outputs]), &device)),
        };
        let labels: Vec<i64> = start.y.iter().map(|&class| i64::from(class)).collect();
        Self {
            network: Some(Network {
                hidden: layer(WIDTH, HIDDEN, &start.w1, &start.b1),
                activation: Relu::new(),
                output: layer(HIDDEN, CLASSES, &start.w2, &start.b2),
            }),
            criterion: CrossEntropyLossConfig::new().init(&device),
            optimizer: SgdConfig::new().init(),
            x: Tensor::from_data(TensorData::new(start.x.clone(), [BATCH, WIDTH]), &device),
            y: Tensor::from_data(TensorData::new(labels, [BATCH]), &device),
            loss: None,
        }
    }
}

impl Contender for Trainer {
    fn step(&mut self) -> Result<(), Box<dyn Error>> {
        let network = self.network.take().ok_or("no network")?;
        let hidden = network.activation.forward(network.hidden.forward(self.x.clone()));
        let loss = self.criterion.forward(network.output.forward(hidden), self.y.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        self.network = Some(self.optimizer.step(f64::from(RATE), network, gradients));
        self.loss = Some(loss);
        Ok(())
    }

    fn loss(&self) -> Result<f32, Box<dyn Error>> {
        Ok(self.loss.clone().ok_or("no loss")?.into_scalar::<f32>())
    }
}
