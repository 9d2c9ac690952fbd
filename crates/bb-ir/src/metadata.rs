//! The `metadata_props` of ONNX messages, read and written through typed keys: the one table of `bb.*` keys.
//!
//! A program uses ONNX's own fields for whatever ONNX has a field for; the rest stands here. Other tools keep
//! such entries and ignore them. Texts stand as they are, everything else is JSON.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use thiserror::Error;

use crate::onnx::StringStringEntryProto;

/// A key of `metadata_props`, and the type `T` of what stands under it.
#[derive(Debug)]
pub struct Key<T> {
    name: &'static str,
    held: PhantomData<fn() -> T>,
}

/// An entry that cannot be read; whoever wrote the model is at fault.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetadataError {
    /// The entry's text is not what stands under its key.
    #[error("the metadata `{key}` is not {expected}: `{text}`")]
    Malformed {
        /// The key.
        key: &'static str,
        /// What stands under it.
        expected: &'static str,
        /// The first characters of the text.
        text: String,
    },
    /// A key met twice.
    #[error("the metadata `{key}` stands there twice")]
    Repeated {
        /// The key.
        key: &'static str,
    },
}

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $key:literal;)*) => {
        $($(#[$doc])* pub const $name: Key<$type> = Key { name: $key, held: PhantomData };)*

        /// The names of all keys, in the order of the table.
        pub const KEYS: &[&str] = &[$($key),*];
    };
}

keys! {
    /// Model: the version of the form in which programs are written.
    FORMAT: u32 = "bb.format";
    /// Model: the passes that ran, in order.
    PASSES: Vec<String> = "bb.passes";
    /// Model: by slot its component's type name, its role, and the slots of its dependencies.
    BINDINGS: BTreeMap<String, (String, Option<String>, BTreeMap<String, String>)> = "bb.bindings";
    /// Model: the names of the targets, and their peer classes.
    TARGETS: Vec<(String, String)> = "bb.targets";
    /// Model: the digest of the artifact, 64 hexadecimal digits.
    PASSPORT_DIGEST: String = "bb.passport.digest";
    /// Model: the version of the compiler that stamped the artifact.
    PASSPORT_COMPILER: String = "bb.passport.compiler";
    /// Model: who vouches for the artifact, 192 hexadecimal digits each: a key, and its signature over the digest.
    PASSPORT_SIGNATURES: Vec<String> = "bb.passport.signatures";
    /// Function: the index of the target that the region belongs to, and what starts the region.
    REGION: (u32, String) = "bb.region";
    /// Function: the name of the program's graph, where it is not the function's.
    GRAPH: String = "bb.graph";
    /// Function or graph: its values in order, where that is not the order in which they are made. A value that
    /// is never made stands there with its type.
    VALUES: Vec<(String, Option<serde_json::Value>)> = "bb.values";
    /// Function or graph: the public names of its outputs, where they are not the values' names.
    OUTPUTS: Vec<String> = "bb.outputs";
    /// Graph: for each value that it reads of the graph around it, that value's name, the name by which it
    /// is read here, and the name of the value that stands for it.
    CAPTURES: Vec<(String, String, String)> = "bb.captures";
    /// Value: a type that ONNX does not have.
    TYPE: serde_json::Value = "bb.type";
    /// Node: the peer class that runs it.
    PLACE: String = "bb.place";
    /// Node: the slot whose component runs it.
    SLOT: String = "bb.slot";
    /// Node: further slots that it touches.
    USES: Vec<String> = "bb.uses";
    /// Node: nodes that must have run before it, by index.
    AFTER: Vec<u32> = "bb.after";
    /// Node: where it was recorded: file, line, column.
    SPAN: (String, u32, u32) = "bb.span";
    /// Node: the attributes that hold the wire form of a value.
    VALUE_ATTRIBUTES: Vec<String> = "bb.value_attributes";
}

/// What can stand under a key.
pub trait Entry: Sized + sealed::Sealed {
    /// What it is, for errors.
    const EXPECTED: &'static str;

    /// Reads it.
    fn read(text: &str) -> Option<Self>;

    /// Its text; equal entries have equal texts.
    fn text(&self) -> String;
}

mod sealed {
    #[expect(unnameable_types, reason = "sealed: nobody outside may name it")]
    pub trait Sealed {}
}

impl sealed::Sealed for String {}
impl Entry for String {
    const EXPECTED: &'static str = "a text";

    fn read(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn text(&self) -> String {
        self.clone()
    }
}

macro_rules! json {
    ($($type:ty: $expected:literal,)*) => {$(
        impl sealed::Sealed for $type {}
        impl Entry for $type {
            const EXPECTED: &'static str = $expected;

            fn read(text: &str) -> Option<Self> {
                serde_json::from_str(text).ok()
            }

            fn text(&self) -> String {
                serde_json::json!(self).to_string()
            }
        }
    )*};
}

json! {
    u32: "a number",
    Vec<u32>: "a list of numbers",
    Vec<String>: "a list of texts",
    Vec<(String, String)>: "a list of pairs of texts",
    Vec<(String, String, String)>: "a list of three texts each",
    Vec<(String, Option<serde_json::Value>)>: "a list of names and types",
    (u32, String): "a number and a text",
    (String, u32, u32): "a file, a line and a column",
    BTreeMap<String, (String, Option<String>, BTreeMap<String, String>)>: "a map of bindings",
    serde_json::Value: "JSON",
}

impl<T: Entry> Key<T> {
    /// The key's name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What stands under the key; `None` if there is no entry.
    ///
    /// # Errors
    /// [`MetadataError`].
    pub fn read(&self, entries: &[StringStringEntryProto]) -> Result<Option<T>, MetadataError> {
        let key = self.name;
        let mut found = entries.iter().filter(|entry| entry.key() == key);
        let Some(entry) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(MetadataError::Repeated { key });
        }
        let text = entry.value();
        T::read(text).map(Some).ok_or_else(|| MetadataError::Malformed {
            key,
            expected: T::EXPECTED,
            text: text.chars().take(80).collect(),
        })
    }

    /// Adds an entry.
    pub fn write(&self, entries: &mut Vec<StringStringEntryProto>, held: &T) {
        entries.push(StringStringEntryProto { key: Some(self.name.to_owned()), value: Some(held.text()) });
    }

    /// Takes the entries under the key out.
    pub fn remove(&self, entries: &mut Vec<StringStringEntryProto>) {
        entries.retain(|entry| entry.key() != self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let mut entries = Vec::new();
        let span = ("src/\"a\" b.rs".to_owned(), 3, 4);
        SPAN.write(&mut entries, &span);
        PLACE.write(&mut entries, &"a.b|c".to_owned());
        AFTER.write(&mut entries, &vec![1, 2]);
        assert_eq!(SPAN.read(&entries), Ok(Some(span)));
        assert_eq!(PLACE.read(&entries), Ok(Some("a.b|c".to_owned())));
        assert_eq!(AFTER.read(&entries), Ok(Some(vec![1, 2])));
        assert_eq!(USES.read(&entries), Ok(None));
        AFTER.remove(&mut entries);
        assert_eq!(AFTER.read(&entries), Ok(None));
    }

    #[test]
    fn a_key_met_twice_and_a_text_of_another_kind_are_refused() {
        let mut entries = Vec::new();
        SLOT.write(&mut entries, &"compute".to_owned());
        SLOT.write(&mut entries, &"compute".to_owned());
        assert_eq!(SLOT.read(&entries), Err(MetadataError::Repeated { key: "bb.slot" }));
        entries.push(StringStringEntryProto { key: Some("bb.after".into()), value: Some("1,2".into()) });
        assert!(matches!(AFTER.read(&entries), Err(MetadataError::Malformed { key: "bb.after", .. })));
    }

    #[test]
    fn no_two_keys_have_one_name() {
        let names: std::collections::BTreeSet<_> = KEYS.iter().collect();
        assert_eq!(names.len(), KEYS.len());
        assert!(KEYS.iter().all(|name| name.starts_with("bb.")));
    }
}
