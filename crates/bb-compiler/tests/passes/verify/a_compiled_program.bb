# What is compiled is not compiled again.

---- input
program M opset 21
target M class "" {
  region 0 entry {
    in %x
    out y = %x
  }
}

---- output
error: program `M` is compiled already
   = help: give `install` a compiled program; compile a recorded one: `module.build()?`
