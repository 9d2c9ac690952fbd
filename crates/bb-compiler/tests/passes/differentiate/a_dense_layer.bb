# A gradient becomes ops on the same slot.

---- input
program M opset 21
module M {
  in %x: f32[4,2]
  in %w: f32[2,3]
  0: %t = MatMul(%x, %w) slot compute
  1: %y = Tanh(%t) slot compute
  2: %loss = ReduceSum(%y) slot compute {keepdims = 0}
  3: %dw = ai.onnx.preview.training::Gradient(%w) slot compute {xs = ["w"], y = "loss"}
  out dw = %dw
}

---- output
program M opset 21

module M {
  in %x: f32[4,2]
  in %w: f32[2,3]
  0: %t: f32[4,3] = MatMul(%x, %w) slot compute
  1: %y: f32[4,3] = Tanh(%t) slot compute
  2: %loss: f32[] = ReduceSum(%y) slot compute {keepdims = 0}
  3: %dw/grad/Constant_1: tensor = Constant() slot compute {value = f32[] 1}
  4: %dw/grad/Mul_4: tensor = Mul(%y, %y) slot compute
  5: %dw/grad/Sub_5: tensor = Sub(%dw/grad/Constant_1, %dw/grad/Mul_4) slot compute
  6: %dw/grad/Gemm_6: tensor = Gemm(%x, %dw/grad/Sub_5) slot compute {transA = 1, transB = 0}
  out dw = %dw/grad/Gemm_6
}
