# The pass is part of the list.

---- input
program M opset 21
target M class "" {
  region 0 entry {
    in %x
    out y = %x
  }
}

---- output
program M opset 21

target M class "" {
  region 0 entry {
    in %x
    out y = %x
  }
}
