# What a component depends on is bound too.
option bind model IdleModel
option bind compute IdleBackend

---- input
program M opset 21
target M class "" {
  region 0 entry {
    0: %p: tensors = model::Parameters() slot model
    out p = %p
  }
}

---- output
program M opset 21

target M class "" {
  region 0 entry {
    0: %p: tensors = model::Parameters() slot model
    out p = %p
  }
}

bind compute: test::IdleBackend as Backend
bind model: test::IdleModel as Model with compute = compute
