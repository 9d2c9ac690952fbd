# A call without values is a trigger; its answer comes when everything in the body is done.

---- input
program M opset 21
module M {
  0: %p: peers = peer_selector::View() on a slot peers
  1: %n: i64 = wire::Call(%p) on a {class = "b", mode = "each", quorum = -1}
    body = graph b:1 {
      0: %r: i64, _ = model::Fit() on b slot model uses data {batch = 1, epochs = 1}
      1: %l: f64, %acc: f64 = model::Evaluate() on b slot model uses data after 0
      2: syscall::AppEmit(%l) on b {name = "loss"}
    }
    each = graph each:1 {
      in %peer: peer
      0: syscall::AppEmit(%peer) on a {name = "done"}
    }
  out n = %n
}

---- output
program M opset 21

target M.a class a {
  region 0 entry {
    0: %p: peers = peer_selector::View() on a slot peers
    1: %/now:2: trigger = syscall::Constant() on a {value = value trigger}
    2: %n: i64 = wire::Send(%p, %/now:2) on a {answer = 1, answer_ports = [1], captured = 0, kind = "request", mode = "each", ports = [0], quorum = -1}
    out n = %n
  }
  region 1 answer {
    0: %peer: peer = wire::Source() on a
    1: %each:1/done:1: trigger = wire::Recv() on a {port = 1}
    out done = %peer
  }
}

target M.b class b {
  region 0 receive {
    0: %b:1/now:3: trigger = wire::Recv() on b {port = 0}
    1: %r: i64, _ = model::Fit() on b slot model uses data {batch = 1, epochs = 1}
    2: %l: f64, %acc: f64 = model::Evaluate() on b slot model uses data after 1
    3: %b:1/done:4: trigger = syscall::Constant() on b {value = value trigger}
    4: wire::Send(%b:1/done:4) on b after 2 {kind = "reply", ports = [1]}
    out loss = %l
  }
}
