# Channels become ports, in the order of the program.

---- input
program M opset 21
target M.a class a {
  region 0 entry {
    in %x: tensors
    0: %p: peers = peer_selector::View() on a slot peers
    1: %from: peer, %y: tensors = wire::Send(%p, %x) on a {answer = -1, answer_ports = [40], captured = 0, deadline_ns = 0, kind = "request", mode = "first", ports = [17], quorum = -1}
    out y = %y
  }
}
target M.b class b {
  region 0 receive {
    0: %got: tensors = wire::Recv() on b {port = 17}
    1: wire::Send(%got) on b {kind = "reply", ports = [40]}
  }
}

---- output
program M opset 21

target M.a class a {
  region 0 entry {
    in %x: tensors
    0: %p: peers = peer_selector::View() on a slot peers
    1: %from: peer, %y: tensors = wire::Send(%p, %x) on a {answer = -1, answer_ports = [1], captured = 0, deadline_ns = 0, kind = "request", mode = "first", ports = [2], quorum = -1}
    out y = %y
  }
}

target M.b class b {
  region 0 receive {
    0: %got: tensors = wire::Recv() on b {port = 2}
    1: wire::Send(%got) on b {kind = "reply", ports = [1]}
  }
}
