# What must run after an op runs after its run.

---- input
program M opset 21
target M class "" {
  region 0 entry {
    in %x
    in %t: tensors
    0: model::LoadParameters(%t) slot model
    1: %a = Relu(%x) slot compute after 0
    2: %b = Neg(%a) slot compute
    3: %p: tensors = model::Parameters() slot model after 0, 2
    out b = %b
    out p = %p
  }
}

---- output
program M opset 21

target M class "" {
  region 0 entry {
    in %x
    in %t: tensors
    0: model::LoadParameters(%t) slot model
    1: %b = backend::Run(%x) slot compute after 0
      graph = graph a/run {
        in %x
        0: %a = Relu(%x)
        1: %b = Neg(%a)
        out b = %b
      }
    2: %p: tensors = model::Parameters() slot model after 0, 1
    out b = %b
    out p = %p
  }
}
