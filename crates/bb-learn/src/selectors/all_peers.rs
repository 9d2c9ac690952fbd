//! Every peer that the node knows.

use bb_runtime::{
    Answer, Component, ComponentError, OpContext, PeerId, PeerSelector, StateReader, StateWriter,
};

use super::sample::sample;

/// Chooses among all peers that the node knows and its policy allows.
///
/// ```
/// use bb_learn::selectors::AllPeers;
/// use bb_runtime::contracts::Detached;
/// use bb_runtime::{Component, PeerId, PeerSelector};
///
/// let peers: Vec<PeerId> = (1..=5).map(PeerId::from_u64).collect();
/// let mut node = Detached::new(7).knowing(peers.clone());
/// let mut selector = AllPeers::new(&())?;
/// assert_eq!(selector.view(&mut node.context())?.into_now(), Some(peers));
/// assert_eq!(selector.sample(&mut node.context(), 2)?.into_now().map(|chosen| chosen.len()), Some(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct AllPeers;

bb_runtime::component!(AllPeers: PeerSelector);

impl Component for AllPeers {
    const TYPE_NAME: &'static str = "bb_learn::AllPeers";
    type Config = ();

    fn new((): &()) -> Result<Self, ComponentError> {
        Ok(Self)
    }

    /// Writes nothing: the peers are the node's.
    fn save(&self, _: &mut StateWriter) -> Result<(), ComponentError> {
        Ok(())
    }

    fn load(&mut self, _: &mut StateReader<'_>) -> Result<(), ComponentError> {
        Ok(())
    }
}

impl PeerSelector for AllPeers {
    fn view(&mut self, cx: &mut OpContext<'_>) -> Result<Answer<Vec<PeerId>>, ComponentError> {
        Ok(Answer::now(cx.known_peers()))
    }

    fn sample(
        &mut self,
        cx: &mut OpContext<'_>,
        count: usize,
    ) -> Result<Answer<Vec<PeerId>>, ComponentError> {
        let peers = cx.known_peers();
        Ok(Answer::now(sample(cx, &peers, count)))
    }
}
