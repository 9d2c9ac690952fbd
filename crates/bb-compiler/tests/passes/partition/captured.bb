# What takes an answer reads the values of its execution, through two calls.

---- input
program M opset 21
module M {
  0: %p: peers = peer_selector::View() on a slot peers
  1: %x: tensors = model::Parameters() on a slot model
  2: %n: i64 = wire::Call(%p, %x) on a {class = "b", mode = "each", quorum = -1}
    body = graph b:1 {
      in %got: tensors
      out 0 = %got
    }
    each = graph each:1 {
      in %peer: peer
      in %back: tensors
      capture %p2: peers = %p
      capture %x2: tensors = %x
      0: %m: i64 = wire::Call(%p2, %back) on a {class = "c", mode = "each", quorum = 1}
        body = graph c:1 {
          in %got2: tensors
          out 0 = %got2
        }
        each = graph each:2 {
          in %peer2: peer
          in %back2: tensors
          capture %x3: tensors = %x2
          0: %pair = syscall::Bundle(%x3, %back2) on a
          1: syscall::AppEmit(%pair) on a {name = "pair"}
        }
    }
  out n = %n
}

---- output
program M opset 21

target M.a class a {
  region 0 entry {
    0: %p: peers = peer_selector::View() on a slot peers
    1: %x: tensors = model::Parameters() on a slot model
    2: %n: i64 = wire::Send(%p, %x, %p, %x) on a {answer = 1, answer_ports = [1], captured = 2, kind = "request", mode = "each", ports = [0], quorum = -1}
    out n = %n
  }
  region 1 answer {
    in %p2: peers
    in %x2: tensors
    0: %peer: peer = wire::Source() on a
    1: %back: tensors = wire::Recv() on a {port = 1}
    2: %m: i64 = wire::Send(%p2, %back, %x2) on a {answer = 2, answer_ports = [3], captured = 1, kind = "request", mode = "each", ports = [2], quorum = 1}
  }
  region 2 answer {
    in %x3: tensors
    0: %peer2: peer = wire::Source() on a
    1: %back2: tensors = wire::Recv() on a {port = 3}
    2: %pair = syscall::Bundle(%x3, %back2) on a
    out pair = %pair
  }
}

target M.b class b {
  region 0 receive {
    0: %got: tensors = wire::Recv() on b {port = 0}
    1: wire::Send(%got) on b {kind = "reply", ports = [1]}
  }
}

target M.c class c {
  region 0 receive {
    0: %got2: tensors = wire::Recv() on c {port = 2}
    1: wire::Send(%got2) on c {kind = "reply", ports = [3]}
  }
}
