# Bound, but as something else.
option bind compute IdleModel

---- input
program Dense opset 21

module Dense {
  in %x: f32[?,2]
  0: %w: f32[2,3] = syscall::Constant() {value = f32[2,3] [[1, 2, 3], [4, 5, 6]]}
  1: %t = MatMul(%x, %w) slot compute at "src/dense.rs:10:30"
  2: %y = Relu(%t) slot compute at "src/dense.rs:11:30"
  out y = %y
}

---- output
error: slot "compute" is bound as Model but used as Backend
   = note: role Backend, used by MatMul at src/dense.rs:10:30 and 1 more
   = help: Compiler::new().bind_backend::<…>("compute")
