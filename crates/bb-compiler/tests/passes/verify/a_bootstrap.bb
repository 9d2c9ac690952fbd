# A module may have a bootstrap beside its body.

---- input
program M opset 21
module M {
  in %x
  out y = %x
}
bootstrap M {
  0: %p = model::Parameters() slot model at "src/m.rs:9:9"
}

---- output
program M opset 21

module M {
  in %x
  out y = %x
}

bootstrap M {
  0: %p = model::Parameters() slot model
}
