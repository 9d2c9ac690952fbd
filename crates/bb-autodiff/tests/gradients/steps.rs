//! Optimizers, clipping and loss scaling, against the same arithmetic by hand.

use bb_autodiff::{AutodiffError, Clip, LossScale, Optimizer, TrainingOptions, TrainingPlan};
use bb_runtime::{DataType, Tensor};

use super::harness::{NEWEST, Rng, floats, run};
use super::training::{batch, mlp, parameters};

const RATE: f64 = 0.05;

/// What a step graph is fed with and gives, from step to step.
struct Training {
    plan: TrainingPlan,
    opset: i64,
    held: Vec<Tensor>,
    state: Vec<Tensor>,
}

impl Training {
    fn new(opset: i64, options: &TrainingOptions) -> Self {
        let graph = mlp(opset, None);
        let plan = TrainingPlan::new(&graph, opset, options).unwrap();
        let state = plan.state().iter().map(|state| {
            let numbers = vec![state.initial; state.shape.iter().product()];
            match state.dtype {
                DataType::I64 => Tensor::scalar(state.initial as i64),
                dtype => super::harness::tensor(dtype, &state.shape, &numbers),
            }
        });
        let state = state.collect();
        Self { plan, opset, held: parameters(&graph), state }
    }

    fn gradients(&self, rows: &[Tensor]) -> Vec<Vec<f64>> {
        let made = self.plan.gradients(Some(6)).unwrap();
        let outputs = run(&made.graph, self.opset, &[&self.held, rows].concat());
        outputs[1..].iter().map(floats).collect()
    }

    fn step(&mut self, rows: &[Tensor]) -> f64 {
        let made = self.plan.step(Some(6)).unwrap();
        let rate = [Tensor::scalar(RATE as f32)];
        let mut outputs = run(&made.graph, self.opset, &[&self.held, rows, &rate, &self.state].concat());
        assert_eq!(outputs.len(), 1 + self.held.len() + self.state.len());
        self.state = outputs.split_off(1 + self.held.len());
        self.held = outputs.split_off(1);
        floats(&outputs[0])[0]
    }
}

fn norm(gradients: &[Vec<f64>]) -> f64 {
    gradients.iter().flatten().map(|slope| slope * slope).sum::<f64>().sqrt()
}

fn assert_close(got: &[Tensor], expected: &[Vec<f64>], what: &str) {
    for (got, expected) in got.iter().zip(expected) {
        for (got, expected) in floats(got).iter().zip(expected) {
            assert!((got - expected).abs() < 3e-6, "{what}: {got} is not {expected}");
        }
    }
}

/// Eight steps with a rule, each against `by_hand`: parameters, gradients, memory (two a parameter), number of the step.
fn check(
    optimizer: Optimizer,
    clip: Option<Clip>,
    by_hand: impl Fn(&mut f64, f64, &mut [f64; 2], i32),
    clipped: impl Fn(&mut Vec<Vec<f64>>),
) {
    let mut rng = Rng::new(811);
    for (opset, loss_scale) in [
        (NEWEST, LossScale::None),
        (9, LossScale::Static(1024.0)),
        (13, LossScale::Dynamic { initial: 8.0, interval: 3 }),
    ] {
        let options = TrainingOptions { optimizer, clip, loss_scale, ..Default::default() };
        let mut training = Training::new(opset, &options);
        let mut memory: Vec<Vec<[f64; 2]>> =
            training.held.iter().map(|held| vec![[0.0; 2]; held.element_count()]).collect();
        for step in 1..=8 {
            let rows = batch(&mut rng, 6);
            let mut expected: Vec<Vec<f64>> = training.held.iter().map(floats).collect();
            let mut gradients = training.gradients(&rows);
            clipped(&mut gradients);
            for ((numbers, slopes), memory) in expected.iter_mut().zip(&gradients).zip(&mut memory) {
                for ((number, slope), memory) in numbers.iter_mut().zip(slopes).zip(memory) {
                    by_hand(number, *slope, memory, step);
                }
            }
            training.step(&rows);
            let what = format!("{optimizer:?} {clip:?} opset {opset} step {step}");
            assert_close(&training.held, &expected, &what);
        }
        if loss_scale != LossScale::None && !matches!(loss_scale, LossScale::Static(_)) {
            // Doubled after steps 3 and 6.
            assert_eq!(floats(&training.state[0]), [32.0]);
            assert_eq!(training.state[1].as_slice::<i64>().unwrap(), [2]);
        }
    }
}

#[test]
fn plain_descent_moves_by_the_gradient() {
    check(Optimizer::Sgd, None, |p, g, _, _| *p -= RATE * g, |_| {});
}

#[test]
fn momentum_keeps_a_velocity() {
    for nesterov in [false, true] {
        check(
            Optimizer::Momentum { momentum: 0.9, nesterov },
            None,
            |p, g, memory, _| {
                memory[0] = 0.9 * memory[0] + g;
                *p -= RATE * if nesterov { g + 0.9 * memory[0] } else { memory[0] };
            },
            |_| {},
        );
    }
}

#[test]
fn adam_and_its_decoupled_decay_are_those_of_their_papers() {
    for weight_decay in [0.0, 0.1] {
        let optimizer = if weight_decay == 0.0 { Optimizer::adam() } else { Optimizer::adam_w(weight_decay) };
        check(
            optimizer,
            None,
            |p, g, memory, step| {
                memory[0] = 0.9 * memory[0] + 0.1 * g;
                memory[1] = 0.999 * memory[1] + 0.001 * g * g;
                let mean = memory[0] / (1.0 - 0.9_f64.powi(step));
                let variance = memory[1] / (1.0 - 0.999_f64.powi(step));
                // Where a gradient is nothing but rounding, its direction is too.
                *p -= RATE * (mean / (variance.sqrt() + 1e-8) + weight_decay * *p);
            },
            |_| {},
        );
    }
}

#[test]
fn clipping_by_norm_keeps_the_direction_and_by_value_the_range() {
    let limit = 0.2;
    for optimizer in [Optimizer::Sgd, Optimizer::Momentum { momentum: 0.5, nesterov: false }] {
        let momentum = if optimizer == Optimizer::Sgd { 0.0 } else { 0.5 };
        let by_hand = |p: &mut f64, g: f64, memory: &mut [f64; 2], _| {
            memory[0] = momentum * memory[0] + g;
            *p -= RATE * memory[0];
        };
        check(optimizer, Some(Clip::Norm(limit)), by_hand, |gradients| {
            let share = limit / norm(gradients).max(limit);
            assert!(share < 1.0, "the limit has no effect");
            gradients.iter_mut().flatten().for_each(|slope| *slope *= share);
        });
        check(optimizer, Some(Clip::Value(0.05)), by_hand, |gradients| {
            gradients.iter_mut().flatten().for_each(|slope| *slope = slope.clamp(-0.05, 0.05));
        });
    }
}

#[test]
fn a_step_whose_gradients_are_no_numbers_changes_the_scale_alone() {
    let mut rng = Rng::new(812);
    let options = TrainingOptions {
        optimizer: Optimizer::adam(),
        loss_scale: LossScale::Dynamic { initial: 4.0, interval: 2 },
        ..Default::default()
    };
    let mut training = Training::new(NEWEST, &options);
    let [good, labels] = batch(&mut rng, 6);
    let bad = super::harness::tensor(DataType::F32, &[6, 4], &[f64::INFINITY; 24]);
    let scale = |training: &Training| floats(&training.state[0])[0];
    training.step(&[good.clone(), labels.clone()]);
    let (held, memory) = (training.held.clone(), training.state[2..].to_vec());
    for expected in [2.0, 1.0, 1.0] {
        training.step(&[bad.clone(), labels.clone()]);
        assert_eq!(training.held, held);
        assert_eq!(training.state[2..], memory[..]);
        assert_eq!(scale(&training), expected);
    }
    training.step(&[good.clone(), labels.clone()]);
    assert_ne!(training.held, held);
    assert_eq!(scale(&training), 1.0, "one good step of two");
    training.step(&[good, labels]);
    assert_eq!(scale(&training), 2.0);
}

#[test]
fn numbers_outside_their_ranges_are_refused_by_name() {
    let adam = |beta1, epsilon| Optimizer::Adam { beta1, beta2: 0.9, epsilon };
    let optimizer = |optimizer| TrainingOptions { optimizer, ..Default::default() };
    let clip = |clip| TrainingOptions { clip: Some(clip), ..Default::default() };
    let scaled = |loss_scale| TrainingOptions { loss_scale, ..Default::default() };
    for (options, named) in [
        (optimizer(adam(1.0, 1e-8)), "beta1"),
        (optimizer(adam(0.9, 0.0)), "epsilon"),
        (optimizer(Optimizer::adam_w(-0.1)), "weight_decay"),
        (optimizer(Optimizer::Momentum { momentum: f64::NAN, nesterov: false }), "momentum"),
        (clip(Clip::Norm(0.0)), "clip"),
        (clip(Clip::Value(f64::INFINITY)), "clip"),
        (scaled(LossScale::Static(-1.0)), "loss scale"),
        (scaled(LossScale::Dynamic { initial: 0.5, interval: 1 }), "loss scale"),
        (scaled(LossScale::Dynamic { initial: 1.0, interval: 0 }), "loss scale's interval"),
    ] {
        let error = TrainingPlan::new(&mlp(NEWEST, None), NEWEST, &options).unwrap_err();
        assert!(matches!(error, AutodiffError::Option { option, .. } if option == named), "{error}");
    }
}
