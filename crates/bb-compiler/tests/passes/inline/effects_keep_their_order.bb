# What a module does to a slot stays between what is recorded before and after the call.

---- input
program M opset 21
module M {
  in %x: tensors
  0: model::LoadParameters(%x) slot model
  1: %loss = module::Train() after 0
  2: %p: tensors = model::Parameters() slot model after 1
  out p = %p
  out loss = %loss
}
module Train {
  0: %rows: i64, %loss: f64 = model::Fit() slot model uses data {batch = 8, epochs = 1}
  out loss = %loss
}

---- output
program M opset 21

module M {
  in %x: tensors
  0: model::LoadParameters(%x) slot model
  1: %Train:1/rows: i64, %Train:1/loss: f64 = model::Fit() slot model uses data after 0 {batch = 8, epochs = 1}
  2: %p: tensors = model::Parameters() slot model after 1
  out p = %p
  out loss = %Train:1/loss
}
