//! An ONNX model as a program.

use prost::Message;

use super::super::{Binding, Module, Program, Region, RegionKind, Role, Target, domains};
use super::read_graph::{Parts, Reader};
use super::write::region_name;
use super::{BOOTSTRAP, FORMAT_VERSION, ProgramError};
use crate::metadata::{self, MetadataError};
use crate::onnx::{FunctionProto, ModelProto};

impl Program {
    /// Reads what [`Program::to_onnx`] wrote; the program passes [`Program::verify`].
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn from_onnx(model: &ModelProto) -> Result<Self, ProgramError> {
        let of_model = |source: MetadataError| ProgramError::Metadata { function: String::new(), source };
        let entries = &model.metadata_props;
        match metadata::FORMAT.read(entries).map_err(of_model)? {
            Some(FORMAT_VERSION) => {}
            Some(format) => return Err(ProgramError::UnknownFormat { format }),
            None => return Err(ProgramError::NotProgram),
        }
        if !model.training_info.is_empty() {
            return Err(ProgramError::Unused { function: String::new(), what: "training information" });
        }
        let opset = model.opset_import.iter().find(|opset| matches!(opset.domain(), "" | "ai.onnx"));
        let mut program = Self {
            name: model.graph.as_ref().map(|graph| graph.name().to_owned()).unwrap_or_default(),
            passes: metadata::PASSES.read(entries).map_err(of_model)?.unwrap_or_default(),
            opset: opset.map(|opset| opset.version()).unwrap_or_default(),
            ..Self::default()
        };
        for (slot, (type_name, role, dependencies)) in
            metadata::BINDINGS.read(entries).map_err(of_model)?.unwrap_or_default()
        {
            let role = match role {
                None => None,
                Some(name) => match Role::ALL.into_iter().find(|role| role.name() == name) {
                    Some(role) => Some(role),
                    None => return Err(ProgramError::UnknownRole { slot, role: name }),
                },
            };
            program.bindings.insert(slot, Binding { type_name, role, dependencies });
        }
        for (name, class) in metadata::TARGETS.read(entries).map_err(of_model)?.unwrap_or_default() {
            program.targets.push(Target { name, class, regions: Vec::new() });
        }
        for function in &model.functions {
            program.add_function(function)?;
        }
        program.verify().map_err(|errors| ProgramError::Invalid { errors })?;
        Ok(program)
    }

    /// Reads the bytes of an ONNX model that is a program.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn from_onnx_bytes(bytes: &[u8]) -> Result<Self, ProgramError> {
        let model = ModelProto::decode(bytes)
            .map_err(|error| ProgramError::NotProtobuf { reason: error.to_string() })?;
        Self::from_onnx(&model)
    }

    fn add_function(&mut self, function: &FunctionProto) -> Result<(), ProgramError> {
        let misplaced = || ProgramError::Function { function: function.name().to_owned() };
        let graph = Reader::new(function.name()).graph(&Parts::of_function(function))?;
        let has_region = self.targets.iter().any(|target| !target.regions.is_empty());
        match (function.domain(), function.overload()) {
            (domains::MODULE, "") if !has_region => {
                self.modules.push(Module { name: function.name().to_owned(), body: graph, bootstrap: None });
            }
            (domains::MODULE, BOOTSTRAP) if !has_region => {
                let module = self.modules.last_mut().filter(|module| module.name == function.name());
                let bootstrap = module.map(|module| &mut module.bootstrap).filter(|held| held.is_none());
                *bootstrap.ok_or_else(misplaced)? = Some(graph);
            }
            (domains::TARGET, "") => {
                let region = metadata::REGION.read(&function.metadata_props).map_err(|source| {
                    ProgramError::Metadata { function: function.name().to_owned(), source }
                })?;
                let (index, kind) = region.ok_or_else(misplaced)?;
                let kinds = RegionKind::ALL;
                let kind = kinds.into_iter().find(|known| known.name() == kind);
                let later = self.targets.iter().skip((index as usize).saturating_add(1));
                let in_order = later.into_iter().all(|target| target.regions.is_empty());
                let target = self.targets.get_mut(index as usize).ok_or_else(misplaced)?;
                if !in_order || function.name() != region_name(&target.name, target.regions.len()) {
                    return Err(misplaced());
                }
                target.regions.push(Region { kind: kind.ok_or_else(misplaced)?, graph });
            }
            _ => return Err(misplaced()),
        }
        Ok(())
    }
}
