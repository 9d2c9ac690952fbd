//! The step with candle's layers, loss and optimizer.

use std::error::Error;

use candle_core::{Device, Result, Tensor, Var};
use candle_nn::{Linear, Module, Optimizer, SGD, loss};

use crate::{BATCH, CLASSES, Contender, HIDDEN, RATE, Start, WIDTH};

pub(crate) struct Trainer {
    hidden: Linear,
    output: Linear,
    optimizer: SGD,
    x: Tensor,
    y: Tensor,
    loss: Tensor,
}

impl Trainer {
    pub(crate) fn new(start: &Start) -> Result<Self> {
        let device = Device::Cpu;
        // Its layers hold a row an output.
        let weight = |rows, columns, elements: &[f32]| -> Result<Var> {
            Var::from_tensor(&Tensor::from_slice(elements, (rows, columns), &device)?.t()?.contiguous()?)
        };
        let parameters = [
            weight(WIDTH, HIDDEN, &start.w1)?,
            Var::from_slice(&start.b1, HIDDEN, &device)?,
            weight(HIDDEN, CLASSES, &start.w2)?,
            Var::from_slice(&start.b2, CLASSES, &device)?,
        ];
        let layer = |at: usize| {
            Linear::new(parameters[at].as_tensor().clone(), Some(parameters[at + 1].as_tensor().clone()))
        };
        let labels: Vec<u32> = start.y.iter().map(|&class| u32::from(class)).collect();
        Ok(Self {
            hidden: layer(0),
            output: layer(2),
            optimizer: SGD::new(parameters.to_vec(), f64::from(RATE))?,
            x: Tensor::from_slice(&start.x, (BATCH, WIDTH), &device)?,
            y: Tensor::from_slice(&labels, BATCH, &device)?,
            loss: Tensor::new(f32::NAN, &device)?,
        })
    }
}

impl Contender for Trainer {
    fn step(&mut self) -> std::result::Result<(), Box<dyn Error>> {
        let scores = self.output.forward(&self.hidden.forward(&self.x)?.relu()?)?;
        self.loss = loss::cross_entropy(&scores, &self.y)?;
        self.optimizer.backward_step(&self.loss)?;
        Ok(())
    }

    fn loss(&self) -> std::result::Result<f32, Box<dyn Error>> {
        Ok(self.loss.to_scalar()?)
    }
}
