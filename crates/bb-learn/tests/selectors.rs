//! Whom the selectors choose.

#![cfg(test)]

use bb_learn::selectors::{AllPeers, ConstantPeers};
use bb_runtime::contracts::Detached;
use bb_runtime::{Component, ComponentError, PeerId, PeerSelector};

fn peers(ids: &[u64]) -> Vec<PeerId> {
    ids.iter().map(|&id| PeerId::from_u64(id)).collect()
}

fn sample(selector: &mut impl PeerSelector, node: &mut Detached, count: usize) -> Vec<PeerId> {
    selector.sample(&mut node.context(), count).unwrap().into_now().unwrap()
}

#[test]
fn all_peers_are_those_that_the_node_knows_now() {
    let mut selector = AllPeers::new(&()).unwrap();
    let mut view = |node: &mut Detached| selector.view(&mut node.context()).unwrap().into_now().unwrap();
    assert_eq!(view(&mut Detached::new(0)), []);
    assert_eq!(view(&mut Detached::new(0).knowing(peers(&[4, 2]))), peers(&[2, 4]));
}

#[test]
fn a_constant_list_keeps_its_order_in_views_and_samples() {
    let list = peers(&[9, 1, 5, 7, 3]);
    let mut selector = ConstantPeers::new(&list.clone().into()).unwrap();
    let mut node = Detached::new(1);
    assert_eq!(selector.view(&mut node.context()).unwrap().into_now().unwrap(), list);
    let chosen = sample(&mut selector, &mut node, 3);
    let places: Vec<usize> =
        chosen.iter().map(|peer| list.iter().position(|held| held == peer).unwrap()).collect();
    assert!(places.len() == 3 && places.is_sorted_by(|a, b| a < b), "{places:?}");
}

#[test]
fn a_list_with_a_peer_twice_is_refused() {
    let refused = ConstantPeers::new(&peers(&[1, 2, 1]).into());
    assert!(matches!(refused, Err(ComponentError::InvalidConfig { field: "peers", .. })));
}

#[test]
fn a_sample_larger_than_the_view_is_the_view() {
    let mut node = Detached::new(0).knowing(peers(&[1, 2]));
    assert_eq!(sample(&mut AllPeers, &mut node, 5), peers(&[1, 2]));
    assert_eq!(sample(&mut AllPeers, &mut node, 0), []);
}

#[test]
fn every_peer_is_chosen_about_equally_often() {
    let seed = 11;
    let mut node = Detached::new(seed).knowing((0..10).map(PeerId::from_u64));
    let mut times = [0_u32; 10];
    for _ in 0..10_000 {
        for peer in sample(&mut AllPeers, &mut node, 3) {
            times[(0..10).position(|id| PeerId::from_u64(id) == peer).unwrap()] += 1;
        }
    }
    // 3,000 each is expected; the standard deviation is 46.
    assert!(times.iter().all(|&times| times.abs_diff(3_000) < 230), "seed {seed}: {times:?}");
}
