# A chain is one run; constants that only it reads go inside.

---- input
program M opset 21
target M class "" {
  region 0 entry {
    in %x: f32[?,2]
    0: %w: f32[2,2] = syscall::Constant() {value = f32[2,2] [[1, -1], [0.5, 2]]}
    1: %t: f32[?,2] = MatMul(%x, %w) slot compute
    2: %y: f32[?,2] = Relu(%t) slot compute
    3: %unread: f32[?,2] = Neg(%t) slot compute
    out y = %y
  }
}

---- output
program M opset 21

target M class "" {
  region 0 entry {
    in %x: f32[?,2]
    0: %y: f32[?,2] = backend::Run(%x) slot compute
      graph = graph t/run {
        in %x: f32[?,2]
        0: %w: f32[2,2] = Constant() {value = f32[2,2] [[1, -1], [0.5, 2]]}
        1: %t: f32[?,2] = MatMul(%x, %w)
        2: %y: f32[?,2] = Relu(%t)
        out y = %y
      }
    out y = %y
  }
}
