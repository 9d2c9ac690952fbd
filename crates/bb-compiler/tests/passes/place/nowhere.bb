# What crosses the wire starts somewhere.

---- input
program M opset 21
module M {
  0: %p: peers = peer_selector::View() slot peers at "src/m.rs:4:20"
  1: wire::Cast(%p) at "src/m.rs:5:20" {class = "peer"}
    body = graph peer:1 {
    }
}

---- output
error: View has no place
  --> src/m.rs:4:20
   |  recorded here
   = help: a program that crosses the wire says where it starts: `g.on("class", |g| …)`

error: Cast has no place
  --> src/m.rs:5:20
   |  recorded here
   = help: a program that crosses the wire says where it starts: `g.on("class", |g| …)`
