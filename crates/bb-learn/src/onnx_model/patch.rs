//! Where in the bytes of a model the numbers of its initializers are, so that they are replaced and nothing else is.
//!
//! What a decoder does not know — fields of newer versions, the order of fields, how lengths are written — would be lost by
//! decoding and encoding again. Numbers of a trained tensor take as many bytes as before, so they are written over.

use std::collections::BTreeMap;
use std::ops::Range;

use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// The ranges that hold the numbers of a tensor, which follow each other in them, little-endian.
pub(super) type Ranges = Vec<Range<usize>>;

/// Field numbers of `onnx-ml.proto`.
mod field {
    pub(super) const MODEL_GRAPH: u32 = 7;
    pub(super) const GRAPH_INITIALIZER: u32 = 5;
    pub(super) const FLOAT_DATA: u32 = 4;
    pub(super) const NAME: u32 = 8;
    pub(super) const RAW_DATA: u32 = 9;
    pub(super) const DOUBLE_DATA: u32 = 10;
}

/// The places of the numbers of all initializers with `raw_data`, `float_data` or `double_data`, by name.
///
/// # Errors
/// Bytes that are no message.
pub(super) fn initializers(model: &[u8]) -> Result<BTreeMap<String, Ranges>, DecodeError> {
    let mut found = BTreeMap::new();
    each_field(model, 0..model.len(), |tag, graph| {
        if tag == field::MODEL_GRAPH {
            each_field(model, graph, |tag, tensor| {
                if tag == field::GRAPH_INITIALIZER {
                    let (name, ranges) = numbers(model, tensor)?;
                    found.entry(name).or_insert(ranges);
                }
                Ok(())
            })?;
        }
        Ok(())
    })?;
    Ok(found)
}

/// The name of a tensor and the places of its numbers.
fn numbers(model: &[u8], tensor: Range<usize>) -> Result<(String, Ranges), DecodeError> {
    let (mut name, mut raw, mut typed) = (String::new(), None, Ranges::new());
    each_field(model, tensor, |tag, range| {
        match tag {
            field::NAME => name = String::from_utf8_lossy(&model[range]).into_owned(),
            // Of a field that stands there twice, the last counts.
            field::RAW_DATA => raw = Some(range),
            // Packed or one by one: the numbers follow each other either way.
            field::FLOAT_DATA | field::DOUBLE_DATA => typed.push(range),
            _ => {}
        }
        Ok(())
    })?;
    Ok((name, raw.map_or(typed, |raw| vec![raw])))
}

/// Calls `visit` with the number and the content of each field of the message in `range`.
fn each_field(
    bytes: &[u8],
    range: Range<usize>,
    mut visit: impl FnMut(u32, Range<usize>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let end = range.end;
    let mut rest = &bytes[range];
    while !rest.is_empty() {
        let (tag, wire_type) = decode_key(&mut rest)?;
        let mut after = rest;
        skip_field(wire_type, tag, &mut after, DecodeContext::default())?;
        if wire_type == WireType::LengthDelimited {
            decode_varint(&mut rest)?;
        }
        let begin = end - rest.len();
        rest = after;
        visit(tag, begin..end - rest.len())?;
    }
    Ok(())
}

/// Writes `numbers` into `ranges` of `bytes`; whether they take exactly those.
pub(super) fn write(bytes: &mut [u8], ranges: &Ranges, numbers: &[u8]) -> bool {
    if ranges.iter().map(Range::len).sum::<usize>() != numbers.len() {
        return false;
    }
    let mut rest = numbers;
    for range in ranges {
        let (now, later) = rest.split_at(range.len());
        bytes[range.clone()].copy_from_slice(now);
        rest = later;
    }
    true
}
