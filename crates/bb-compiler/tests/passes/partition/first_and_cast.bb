# The first answer; a message one way; an event of the receiver.

---- input
program M opset 21
module M {
  in %q: tensor
  0: %p: peers = peer_selector::Sample() on user slot peers {count = 3}
  1: %from: peer, %answer: tensor = wire::Call(%p, %q) on user {class = "shard", deadline_ns = 1000, mode = "first", quorum = -1}
    body = graph shard:1 {
      in %asked: tensor
      0: %found: tensor = Relu(%asked) on shard slot compute
      out 0 = %found
    }
  2: wire::Cast(%p, %answer) on user {class = "shard"}
    body = graph shard:2 {
      in %told: tensor
      0: syscall::AppEmit(%told) on shard {name = "told"}
    }
  out answer = %answer
}

---- output
program M opset 21

target M.user class user {
  region 0 entry {
    in %q: tensor
    0: %p: peers = peer_selector::Sample() on user slot peers {count = 3}
    1: %from: peer, %answer: tensor = wire::Send(%p, %q) on user {answer = -1, answer_ports = [1], captured = 0, deadline_ns = 1000, kind = "request", mode = "first", ports = [0], quorum = -1}
    2: wire::Send(%p, %answer) on user {kind = "cast", ports = [2]}
    out answer = %answer
  }
}

target M.shard class shard {
  region 0 receive {
    0: %asked: tensor = wire::Recv() on shard {port = 0}
    1: %found: tensor = Relu(%asked) on shard slot compute
    2: wire::Send(%found) on shard {kind = "reply", ports = [1]}
  }
  region 1 receive {
    0: %told: tensor = wire::Recv() on shard {port = 2}
    out told = %told
  }
}
