//! From a compiled program to a node: check everything, make the components, build.
//!
//! [`check`] looks at the artifact, the targets and the configuration; [`construct`] makes the components and lets
//! the backends prepare their graphs. Only when both have passed is a node built.

mod check;
mod construct;

pub(crate) use self::construct::construct_again;

use crate::{Address, CompiledModel, Config, InstallError, Node, PeerId};

/// Installs targets of a compiled program on a node of their own.
///
/// The name of a target is the name by which it is invoked. Several targets share one component a slot.
///
/// # Errors
/// [`InstallError`]; nothing is left behind then.
pub fn install(
    peer_id: PeerId,
    addresses: impl IntoIterator<Item = Address>,
    model: impl Into<CompiledModel>,
    targets: &[&str],
    config: Config,
) -> Result<Node, InstallError> {
    let model = model.into();
    let span = tracing::debug_span!("install", peer = %peer_id, program = model.program().name.as_str());
    let _entered = span.enter();
    let checked = check::check(&model, targets, &config)?;
    let components = construct::construct(&model, &checked, &config)?;
    let check::Checked { lowered, program, targets, .. } = checked;
    let mut node = Node::build(peer_id, addresses, lowered, program, targets.into(), components, config)?;
    node.set_model(model);
    Ok(node)
}
