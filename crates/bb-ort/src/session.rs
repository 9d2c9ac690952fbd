//! A graph in the library's hands, and its runs.

use bb_runtime::{BackendError, BackendGraph, DataType, Executable, Outputs, Tensor};
use ort::environment::Environment;
use ort::session::builder::SessionBuilder;
use ort::session::{Session, SessionInputValue, SessionInputs};
use smallvec::SmallVec;

use crate::config::OrtConfig;
use crate::model::{self, Input};
use crate::support::Support;
use crate::{exchange, fault};

/// A graph made ready to run.
pub(crate) struct OrtExecutable {
    graph: BackendGraph,
    sessions: Sessions,
    inputs: Vec<Input>,
    /// For each output of the graph, its place among those of the session.
    places: Vec<usize>,
    ready: Option<Ready>,
}

/// What a session is made from.
pub(crate) struct Sessions {
    pub(crate) config: OrtConfig,
    pub(crate) environment: Environment,
}

/// A session, and the element types of the inputs that it was made for.
struct Ready {
    dtypes: SmallVec<[DataType; 4]>,
    session: Session,
}

impl OrtExecutable {
    pub(crate) fn new(
        graph: BackendGraph,
        sessions: Sessions,
        support: &Support,
    ) -> Result<Self, BackendError> {
        model::check(graph.graph())?;
        let inputs = model::inputs(graph.graph())?;
        let places = model::output_places(graph.graph());
        let declared: Option<SmallVec<[DataType; 4]>> = inputs.iter().map(|input| input.dtype).collect();
        let ready = match declared {
            Some(dtypes) => Some(Ready::new(&graph, &sessions, dtypes)?),
            None => {
                model::each_node(graph.graph(), &mut |node| match support.knows(&fault::op(node)) {
                    true => Ok(()),
                    false => Err(fault::unsupported(&graph, node)),
                })?;
                None
            }
        };
        Ok(Self { graph, sessions, inputs, places, ready })
    }

    /// The session for inputs of these types: the one at hand, or a new one.
    fn ready(&mut self, inputs: &[Tensor]) -> Result<&mut Session, BackendError> {
        let fits = self
            .ready
            .as_ref()
            .is_some_and(|ready| ready.dtypes.iter().copied().eq(inputs.iter().map(Tensor::dtype)));
        if !fits {
            for (input, tensor) in self.inputs.iter().zip(inputs) {
                if let Some(declared) = input.dtype
                    && declared != tensor.dtype()
                {
                    let (name, got) = (&input.name, tensor.dtype());
                    let reason = format!("input `{name}` is declared {declared} and was given {got}");
                    return Err(BackendError::Graph { reason });
                }
            }
            let dtypes = inputs.iter().map(Tensor::dtype).collect();
            self.ready = None;
            let made = Ready::new(&self.graph, &self.sessions, dtypes)?;
            return Ok(&mut self.ready.insert(made).session);
        }
        match &mut self.ready {
            Some(ready) => Ok(&mut ready.session),
            None => Err(BackendError::NoGraph),
        }
    }
}

impl Ready {
    fn new(
        graph: &BackendGraph,
        sessions: &Sessions,
        dtypes: SmallVec<[DataType; 4]>,
    ) -> Result<Self, BackendError> {
        let bytes = model::encode(graph, &dtypes);
        let mut builder = sessions.builder().map_err(fault::engine)?;
        let session = builder.commit_from_memory(&bytes).map_err(|error| fault::refusal(graph, error))?;
        Ok(Self { dtypes, session })
    }
}

impl Sessions {
    fn builder(&self) -> Result<SessionBuilder, ort::Error> {
        let builder = Session::builder(&self.environment)?
            .with_intra_threads(self.config.threads)?
            .with_inter_threads(1)?
            // A thread that waits for work by spinning takes the time of the node's other threads.
            .with_intra_op_spinning(false)?;
        if self.config.providers.is_empty() {
            return Ok(builder);
        }
        Ok(builder.with_execution_providers(self.config.dispatch())?)
    }
}

impl Executable for OrtExecutable {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Outputs, BackendError> {
        let mut outputs = Outputs::new();
        self.run_into(inputs, &mut outputs)?;
        Ok(outputs)
    }

    fn run_into(&mut self, inputs: &[Tensor], outputs: &mut Outputs) -> Result<(), BackendError> {
        if inputs.len() != self.inputs.len() {
            return Err(BackendError::InputCount { expected: self.inputs.len(), got: inputs.len() });
        }
        let mut lent: SmallVec<[SessionInputValue<'_>; 4]> = SmallVec::with_capacity(inputs.len());
        for (input, tensor) in self.inputs.iter().zip(inputs) {
            lent.push(exchange::lend(&input.name, tensor)?);
        }
        let places = std::mem::take(&mut self.places);
        let outcome = self.ready(inputs).and_then(|session| run(session, &lent, &places, outputs));
        self.places = places;
        outcome
    }
}

fn run(
    session: &mut Session,
    lent: &[SessionInputValue<'_>],
    places: &[usize],
    outputs: &mut Outputs,
) -> Result<(), BackendError> {
    let made = session.run(SessionInputs::<0>::from(lent)).map_err(fault::engine)?;
    let mut held = std::mem::take(outputs).into_iter();
    for &place in places {
        let (name, value) = made.iter().nth(place).ok_or_else(|| {
            fault::engine(ort::Error::new("the session gives fewer outputs than its graph has"))
        })?;
        outputs.push(exchange::take(name, &value, held.next())?);
    }
    Ok(())
}
