# Calls within what is called, and within the body of a call at another peer.

---- input
program Outer opset 21
module Outer {
  0: %p: peers = peer_selector::View() on a slot peers
  1: %x = model::Parameters() on a slot model
  2: %from: peer, %y = wire::Call(%p, %x) on a {class = "b", mode = "first", quorum = -1}
    body = graph b:1 {
      in %got
      0: %made = module::Middle(%got) on b
      out 0 = %made
    }
  out y = %y
}
module Middle {
  in %x
  0: %a = module::Leaf(%x)
  1: %b = module::Leaf(%x)
  2: %sum = Add(%a, %b) slot compute
  out sum = %sum
}
module Leaf {
  in %x
  0: %neg = Neg(%x) slot compute
  out y = %neg
}

---- output
program Outer opset 21

module Outer {
  0: %p: peers = peer_selector::View() on a slot peers
  1: %x = model::Parameters() on a slot model
  2: %from: peer, %y = wire::Call(%p, %x) on a {class = "b", mode = "first", quorum = -1}
    body = graph b:1 {
      in %got
      0: %Middle:1/Leaf:1/neg = Neg(%got) on b slot compute
      1: %Middle:1/Leaf:2/neg = Neg(%got) on b slot compute
      2: %Middle:1/sum = Add(%Middle:1/Leaf:1/neg, %Middle:1/Leaf:2/neg) on b slot compute
      out 0 = %Middle:1/sum
    }
  out y = %y
}
