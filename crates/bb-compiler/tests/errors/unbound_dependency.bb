# A component's own need.
option bind model IdleModel

---- input
program M opset 21
module M {
  0: %p: tensors = model::Parameters() slot model at "src/m.rs:4:28"
  out p = %p
}

---- output
error: slot "compute" is not bound
   = note: role Backend, dependency "compute" of test::IdleModel in slot "model"
   = help: Compiler::new().with_dependency("model", "compute", …) names another slot
   = help: Compiler::new().bind_backend::<…>("compute")
