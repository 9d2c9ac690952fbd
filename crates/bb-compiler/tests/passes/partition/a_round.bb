# A call becomes a request, what it starts, and what takes its answers.

---- input
program Round opset 21

module Round {
  0: %global: tensors = model::Parameters() on server slot model at "src/round.rs:14:38"
  1: %peers: peers = peer_selector::View() on server slot clients at "src/round.rs:15:40"
  2: aggregator::Begin() on server slot aggregator at "src/round.rs:21:34"
  3: %answered: i64 = wire::Call(%peers, %global) on server uses aggregator after 2 at "src/round.rs:16:29" {class = "client", deadline_ns = 0, mode = "each", quorum = 8}
    body = graph client:1 {
      in %received: tensors
      0: model::LoadParameters(%received) on client slot model at "src/round.rs:17:28"
      1: %rows: i64, _ = model::Fit() on client slot model uses data after 0 at "src/round.rs:18:39" {batch = 32, epochs = 1}
      2: %mine: tensors = model::Parameters() on client slot model after 1 at "src/round.rs:19:29"
      out 0 = %mine
      out 1 = %rows
    }
    each = graph each:1 {
      in %peer: peer
      in %update: tensors
      in %weight: i64
      0: aggregator::Contribute(%peer, %update, %weight) on server slot aggregator at "src/round.rs:21:34"
    }
  4: %mean: tensors = aggregator::Aggregate(%answered) on server slot aggregator after 3 at "src/round.rs:21:34"
  5: model::LoadParameters(%mean) on server slot model after 0 at "src/round.rs:22:24"
  out global = %mean
}

---- output
program Round opset 21

target Round.server class server {
  region 0 entry {
    0: %global: tensors = model::Parameters() on server slot model
    1: %peers: peers = peer_selector::View() on server slot clients
    2: aggregator::Begin() on server slot aggregator
    3: %answered: i64 = wire::Send(%peers, %global) on server uses aggregator after 2 {answer = 1, answer_ports = [1, 2], captured = 0, deadline_ns = 0, kind = "request", mode = "each", ports = [0], quorum = 8}
    4: %mean: tensors = aggregator::Aggregate(%answered) on server slot aggregator after 3
    5: model::LoadParameters(%mean) on server slot model after 0
    out global = %mean
  }
  region 1 answer {
    0: %peer: peer = wire::Source() on server
    1: %update: tensors = wire::Recv() on server {port = 1}
    2: %weight: i64 = wire::Recv() on server {port = 2}
    3: aggregator::Contribute(%peer, %update, %weight) on server slot aggregator
  }
}

target Round.client class client {
  region 0 receive {
    0: %received: tensors = wire::Recv() on client {port = 0}
    1: model::LoadParameters(%received) on client slot model
    2: %rows: i64, _ = model::Fit() on client slot model uses data after 1 {batch = 32, epochs = 1}
    3: %mine: tensors = model::Parameters() on client slot model after 2
    4: wire::Send(%mine, %rows) on client {kind = "reply", ports = [1, 2]}
  }
}
