//! How compile time grows: programs of 10 to 10,000 ops, beside one copy and one check of the same program.
//!
//! The time an op should be flat, and 10,000 ops should compile within 50 ms.

use bb_compiler::{Compiler, Program};
use bb_dsl::{BackendSlot, Graph, ModelSlot, Module, Tensor};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

#[path = "../tests/support/components.rs"]
#[allow(dead_code, unreachable_pub, reason = "a part of it is used here")]
mod components;

/// Backend ops in a row, with a constant each third and a model's op each tenth.
struct Chain {
    count: usize,
    compute: BackendSlot,
    model: ModelSlot,
}

impl Module for Chain {
    fn name(&self) -> &str {
        "Chain"
    }
    fn body(&self, g: &mut Graph) {
        let mut x = g.input("x");
        for index in 0..self.count {
            x = match index % 10 {
                0 => {
                    let map = self.model.parameters(g);
                    self.model.load_parameters(g, map);
                    self.compute.relu(g, x)
                }
                3 | 6 => {
                    let one = g.constant(Tensor::scalar(1.0_f32));
                    self.compute.add(g, x, one)
                }
                _ => self.compute.tanh(g, x),
            };
        }
        g.output("y", x);
    }
}

fn chain(count: usize) -> Program {
    let module = Chain { count, compute: BackendSlot::named("compute"), model: ModelSlot::named("model") };
    module.build().unwrap_or_else(|error| panic!("{error}"))
}

fn compile(c: &mut Criterion) {
    let mut group = c.benchmark_group("compile");
    for count in [10, 100, 1_000, 10_000] {
        let program = chain(count);
        let nodes = program.modules[0].body.nodes.len();
        group.throughput(Throughput::Elements(nodes as u64));
        group.bench_with_input(BenchmarkId::new("all passes", nodes), &program, |b, program| {
            let compile = |program| {
                let compiler = Compiler::new()
                    .bind_backend::<components::IdleBackend>("compute")
                    .bind_model::<components::IdleModel>("model");
                compiler.compile(program)
            };
            b.iter_batched(|| program.clone(), compile, BatchSize::PerIteration);
        });
        group.bench_with_input(BenchmarkId::new("copy and check", nodes), &program, |b, program| {
            b.iter(|| program.clone().verify());
        });
    }
    group.finish();
}

criterion_group!(benches, compile);
criterion_main!(benches);
