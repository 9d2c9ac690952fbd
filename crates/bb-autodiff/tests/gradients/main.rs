//! Every rule against central finite differences, and the graphs that are made of them.

#![cfg(test)]

mod activation;
mod attention;
mod control;
mod conv;
mod einsum;
mod elementwise;
mod errors;
mod function;
mod graphs;
mod harness;
mod indexing;
mod layers;
mod linear;
mod loss;
mod movement;
mod norm;
mod pool;
mod precision;
mod recompute;
mod recurrent;
mod reduce;
mod resample;
mod second_order;
mod select;
mod shaping;
mod softmax;
mod steps;
mod structure;
mod training;
