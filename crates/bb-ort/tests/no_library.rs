//! Without onnxruntime, a backend is refused with a text that says what to do.

use std::path::PathBuf;

use bb_ort::{ExecutionProvider, LIBRARY_VARIABLE, LoadError, OrtBackend, OrtConfig};
use bb_runtime::{Component, ComponentError};

fn refusal(library: PathBuf) -> LoadError {
    refusal_of(OrtConfig::default(), library)
}

fn refusal_of(config: OrtConfig, library: impl Into<PathBuf>) -> LoadError {
    match OrtBackend::new(&OrtConfig { library: Some(library.into()), ..config }) {
        Err(ComponentError::Other(error)) => match error.downcast::<LoadError>() {
            Ok(error) => *error,
            Err(other) => panic!("{other}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_library_that_is_not_there_is_named_with_the_two_ways_to_give_one() {
    let error = refusal("no/such/libonnxruntime.so".into());
    let text = error.to_string();
    assert!(matches!(error, LoadError::Missing { .. }), "{text}");
    for part in ["no/such/libonnxruntime.so", "OrtConfig::library", LIBRARY_VARIABLE, "package `onnxruntime`"]
    {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

#[test]
fn providers_do_not_make_up_for_the_library() {
    let config = OrtConfig {
        threads: 4,
        providers: vec![ExecutionProvider::Cuda { device: 0 }],
        ..OrtConfig::default()
    };
    assert!(matches!(refusal_of(config, "no/such/folder"), LoadError::Missing { .. }));
}

#[test]
fn a_file_or_folder_without_the_library_is_refused() {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    for path in [here.join("Cargo.toml"), here.join("src")] {
        assert!(matches!(refusal(path), LoadError::Missing { .. }));
    }
}

#[test]
fn no_threads_are_refused() {
    let error = OrtBackend::new(&OrtConfig { threads: 0, ..OrtConfig::default() }).unwrap_err();
    assert!(matches!(error, ComponentError::InvalidConfig { field: "threads", .. }), "{error}");
}
