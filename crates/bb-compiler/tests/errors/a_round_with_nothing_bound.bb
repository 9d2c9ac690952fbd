# All that is missing, at once.

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
error: slot "aggregator" is not bound
   = note: role Aggregator, used by Begin at src/round.rs:21:34 and 3 more
   = help: Compiler::new().bind_aggregator::<…>("aggregator")

error: slot "clients" is not bound
   = note: role PeerSelector, used by View at src/round.rs:15:40
   = help: Compiler::new().bind_peer_selector::<…>("clients")

error: slot "data" is not bound
   = note: role DataSource, used by Fit at src/round.rs:18:39
   = help: Compiler::new().bind_data_source::<…>("data")

error: slot "model" is not bound
   = note: role Model, used by Parameters at src/round.rs:14:38 and 4 more
   = help: Compiler::new().bind_model::<…>("model")
