//! A program as an ONNX model.

use std::collections::BTreeSet;

use super::super::{Attribute, Graph, Program, Region, RegionKind, domains};
use super::write_graph::{Written, write};
use super::{BOOTSTRAP, FORMAT_VERSION};
use crate::metadata;
use crate::onnx::{
    FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
};

/// ONNX's version 10 of its own form: the first in which nodes and functions have metadata.
const IR_VERSION: i64 = 10;

impl Program {
    /// The program as an ONNX model; equal programs have equal models, and [`Program::from_onnx`] gives the
    /// program back.
    ///
    /// The program must pass [`Program::verify`]; of one that does not, what is wrong may be lost.
    ///
    /// ```
    /// use bb_ir::program::{Module, Program};
    /// let module = Module { name: "Nothing".into(), ..Module::default() };
    /// let program = Program { name: "Nothing".into(), modules: vec![module], opset: 21, ..Program::default() };
    /// assert_eq!(Program::from_onnx(&program.to_onnx())?, program);
    /// # Ok::<(), bb_ir::program::ProgramError>(())
    /// ```
    pub fn to_onnx(&self) -> ModelProto {
        let opsets = self.opsets();
        let mut functions = Vec::new();
        for module in &self.modules {
            functions.push(function(&module.body, &module.name, domains::MODULE, None, &opsets));
            if let Some(bootstrap) = &module.bootstrap {
                functions.push(function(bootstrap, &module.name, domains::MODULE, Some(BOOTSTRAP), &opsets));
            }
        }
        for (index, target) in self.targets.iter().enumerate() {
            for (region_index, region) in target.regions.iter().enumerate() {
                let name = region_name(&target.name, region_index);
                let mut function = function(&region.graph, &name, domains::TARGET, None, &opsets);
                let kind = region.kind.name().to_owned();
                metadata::REGION.write(&mut function.metadata_props, &(index as u32, kind));
                functions.push(function);
            }
        }
        ModelProto {
            ir_version: Some(IR_VERSION),
            opset_import: opsets,
            producer_name: Some("bytesandbrains".to_owned()),
            graph: Some(self.main_graph()),
            functions,
            metadata_props: self.model_metadata(),
            ..ModelProto::default()
        }
    }

    /// The operator sets that the program's ops belong to, ONNX's own first.
    fn opsets(&self) -> Vec<OperatorSetIdProto> {
        let mut names = BTreeSet::from([domains::ONNX, domains::MODULE, domains::TARGET]);
        let bodies = self.modules.iter().flat_map(|module| [Some(&module.body), module.bootstrap.as_ref()]);
        let regions = self.targets.iter().flat_map(|target| &target.regions).map(|region| &region.graph);
        bodies.flatten().chain(regions).for_each(|graph| collect_domains(graph, &mut names));
        let opset = |domain: &str| OperatorSetIdProto {
            domain: Some(domain.to_owned()),
            version: Some(if domain.is_empty() { self.opset } else { 1 }),
        };
        names.into_iter().map(opset).collect()
    }

    fn model_metadata(&self) -> Vec<StringStringEntryProto> {
        let mut entries = Vec::new();
        metadata::FORMAT.write(&mut entries, &FORMAT_VERSION);
        metadata::PASSES.write(&mut entries, &self.passes);
        let bindings = self.bindings.iter().map(|(slot, binding)| {
            let role = binding.role.map(|role| role.name().to_owned());
            (slot.clone(), (binding.type_name.clone(), role, binding.dependencies.clone()))
        });
        metadata::BINDINGS.write(&mut entries, &bindings.collect());
        let targets = self.targets.iter().map(|target| (target.name.clone(), target.class.clone()));
        metadata::TARGETS.write(&mut entries, &targets.collect());
        entries
    }

    /// A graph that calls the root module, or the entry regions.
    fn main_graph(&self) -> GraphProto {
        let mut graph = GraphProto { name: Some(self.name.clone()), ..GraphProto::default() };
        if let Some(root) = self.modules.first() {
            add_call(&mut graph, &root.body, &root.name, domains::MODULE, "");
        }
        for target in &self.targets {
            let entries = |(_, region): &(usize, &Region)| region.kind == RegionKind::Entry;
            for (index, region) in target.regions.iter().enumerate().filter(entries) {
                let name = region_name(&target.name, index);
                add_call(&mut graph, &region.graph, &name, domains::TARGET, &format!("{name}/"));
            }
        }
        graph
    }
}

/// The name of a region's function.
pub(super) fn region_name(target: &str, index: usize) -> String {
    format!("{target}#{index}")
}

fn collect_domains<'a>(graph: &'a Graph, names: &mut BTreeSet<&'a str>) {
    for node in &graph.nodes {
        names.insert(node.op.domain().as_str());
        let nested = node.attributes.values().filter_map(Attribute::as_graph);
        nested.for_each(|graph| collect_domains(graph, names));
    }
}

fn function(
    graph: &Graph,
    name: &str,
    domain: &str,
    overload: Option<&str>,
    opsets: &[OperatorSetIdProto],
) -> FunctionProto {
    let Written { inputs, outputs, nodes, made, mut metadata } = write(graph);
    if graph.name != name {
        metadata::GRAPH.write(&mut metadata, &graph.name);
    }
    let typed = made.iter().filter(|(_, ty)| **ty != crate::ValueType::Any);
    FunctionProto {
        name: Some(name.to_owned()),
        input: inputs,
        output: outputs,
        value_info: typed.map(|(name, ty)| ty.to_onnx(name)).collect(),
        node: nodes,
        opset_import: opsets.to_vec(),
        domain: Some(domain.to_owned()),
        overload: overload.map(str::to_owned),
        metadata_props: metadata,
        ..FunctionProto::default()
    }
}

fn add_call(main: &mut GraphProto, callee: &Graph, name: &str, domain: &str, prefix: &str) {
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut call =
        NodeProto { op_type: Some(name.to_owned()), domain: Some(domain.to_owned()), ..NodeProto::default() };
    for info in callee.inputs.iter().filter_map(|id| callee.values.get(id.0 as usize)) {
        let name = format!("{prefix}{}", info.name);
        main.input.push(info.ty.to_onnx(&name));
        taken.insert(name.clone());
        call.input.push(name);
    }
    for output in &callee.outputs {
        let mut name = format!("{prefix}{}", output.name);
        while !taken.insert(name.clone()) {
            name.push('\'');
        }
        let any = crate::ValueType::Any;
        let ty = callee.values.get(output.value.0 as usize).map_or(&any, |info| &info.ty);
        main.output.push(ty.to_onnx(&name));
        call.output.push(name);
    }
    main.node.push(call);
}
