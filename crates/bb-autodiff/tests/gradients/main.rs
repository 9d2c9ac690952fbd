//! Every rule against central finite differences, and the graphs that are made of them.

#![cfg(test)]

mod activation;
mod attention;
mod control;
mod conv;
mod einsum;
mod elementwise;
mod errors;
mod expand;
mod function;
mod graphs;
mod harness;
mod hostile;
mod indexing;
mod layers;
mod linear;
mod loss;
mod movement;
mod norm;
mod patches;
mod pool;
mod precision;
mod quantize;
mod recompute;
mod recurrent;
mod reduce;
mod resample;
mod sample;
mod second_order;
mod select;
mod shaping;
mod signal;
mod softmax;
mod steps;
mod stream;
mod structure;
mod training;
