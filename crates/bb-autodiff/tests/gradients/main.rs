//! Every rule against central finite differences, and the graphs that are made of them.

#![cfg(test)]

mod activation;
mod conv;
mod elementwise;
mod errors;
mod function;
mod harness;
mod indexing;
mod layers;
mod linear;
mod loss;
mod norm;
mod pool;
mod reduce;
mod select;
mod shaping;
mod softmax;
mod steps;
mod structure;
mod training;
