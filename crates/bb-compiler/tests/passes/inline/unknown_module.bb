# A call of what is not in the program.

---- input
program A opset 21
module A {
  in %x
  0: %y = module::Nobody(%x) at "src/a.rs:4:11"
  out y = %y
}

---- output
error: module `Nobody` is called but is not in the program
  --> src/a.rs:4:11
   |  called here
   = note: the program's modules: A
