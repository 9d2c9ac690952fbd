//! The `bb` command.

fn main() {}
