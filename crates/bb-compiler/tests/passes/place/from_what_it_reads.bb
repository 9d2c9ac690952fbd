# Ops outside of `on` run where their values are; an input belongs to its reader.

---- input
program M opset 21
module M {
  in %x
  0: %c = syscall::Constant() {value = value 2}
  1: %a = Relu(%x) on server slot compute
  2: %b = Neg(%a) slot compute
  3: %e = syscall::PassThrough(%c) on server
  4: %d = model::Parameters() on client slot model
  5: %f = syscall::Bundle(%d, %c) on client
  out b = %b
  out e = %e
  out f = %f
}

---- output
program M opset 21

module M {
  in %x
  0: %c@server = syscall::Constant() on server {value = value 2}
  1: %c@client = syscall::Constant() on client {value = value 2}
  2: %a = Relu(%x) on server slot compute
  3: %b = Neg(%a) on server slot compute
  4: %e = syscall::PassThrough(%c@server) on server
  5: %d = model::Parameters() on client slot model
  6: %f = syscall::Bundle(%d, %c@client) on client
  out b = %b
  out e = %e
  out f = %f
}
