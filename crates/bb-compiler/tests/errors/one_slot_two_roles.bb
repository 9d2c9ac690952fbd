# One slot used in two ways.
option bind compute IdleBackend

---- input
program M opset 21
module M {
  in %x
  0: %p = model::Parameters() slot compute at "src/m.rs:4:28"
  1: %y = Relu(%x) slot compute at "src/m.rs:5:28"
  out p = %p
  out y = %y
}

---- output
error: slot "compute" is used as Model and as Backend
  --> src/m.rs:5:28
   |  used as Backend here
  --> src/m.rs:4:28
   |  used as Model here
   = help: give the Backend a slot of its own
