# A timer heads a region of its own, with what only it reads; the entry keeps the rest, and constants are in both.

---- input
program M opset 21
module M {
  in %x: i64
  0: %seven: f32[1] = syscall::Constant() on peer {value = f32[1] [7]}
  1: %tick: trigger = syscall::Interval() on peer {period_ns = 1000}
  2: %mine: tensors = model::Parameters() on peer slot model after 1
  3: %other: peers = peer_selector::Sample() on peer slot view {count = 1}
  4: wire::Cast(%other, %mine, %seven) on peer {class = "peer"}
    body = graph peer:1 {
      in %theirs: tensors
      in %weight: f32[1]
      0: syscall::AppEmit(%weight) on peer {name = "weight"}
    }
  5: %pair = syscall::Bundle(%x, %seven) on peer
  out pair = %pair
}

---- output
program M opset 21

target M class peer {
  region 0 entry {
    in %x: i64
    0: %seven: f32[1] = syscall::Constant() on peer {value = f32[1] [7]}
    1: %pair = syscall::Bundle(%x, %seven) on peer
    out pair = %pair
  }
  region 1 source {
    0: %seven: f32[1] = syscall::Constant() on peer {value = f32[1] [7]}
    1: %tick: trigger = syscall::Interval() on peer {period_ns = 1000}
    2: %mine: tensors = model::Parameters() on peer slot model after 1
    3: %other: peers = peer_selector::Sample() on peer slot view {count = 1}
    4: wire::Send(%other, %mine, %seven) on peer {kind = "cast", ports = [0, 1]}
  }
  region 2 receive {
    0: %theirs: tensors = wire::Recv() on peer {port = 0}
    1: %weight: f32[1] = wire::Recv() on peer {port = 1}
    out weight = %weight
  }
}
