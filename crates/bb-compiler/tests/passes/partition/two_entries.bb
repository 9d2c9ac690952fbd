# Two classes that the host starts itself.

---- input
program M opset 21
module M {
  in %x
  in %y
  0: %a = Relu(%x) on one slot compute
  1: %b = Neg(%y) on two slot compute
  out a = %a
  out b = %b
}

---- output
program M opset 21

target M.one class one {
  region 0 entry {
    in %x
    0: %a = Relu(%x) on one slot compute
    out a = %a
  }
}

target M.two class two {
  region 0 entry {
    in %y
    0: %b = Neg(%y) on two slot compute
    out b = %b
  }
}
