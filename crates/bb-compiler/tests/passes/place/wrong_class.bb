# Values stay where they are made.

---- input
program M opset 21
module M {
  in %x
  0: %a = model::Parameters() on server slot model at "src/m.rs:4:20"
  1: model::LoadParameters(%a) on client slot model at "src/m.rs:6:20"
  2: %b = Relu(%x) on server slot compute at "src/m.rs:7:20"
  3: %c = Relu(%x) on client slot compute at "src/m.rs:8:20"
  out b = %b
  out c = %c
}

---- output
error: `a` is on "server" but used on "client"
  --> src/m.rs:6:20
   |  used on "client" here
  --> src/m.rs:4:20
   |  made on "server" here
   = help: take it across: `g.call(peers, a).at("client", |g, a| …)`

error: `x` is on "server" but used on "client"
  --> src/m.rs:8:20
   |  used on "client" here
  --> src/m.rs:7:20
   |  used on "server" here
   = help: take it across: `g.call(peers, x).at("client", |g, x| …)`
