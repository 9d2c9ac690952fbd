# Element types and shapes of tensor ops; an input learns its element type.

---- input
program Dense opset 21

module Dense {
  in %x
  0: %w: f32[2,3] = syscall::Constant() {value = f32[2,3] [[1, 2, 3], [4, 5, 6]]}
  1: %t = MatMul(%x, %w) slot compute at "src/dense.rs:10:30"
  2: %y = Relu(%t) slot compute at "src/dense.rs:11:30"
  out y = %y
}

---- output
program Dense opset 21

module Dense {
  in %x: f32
  0: %w: f32[2,3] = syscall::Constant() {value = f32[2,3] [[1, 2, 3], [4, 5, 6]]}
  1: %t: f32 = MatMul(%x, %w) slot compute
  2: %y: f32 = Relu(%t) slot compute
  out y = %y
}
