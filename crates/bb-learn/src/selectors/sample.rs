//! Choosing without repetition.

use bb_runtime::{OpContext, PeerId};

/// `count` of `peers` at random without repetition, or all of them if there are fewer; in the order of `peers`.
///
/// The first `count` steps of a Fisher-Yates shuffle, with the node's random numbers.
pub(super) fn sample(cx: &mut OpContext<'_>, peers: &[PeerId], count: usize) -> Vec<PeerId> {
    if count >= peers.len() {
        return peers.to_vec();
    }
    let mut places: Vec<usize> = (0..peers.len()).collect();
    for place in 0..count {
        let rest = (places.len() - place) as u64;
        places.swap(place, place + cx.random_below(rest) as usize);
    }
    places.truncate(count);
    places.sort_unstable();
    places.into_iter().map(|place| peers[place]).collect()
}
