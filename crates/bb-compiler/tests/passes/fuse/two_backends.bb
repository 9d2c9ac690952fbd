# Two slots that feed each other stay without a circle.

---- input
program M opset 21
target M class "" {
  region 0 entry {
    in %x
    in %z
    0: %a = Relu(%x) slot cpu
    1: %d = Neg(%z) slot gpu
    2: %c = Exp(%a) slot gpu
    3: %b = Log(%d) slot cpu
    4: %ab = Add(%a, %b) slot cpu
    5: %cd = Add(%c, %d) slot gpu
    out ab = %ab
    out cd = %cd
  }
}

---- output
program M opset 21

target M class "" {
  region 0 entry {
    in %x
    in %z
    0: %a = backend::Run(%x) slot cpu
      graph = graph a/run {
        in %x
        0: %a = Relu(%x)
        out a = %a
      }
    1: %d = backend::Run(%z) slot gpu
      graph = graph d/run {
        in %z
        0: %d = Neg(%z)
        out d = %d
      }
    2: %cd = backend::Run(%a, %d) slot gpu
      graph = graph c/run {
        in %a
        in %d
        0: %c = Exp(%a)
        1: %cd = Add(%c, %d)
        out cd = %cd
      }
    3: %ab = backend::Run(%d, %a) slot cpu
      graph = graph b/run {
        in %d
        in %a
        0: %b = Log(%d)
        1: %ab = Add(%a, %b)
        out ab = %ab
      }
    out ab = %ab
    out cd = %cd
  }
}
