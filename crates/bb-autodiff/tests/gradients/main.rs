//! Every rule against central finite differences, and the graphs that are made of them.

mod elementwise;
mod errors;
mod harness;
mod linear;
mod loss;
mod reduce;
mod shaping;
mod softmax;
mod structure;
mod training;
