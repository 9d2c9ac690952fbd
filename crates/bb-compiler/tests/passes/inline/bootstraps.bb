# The bootstrap of a module that is called comes before the root's, once; its inputs and outputs are the root's.

---- input
program Root opset 21
module Root {
  in %x
  0: %y = module::Child(%x)
  1: %z = module::Child(%y)
  out z = %z
}
bootstrap Root {
  0: %own: tensors = model::Parameters() slot model
  out own = %own
}
module Child {
  in %a
  0: %b = syscall::PassThrough(%a)
  out b = %b
}
bootstrap Child {
  in %first: tensors
  0: model::LoadParameters(%first) slot model
  out first = %first
}

---- output
program Root opset 21

module Root {
  in %x
  0: %Child:1/b = syscall::PassThrough(%x)
  1: %Child:2/b = syscall::PassThrough(%Child:1/b)
  out z = %Child:2/b
}

bootstrap Root {
  in %Child/first: tensors
  0: model::LoadParameters(%Child/first) slot model
  1: %own: tensors = model::Parameters() slot model after 0
  out own = %own
  out Child/first = %Child/first
}
