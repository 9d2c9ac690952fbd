# A module that calls itself through another is refused.

---- input
program A opset 21
module A {
  in %x
  0: %y = module::B(%x) at "src/a.rs:4:11"
  out y = %y
}
module B {
  in %x
  0: %y = module::A(%x) at "src/b.rs:4:11"
  out y = %y
}

---- output
error: module `A` calls itself
  --> src/b.rs:4:11
   |  called again here
   = note: the calls: A -> B -> A
   = help: a program is a graph without loops: repeat inside an op, or between executions
