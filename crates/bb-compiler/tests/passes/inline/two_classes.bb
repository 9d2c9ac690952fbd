# A module that has a part on another class than the one it is called on.

---- input
program A opset 21
module A {
  0: module::B() on server at "src/a.rs:4:11"
}
module B {
  0: %p = model::Parameters() on client slot model at "src/b.rs:7:20"
}

---- output
error: module `B` is called on "server" but has a part on "client"
  --> src/a.rs:4:11
   |  called on "server" here
  --> src/b.rs:7:20
   |  this part runs on "client"
   = help: call it outside of `g.on(…)`: it says itself where its parts run
