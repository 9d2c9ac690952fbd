//! Writing a value: canonical protobuf, fields in the order of their numbers, straight into one buffer.

use super::write::{
    NoMemory, Sink, len_field_len, put_bytes, put_fixed64, put_len, put_varint_field, varint_field_len,
    zigzag,
};
use crate::{CustomValue, Digest, Tensor, TensorMap, Value};

impl Value {
    /// The wire form; equal values have equal bytes.
    ///
    /// A value may hold more than [`DecodeLimits::PEER`](super::DecodeLimits::PEER) lets another node accept:
    /// [`scan`](super::scan) tells.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        self.encode_into(&mut out);
        out
    }

    /// [`Value::encode`] where memory may be short.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub fn try_encode(&self) -> Result<Vec<u8>, NoMemory> {
        let byte_count = self.encoded_len();
        let mut out = Vec::new();
        out.try_reserve_exact(byte_count).map_err(|_| NoMemory { byte_count })?;
        self.encode_into(&mut out);
        Ok(out)
    }

    /// The digest of the wire form, which is not held for it.
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        self.encode_into(&mut hasher);
        Digest(*hasher.finalize().as_bytes())
    }

    /// Appends the wire form.
    pub fn encode_into(&self, out: &mut impl Sink) {
        match self {
            Self::Trigger => put_varint_field(out, 1, 1),
            Self::Bool(held) => put_varint_field(out, 2, u64::from(*held)),
            Self::I64(held) => put_varint_field(out, 3, zigzag(*held)),
            Self::U64(held) => put_fixed64(out, 4, *held),
            Self::F64(held) => put_fixed64(out, 5, held.to_bits()),
            Self::Str(held) => put_bytes(out, 6, held.as_bytes()),
            Self::Bytes(held) => put_bytes(out, 7, held),
            Self::Tensor(held) => put_tensor(out, 8, held, None),
            Self::Tensors(held) => {
                put_len(out, 9, tensors_len(held));
                held.iter().for_each(|(name, tensor)| put_tensor(out, 1, tensor, Some(name)));
            }
            Self::Peer(held) => put_bytes(out, 10, held.as_bytes()),
            Self::Peers(held) => {
                put_len(out, 11, held.iter().map(|peer| len_field_len(1, peer.as_bytes().len())).sum());
                held.iter().for_each(|peer| put_bytes(out, 1, peer.as_bytes()));
            }
            Self::Addresses(held) => {
                put_len(out, 12, held.iter().map(|address| len_field_len(1, address.as_bytes().len())).sum());
                held.iter().for_each(|address| put_bytes(out, 1, address.as_bytes()));
            }
            Self::Tuple(held) => {
                put_len(out, 13, tuple_len(held));
                for item in &**held {
                    put_len(out, 1, item.encoded_len());
                    item.encode_into(out);
                }
            }
            Self::Custom(held) => {
                put_len(out, 14, custom_len(held));
                put_unless_empty(out, 1, held.schema().as_bytes());
                put_unless_empty(out, 2, &held.encoded());
            }
        }
    }

    /// Bytes that the wire form takes.
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Trigger | Self::Bool(_) => 2,
            Self::I64(held) => varint_field_len(3, zigzag(*held)),
            Self::U64(_) | Self::F64(_) => 9,
            Self::Str(held) => len_field_len(6, held.len()),
            Self::Bytes(held) => len_field_len(7, held.len()),
            Self::Tensor(held) => len_field_len(8, tensor_len(held, None)),
            Self::Tensors(held) => len_field_len(9, tensors_len(held)),
            Self::Peer(held) => len_field_len(10, held.as_bytes().len()),
            Self::Peers(held) => {
                len_field_len(11, held.iter().map(|peer| len_field_len(1, peer.as_bytes().len())).sum())
            }
            Self::Addresses(held) => {
                len_field_len(12, held.iter().map(|address| len_field_len(1, address.as_bytes().len())).sum())
            }
            Self::Tuple(held) => len_field_len(13, tuple_len(held)),
            Self::Custom(held) => len_field_len(14, custom_len(held)),
        }
    }
}

fn tuple_len(items: &[Value]) -> usize {
    items.iter().map(|item| len_field_len(1, item.encoded_len())).sum()
}

fn tensors_len(tensors: &TensorMap) -> usize {
    tensors.iter().map(|(name, tensor)| len_field_len(1, tensor_len(tensor, Some(name)))).sum()
}

fn tensor_len(tensor: &Tensor, name: Option<&str>) -> usize {
    let dims: usize = tensor.shape().iter().map(|&extent| varint_field_len(1, extent as u64)).sum();
    dims + varint_field_len(2, tensor.dtype().to_onnx() as u64)
        + name.map_or(0, |name| len_field_len(8, name.len()))
        + len_field_len(9, tensor.buffer().len())
}

fn put_tensor(out: &mut impl Sink, field: u32, tensor: &Tensor, name: Option<&str>) {
    put_len(out, field, tensor_len(tensor, name));
    for &extent in tensor.shape().iter() {
        put_varint_field(out, 1, extent as u64);
    }
    put_varint_field(out, 2, tensor.dtype().to_onnx() as u64);
    if let Some(name) = name {
        put_bytes(out, 8, name.as_bytes());
    }
    put_bytes(out, 9, &tensor.to_le_bytes());
}

fn custom_len(custom: &CustomValue) -> usize {
    let unless_empty = |field, length| if length == 0 { 0 } else { len_field_len(field, length) };
    unless_empty(1, custom.schema().len()) + unless_empty(2, custom.encoded().len())
}

fn put_unless_empty(out: &mut impl Sink, field: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_bytes(out, field, bytes);
    }
}
