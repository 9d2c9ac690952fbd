# A request without a deadline gets the default one.

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

target M.c class c {
  region 0 entry {
    0: %p: peers = peer_selector::View() on c slot peers
    1: %from: peer, %y: trigger = wire::Send(%p) on c {answer = -1, answer_ports = [], captured = 0, deadline_ns = 7, kind = "request", mode = "first", ports = [], quorum = -1}
  }
}

---- output
program M opset 21

target M.a class a {
  region 0 entry {
    in %x: tensors
    0: %p: peers = peer_selector::View() on a slot peers
    1: %from: peer, %y: tensors = wire::Send(%p, %x) on a {answer = -1, answer_ports = [40], captured = 0, deadline_ns = 30000000000, kind = "request", mode = "first", ports = [17], quorum = -1}
    out y = %y
  }
}

target M.b class b {
  region 0 receive {
    0: %got: tensors = wire::Recv() on b {port = 17}
    1: wire::Send(%got) on b {kind = "reply", ports = [40]}
  }
}

target M.c class c {
  region 0 entry {
    0: %p: peers = peer_selector::View() on c slot peers
    1: %from: peer, %y: trigger = wire::Send(%p) on c {answer = -1, answer_ports = [], captured = 0, deadline_ns = 7, kind = "request", mode = "first", ports = [], quorum = -1}
  }
}
