//! The same seed gives the same run: the same model, byte for byte, the same traffic, the same virtual time.

use std::time::Duration;

use bb_sim::{DigitsWorkload, Latency, Partition};
use bb_tests::{Error, global, reference_model};

type Run = (Vec<u8>, Vec<(u64, u64, Duration)>);

fn run(seed: u64) -> Result<Run, Error> {
    let model = reference_model("mlp")?;
    let latency = Latency::Uniform { from: Duration::from_millis(5), to: Duration::from_millis(80) };
    let mut federation = DigitsWorkload::new(model.clone(), 7)
        .partition(Partition::Dirichlet { alpha: 0.5 })
        .shuffled()
        .latency(latency)
        .seed(seed)
        .build()?;
    let (mut traffic, mut parameters) = (Vec::new(), model.parameters().clone());
    for _ in 0..3 {
        let round = federation.round()?;
        traffic.push((round.bytes_up, round.bytes_down, round.duration));
        parameters = global(&round)?;
    }
    Ok((model.export_bytes(&parameters)?, traffic))
}

#[test]
fn two_runs_with_one_seed_are_one_run() -> Result<(), Error> {
    assert!(run(1)? == run(1)?, "the same seed gave another run");
    Ok(())
}

#[test]
fn another_seed_is_another_run() -> Result<(), Error> {
    assert!(run(1)?.0 != run(2)?.0, "another seed gave the same model");
    Ok(())
}

#[test]
fn a_round_takes_the_time_of_its_slowest_answer() -> Result<(), Error> {
    let (_, traffic) = run(1)?;
    for (_, _, duration) in traffic {
        assert!((Duration::from_millis(10)..=Duration::from_millis(160)).contains(&duration), "{duration:?}");
    }
    Ok(())
}
