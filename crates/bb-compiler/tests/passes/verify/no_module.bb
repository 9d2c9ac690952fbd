# A program needs a root.

---- input
program M opset 21

---- output
error: program `M` has no module
   = help: record one: `module.build()?`
