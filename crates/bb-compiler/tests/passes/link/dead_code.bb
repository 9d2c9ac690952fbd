# What nobody reads goes; values are numbered as they come to be.

---- input
program M opset 21
target M class "" {
  region 0 entry {
    in %x
    0: %c = syscall::Constant() {value = value 1}
    1: %d = syscall::Bundle(%c, %x)
    2: %y = syscall::PassThrough(%x)
    3: %rows: i64, _ = model::Fit() slot model uses data {batch = 1, epochs = 1}
    out y = %y
  }
}

---- output
program M opset 21

target M class "" {
  region 0 entry {
    in %x
    0: %y = syscall::PassThrough(%x)
    1: %rows: i64, _ = model::Fit() slot model uses data {batch = 1, epochs = 1}
    out y = %y
  }
}
