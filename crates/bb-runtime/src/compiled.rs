//! A compiled program with the factories of its components.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bb_ir::Digest;
use bb_ir::onnx::ModelProto;
use bb_ir::passport::{Passport, PassportError, Signature, SigningKey};
use bb_ir::program::{Program, ProgramError, VerifyError};
use prost::Message;
use thiserror::Error;

use crate::ComponentFactory;
use crate::engine::dense::Lowered;
use crate::engine::lower::lower;

/// The version that this compiler and runtime write into artifacts; artifacts of other minor versions are refused.
pub const COMPILER_VERSION: &str = env!("CARGO_PKG_VERSION");

/// A compiled program: what `install` takes.
///
/// Made by the compiler it carries the factories of the components bound to it; decoded from bytes it carries
/// none, and the host registers them with [`Config::register`](crate::Config::register). A clone is the same
/// program: all nodes of a process that install it share one copy.
#[derive(Clone)]
pub struct CompiledModel(Arc<Shared>);

struct Shared {
    program: Arc<Program>,
    factories: BTreeMap<&'static str, ComponentFactory>,
    passport: OnceLock<Result<Passport, PassportError>>,
    lowered: OnceLock<Result<Arc<Lowered>, Vec<VerifyError>>>,
    model: OnceLock<Arc<ModelProto>>,
}

/// Why bytes are not a compiled program; whoever made them is at fault.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArtifactError {
    /// The bytes are not an ONNX model.
    #[error("the bytes are not an ONNX model: {reason}")]
    NotProtobuf {
        /// What the decoder says.
        reason: String,
    },
    /// The model is not a program.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

impl CompiledModel {
    /// A compiled program with the factories of its components.
    pub fn new(program: Program, factories: BTreeMap<&'static str, ComponentFactory>) -> Self {
        Self::from_parts(program, factories, OnceLock::new())
    }

    /// Reads what [`CompiledModel::encode`] wrote. Whether its passport fits is checked by `install`.
    ///
    /// # Errors
    /// [`ArtifactError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ArtifactError> {
        let model = ModelProto::decode(bytes)
            .map_err(|error| ArtifactError::NotProtobuf { reason: error.to_string() })?;
        let program = Program::from_onnx(&model)?;
        Ok(Self::from_parts(program, BTreeMap::new(), OnceLock::from(Passport::of(&model))))
    }

    /// The artifact: one ONNX model with its passport.
    pub fn encode(&self) -> Vec<u8> {
        self.to_model().encode_to_vec()
    }

    /// The artifact as an ONNX model with its passport.
    pub fn to_model(&self) -> ModelProto {
        let mut model = self.0.program.to_onnx();
        match self.passport() {
            Ok(passport) => passport.stamp_again(&mut model),
            Err(_) => drop(Passport::stamp(&mut model, COMPILER_VERSION)),
        }
        model
    }

    /// [`CompiledModel::to_model`], made once for all who share this program.
    pub(crate) fn shared_model(&self) -> Arc<ModelProto> {
        Arc::clone(self.0.model.get_or_init(|| Arc::new(self.to_model())))
    }

    /// The same program, vouched for with `key` too.
    ///
    /// # Errors
    /// [`PassportError`], if its passport does not fit it: nobody should vouch for that.
    ///
    /// ```
    /// use bb_ir::passport::SigningKey;
    /// use bb_runtime::{CompiledModel, Config};
    /// # fn sign(model: CompiledModel) -> Result<(), Box<dyn std::error::Error>> {
    /// let key = SigningKey::from_seed([7; 32])?;
    /// let artifact = model.signed(&key)?.encode();
    /// let config = Config::new().trust([key.verifying_key()]);
    /// # let _ = (artifact, config); Ok(()) }
    /// ```
    pub fn signed(&self, key: &SigningKey) -> Result<Self, PassportError> {
        let mut passport = self.passport().map_err(Clone::clone)?.clone();
        passport.signatures.retain(|signature| signature.key != key.verifying_key());
        passport.signatures.push(Signature::sign(key, passport.digest));
        let shared = Shared {
            program: Arc::clone(&self.0.program),
            factories: self.0.factories.clone(),
            passport: OnceLock::from(Ok(passport)),
            lowered: self.0.lowered.clone(),
            model: OnceLock::new(),
        };
        Ok(Self(Arc::new(shared)))
    }

    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        &self.0.program
    }

    /// The factories, by type name.
    pub fn factories(&self) -> &BTreeMap<&'static str, ComponentFactory> {
        &self.0.factories
    }

    /// The passport: its digest is the name of the program in messages.
    ///
    /// # Errors
    /// [`PassportError`], if the artifact was decoded and its passport is missing or does not fit it.
    pub fn passport(&self) -> Result<&Passport, &PassportError> {
        let stamp = || Ok(Passport::stamp(&mut self.0.program.to_onnx(), COMPILER_VERSION));
        self.0.passport.get_or_init(stamp).as_ref()
    }

    /// The digest of the program, by which messages name it; all zeros if its passport does not fit.
    pub fn digest(&self) -> Digest {
        self.passport().map(|passport| passport.digest).unwrap_or_default()
    }

    /// The program in dense form, verified and made once.
    pub(crate) fn lowered(&self) -> Result<&Arc<Lowered>, &Vec<VerifyError>> {
        let lower = || self.0.program.verify().map(|()| Arc::new(lower(&self.0.program)));
        self.0.lowered.get_or_init(lower).as_ref()
    }

    fn from_parts(
        program: Program,
        factories: BTreeMap<&'static str, ComponentFactory>,
        passport: OnceLock<Result<Passport, PassportError>>,
    ) -> Self {
        let shared = Shared {
            program: Arc::new(program),
            factories,
            passport,
            lowered: OnceLock::new(),
            model: OnceLock::new(),
        };
        Self(Arc::new(shared))
    }
}

impl From<&Self> for CompiledModel {
    /// The same program.
    fn from(model: &Self) -> Self {
        model.clone()
    }
}

impl fmt::Debug for CompiledModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompiledModel")
            .field("name", &self.0.program.name)
            .field("targets", &self.0.program.targets.iter().map(|target| &target.name).collect::<Vec<_>>())
            .field("factories", &self.0.factories.keys())
            .finish_non_exhaustive()
    }
}
