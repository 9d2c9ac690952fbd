//! The passes, one file each.

mod bind;
mod deadlines;
mod differentiate;
mod fuse;
mod infer_types;
mod inline;
mod link;
mod pair_wires;
mod partition;
mod place;
mod stamp;
mod types;
mod verify;

pub(crate) use bind::bind;
pub(crate) use deadlines::deadlines;
pub(crate) use differentiate::differentiate;
pub(crate) use fuse::fuse;
pub(crate) use infer_types::infer_types;
pub(crate) use inline::inline;
pub(crate) use link::link;
pub(crate) use pair_wires::pair_wires;
pub(crate) use partition::partition;
pub(crate) use place::place;
pub(crate) use stamp::stamp;
pub(crate) use verify::verify;
