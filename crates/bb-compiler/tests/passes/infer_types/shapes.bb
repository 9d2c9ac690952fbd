# The common ops.

---- input
program M opset 21
module M {
  in %x: f32[n,6]
  0: %shape = syscall::Constant() {value = i64[3] [0, 2, 3]}
  1: %r = Reshape(%x, %shape) slot compute
  2: %t = Transpose(%r) slot compute {perm = [0, 2, 1]}
  3: %axes = syscall::Constant() {value = i64[1] [-1]}
  4: %m = ReduceMean(%t, %axes) slot compute {keepdims = 0}
  5: %s = Softmax(%m) slot compute {axis = -1}
  6: %i = ArgMax(%s) slot compute {axis = 1, keepdims = 0}
  7: %c = Concat(%m, %s) slot compute {axis = 1}
  8: %g = Greater(%m, %s) slot compute
  9: %f = Cast(%g) slot compute {to = 1}
  10: %b = syscall::Bundle(%f, %i)
  11: %u, %v = syscall::Unbundle(%b)
  12: %q = Gemm(%m, %c) slot compute {transA = 1}
  out q = %q
  out u = %u
  out v = %v
}

---- output
program M opset 21

module M {
  in %x: f32[n,6]
  0: %shape: i64[3] = syscall::Constant() {value = i64[3] [0, 2, 3]}
  1: %r: f32[n,2,3] = Reshape(%x, %shape) slot compute
  2: %t: f32[n,3,2] = Transpose(%r) slot compute {perm = [0, 2, 1]}
  3: %axes: i64[1] = syscall::Constant() {value = i64[1] [-1]}
  4: %m: f32[n,3] = ReduceMean(%t, %axes) slot compute {keepdims = 0}
  5: %s: f32[n,3] = Softmax(%m) slot compute {axis = -1}
  6: %i: i64[n] = ArgMax(%s) slot compute {axis = 1, keepdims = 0}
  7: %c: f32[n,6] = Concat(%m, %s) slot compute {axis = 1}
  8: %g: bool[n,3] = Greater(%m, %s) slot compute
  9: %f: f32[n,3] = Cast(%g) slot compute {to = 1}
  10: %b: (f32[n,3], i64[n]) = syscall::Bundle(%f, %i)
  11: %u: f32[n,3], %v: i64[n] = syscall::Unbundle(%b)
  12: %q: f32[3,6] = Gemm(%m, %c) slot compute {transA = 1}
  out q = %q
  out u = %u
  out v = %v
}
