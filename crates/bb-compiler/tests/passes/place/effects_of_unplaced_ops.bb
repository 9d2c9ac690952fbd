# Ops that get their class here are ordered with those that had it.

---- input
program M opset 21
module M {
  in %x: tensors
  0: model::LoadParameters(%x) slot model
  1: %p = model::Parameters() on server slot model
  out p = %p
}

---- output
program M opset 21

module M {
  in %x: tensors
  0: model::LoadParameters(%x) on server slot model
  1: %p = model::Parameters() on server slot model after 0
  out p = %p
}
