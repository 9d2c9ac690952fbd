//! A fixed list of peers.

use std::sync::Arc;

use bb_runtime::{
    Answer, Component, ComponentError, OpContext, PeerId, PeerSelector, StateReader, StateWriter,
};

use super::sample::sample;

/// Chooses among a fixed list of peers, whether the node knows them or not.
///
/// ```
/// use bb_learn::selectors::ConstantPeers;
/// use bb_runtime::contracts::Detached;
/// use bb_runtime::{Component, PeerId, PeerSelector};
///
/// let mut selector = ConstantPeers::new(&[PeerId::from_u64(3), PeerId::from_u64(1)].into())?;
/// let chosen = selector.view(&mut Detached::new(0).context())?.into_now();
/// assert_eq!(chosen, Some(vec![PeerId::from_u64(3), PeerId::from_u64(1)]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConstantPeers {
    peers: Arc<[PeerId]>,
}

bb_runtime::component!(ConstantPeers: PeerSelector);

impl Component for ConstantPeers {
    const TYPE_NAME: &'static str = "bb_learn::ConstantPeers";
    /// The peers, in the order in which they are given out.
    type Config = Arc<[PeerId]>;

    fn new(peers: &Arc<[PeerId]>) -> Result<Self, ComponentError> {
        let mut sorted = peers.to_vec();
        sorted.sort_unstable();
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            let reason = format!("{} is in the list twice", twice[0]);
            return Err(ComponentError::InvalidConfig { field: "peers", reason });
        }
        Ok(Self { peers: peers.clone() })
    }

    /// Writes nothing: the list is the configuration.
    fn save(&self, _: &mut StateWriter) -> Result<(), ComponentError> {
        Ok(())
    }

    fn load(&mut self, _: &mut StateReader<'_>) -> Result<(), ComponentError> {
        Ok(())
    }
}

impl PeerSelector for ConstantPeers {
    fn view(&mut self, _: &mut OpContext<'_>) -> Result<Answer<Vec<PeerId>>, ComponentError> {
        Ok(Answer::now(self.peers.to_vec()))
    }

    fn sample(
        &mut self,
        cx: &mut OpContext<'_>,
        count: usize,
    ) -> Result<Answer<Vec<PeerId>>, ComponentError> {
        Ok(Answer::now(sample(cx, &self.peers, count)))
    }
}
