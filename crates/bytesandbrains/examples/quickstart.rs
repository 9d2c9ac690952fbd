//! One node, one module: `cargo run -p bytesandbrains --example quickstart`.
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use bytesandbrains::prelude::*;

struct Dense {
    compute: BackendSlot,
}

impl Module for Dense {
    fn name(&self) -> &str {
        "Dense"
    }

    fn body(&self, g: &mut Graph) {
        let x = g.input("x");
        let w = g.constant(Tensor::from_rows([[1.0_f32, -1.0], [0.5, 2.0]]));
        let y = self.compute.matmul(g, x, w);
        let y = self.compute.relu(g, y);
        g.output("y", y);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let module = Dense { compute: BackendSlot::named("compute") };
    let compiled = Compiler::new().bind_backend::<CpuBackend>("compute").compile(module.build()?)?;
    let mut node = install(PeerId::from_u64(1), [], compiled, &["Dense"], Config::new())?;

    let x = Value::from(Tensor::from_rows([[1.0_f32, 2.0]]));
    let run = node.invoke("Dense", &[("x", &x.encode())])?;
    for step in node.step(Time::ZERO) {
        if let EngineStep::AppEvent { exec_id, output, value, .. } = step {
            assert_eq!((exec_id, output.as_str()), (run, "y"));
            println!("{value}"); // f32[1,2] [[2, 3]]
        }
    }
    Ok(())
}
