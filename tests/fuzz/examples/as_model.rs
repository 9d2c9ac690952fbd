//! Writes the model that an input of the target `model` makes: `cargo run --example as_model INPUT MODEL`.

use std::{env, fs, io};

use bb_fuzz::models;
use prost::Message;

fn main() -> io::Result<()> {
    let paths: Vec<String> = env::args().skip(1).collect();
    let [from, to] = &paths[..] else {
        return Err(io::Error::other("the paths of an input and of a model are needed"));
    };
    let made = models::model(&fs::read(from)?).ok().flatten();
    let (mut model, _) = made.ok_or_else(|| io::Error::other("the input makes no model"))?;
    // The first byte of the field says to the target that a model follows.
    model.ir_version = model.ir_version.or(Some(8));
    fs::write(to, model.encode_to_vec())
}
