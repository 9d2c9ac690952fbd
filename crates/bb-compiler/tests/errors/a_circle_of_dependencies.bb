# Components may not call each other in a circle.
option bind model CircularModel

---- input
program M opset 21
module M {
  0: %p: tensors = model::Parameters() slot model at "src/m.rs:4:28"
  out p = %p
}

---- output
error: the component in slot "model" depends on itself
   = help: components may not call each other in a circle: bind the dependency elsewhere
