# A module that hands its input on leaves nothing behind.

---- input
program M opset 21
module M {
  in %x
  0: %a, %b = module::Both(%x)
  1: %y = Add(%a, %b) slot compute
  out y = %y
  out a = %a
}
module Both {
  in %x
  0: %n = Neg(%x) slot compute
  out same = %x
  out negated = %n
}

---- output
program M opset 21

module M {
  in %x
  0: %Both:1/n = Neg(%x) slot compute
  1: %y = Add(%x, %Both:1/n) slot compute
  out y = %y
  out a = %x
}
