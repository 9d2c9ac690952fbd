# An op without a gradient, on the way from the loss.

---- input
program M opset 21
module M {
  in %x: f32[4]
  0: %y = MaxRoiPool(%x) slot compute
  1: %loss = ReduceSum(%y) slot compute {keepdims = 0}
  2: %dx = ai.onnx.preview.training::Gradient(%x) slot compute at "src/m.rs:9:33" {xs = ["x"], y = "loss"}
  out dx = %dx
}

---- output
error: no gradient: MaxRoiPool (node `y`) has no gradient; it is on the path loss <- y <- x
  --> src/m.rs:9:33
   |  asked for here
