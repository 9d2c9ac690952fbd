//! The gradients of the cases against central finite differences.
//!
//! Each case is made to compute in `f64`; its loss is the sum of its float outputs, weighted at random. The gradient
//! graph that bb-autodiff makes of it runs on the backend, and so does the case itself, a step to either side of the
//! case's own inputs, which are moved a little first, off ties.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bb_autodiff::{AutodiffError, Gradients};
use bb_runtime::onnx::{GraphProto, ModelProto, OperatorSetIdProto, TensorProto};
use bb_runtime::{Backend, BackendError, BackendGraph, DataType, Executable, Tensor};
use prost::Message;

use crate::archive::Case;
use crate::wide;

/// Largest difference, relative to the largest gradient of the input.
const TOLERANCE: f64 = 1e-5;

/// Step of the differences; of a large number, times its root.
const STEP: f64 = 1e-5;

/// Elements of an input that are tried; of a larger one, so many at random.
const ELEMENTS: usize = 24;

/// Elements that an input may have.
const LARGEST: usize = 1 << 17;

/// Why a case is not run that has sequences or optional values among its inputs.
pub const NO_TENSOR: &str = "values that are no tensors";

/// What is wrong with a case that panics.
pub(crate) const PANIC: &str = "a panic";

/// The share of a slope that rounding may make up.
const ROUNDED: f64 = 1e-3;

/// How the gradients of one case are.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// As the differences are.
    Checked {
        /// The largest relative difference.
        error: f64,
        /// How many elements were compared.
        elements: usize,
    },
    /// There is none, or none at the case's inputs.
    NotDifferentiable(String),
    /// The backend does not run the case in `f64`, or has not the ops that the gradients are made of.
    NotRun(String),
    /// Not as the differences are.
    Wrong(String),
}

/// The gradients of all cases.
#[derive(Clone, Debug, Default)]
pub struct Report {
    cases: Vec<(String, String, Outcome)>,
}

/// Checks the gradients of all cases.
pub fn run(cases: &[Case], backend: &impl Backend) -> Report {
    let mut report = Report::default();
    for case in cases {
        let outcome = run_within(case, backend, TOLERANCE);
        report.cases.push((case.name.clone(), op_of(&case.model), outcome));
    }
    report
}

/// Checks the gradients of one case, which may differ by `tolerance`, relative to the largest gradient of the input.
pub fn run_within(case: &Case, backend: &impl Backend, tolerance: f64) -> Outcome {
    let outcome = catch_unwind(AssertUnwindSafe(|| check(case, backend, tolerance)));
    outcome.unwrap_or_else(|_| Outcome::Wrong(PANIC.to_owned()))
}

/// The op that a case is about: its only node's, or the ops of all nodes.
fn op_of(model: &[u8]) -> String {
    let graph = ModelProto::decode(model).ok().and_then(|model| model.graph).unwrap_or_default();
    match graph.node.as_slice() {
        [node] => node.op_type().to_owned(),
        _ => "(several)".to_owned(),
    }
}

impl Report {
    /// Cases with their outcomes, by name.
    pub fn outcomes(&self) -> impl Iterator<Item = (&str, &Outcome)> {
        self.cases.iter().map(|(name, _, outcome)| (name.as_str(), outcome))
    }

    /// Names of the cases whose gradients are as the differences are.
    pub fn checked(&self) -> Vec<&str> {
        let checked = self.outcomes().filter(|(_, outcome)| matches!(outcome, Outcome::Checked { .. }));
        checked.map(|(name, _)| name).collect()
    }
}

impl fmt::Display for Report {
    /// The line of totals, then one line an op: cases, checked, the largest difference, or why there is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count =
            |wanted: fn(&Outcome) -> bool| self.cases.iter().filter(|(.., outcome)| wanted(outcome)).count();
        writeln!(
            f,
            "gradients: checked {} of {}, not differentiable {}, not run {}, wrong {}",
            self.checked().len(),
            self.cases.len(),
            count(|outcome| matches!(outcome, Outcome::NotDifferentiable(_))),
            count(|outcome| matches!(outcome, Outcome::NotRun(_))),
            count(|outcome| matches!(outcome, Outcome::Wrong(_))),
        )?;
        writeln!(f, "{:32} {:>6} {:>8} {:>6} {:>9}  otherwise", "op", "cases", "checked", "wrong", "error")?;
        let mut ops: BTreeMap<&str, Vec<&Outcome>> = BTreeMap::new();
        for (_, op, outcome) in &self.cases {
            ops.entry(op).or_default().push(outcome);
        }
        for (op, outcomes) in ops {
            let (mut checked, mut wrong, mut largest, mut reason) = (0, 0, 0.0_f64, String::new());
            for outcome in &outcomes {
                match outcome {
                    Outcome::Checked { error, .. } => {
                        checked += 1;
                        largest = largest.max(*error);
                    }
                    Outcome::Wrong(_) => wrong += 1,
                    Outcome::NotDifferentiable(why) => reason.clone_from(why),
                    Outcome::NotRun(why) if reason.is_empty() => reason = format!("not run: {why}"),
                    Outcome::NotRun(_) => {}
                }
            }
            let error = if checked > 0 { format!("{largest:.1e}") } else { "-".to_owned() };
            let reason: String = reason.chars().take(90).collect();
            writeln!(f, "{op:32} {:>6} {checked:>8} {wrong:>6} {error:>9}  {reason}", outcomes.len())?;
        }
        Ok(())
    }
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number between -1 and 1.
    fn number(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }
}

/// The numbers of a case, which depend on its name alone.
fn seeded(name: &str) -> Rng {
    Rng(name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
}

/// A case in `f64`, and what it is fed with.
struct Trial {
    graph: GraphProto,
    opsets: Vec<OperatorSetIdProto>,
    opset: i64,
    fed: Vec<Tensor>,
    /// Inputs that are differentiated for: places among the inputs.
    wrt: Vec<usize>,
    tolerance: f64,
}

fn check(case: &Case, backend: &impl Backend, tolerance: f64) -> Outcome {
    match try_check(case, backend, tolerance, false) {
        // What must be known, an exporter would have written down: integers become part of the graph.
        Ok(Outcome::NotDifferentiable(_)) | Err(Outcome::NotDifferentiable(_)) => {
            try_check(case, backend, tolerance, true).unwrap_or_else(|outcome| outcome)
        }
        Ok(outcome) | Err(outcome) => outcome,
    }
}

fn not_run(reason: impl fmt::Display) -> Outcome {
    Outcome::NotRun(reason.to_string())
}

/// What a backend does not take, or not within its limits, is not run; all else is a mistake where the case itself runs.
fn broken(error: BackendError) -> Outcome {
    use BackendError::{Engine, Memory, Type, Unsupported, Work};
    match error {
        Engine { .. } | Memory { .. } | Type { .. } | Unsupported { .. } | Work { .. } => not_run(error),
        other => Outcome::Wrong(format!("the gradients do not run: {other}")),
    }
}

fn try_check(
    case: &Case,
    backend: &impl Backend,
    tolerance: f64,
    holds_integers: bool,
) -> Result<Outcome, Outcome> {
    let mut rng = seeded(&case.name);
    let trial = Trial { tolerance, ..trial(case, &mut rng, holds_integers)? };
    if trial.wrt.is_empty() {
        return Err(Outcome::NotDifferentiable("no float input".to_owned()));
    }
    if !trial.graph.output.iter().any(wide::may_be_float) {
        return Err(Outcome::NotDifferentiable("no float output".to_owned()));
    }
    // The outputs, and whether they are the same each time.
    let plain = trial.graph.clone();
    let mut ready = trial.prepare(&plain, backend)?;
    let first = ready.run(&trial.fed).map_err(not_run)?;
    let again = ready.run(&trial.fed).map_err(not_run)?;
    if first.iter().zip(again.iter()).any(|(a, b)| a.as_bytes() != b.as_bytes()) {
        return Err(Outcome::NotDifferentiable("random".to_owned()));
    }
    let names: Vec<String> = plain.output.iter().map(|output| output.name().to_owned()).collect();
    let floats: Vec<(String, Tensor)> =
        names.into_iter().zip(first).filter(|(_, tensor)| tensor.dtype() == DataType::F64).collect();
    if floats.is_empty() {
        return Err(Outcome::NotDifferentiable("no float output".to_owned()));
    }
    let weights: Vec<Vec<f64>> = floats
        .iter()
        .map(|(_, tensor)| (0..tensor.element_count()).map(|_| 1.0 + 0.5 * rng.number()).collect())
        .collect();
    let mut read = floats.len();
    let (gradients, graph) = loop {
        let graph = with_loss(&plain, &floats[..read], &weights);
        let names: Vec<&str> = trial.wrt.iter().map(|&place| plain.input[place].name()).collect();
        match Gradients::of(&graph, trial.opset, "the/loss", &names) {
            Ok(made) => break (made, graph),
            Err(AutodiffError::Unsupported { .. }) if read > 1 => read = 1,
            Err(error) => return Err(Outcome::NotDifferentiable(reason(&error))),
        }
    };
    trial.compare(&gradients, &graph, backend, &mut rng)
}

/// In short why there is no gradient.
fn reason(error: &AutodiffError) -> String {
    match error {
        AutodiffError::NoGradient { op, .. } => format!("{op} has no gradient"),
        AutodiffError::Opset { needed, .. } => format!("needs operator set {needed}"),
        other => other.to_string(),
    }
}

fn trial(case: &Case, rng: &mut Rng, holds_integers: bool) -> Result<Trial, Outcome> {
    let model = ModelProto::decode(case.model.as_slice()).map_err(not_run)?;
    if !model.functions.is_empty() {
        return Err(not_run("functions of the model"));
    }
    let is_onnx = |set: &&OperatorSetIdProto| matches!(set.domain.as_deref(), None | Some("" | "ai.onnx"));
    let opset = model.opset_import.iter().find(is_onnx).and_then(|set| set.version).unwrap_or(1);
    let mut graph = model.graph.unwrap_or_default();
    let set = case.sets.values().next().ok_or_else(|| not_run("no data"))?;
    let kept = wide::kept_inputs(&graph);
    wide::widen(&mut graph, &kept);
    let states = wide::states(&graph);
    let (mut fed, mut wrt, mut inputs) = (Vec::new(), Vec::new(), Vec::new());
    for (place, bytes) in &set.inputs {
        let mut input = graph.input.get(*place).cloned().ok_or_else(|| not_run("data for no input"))?;
        if !wide::may_be_tensor(&input) {
            return Err(not_run(NO_TENSOR));
        }
        let proto = TensorProto::decode(bytes.as_slice()).map_err(not_run)?;
        let tensor = Tensor::from_onnx(&proto).map_err(not_run)?;
        let name = input.name().to_owned();
        let numbers = wide::numbers(&tensor).filter(|_| !kept.contains(&name));
        if numbers.is_none() && holds_integers {
            graph.initializer.push(TensorProto { name: Some(name), ..tensor.to_onnx("") });
            continue;
        }
        let tensor = match numbers {
            Some(numbers) if numbers.len() <= LARGEST => {
                let is_state = states.contains(&name);
                let mut moved = |x: f64| if x.is_finite() { x + 1e-3 * rng.number() } else { rng.number() };
                let moved =
                    numbers.iter().map(|&x| if is_state { x } else { moved(x) }).collect::<Vec<f64>>();
                if !is_state {
                    wrt.push(fed.len());
                }
                Tensor::from_slice(tensor.shape().to_vec(), &moved).map_err(not_run)?
            }
            Some(_) => return Err(not_run("too large")),
            None => tensor,
        };
        wide::declare(&mut input, &tensor);
        inputs.push(input);
        fed.push(tensor);
    }
    graph.input = inputs;
    Ok(Trial { graph, opsets: model.opset_import, opset, fed, wrt, tolerance: TOLERANCE })
}

/// `graph` with `the/loss`: its outputs times `weights`, summed; elements that are infinite or no numbers are left out.
fn with_loss(graph: &GraphProto, outputs: &[(String, Tensor)], weights: &[Vec<f64>]) -> GraphProto {
    let mut graph = graph.clone();
    let mut sums = Vec::with_capacity(outputs.len());
    for (index, ((name, tensor), weights)) in outputs.iter().zip(weights).enumerate() {
        if let Some(output) = graph.output.iter_mut().find(|output| output.name() == name) {
            wide::declare(output, tensor);
        }
        graph.initializer.push(TensorProto {
            name: Some(format!("the/weights{index}")),
            dims: tensor.shape().iter().map(|&extent| extent as i64).collect(),
            data_type: Some(DataType::F64.to_onnx()),
            double_data: weights.clone(),
            ..TensorProto::default()
        });
        let finite = wide::numbers(tensor).unwrap_or_default().into_iter().map(f64::is_finite);
        let finite: Vec<bool> = finite.collect();
        let mut read = name.clone();
        if finite.contains(&false) {
            let (mask, zero) = (format!("the/finite{index}"), format!("the/zero{index}"));
            graph.initializer.push(TensorProto {
                name: Some(mask.clone()),
                dims: tensor.shape().iter().map(|&extent| extent as i64).collect(),
                data_type: Some(DataType::Bool.to_onnx()),
                int32_data: finite.into_iter().map(i32::from).collect(),
                ..TensorProto::default()
            });
            let number = TensorProto { name: Some(zero.clone()), dims: vec![], ..wide::zero() };
            graph.initializer.push(number);
            read = format!("the/read{index}");
            graph.node.push(wide::node("Where", &[&mask, name, &zero], &read));
        }
        let product = format!("the/product{index}");
        graph.node.push(wide::node("Mul", &[&read, &format!("the/weights{index}")], &product));
        let sum = format!("the/sum{index}");
        let mut node = wide::node("ReduceSum", &[&product], &sum);
        node.attribute.push(wide::int("keepdims", 0));
        graph.node.push(node);
        sums.push(sum);
    }
    let sums: Vec<&str> = sums.iter().map(String::as_str).collect();
    graph.node.push(wide::node("Sum", &sums, "the/loss"));
    graph.value_info.append(&mut graph.output);
    graph.output = vec![wide::untyped("the/loss")];
    graph
}

impl Trial {
    fn prepare(&self, graph: &GraphProto, backend: &impl Backend) -> Result<Box<dyn Executable>, Outcome> {
        backend.prepare(&BackendGraph::new(graph.clone(), &self.opsets)).map_err(not_run)
    }

    fn compare(
        &self,
        made: &Gradients,
        graph: &GraphProto,
        backend: &impl Backend,
        rng: &mut Rng,
    ) -> Result<Outcome, Outcome> {
        let mut backward = made.graph.clone();
        backward.output.clear();
        for (index, name) in made.gradients.iter().enumerate() {
            let output = format!("the/gradient{index}");
            backward.node.push(wide::node("Identity", &[name], &output));
            backward.output.push(wide::untyped(&output));
        }
        let mut ready = backend.prepare(&BackendGraph::new(backward, &self.opsets)).map_err(broken)?;
        let gradients = ready.run(&self.fed).map_err(broken)?;
        let mut forward = self.prepare(graph, backend)?;
        let (mut largest, mut elements) = (0.0_f64, 0);
        for (&place, gradient) in self.wrt.iter().zip(gradients.iter()) {
            if gradient.shape() != self.fed[place].shape() {
                let wrong = format!(
                    "a gradient of shape {} for an input of {}",
                    gradient.shape(),
                    self.fed[place].shape()
                );
                return Err(Outcome::Wrong(wrong));
            }
            let gradient = gradient.as_slice::<f64>().map_err(|error| Outcome::Wrong(error.to_string()))?;
            let values = self.fed[place].as_slice::<f64>().map_err(not_run)?.to_vec();
            let chosen: Vec<usize> = if values.len() <= ELEMENTS {
                (0..values.len()).collect()
            } else {
                (0..ELEMENTS).map(|_| (rng.next() % values.len() as u64) as usize).collect()
            };
            let mut slopes = Vec::with_capacity(chosen.len());
            for element in chosen {
                if let Some(slope) = self.slope(forward.as_mut(), place, &values, element)? {
                    slopes.push((element, slope));
                }
            }
            let scale = slopes.iter().fold(1.0_f64, |scale, (_, slope)| scale.max(slope.abs()));
            for &(element, slope) in &slopes {
                let error = (gradient[element] - slope).abs() / scale;
                if !gradient[element].is_finite() && self.is_at_an_edge(graph, backend)? {
                    return Err(Outcome::NotDifferentiable("a value inside is no number".to_owned()));
                }
                if error.is_nan() || error > self.tolerance {
                    let name = made.graph.input.get(place).map(|input| input.name()).unwrap_or_default();
                    return Err(Outcome::Wrong(format!(
                        "`{name}` at {element}: {}, by differences {slope}",
                        gradient[element]
                    )));
                }
                largest = largest.max(error);
            }
            elements += slopes.len();
        }
        if elements == 0 {
            let empty = self.wrt.iter().all(|&place| self.fed[place].element_count() == 0);
            let why = if empty { "no elements" } else { "at corners alone" };
            return Err(Outcome::NotDifferentiable(why.to_owned()));
        }
        Ok(Outcome::Checked { error: largest, elements })
    }

    /// The slope of the loss along one element; `None` at a corner, where a step leaves the domain, and where the loss is so
    /// large that its differences are rounded away.
    fn slope(
        &self,
        forward: &mut dyn Executable,
        place: usize,
        values: &[f64],
        element: usize,
    ) -> Result<Option<f64>, Outcome> {
        let step = STEP * values[element].abs().max(1.0).sqrt();
        let mut at = |steps: f64| -> Result<f64, Outcome> {
            let mut moved = values.to_vec();
            moved[element] += steps * step;
            let mut fed = self.fed.clone();
            fed[place] = Tensor::from_slice(self.fed[place].shape().to_vec(), &moved).map_err(not_run)?;
            let outputs = forward.run(&fed).map_err(not_run)?;
            Ok(outputs[0].as_slice::<f64>().map_err(not_run)?.first().copied().unwrap_or(f64::NAN))
        };
        let (above, here, below) = (at(1.0)?, at(0.0)?, at(-1.0)?);
        let (right, left) = ((above - here) / step, (here - below) / step);
        let corner = (right - left).abs() > 1e-2 * right.abs().max(left.abs()).max(1.0);
        // Of fourth order: the error of the central difference is taken away by one of twice the step.
        let (near, far) = ((above - below) / (2.0 * step), (at(2.0)? - at(-2.0)?) / (4.0 * step));
        let slope = (4.0 * near - far) / 3.0;
        let corner = corner || (near - far).abs() > 1e-2 * near.abs().max(far.abs()).max(1.0);
        let is_rounded = f64::EPSILON * here.abs() / step > ROUNDED * slope.abs().max(1.0);
        Ok(Some(slope).filter(|slope| slope.is_finite() && !corner && !is_rounded))
    }

    /// Whether some value of the forward pass is infinite, no number or a root where it is vertical.
    fn is_at_an_edge(&self, graph: &GraphProto, backend: &impl Backend) -> Result<bool, Outcome> {
        let mut all = graph.clone();
        let made =
            graph.node.iter().flat_map(|node| node.output.iter().map(move |name| (node.op_type(), name)));
        let made: Vec<(&str, &String)> = made.filter(|(_, name)| !name.is_empty()).collect();
        all.output = made.iter().map(|(_, name)| wide::untyped(name)).collect();
        let values = self.prepare(&all, backend)?.run(&self.fed).map_err(not_run)?;
        let is_edge = |op: &str, x: f64| !x.is_finite() || (op == "Sqrt" && x == 0.0);
        let mut held =
            made.iter().zip(values.iter()).filter_map(|((op, _), value)| Some((*op, wide::numbers(value)?)));
        Ok(held.any(|(op, numbers)| numbers.into_iter().any(|x| is_edge(op, x))))
    }
}
