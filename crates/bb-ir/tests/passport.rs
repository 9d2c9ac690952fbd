//! Passports and signatures of models refuse what is damaged, and say what it is.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use bb_ir::metadata::{MetadataError, PASSPORT_COMPILER, PASSPORT_DIGEST};
use bb_ir::onnx::ModelProto;
use bb_ir::passport::{Passport, PassportError, SignatureError, SigningKey};

fn stamped() -> ModelProto {
    let mut model = ModelProto { domain: Some("example".into()), ..ModelProto::default() };
    Passport::stamp(&mut model, "0.1.0");
    model
}

#[test]
fn a_model_without_the_whole_of_a_passport_has_none() {
    assert_eq!(Passport::of(&ModelProto::default()), Err(PassportError::Missing));
    for key in [PASSPORT_COMPILER.name(), PASSPORT_DIGEST.name()] {
        let mut model = stamped();
        model.metadata_props.retain(|entry| entry.key() != key);
        assert_eq!(Passport::of(&model), Err(PassportError::Missing), "without {key}");
    }
}

#[test]
fn a_digest_that_is_none_and_one_that_is_there_twice_are_told_apart() {
    let mut model = stamped();
    for entry in &mut model.metadata_props {
        if entry.key() == PASSPORT_DIGEST.name() {
            entry.value = Some("no digest".into());
        }
    }
    let error = Passport::of(&model).unwrap_err();
    assert!(matches!(error, PassportError::MalformedDigest(_)), "{error:?}");

    let mut model = stamped();
    let entries = model.metadata_props.clone();
    model.metadata_props.extend(entries);
    let error = Passport::of(&model).unwrap_err();
    assert!(matches!(&error, PassportError::Metadata(MetadataError::Repeated { .. })), "{error:?}");
}

#[test]
fn no_key_is_made_of_zeros() {
    assert_eq!(SigningKey::from_seed([0; 32]).err(), Some(SignatureError::WeakSeed));
    assert!(SigningKey::from_seed([1; 32]).is_ok());
}
