# Who needs a slot, where, how often, and what could stand in it.
option bind gpu IdleBackend
option bind model IdleModel

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
error: slot "compute" is not bound
   = note: role Backend, used by MatMul at src/dense.rs:10:30 and 1 more
   = help: Compiler::new().bind_backend::<…>("compute") — registered here: test::IdleBackend
