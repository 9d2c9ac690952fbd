//! From a compiled program to a node: check everything, make the components, build.

use crate::{Address, CompiledModel, Config, InstallError, Node, PeerId};

/// Installs targets of a compiled program on a node of their own.
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
    let addresses: Vec<Address> = addresses.into_iter().filter(|address| !address.is_empty()).collect();
    config.node.validate()?;
    if targets.is_empty() {
        let available = model.program().targets.iter().map(|target| target.name.clone()).collect();
        return Err(InstallError::NoTargets { available });
    }
    Ok(Node { peer_id, addresses, config })
}
