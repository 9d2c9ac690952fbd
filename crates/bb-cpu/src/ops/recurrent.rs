//! Recurrent layers: RNN, GRU and LSTM, one step of time after the other.

use bb_runtime::Tensor;
use ndarray::LinalgScalar;

use super::gemm::{Matrix, product};
use super::types::{Float, Number, by_float};
use super::{Entry, Kernel, op};
use crate::fault::{Fault, Outcome};
use crate::io::{Io, Workspace};
use crate::node::NodeDef;
use crate::pool::Pool;
use crate::shape;

pub(super) const OPS: &[Entry] = &[
    op("GRU", 7, |node| recurrent(node, Cell::Gru)),
    op("LSTM", 7, |node| recurrent(node, Cell::Lstm)),
    op("RNN", 7, |node| recurrent(node, Cell::Rnn)),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Gru,
    Lstm,
    Rnn,
}

impl Cell {
    fn gates(self) -> usize {
        match self {
            Self::Gru => 3,
            Self::Lstm => 4,
            Self::Rnn => 1,
        }
    }

    fn activations(self) -> &'static [&'static str] {
        match self {
            Self::Gru => &["Sigmoid", "Tanh"],
            Self::Lstm => &["Sigmoid", "Tanh", "Tanh"],
            Self::Rnn => &["Tanh"],
        }
    }
}

/// What a gate does to a number.
#[derive(Clone, Copy, Debug)]
enum Activation {
    Relu,
    Sigmoid,
    Softsign,
    Tanh,
}

impl Activation {
    fn named(name: &str) -> Outcome<Self> {
        match name.to_ascii_lowercase().as_str() {
            "relu" => Ok(Self::Relu),
            "sigmoid" => Ok(Self::Sigmoid),
            "softsign" => Ok(Self::Softsign),
            "tanh" => Ok(Self::Tanh),
            _ => Err(Fault::Unsupported(format!("activation {name}"))),
        }
    }

    fn function<T: Float + LinalgScalar>(self) -> fn(T) -> T {
        match self {
            Self::Relu => |x| if x > T::ZERO { x } else { T::ZERO },
            Self::Sigmoid => Float::sigmoid,
            Self::Softsign => |x| x / (T::ONE + Number::abs(x)),
            Self::Tanh => Float::tanh,
        }
    }
}

/// What the attributes say of a layer.
struct Layer {
    cell: Cell,
    backwards: Vec<bool>,
    activations: Vec<Activation>,
    clip: f32,
    batch_first: bool,
    reset_after: bool,
    couples_gates: bool,
}

fn recurrent(node: &NodeDef<'_>, cell: Cell) -> Outcome<Kernel> {
    let backwards = match node.string_or("direction", "forward")? {
        "bidirectional" => vec![false, true],
        "forward" => vec![false],
        "reverse" => vec![true],
        other => {
            return Err(Fault::attribute(
                "direction",
                format!("is `{other}`; use forward, reverse or bidirectional"),
            ));
        }
    };
    let mut names = node.strings("activations")?;
    if names.is_empty() {
        names = cell.activations().repeat(backwards.len());
    }
    if names.len() != cell.activations().len() * backwards.len() {
        return Err(Fault::attribute("activations", format!("has {} names", names.len())));
    }
    let layer = Layer {
        cell,
        backwards,
        activations: names.into_iter().map(Activation::named).collect::<Outcome<_>>()?,
        clip: node.float_or("clip", f32::INFINITY),
        batch_first: node.flag("layout"),
        reset_after: node.flag("linear_before_reset"),
        couples_gates: node.flag("input_forget"),
    };
    Ok(Kernel::new(move |io| by_float!(io.input(0)?.dtype(), T => layer.run::<T>(io))).via_f32())
}

/// What one direction works on.
struct Direction<'a, T> {
    x: &'a [T],
    w: &'a [T],
    r: &'a [T],
    bias: Option<&'a [T]>,
    peephole: Option<&'a [T]>,
    lengths: &'a [usize],
    steps: usize,
    batch: usize,
    inputs: usize,
    hidden: usize,
    backwards: bool,
    activations: &'a [fn(T) -> T],
}

impl Layer {
    fn run<T: Float + LinalgScalar>(&self, io: &mut Io<'_, '_>) -> Outcome {
        let (x, w, r) = (io.input(0)?, io.input(1)?, io.input(2)?);
        let swapped =
            if self.batch_first { Some(super::layout::permute(io, x, Some(&[1, 0, 2]))?) } else { None };
        let x = swapped.as_ref().unwrap_or(x);
        let (&[steps, batch, inputs], &[directions, _, hidden]) = (&**x.shape(), &**r.shape()) else {
            return Err(Fault::shape("the input and the recurrent weights need three axes"));
        };
        let rows = self.cell.gates().saturating_mul(hidden);
        if directions != self.backwards.len()
            || **w.shape() != [directions, rows, inputs]
            || **r.shape() != [directions, rows, hidden]
        {
            return Err(Fault::shape(format!(
                "weights of {directions} directions and {hidden} cells do not fit"
            )));
        }
        io.reserve(batch, size_of::<usize>())?;
        io.reserve(shape::count(&[directions, batch, hidden])?, 2 * size_of::<T>())?;
        io.reserve(rows, 3 * size_of::<T>())?;
        // Products count themselves; each gate of each cell is a function of its own beside them.
        io.charge([steps, directions, batch, rows.saturating_add(1), 8])?;
        let lengths: Vec<usize> = match io.optional_ints(4)? {
            None => vec![steps; batch],
            Some(lengths) => lengths.iter().map(|&length| shape::extent(length)).collect::<Outcome<_>>()?,
        };
        if lengths.len() != batch || lengths.iter().any(|&length| length > steps) {
            return Err(Fault::shape("one length of at most the number of steps is needed for each row"));
        }
        let sized = |tensor: Option<&'_ Tensor>, count: usize| match tensor {
            Some(tensor) if tensor.element_count() != directions * count => Err(Fault::shape(format!(
                "{} elements instead of {}",
                tensor.element_count(),
                directions * count
            ))),
            _ => Ok(()),
        };
        let (bias, peephole) = (io.optional(3), io.optional(7));
        sized(bias, 2 * rows)?;
        sized(peephole, 3 * hidden)?;
        let state = |io: &mut Io<'_, '_>, place: usize| -> Outcome<Vec<T>> {
            let Some(given) = io.optional(place) else {
                return Ok(vec![T::ZERO; directions * batch * hidden]);
            };
            sized(Some(given), batch * hidden)?;
            if self.batch_first {
                let turned = super::layout::permute(io, given, Some(&[1, 0, 2]))?;
                return Ok(turned.as_slice::<T>()?.to_vec());
            }
            Ok(given.as_slice::<T>()?.to_vec())
        };
        let (mut h, mut c) = (state(io, 5)?, state(io, 6)?);
        let mut y = io.scratch::<T>(shape::count(&[steps, directions, batch, hidden])?)?;
        let per_cell = self.cell.activations().len();
        let functions: Vec<fn(T) -> T> = self.activations.iter().map(|one| one.function()).collect();
        for (direction, &backwards) in self.backwards.iter().enumerate() {
            let part =
                |tensor: &'_ [T], size: usize| direction * size..(direction + 1) * size.min(tensor.len());
            let bias = bias.map(|bias| bias.as_slice::<T>()).transpose()?;
            let peephole = peephole.map(|peephole| peephole.as_slice::<T>()).transpose()?;
            let job = Direction {
                x: x.as_slice::<T>()?,
                w: &w.as_slice::<T>()?[direction * rows * inputs..(direction + 1) * rows * inputs],
                r: &r.as_slice::<T>()?[direction * rows * hidden..(direction + 1) * rows * hidden],
                bias: bias.map(|bias| &bias[part(bias, 2 * rows)]),
                peephole: peephole.map(|peephole| &peephole[part(peephole, 3 * hidden)]),
                lengths: &lengths,
                steps,
                batch,
                inputs,
                hidden,
                backwards,
                activations: &functions[direction * per_cell..(direction + 1) * per_cell],
            };
            let own = direction * batch * hidden..(direction + 1) * batch * hidden;
            let place = (direction, directions);
            let states = (&mut h[own.clone()], &mut c[own]);
            self.run_direction(&job, states, y.make_mut::<T>()?, place, io.pool)?;
        }
        let y = Tensor::from_buffer(T::DTYPE, [steps, directions, batch, hidden], y.into_buffer())?;
        let y = if self.batch_first { super::layout::permute(io, &y, Some(&[2, 0, 1, 3]))? } else { y };
        io.emit(0, y);
        for (output, state) in [(1, h), (2, c)] {
            if output == 2 && self.cell != Cell::Lstm {
                continue;
            }
            let state = Tensor::from_slice([directions, batch, hidden], &state)?;
            let state =
                if self.batch_first { super::layout::permute(io, &state, Some(&[1, 0, 2]))? } else { state };
            io.emit(output, state);
        }
        Ok(())
    }

    fn run_direction<T: Float + LinalgScalar>(
        &self,
        job: &Direction<'_, T>,
        (h, c): (&mut [T], &mut [T]),
        y: &mut [T],
        (direction, directions): (usize, usize),
        pool: &mut Pool,
    ) -> Outcome {
        let &Direction { batch, hidden, inputs, .. } = job;
        let rows = self.cell.gates() * hidden;
        let (mut wx, mut rh) = (vec![T::ZERO; rows], vec![T::ZERO; rows]);
        let (mut next, mut scratch) = (vec![T::ZERO; hidden], Workspace::default());
        for step in 0..job.steps {
            // Rows of a batch may end early, so that each runs backwards from its own end.
            for row in 0..batch {
                if step >= job.lengths[row] {
                    continue;
                }
                let time = if job.backwards { job.lengths[row] - 1 - step } else { step };
                let x = &job.x[(time * batch + row) * inputs..(time * batch + row + 1) * inputs];
                let (wx, rh) = (&mut wx[..], &mut rh[..]);
                let matrix = |weights, columns| Matrix::new(weights, columns, rows, true);
                let left = Matrix::new(x, 1, inputs, false);
                product(T::ONE, left, matrix(job.w, inputs), T::ZERO, wx, (&mut *pool, &mut scratch))?;
                let own = row * hidden..(row + 1) * hidden;
                let left = Matrix::new(&h[own.clone()], 1, hidden, false);
                product(T::ONE, left, matrix(job.r, hidden), T::ZERO, rh, (&mut *pool, &mut scratch))?;
                if let Some(bias) = job.bias {
                    wx.iter_mut().zip(&bias[..rows]).for_each(|(x, &bias)| *x = *x + bias);
                    rh.iter_mut().zip(&bias[rows..]).for_each(|(x, &bias)| *x = *x + bias);
                }
                let held = (&mut *next, &mut *pool, &mut scratch);
                self.cell_step(job, wx, rh, &mut h[own.clone()], &mut c[own.clone()], held)?;
                let to = ((time * directions + direction) * batch + row) * hidden;
                y[to..to + hidden].copy_from_slice(&h[own]);
            }
        }
        Ok(())
    }

    /// One row, one step: equations of the ONNX operator definitions.
    fn cell_step<T: Float + LinalgScalar>(
        &self,
        job: &Direction<'_, T>,
        wx: &[T],
        rh: &[T],
        h: &mut [T],
        c: &mut [T],
        (next, pool, scratch): (&mut [T], &mut Pool, &mut Workspace),
    ) -> Outcome {
        let n = job.hidden;
        let (low, high) = (T::of(f64::from(-self.clip)), T::of(f64::from(self.clip)));
        let clip = |x: T| {
            if x < low {
                low
            } else if x > high {
                high
            } else {
                x
            }
        };
        let peep = |gate: usize, at: usize, c: T| job.peephole.map_or(T::ZERO, |p| p[gate * n + at] * c);
        match (self.cell, job.activations) {
            (Cell::Rnn, [f]) => {
                for at in 0..n {
                    h[at] = f(clip(wx[at] + rh[at]));
                }
            }
            (Cell::Lstm, [f, g, k]) => {
                // Gates stand in the order input, output, forget, cell; peepholes input, output, forget.
                for at in 0..n {
                    let sum = |gate: usize| wx[gate * n + at] + rh[gate * n + at];
                    let input = f(clip(sum(0) + peep(0, at, c[at])));
                    let forget = if self.couples_gates {
                        T::ONE - input
                    } else {
                        f(clip(sum(2) + peep(2, at, c[at])))
                    };
                    c[at] = forget * c[at] + input * g(clip(sum(3)));
                    let output = f(clip(sum(1) + peep(1, at, c[at])));
                    h[at] = output * k(c[at]);
                }
            }
            (Cell::Gru, [f, g]) => {
                let gate = |gate: usize, at: usize| f(clip(wx[gate * n + at] + rh[gate * n + at]));
                if self.reset_after {
                    for at in 0..n {
                        next[at] = g(clip(wx[2 * n + at] + gate(1, at) * rh[2 * n + at]));
                    }
                } else {
                    let reset: Vec<T> = (0..n).map(|at| gate(1, at) * h[at]).collect();
                    let weights = Matrix::new(&job.r[2 * n * n..3 * n * n], n, n, true);
                    product(
                        T::ONE,
                        Matrix::new(&reset, 1, n, false),
                        weights,
                        T::ZERO,
                        next,
                        (pool, scratch),
                    )?;
                    for (at, next) in next.iter_mut().enumerate() {
                        let bias = job.bias.map_or(T::ZERO, |bias| bias[5 * n + at]);
                        *next = g(clip(wx[2 * n + at] + *next + bias));
                    }
                }
                for at in 0..n {
                    let update = gate(0, at);
                    h[at] = (T::ONE - update) * next[at] + update * h[at];
                }
            }
            _ => return Err(Fault::attribute("activations", "do not fit the cell")),
        }
        Ok(())
    }
}
