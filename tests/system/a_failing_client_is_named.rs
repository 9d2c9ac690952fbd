//! A round that cannot reach its quorum fails and names who is at fault.

use std::time::Duration;

use bb_sim::{EventKind, SimulationError};
use bb_tests::{Error, reference_federation};

#[test]
fn a_client_that_is_off_the_network_is_missed_at_the_deadline() -> Result<(), Error> {
    let mut federation = reference_federation("logreg", 4)?;
    federation.round()?;
    let gone = federation.clients()[2];
    federation.simulation_mut().set_online(gone, false)?;
    let began = federation.simulation().now();
    let error = federation.round().err().ok_or("a round of three of four clients ended well")?;
    assert!(matches!(error, SimulationError::Failed { .. }), "{error}");
    assert!(error.to_string().contains(&gone.to_string()), "{error}");
    assert_eq!(federation.simulation().now().since(began).as_secs(), 60, "the deadline of the round");

    // The server lets a peer that did not answer rest for a moment before it is asked again.
    federation.simulation_mut().set_online(gone, true)?;
    let later = federation.simulation().now() + Duration::from_secs(1);
    let meanwhile = federation.simulation_mut().run_until(later);
    assert!(meanwhile.iter().all(|event| !matches!(event.kind, EventKind::Refused { .. })));
    let round = federation.round()?;
    assert!(round.incidents.iter().all(|event| !matches!(event.kind, EventKind::Lost { .. })));
    Ok(())
}
