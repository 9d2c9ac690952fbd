//! A compiled program as bytes, and back on a node that knows its components.

use bb_ir::metadata::PASSPORT_SIGNATURES;
use bb_ir::passport::{Passport, Signature, SignatureError, SigningKey};
use bb_ir::program::Program;
use bb_runtime::{ArtifactError, CompiledModel, Config, InstallError, PeerId, Time};
use proptest::prelude::*;
use prost::Message;

use crate::common::components::{Fixed, Scripted, Sum};
use crate::common::federation::program;
use crate::common::{chain, settle};

fn install(model: &CompiledModel, target: &str, config: Config) -> Result<bb_runtime::Node, InstallError> {
    bb_runtime::install(PeerId::from_u64(1), [], model, &[target], config)
}

#[test]
fn a_decoded_program_is_the_same_program_and_runs_once_its_components_are_registered() {
    let model = program(-1, 0);
    let decoded = CompiledModel::decode(&model.encode()).unwrap();
    assert_eq!(decoded.program(), model.program());
    assert_eq!(decoded.digest(), model.digest());
    assert_eq!(decoded.encode(), model.encode());
    let config = || Config::new().with("clients", vec![PeerId::from_u64(2)]);
    assert!(matches!(
        install(&decoded, "Fed.server", config()),
        Err(InstallError::UnregisteredComponent { .. })
    ));
    let config = config().register::<Fixed>().register::<Scripted>().register::<Sum>();
    let mut node = install(&decoded, "Fed.server", config).unwrap();
    assert_eq!(node.program_digest(), model.digest());
    node.invoke("Fed.server", &[]).unwrap();
    assert!(!settle(&mut node, Time::ZERO).is_empty());
}

#[test]
fn an_artifact_that_was_altered_is_refused() {
    let mut altered = chain(3).to_model();
    altered.doc_string = Some("altered".to_owned());
    let decoded = CompiledModel::decode(&altered.encode_to_vec()).unwrap();
    assert!(matches!(install(&decoded, "Chain", Config::new()), Err(InstallError::DigestMismatch { .. })));
}

#[test]
fn an_artifact_without_a_passport_or_of_another_compiler_is_refused() {
    let mut model = chain(3).program().to_onnx();
    let decoded = CompiledModel::decode(&model.encode_to_vec()).unwrap();
    assert!(matches!(install(&decoded, "Chain", Config::new()), Err(InstallError::NoPassport { .. })));
    Passport::stamp(&mut model, "0.0.3");
    let decoded = CompiledModel::decode(&model.encode_to_vec()).unwrap();
    let Err(InstallError::WrongCompilerVersion { got, .. }) = install(&decoded, "Chain", Config::new())
    else {
        panic!("it must not install")
    };
    assert_eq!(got, "0.0.3");
}

#[test]
fn a_host_that_trusts_keys_takes_what_one_of_them_vouches_for_and_nothing_else() {
    let (key, other) = (SigningKey::from_seed([1; 32]).unwrap(), SigningKey::from_seed([2; 32]).unwrap());
    let trusting = || {
        Config::new()
            .trust([key.verifying_key()])
            .trust([SigningKey::from_seed([3; 32]).unwrap().verifying_key()])
    };
    let unsigned = chain(3);
    let refused = install(&unsigned, "Chain", trusting());
    assert!(matches!(refused, Err(InstallError::Untrusted { signers }) if signers.is_empty()));
    let by_other = CompiledModel::decode(&unsigned.signed(&other).unwrap().encode()).unwrap();
    match install(&by_other, "Chain", trusting()) {
        Err(InstallError::Untrusted { signers }) => assert_eq!(signers, [other.verifying_key()]),
        refused => panic!("{refused:?}"),
    }
    assert!(install(&by_other, "Chain", Config::new()).is_ok(), "who trusts no key takes any that holds");

    let signed = CompiledModel::decode(&by_other.signed(&key).unwrap().encode()).unwrap();
    assert_eq!(signed.digest(), unsigned.digest(), "a signature is no part of what it vouches for");
    let node = install(&signed, "Chain", trusting()).unwrap();
    let passport = Passport::of(&node.model().unwrap()).unwrap();
    let signers: Vec<_> = passport.signatures.iter().map(|signature| signature.key).collect();
    assert_eq!(signers, [other.verifying_key(), key.verifying_key()]);
    assert_eq!(
        signed.signed(&key).unwrap().passport(),
        signed.signed(&key).unwrap().signed(&key).unwrap().passport()
    );
}

#[test]
fn a_signature_that_does_not_hold_is_refused_by_everybody() {
    let key = SigningKey::from_seed([1; 32]).unwrap();
    let with_signature = |text: &str| {
        let mut model = chain(3).to_model();
        PASSPORT_SIGNATURES.write(&mut model.metadata_props, &vec![text.to_owned()]);
        let decoded = CompiledModel::decode(&model.encode_to_vec()).unwrap();
        match install(&decoded, "Chain", Config::new()) {
            Err(InstallError::BadSignature(error)) => error,
            installed => panic!("{text}: {installed:?}"),
        }
    };
    let of_another = Signature::sign(&key, chain(4).digest()).to_string();
    assert_eq!(with_signature(&of_another), SignatureError::DoesNotFit { key: key.verifying_key() });
    let good = Signature::sign(&key, chain(3).digest()).to_string();
    for at in [0, 70, 150, 191] {
        let mut digits = good.clone().into_bytes();
        digits[at] = if digits[at] == b'0' { b'1' } else { b'0' };
        let altered = String::from_utf8(digits).unwrap();
        assert!(matches!(with_signature(&altered), SignatureError::DoesNotFit { .. }), "{at}");
    }
    for text in ["", "00", &good[1..], &format!("{good}00"), &good.replace('a', "é")] {
        assert_eq!(with_signature(text), SignatureError::NotSignature, "{text}");
    }
}

#[test]
fn a_program_that_breaks_a_rule_is_refused() {
    let mut program: Program = (**chain(2).program()).clone();
    program.targets[0].regions[0].graph.nodes.reverse();
    let model = CompiledModel::new(program, Default::default());
    assert!(matches!(install(&model, "Chain", Config::new()), Err(InstallError::Malformed { .. })));
}

proptest! {
    #[test]
    fn no_bytes_are_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Err(ArtifactError::NotProtobuf { reason }) = CompiledModel::decode(&bytes) {
            prop_assert!(!reason.is_empty());
        }
    }

    #[test]
    fn a_mutated_artifact_never_installs(at in 0_usize..10_000, byte in any::<u8>()) {
        let bytes = chain(3).encode();
        let mut mutated = bytes.clone();
        let length = bytes.len();
        mutated[at % length] ^= byte;
        if mutated != bytes
            && let Ok(decoded) = CompiledModel::decode(&mutated)
        {
            // A change that a decoder does not see, such as a longer varint, is no change of the program.
            let same = decoded.encode() == bytes;
            prop_assert!(same || install(&decoded, "Chain", Config::new()).is_err());
        }
    }
}
