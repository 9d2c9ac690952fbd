# A dependency may be taken from a slot of another name.
option bind model IdleModel
option bind gpu IdleBackend
option dependency model compute gpu

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

bind gpu: test::IdleBackend as Backend
bind model: test::IdleModel as Model with compute = gpu
