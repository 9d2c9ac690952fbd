//! Needs: regions.
//! Establishes: every slot that an op or a component needs has a component of its role in `bindings`.
//! Example: `Relu` on slot "compute" -> `bindings["compute"] = bb_cpu::CpuBackend (Backend)`.

use std::collections::{BTreeMap, BTreeSet};

use bb_ir::Diagnostic;
use bb_ir::program::{Binding, Program, Role, Span};

use crate::context::Bound;
use crate::edit::{is_tensor_op, region_graphs, slot_role, uses_role};
use crate::{Context, Diagnostics};

pub(crate) fn bind(p: &mut Program, cx: &Context) -> Result<(), Diagnostics> {
    let mut binder = Binder { cx, needs: BTreeMap::new(), diagnostics: Diagnostics::default() };
    binder.check_bindings();
    for graph in region_graphs(p) {
        for node in &graph.nodes {
            let by = || By::Op { op: node.op.name().to_owned(), span: node.span.clone() };
            match (&node.slot, slot_role(node)) {
                (Some(slot), Some(role)) => binder.need(slot, role, by()),
                (None, Some(role)) => binder.diagnostics.push(
                    Diagnostic::new(format!("{} has no slot", node.op))
                        .label(node.span.clone(), "recorded here")
                        .help(format!(
                            "record it through a slot of role {role}{}",
                            if is_tensor_op(node) { ": `self.compute.op(g, …)`" } else { "" }
                        )),
                ),
                _ => {}
            }
            for slot in &node.uses {
                binder.need(slot, uses_role(node), by());
            }
        }
    }
    binder.follow_dependencies();
    p.bindings = binder.bindings();
    binder.diagnostics.into_result()
}

/// Who needs a slot.
enum By {
    Op { op: String, span: Span },
    Component { dependency: &'static str, type_name: &'static str, slot: String },
}

struct Need {
    role: Role,
    first: By,
    count: usize,
    /// Whether it is needed in another role too, which is reported where that is met.
    mixed: bool,
}

struct Binder<'a> {
    cx: &'a Context,
    needs: BTreeMap<String, Need>,
    diagnostics: Diagnostics,
}

impl Binder<'_> {
    /// What is wrong with the bindings whatever the program.
    fn check_bindings(&mut self) {
        let mut types: BTreeMap<&str, &Bound> = BTreeMap::new();
        for (slot, all) in &self.cx.bound {
            if let Some([first, second]) = all.first_chunk() {
                self.diagnostics.push(
                    Diagnostic::new(format!("slot \"{slot}\" is bound twice"))
                        .note(format!("to {} and to {}", first.factory.type_name, second.factory.type_name))
                        .help("bind it once"),
                );
            }
            for bound in all {
                if !bound.factory.roles.contains(&bound.role) {
                    let roles: Vec<&str> = bound.factory.roles.iter().map(|role| role.name()).collect();
                    self.diagnostics.push(
                        Diagnostic::new(format!(
                            "slot \"{slot}\": {} is bound as {} but is not one",
                            bound.factory.type_name, bound.role
                        ))
                        .note(format!("its roles, as `component!` says them: {}", roles.join(", "))),
                    );
                }
                let held = types.entry(bound.factory.type_name).or_insert(bound);
                if held.type_id != bound.type_id {
                    self.diagnostics.push(
                        Diagnostic::new(format!("two components are called {}", bound.factory.type_name))
                            .help("a TYPE_NAME is unique: `crate::Type`"),
                    );
                }
            }
        }
    }

    fn need(&mut self, slot: &str, role: Role, by: By) {
        let Some(need) = self.needs.get_mut(slot) else {
            self.needs.insert(slot.to_owned(), Need { role, first: by, count: 1, mixed: false });
            return;
        };
        need.count += 1;
        if need.role != role {
            need.mixed = true;
            let mut error =
                Diagnostic::new(format!("slot \"{slot}\" is used as {} and as {role}", need.role));
            if let By::Op { span, .. } = by {
                error = error.label(span, format!("used as {role} here"));
            }
            if let By::Op { span, .. } = &need.first {
                error = error.label(span.clone(), format!("used as {} here", need.role));
            }
            self.diagnostics.push(error.help(format!("give the {role} a slot of its own")));
        }
    }

    /// Components need what they depend on, and so on; none may need itself.
    fn follow_dependencies(&mut self) {
        let mut open: Vec<String> = self.needs.keys().cloned().collect();
        let mut edges: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut seen: BTreeSet<String> = open.iter().cloned().collect();
        while let Some(slot) = open.pop() {
            let Some(bound) = self.cx.bound(&slot) else { continue };
            if self.needs.get(&slot).is_some_and(|need| need.role != bound.role) {
                continue;
            }
            for dependency in bound.factory.dependencies {
                let other = self.cx.dependency(&slot, dependency.name).to_owned();
                let by = By::Component {
                    dependency: dependency.name,
                    type_name: bound.factory.type_name,
                    slot: slot.clone(),
                };
                self.need(&other, dependency.role, by);
                edges.entry(slot.clone()).or_default().push(other.clone());
                if seen.insert(other.clone()) {
                    open.push(other);
                }
            }
        }
        for ((slot, dependency), other) in &self.cx.dependencies {
            let Some(bound) = self.cx.bound(slot) else { continue };
            if !bound.factory.dependencies.iter().any(|declared| declared.name == dependency) {
                let declared: Vec<&str> = bound.factory.dependencies.iter().map(|held| held.name).collect();
                let listed = if declared.is_empty() { "none".to_owned() } else { declared.join(", ") };
                self.diagnostics.push(
                    Diagnostic::new(format!(
                        "{} in slot \"{slot}\" has no dependency \"{dependency}\" for slot \"{other}\" to stand for",
                        bound.factory.type_name
                    ))
                    .note(format!("its dependencies: {listed}")),
                );
            }
        }
        for start in edges.keys() {
            if reaches(&edges, start) {
                self.diagnostics.push(
                    Diagnostic::new(format!("the component in slot \"{start}\" depends on itself")).help(
                        "components may not call each other in a circle: bind the dependency elsewhere",
                    ),
                );
            }
        }
    }

    fn bindings(&mut self) -> BTreeMap<String, Binding> {
        let mut bindings = BTreeMap::new();
        for (slot, need) in self.needs.iter().filter(|(_, need)| !need.mixed) {
            let Some(bound) = self.cx.bound(slot) else {
                self.diagnostics.push(unbound(slot, need, self.cx));
                continue;
            };
            if bound.role != need.role {
                let method = method(need.role);
                let error = Diagnostic::new(format!(
                    "slot \"{slot}\" is bound as {} but used as {}",
                    bound.role, need.role
                ));
                self.diagnostics.push(error.note(need.note()).help(format!(
                    "Compiler::new().{method}::<…>(\"{slot}\"){}",
                    listed(self.cx, need.role)
                )));
                continue;
            }
            let dependencies = bound.factory.dependencies.iter().map(|dependency| {
                (dependency.name.to_owned(), self.cx.dependency(slot, dependency.name).to_owned())
            });
            bindings.insert(
                slot.clone(),
                Binding {
                    type_name: bound.factory.type_name.to_owned(),
                    role: Some(need.role),
                    dependencies: dependencies.collect(),
                },
            );
        }
        bindings
    }
}

impl Need {
    fn note(&self) -> String {
        let more = match self.count - 1 {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        let by = match &self.first {
            By::Op { op, span } if span.is_known() => format!("used by {op} at {span}"),
            By::Op { op, .. } => format!("used by {op}"),
            By::Component { dependency, type_name, slot } => {
                format!("dependency \"{dependency}\" of {type_name} in slot \"{slot}\"")
            }
        };
        format!("role {}, {by}{more}", self.role)
    }
}

fn unbound(slot: &str, need: &Need, cx: &Context) -> Diagnostic {
    let method = method(need.role);
    let mut error = Diagnostic::new(format!("slot \"{slot}\" is not bound")).note(need.note());
    if let By::Component { dependency, slot: dependent, .. } = &need.first {
        error = error.help(format!(
            "Compiler::new().with_dependency(\"{dependent}\", \"{dependency}\", …) names another slot"
        ));
    }
    error.help(format!("Compiler::new().{method}::<…>(\"{slot}\"){}", listed(cx, need.role)))
}

fn listed(cx: &Context, role: Role) -> String {
    let names = cx.bound_for(role);
    if names.is_empty() { String::new() } else { format!(" — registered here: {}", names.join(", ")) }
}

fn method(role: Role) -> &'static str {
    match role {
        Role::Aggregator => "bind_aggregator",
        Role::Backend => "bind_backend",
        Role::DataSource => "bind_data_source",
        Role::Model => "bind_model",
        Role::PeerSelector => "bind_peer_selector",
        _ => "bind",
    }
}

/// Whether a slot reaches itself.
fn reaches(edges: &BTreeMap<String, Vec<String>>, start: &String) -> bool {
    let mut open: Vec<&String> = edges[start].iter().collect();
    let mut seen = BTreeSet::new();
    while let Some(slot) = open.pop() {
        if slot == start {
            return true;
        }
        if seen.insert(slot) {
            open.extend(edges.get(slot).into_iter().flatten());
        }
    }
    false
}
