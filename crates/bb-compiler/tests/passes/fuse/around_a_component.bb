# A run does not wait for what comes later: what follows a component is a run of its own.

---- input
program M opset 21
target M class "" {
  region 0 entry {
    in %x
    0: %a = Relu(%x) slot compute
    1: %loss: f64 = model::TrainStep(%a) slot model
    2: %b = Neg(%a) slot compute
    3: %late = Mul(%b, %loss) slot compute
    4: %free = Exp(%x) slot compute
    out b = %b
    out late = %late
    out free = %free
  }
}

---- output
program M opset 21

target M class "" {
  region 0 entry {
    in %x
    0: %a, %b = backend::Run(%x) slot compute
      graph = graph a/run {
        in %x
        0: %a = Relu(%x)
        1: %b = Neg(%a)
        out a = %a
        out b = %b
      }
    1: %loss: f64 = model::TrainStep(%a) slot model
    2: %late = backend::Run(%b, %loss) slot compute
      graph = graph late/run {
        in %b
        in %loss: f64
        0: %late = Mul(%b, %loss)
        out late = %late
      }
    3: %free = backend::Run(%x) slot compute
      graph = graph free/run {
        in %x
        0: %free = Exp(%x)
        out free = %free
      }
    out b = %b
    out late = %late
    out free = %free
  }
}
