//! Checks that need no component: artifact, targets, slots, roles, dependencies, configurations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bb_ir::Digest;
use bb_ir::passport::{Passport, PassportError};

use crate::compiled::COMPILER_VERSION;
use crate::engine::components::ResolvedDependency;
use crate::engine::dense::{Lowered, Target};
use crate::{CompiledModel, ComponentFactory, Config, InstallError, Role};

/// What an installation will be made of.
pub(super) struct Checked {
    pub(super) lowered: Arc<Lowered>,
    pub(super) program: Digest,
    pub(super) targets: Vec<Arc<Target>>,
    /// For each slot of the program the factory of its component, if the targets need it.
    pub(super) slots: Vec<Option<CheckedSlot>>,
}

/// The component that a slot needs.
pub(super) struct CheckedSlot {
    pub(super) factory: ComponentFactory,
    pub(super) dependencies: Box<[ResolvedDependency]>,
}

pub(super) fn check(model: &CompiledModel, names: &[&str], config: &Config) -> Result<Checked, InstallError> {
    config.node.validate()?;
    let program = model.program();
    let available = || program.targets.iter().map(|target| target.name.clone()).collect();
    if program.targets.is_empty() {
        return Err(InstallError::NotCompiled);
    }
    if names.is_empty() {
        return Err(InstallError::NoTargets { available: available() });
    }
    let mut indices = Vec::with_capacity(names.len());
    for &name in names {
        let Some(index) = program.targets.iter().position(|target| target.name == name) else {
            return Err(InstallError::UnknownTarget { target: name.to_owned(), available: available() });
        };
        if indices.contains(&index) {
            return Err(InstallError::TargetTwice { target: name.to_owned() });
        }
        indices.push(index);
    }
    let passport = passport(model, config)?;
    let lowered = model.lowered().map_err(|errors| InstallError::Malformed { errors: errors.clone() })?;
    let mut targets = Vec::with_capacity(indices.len());
    let mut unresolved = Vec::new();
    for index in indices {
        match &lowered.targets[index] {
            Ok(target) => targets.push(Arc::clone(target)),
            Err(ops) => unresolved.extend(ops.iter().cloned()),
        }
    }
    if !unresolved.is_empty() {
        return Err(InstallError::UnresolvedOps { ops: unresolved });
    }
    let factories = factories(model, config)?;
    let slots = check_slots(lowered, &targets, &factories)?;
    check_configurations(lowered, config)?;
    Ok(Checked { lowered: Arc::clone(lowered), program: passport.digest, targets, slots })
}

/// The artifact's passport: it must fit the artifact and come from a compiler that this runtime understands.
/// The passport, which must be of this runtime and of somebody whom the host trusts.
fn passport<'m>(model: &'m CompiledModel, config: &Config) -> Result<&'m Passport, InstallError> {
    let passport = model.passport().map_err(|error| match error {
        PassportError::DigestMismatch { expected, got } => {
            InstallError::DigestMismatch { expected: *expected, got: *got }
        }
        PassportError::Signature(error) => InstallError::BadSignature(*error),
        other => InstallError::NoPassport { source: other.clone() },
    })?;
    if minor_version(&passport.compiler) != minor_version(COMPILER_VERSION) {
        let expected = format!("{}.*", minor_version(COMPILER_VERSION));
        return Err(InstallError::WrongCompilerVersion { expected, got: passport.compiler.clone() });
    }
    let signers = || passport.signatures.iter().map(|signature| signature.key);
    if !config.trusted.is_empty() && !signers().any(|signer| config.trusted.contains(&signer)) {
        return Err(InstallError::Untrusted { signers: signers().collect() });
    }
    Ok(passport)
}

/// `0.1` of `0.1.7`.
fn minor_version(version: &str) -> &str {
    version.rsplit_once('.').map_or(version, |(minor, _)| minor)
}

/// All component types that are known, by name.
fn factories(
    model: &CompiledModel,
    config: &Config,
) -> Result<BTreeMap<&'static str, ComponentFactory>, InstallError> {
    let mut known = model.factories().clone();
    for factory in &config.factories {
        match known.insert(factory.type_name, *factory) {
            Some(other) if !other.is_same(factory) => {
                return Err(InstallError::TypeNameTwice { type_name: factory.type_name.to_owned() });
            }
            _ => {}
        }
    }
    Ok(known)
}

fn check_slots(
    lowered: &Lowered,
    targets: &[Arc<Target>],
    factories: &BTreeMap<&'static str, ComponentFactory>,
) -> Result<Vec<Option<CheckedSlot>>, InstallError> {
    let mut slots: Vec<Option<CheckedSlot>> = lowered.slots.iter().map(|_| None).collect();
    let mut uses: BTreeSet<(u32, Role)> =
        targets.iter().flat_map(|target| target.uses.iter().copied()).collect();
    while let Some((slot, role)) = uses.pop_first() {
        let names = &lowered.slots[slot as usize];
        if names.type_name.is_empty() {
            return Err(InstallError::Unbound { slot: names.name.to_string() });
        }
        let Some(&factory) = factories.get(names.type_name.as_str()) else {
            return Err(InstallError::UnregisteredComponent {
                slot: names.name.to_string(),
                type_name: names.type_name.to_string(),
                registered: factories.keys().map(|&name| name.to_owned()).collect(),
            });
        };
        if !factory.roles.contains(&role) {
            return Err(InstallError::WrongRole {
                slot: names.name.to_string(),
                role,
                type_name: factory.type_name.to_owned(),
                has: factory.roles.to_vec(),
            });
        }
        if slots[slot as usize].is_some() {
            continue;
        }
        let dependencies = dependencies(lowered, slot, &factory)?;
        uses.extend(dependencies.iter().map(|(dependency, role)| (dependency.slot, *role)));
        let dependencies = dependencies.into_iter().map(|(dependency, _)| dependency).collect();
        slots[slot as usize] = Some(CheckedSlot { factory, dependencies });
    }
    Ok(slots)
}

/// The slots that stand for what a component depends on: those that the program says, else of the same name.
fn dependencies(
    lowered: &Lowered,
    slot: u32,
    factory: &ComponentFactory,
) -> Result<Vec<(ResolvedDependency, Role)>, InstallError> {
    let names = &lowered.slots[slot as usize];
    let resolve = |dependency: &crate::Dependency| {
        let said =
            names.dependencies.iter().find(|(name, _)| *name == dependency.name).map(|(_, slot)| *slot);
        let same_name = || lowered.slots.iter().position(|slot| slot.name == dependency.name);
        let Some(found) = said.or_else(|| same_name().map(|slot| slot as u32)) else {
            return Err(InstallError::MissingDependency {
                slot: names.name.to_string(),
                type_name: factory.type_name.to_owned(),
                dependency: dependency.name.to_owned(),
                role: dependency.role,
                reason: format!("but no slot is called `{}`", dependency.name),
            });
        };
        Ok((ResolvedDependency { name: dependency.name, slot: found }, dependency.role))
    };
    factory.dependencies.iter().map(resolve).collect()
}

fn check_configurations(lowered: &Lowered, config: &Config) -> Result<(), InstallError> {
    if let Some(slot) = config.slots_twice.first() {
        return Err(InstallError::ConfigTwice { slot: slot.clone() });
    }
    match config.slots.keys().find(|&slot| !lowered.slots.iter().any(|held| held.name == slot.as_str())) {
        None => Ok(()),
        Some(slot) => Err(InstallError::UnknownSlot {
            slot: slot.clone(),
            available: lowered.slots.iter().map(|slot| slot.name.to_string()).collect(),
        }),
    }
}
