//! Makes the components, and lets the backends prepare their graphs.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bb_ir::program::{Attribute, Graph};

use super::check::{Checked, CheckedSlot};
use crate::contracts::{Backend, Executable};
use crate::engine::backend_graph::constant;
use crate::engine::components::{Components, Made, Recipe, panic_message};
use crate::engine::dense::{Lowered, Region, Run};
use crate::error::UnsupportedOp;
use crate::factory::ConstructError;
use crate::{CompiledModel, ComponentError, Config, DynComponent, InstallError, OpId, Role};

pub(super) fn construct(
    model: &CompiledModel,
    checked: &Checked,
    config: &Config,
) -> Result<Components, InstallError> {
    let lowered = &checked.lowered;
    let mut held = Vec::with_capacity(checked.slots.len());
    for (index, slot) in checked.slots.iter().enumerate() {
        held.push(match slot {
            Some(slot) => Some(component(lowered, index, slot, config)?),
            None => None,
        });
    }
    check_support(model, checked, &mut held)?;
    let mut executables = Vec::with_capacity(checked.targets.len());
    for target in &checked.targets {
        let mut prepared = Vec::new();
        for region in &target.regions {
            for run in &region.runs {
                prepared.push(prepare(lowered, region, run, &mut held)?);
            }
        }
        executables.push(prepared.into());
    }
    let dependencies = checked
        .slots
        .iter()
        .map(|slot| slot.as_ref().map(|slot| slot.dependencies.clone()).unwrap_or_default())
        .collect();
    let recipes = checked.slots.iter().enumerate().map(|(index, slot)| {
        let given = config.slots.get(lowered.slots[index].name.as_str()).cloned();
        slot.as_ref().map(|slot| (slot.factory, given))
    });
    let recipe = Recipe { slots: recipes.collect(), targets: checked.targets.iter().cloned().collect() };
    Ok(Components::new(held.into(), dependencies, executables.into(), Arc::new(recipe)))
}

/// The components that a node has, made anew, each shown to `load` before graphs are prepared; and those graphs.
pub(crate) fn construct_again(
    recipe: &Recipe,
    lowered: &Lowered,
    mut load: impl FnMut(&mut dyn DynComponent) -> Result<(), ComponentError>,
) -> Result<Made, (String, String, ComponentError)> {
    let mut held: Vec<Option<Box<dyn DynComponent>>> = Vec::with_capacity(recipe.slots.len());
    let failed = |slot: usize, error| {
        let names = &lowered.slots[slot];
        (names.name.to_string(), names.type_name.to_string(), error)
    };
    for (index, slot) in recipe.slots.iter().enumerate() {
        let Some((factory, given)) = slot else {
            held.push(None);
            continue;
        };
        let given = given.as_ref().map(|given| given.value.as_ref() as &dyn Any);
        let made = catch_unwind(AssertUnwindSafe(|| {
            let mut component = factory.construct(given).map_err(|error| match error {
                ConstructError::Component(error) => error,
                other => ComponentError::other(format!("{other:?}")),
            })?;
            load(component.as_mut())?;
            Ok(component)
        }));
        let made = made.unwrap_or_else(|panic| Err(ComponentError::other(panic_message(&*panic))));
        held.push(Some(made.map_err(|error| failed(index, error))?));
    }
    let mut executables = Vec::with_capacity(recipe.targets.len());
    for target in &recipe.targets {
        let mut prepared = Vec::new();
        for region in &target.regions {
            for run in &region.runs {
                let graph = prepare(lowered, region, run, &mut held);
                prepared.push(graph.map_err(|error| {
                    let error = match error {
                        InstallError::PrepareFailed { source, .. } => ComponentError::Backend(source),
                        other => ComponentError::other(other),
                    };
                    failed(run.slot as usize, error)
                })?);
            }
        }
        executables.push(prepared.into());
    }
    Ok((held.into(), executables.into()))
}

fn component(
    lowered: &Lowered,
    index: usize,
    slot: &CheckedSlot,
    config: &Config,
) -> Result<Box<dyn DynComponent>, InstallError> {
    let name = lowered.slots[index].name.to_string();
    let factory = &slot.factory;
    let type_name = factory.type_name.to_owned();
    let given = config.slots.get(&name);
    let value = given.map(|given| given.value.as_ref() as &dyn Any);
    match catch_unwind(AssertUnwindSafe(|| factory.construct(value))) {
        Ok(Ok(component)) => Ok(component),
        Ok(Err(ConstructError::Component(source))) => {
            Err(InstallError::ComponentFailed { slot: name, type_name, source })
        }
        Ok(Err(ConstructError::MissingConfig)) => {
            Err(InstallError::MissingConfig { slot: name, type_name, expected: factory.config_type })
        }
        Ok(Err(ConstructError::WrongConfigType)) => Err(InstallError::WrongConfigType {
            slot: name,
            type_name,
            expected: factory.config_type,
            got: given.map_or("nothing", |given| given.type_name),
        }),
        Err(panic) => {
            Err(InstallError::ComponentPanicked { slot: name, type_name, message: panic_message(&*panic) })
        }
    }
}

/// Asks the backends whether they run all ops of the graphs bound to them; names all that they do not.
fn check_support(
    model: &CompiledModel,
    checked: &Checked,
    held: &mut [Option<Box<dyn DynComponent>>],
) -> Result<(), InstallError> {
    let mut unsupported = Vec::new();
    for target in &checked.targets {
        for region in &target.regions {
            let graph = &model.program().targets[target.index as usize].regions[region.index as usize].graph;
            for run in &region.runs {
                let node = &graph.nodes[region.nodes[run.op as usize] as usize];
                let Some(Attribute::Graph(inner)) = node.attributes.get("graph") else { continue };
                let names = &checked.lowered.slots[run.slot as usize];
                with_backend(&checked.lowered, run.slot, held, |backend| {
                    each_op(inner, &mut |op, span| {
                        if !backend.supports(op) {
                            unsupported.push(UnsupportedOp {
                                op: op.clone(),
                                slot: names.name.to_string(),
                                type_name: names.type_name.to_string(),
                                span: span.clone(),
                            });
                        }
                    });
                })?;
            }
        }
    }
    if unsupported.is_empty() { Ok(()) } else { Err(InstallError::UnsupportedOps { ops: unsupported }) }
}

fn each_op(graph: &Graph, see: &mut impl FnMut(&OpId, &bb_ir::program::Span)) {
    for node in &graph.nodes {
        if constant(node).is_none() {
            see(&node.op, &node.span);
        }
        for attribute in node.attributes.values() {
            if let Attribute::Graph(inner) = attribute {
                each_op(inner, see);
            }
        }
    }
}

fn prepare(
    lowered: &Lowered,
    region: &Region,
    run: &Run,
    held: &mut [Option<Box<dyn DynComponent>>],
) -> Result<Box<dyn Executable>, InstallError> {
    with_backend(lowered, run.slot, held, |backend| backend.prepare(&run.graph))?.map_err(|source| {
        InstallError::PrepareFailed {
            slot: lowered.slots[run.slot as usize].name.to_string(),
            op: Box::new(region.op_ref(run.op)),
            source,
        }
    })
}

fn with_backend<R>(
    lowered: &Lowered,
    slot: u32,
    held: &mut [Option<Box<dyn DynComponent>>],
    run: impl FnOnce(&mut dyn Backend) -> R,
) -> Result<R, InstallError> {
    let names = &lowered.slots[slot as usize];
    let component = held[slot as usize].as_mut().and_then(|component| component.as_backend());
    let Some(backend) = component else {
        return Err(InstallError::WrongRole {
            slot: names.name.to_string(),
            role: Role::Backend,
            type_name: names.type_name.to_string(),
            has: Vec::new(),
        });
    };
    catch_unwind(AssertUnwindSafe(|| run(backend))).map_err(|panic| InstallError::ComponentPanicked {
        slot: names.name.to_string(),
        type_name: names.type_name.to_string(),
        message: panic_message(&*panic),
    })
}
