# A tensor op that nobody runs.

---- input
program M opset 21
module M {
  in %x
  0: %y = Relu(%x) at "src/m.rs:5:28"
  out y = %y
}

---- output
error: Relu has no slot
  --> src/m.rs:5:28
   |  recorded here
   = help: record it through a slot of role Backend: `self.compute.op(g, …)`
