//! Same program, configuration, seed and inputs: same steps.

use bb_runtime::{Config, Node, NodeConfig, PeerId};

use crate::common::federation::{Federation, round};

fn is_send<T: Send>() {}

#[test]
fn a_node_can_move_between_threads() {
    is_send::<Node>();
}

#[test]
fn equal_seeds_and_inputs_give_equal_steps_and_other_seeds_other_request_ids() {
    let run = |seed: u64| {
        let mut federation = Federation::new(4, -1, Config::new().seed(seed));
        round(&mut federation);
        format!("{:?}", federation.steps)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn an_idle_node_is_small() {
    assert!(size_of::<Node>() <= 4 * 1024, "{}", size_of::<Node>());
    let limits = NodeConfig::edge();
    let model = crate::common::chain(10);
    let nodes: Vec<Node> = (0..100)
        .map(|id| {
            let config = Config::new().node(limits.clone());
            bb_runtime::install(PeerId::from_u64(id), [], model.clone(), &["Chain"], config).unwrap()
        })
        .collect();
    assert_eq!(nodes[99].loaded_modules().collect::<Vec<_>>(), ["Chain"]);
}
