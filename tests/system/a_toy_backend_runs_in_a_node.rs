//! A backend that depends on bb-runtime alone stands in a slot like any other.

use bb_tests::Error;
use bytesandbrains::prelude::*;
use toy_backend::ToyBackend;

struct Polynomial {
    compute: BackendSlot,
}

impl Module for Polynomial {
    fn name(&self) -> &str {
        "Polynomial"
    }

    fn body(&self, g: &mut Graph) {
        let x = g.input("x");
        let one = g.constant(Tensor::from_rows([[1.0_f32, 1.0]]));
        let square = self.compute.mul(g, x, x);
        let sum = self.compute.add(g, square, one);
        g.output("y", sum);
    }
}

#[test]
fn x_squared_plus_one() -> Result<(), Error> {
    let program = Polynomial { compute: BackendSlot::named("compute") }.build()?;
    let compiled = Compiler::new().bind_backend::<ToyBackend>("compute").compile(program)?;
    let mut node = install(PeerId::from_u64(1), [], compiled, &["Polynomial"], Config::new())?;
    let x = Value::from(Tensor::from_rows([[2.0_f32, 3.0]]));
    node.invoke("Polynomial", &[("x", &x.encode())])?;
    let values: Vec<Value> = node
        .step(Time::ZERO)
        .into_iter()
        .filter_map(|step| match step {
            EngineStep::AppEvent { value, .. } => Some(value),
            _ => None,
        })
        .collect();
    assert_eq!(values, [Value::from(Tensor::from_rows([[5.0_f32, 10.0]]))]);
    Ok(())
}

#[test]
fn an_op_that_it_does_not_run_is_named_when_the_program_is_installed() -> Result<(), Error> {
    struct Rectifier;
    impl Module for Rectifier {
        fn name(&self) -> &str {
            "Rectifier"
        }
        fn body(&self, g: &mut Graph) {
            let x = g.input("x");
            let y = BackendSlot::named("compute").relu(g, x);
            g.output("y", y);
        }
    }
    let compiled = Compiler::new().bind_backend::<ToyBackend>("compute").compile(Rectifier.build()?)?;
    let error = install(PeerId::from_u64(1), [], compiled, &["Rectifier"], Config::new()).err();
    let said = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(said.contains("Relu") && said.contains("compute"), "{said}");
    Ok(())
}
