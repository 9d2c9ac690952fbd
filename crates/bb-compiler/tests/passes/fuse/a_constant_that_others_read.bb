# A constant that is read elsewhere too stays outside as well.

---- input
program M opset 21
target M class "" {
  region 0 entry {
    in %x
    0: %c: f32[2] = syscall::Constant() {value = f32[2] [1, 2]}
    1: %y = Add(%x, %c) slot compute
    2: %z = syscall::PassThrough(%c)
    out y = %y
    out z = %z
  }
}

---- output
program M opset 21

target M class "" {
  region 0 entry {
    in %x
    0: %c: f32[2] = syscall::Constant() {value = f32[2] [1, 2]}
    1: %y = backend::Run(%x) slot compute
      graph = graph y/run {
        in %x
        0: %c: f32[2] = Constant() {value = f32[2] [1, 2]}
        1: %y = Add(%x, %c)
        out y = %y
      }
    2: %z = syscall::PassThrough(%c)
    out y = %y
    out z = %z
  }
}
