# Everything that does not go together is reported, with both lines.

---- input
program M opset 21
module M {
  0: %a = syscall::Constant() at "src/m.rs:1:1" {value = f32[2] [1, 2]}
  1: %b = syscall::Constant() at "src/m.rs:2:1" {value = f32[3] [1, 2, 3]}
  2: %c = Add(%a, %b) slot compute at "src/m.rs:3:1"
  3: %d = syscall::Constant() at "src/m.rs:4:1" {value = i64[2] [1, 2]}
  4: %e = Mul(%a, %d) slot compute at "src/m.rs:5:1"
  5: model::LoadParameters(%a) slot model at "src/m.rs:6:1"
  6: %f = model::Parameters() slot model at "src/m.rs:7:1"
  7: %g = Relu(%f) slot compute at "src/m.rs:8:1"
  8: %w = syscall::Constant() {value = f32[2,2] [[1, 2], [3, 4]]}
  9: %z = MatMul(%b, %w) slot compute at "src/m.rs:9:1"
  out c = %c
}

---- output
error: Add: [2] and [3] do not broadcast: axis 0 is 2 and 3
  --> src/m.rs:3:1
   |  recorded here
  --> src/m.rs:1:1
   |  `a` is f32[2]
  --> src/m.rs:2:1
   |  `b` is f32[3]

error: Mul: its inputs are f32 and i64; they must be of one type
  --> src/m.rs:5:1
   |  recorded here
  --> src/m.rs:1:1
   |  `a` is f32[2]
  --> src/m.rs:4:1
   |  `d` is i64[2]

error: `a` is f32[2] but LoadParameters takes tensors
  --> src/m.rs:6:1
   |  taken as tensors here
  --> src/m.rs:1:1
   |  made as f32[2] here

error: `f` is tensors but Relu takes tensor
  --> src/m.rs:8:1
   |  taken as tensor here
  --> src/m.rs:7:1
   |  made as tensors here

error: MatMul: [3] times [2,2]: 3 columns meet 2 rows
  --> src/m.rs:9:1
   |  recorded here
  --> src/m.rs:2:1
   |  `b` is f32[3]
