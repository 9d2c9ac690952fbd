# A module that is called twice is there twice, each value under a name of its own.

---- input
program Twice opset 21
module Twice {
  in %x
  0: %a = module::Relu(%x)
  1: %b = module::Relu(%a)
  out y = %b
}
module Relu {
  in %x
  0: %relu:1 = Relu(%x) slot compute
  out y = %relu:1
}

---- output
program Twice opset 21

module Twice {
  in %x
  0: %Relu:1/relu:1 = Relu(%x) slot compute
  1: %Relu:2/relu:1 = Relu(%Relu:1/relu:1) slot compute
  out y = %Relu:2/relu:1
}
