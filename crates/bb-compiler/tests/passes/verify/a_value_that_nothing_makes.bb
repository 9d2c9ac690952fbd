# The rules of a well-formed program.

---- input
program M opset 21
module M {
  0: %y = Relu(%x) slot compute at "src/m.rs:3:9"
  out y = %y
}

---- output
error: `M` is not well-formed: value `x` is read but nothing before makes it
  --> src/m.rs:3:9
   |  recorded here
