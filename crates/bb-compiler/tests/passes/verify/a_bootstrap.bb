# Bootstraps are refused, not dropped.

---- input
program M opset 21
module M {
  in %x
  out y = %x
}
bootstrap M {
  0: %p = model::Parameters() slot model at "src/m.rs:9:9"
}

---- output
error: module `M` records a bootstrap, which is not compiled yet
  --> src/m.rs:9:9
   |  recorded here
   = help: give the component its initial state through its configuration
