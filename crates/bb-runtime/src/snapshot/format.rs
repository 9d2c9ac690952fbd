//! The bytes of a snapshot: a fixed header with the hash of each section, then the sections.

use std::fmt;
use std::ops::Range;

use bb_ir::Digest;
use bb_ir::wire_codec::write::{NoMemory, Sink as _, TryBytes};
use bytes::Bytes;

use super::codec::MAX_LENGTH;
use super::{Fault, RestoreError, SnapshotError};
use crate::PeerId;

/// The version of the format that is written, and the only one that is read.
pub const SNAPSHOT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"bbsnap\r\n";
const HASH: usize = 32;
const PEER_ROOM: usize = 64;
/// Magic, version, authentication, program, incarnation, peer, section count.
const FIXED: usize = 8 + 4 + 4 + HASH + 8 + 1 + PEER_ROOM + 4;
const ENTRY: usize = 4 + 8 + HASH;
/// More sections than there will ever be.
const MAX_SECTIONS: usize = 64;

/// All that decides what a node will do, as bytes: see `proto/bb_snapshot.proto`.
///
/// The bytes are as secret as the node: they hold its data and the seed of its random generator. A keyed hash
/// protects them against change, not against readers.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut node: bb_runtime::Node = unreachable!();
/// use bb_runtime::snapshot::NodeSnapshot;
/// let bytes = node.snapshot()?.encode();
/// node.restore(NodeSnapshot::decode(bytes)?)?;
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct NodeSnapshot {
    bytes: Bytes,
    program: Digest,
    peer: PeerId,
    incarnation: u64,
    /// Number and place of each section.
    sections: Vec<(u32, Range<usize>)>,
    /// Where the header's hash ends.
    header: usize,
    is_signed: bool,
}

/// Who was saved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) program: Digest,
    pub(crate) peer: PeerId,
    pub(crate) incarnation: u64,
}

/// Collects sections behind the room for their header.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) out: TryBytes,
    sections: Vec<(u32, Range<usize>)>,
    capacity: usize,
}

impl Writer {
    /// A writer of at most `capacity` sections.
    pub(crate) fn new(capacity: usize) -> Self {
        let header = FIXED + capacity * ENTRY + HASH;
        let mut out = TryBytes::default();
        (0..header).for_each(|_| out.put(&[0]));
        Self { out, sections: Vec::with_capacity(capacity), capacity }
    }

    /// Ends the section that began where the one before ended.
    pub(crate) fn end(&mut self, number: u32) {
        let start = self.sections.last().map_or(self.header(), |(_, place)| place.end);
        self.sections.push((number, start..self.out.len()));
    }

    /// A digest of the sections written so far.
    pub(crate) fn digest(&self) -> Result<Digest, SnapshotError> {
        self.out.check()?;
        let mut hasher = blake3::Hasher::new();
        for (number, place) in &self.sections {
            hasher.update(&number.to_le_bytes());
            hasher.update(&(place.len() as u64).to_le_bytes());
            hasher.update(&self.out[place.clone()]);
        }
        Ok(Digest(*hasher.finalize().as_bytes()))
    }

    /// Writes the header.
    pub(crate) fn finish(mut self, identity: Identity) -> Result<NodeSnapshot, SnapshotError> {
        self.out.check()?;
        let byte_count = self.out.len();
        if byte_count > MAX_LENGTH {
            return Err(SnapshotError::TooLarge { byte_count, cap: MAX_LENGTH });
        }
        let header = self.header();
        let entries = self.sections.iter().map(|(number, place)| (*number, &self.out[place.clone()]));
        let written = write_header(identity, false, self.sections.len(), entries);
        self.out[..header].copy_from_slice(&written);
        Ok(NodeSnapshot {
            bytes: Bytes::from(self.out.into_bytes()?),
            program: identity.program,
            peer: identity.peer,
            incarnation: identity.incarnation,
            sections: self.sections,
            header,
            is_signed: false,
        })
    }

    fn header(&self) -> usize {
        FIXED + self.capacity * ENTRY + HASH
    }
}

fn write_header<'a>(
    identity: Identity,
    is_signed: bool,
    count: usize,
    sections: impl Iterator<Item = (u32, &'a [u8])>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(FIXED + count * ENTRY + HASH);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&SNAPSHOT_VERSION.to_le_bytes());
    out.extend_from_slice(&u32::from(is_signed).to_le_bytes());
    out.extend_from_slice(identity.program.as_bytes());
    out.extend_from_slice(&identity.incarnation.to_le_bytes());
    let peer = identity.peer.as_bytes();
    out.push(peer.len() as u8);
    out.extend_from_slice(peer);
    out.resize(out.len() + PEER_ROOM - peer.len(), 0);
    out.extend_from_slice(&(count as u32).to_le_bytes());
    for (number, bytes) in sections {
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        out.extend_from_slice(blake3::hash(bytes).as_bytes());
    }
    let hash = blake3::hash(&out);
    out.extend_from_slice(hash.as_bytes());
    out
}

impl NodeSnapshot {
    /// The bytes to keep; equal nodes have equal bytes. Costs nothing: the bytes are shared.
    pub fn encode(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The bytes to keep, with a keyed hash that only an owner of `key` can make.
    ///
    /// # Errors
    /// [`NoMemory`]: these are other bytes than those that are held.
    pub fn encode_with_key(&self, key: &[u8; 32]) -> Result<Vec<u8>, NoMemory> {
        let identity = Identity { program: self.program, peer: self.peer, incarnation: self.incarnation };
        let sections = self.sections.iter().map(|(number, place)| (*number, &self.bytes[place.clone()]));
        let mut out = write_header(identity, true, self.sections.len(), sections);
        let mac = blake3::keyed_hash(key, &out[out.len() - HASH..]);
        let byte_count = out.len() + HASH + self.bytes.len();
        out.try_reserve_exact(HASH + self.bytes.len()).map_err(|_| NoMemory { byte_count })?;
        out.extend_from_slice(mac.as_bytes());
        out.extend_from_slice(&self.bytes[self.sections_start()..]);
        Ok(out)
    }

    /// Reads what [`NodeSnapshot::encode`] or [`NodeSnapshot::encode_with_key`] wrote, and checks every hash; a keyed
    /// one is not looked at. `Vec<u8>` and `Bytes` are taken without a copy.
    ///
    /// # Errors
    /// [`RestoreError::Corrupt`], [`RestoreError::SpecVersionMismatch`].
    pub fn decode(bytes: impl Into<Bytes>) -> Result<Self, RestoreError> {
        let bytes = bytes.into();
        let snapshot = Self::read_header(bytes)?;
        snapshot.check_sections()?;
        Ok(snapshot)
    }

    /// Reads what [`NodeSnapshot::encode_with_key`] wrote with the same key, and checks every hash.
    ///
    /// # Errors
    /// Those of [`NodeSnapshot::decode`], and [`RestoreError::BadSignature`].
    pub fn decode_with_key(bytes: impl Into<Bytes>, key: &[u8; 32]) -> Result<Self, RestoreError> {
        let snapshot = Self::read_header(bytes.into())?;
        if !snapshot.is_signed {
            return Err(RestoreError::BadSignature);
        }
        let expected = blake3::keyed_hash(key, &snapshot.bytes[snapshot.header - HASH..snapshot.header]);
        let got: [u8; HASH] = array(&snapshot.bytes, snapshot.header);
        // Compared in constant time.
        if expected != got {
            return Err(RestoreError::BadSignature);
        }
        snapshot.check_sections()?;
        Ok(snapshot)
    }

    /// The program that the node ran.
    pub fn program_digest(&self) -> Digest {
        self.program
    }

    /// The node.
    pub fn peer_id(&self) -> PeerId {
        self.peer
    }

    /// The node's incarnation when it was saved.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// How many bytes it has.
    pub fn byte_count(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the bytes have a keyed hash.
    pub fn is_signed(&self) -> bool {
        self.is_signed
    }

    /// A section; empty if it is not there.
    pub(crate) fn section(&self, number: u32) -> &[u8] {
        let found = self.sections.iter().find(|(held, _)| *held == number);
        found.map_or(&[], |(_, place)| &self.bytes[place.clone()])
    }

    /// The numbers of the sections that are not empty.
    pub(crate) fn section_numbers(&self) -> impl Iterator<Item = u32> {
        self.sections.iter().filter(|(_, place)| !place.is_empty()).map(|(number, _)| *number)
    }

    fn sections_start(&self) -> usize {
        self.header + if self.is_signed { HASH } else { 0 }
    }

    fn read_header(bytes: Bytes) -> Result<Self, RestoreError> {
        if bytes.len() < FIXED || bytes[..MAGIC.len()] != MAGIC {
            return Err(damaged(Fault::Truncated));
        }
        let got = u32::from_le_bytes(array(&bytes, 8));
        if got != SNAPSHOT_VERSION {
            return Err(RestoreError::SpecVersionMismatch { got, expected: SNAPSHOT_VERSION });
        }
        let count = u32::from_le_bytes(array(&bytes, FIXED - 4)) as usize;
        let header = FIXED + count.min(MAX_SECTIONS) * ENTRY + HASH;
        if count > MAX_SECTIONS || bytes.len() < header {
            return Err(damaged(Fault::Truncated));
        }
        if *blake3::hash(&bytes[..header - HASH]).as_bytes() != array::<HASH>(&bytes, header - HASH) {
            return Err(damaged(Fault::Hash));
        }
        let authentication = u32::from_le_bytes(array(&bytes, 12));
        if authentication > 1 {
            return Err(damaged(Fault::Unknown { number: u64::from(authentication) }));
        }
        let peer_at = 16 + HASH + 8;
        let (peer, room) = bytes[peer_at + 1..FIXED - 4].split_at(usize::from(bytes[peer_at]).min(PEER_ROOM));
        if peer.len() != usize::from(bytes[peer_at]) || room.iter().any(|byte| *byte != 0) {
            return Err(damaged(Fault::Inconsistent { reason: "its peer id is longer than it says" }));
        }
        let peer = PeerId::from_bytes(peer).map_err(|source| {
            damaged(Fault::Value(bb_ir::wire_codec::ValueError::Peer { at: peer_at, source }))
        })?;
        let is_signed = authentication == 1;
        let mut start = header + if is_signed { HASH } else { 0 };
        let mut sections = Vec::with_capacity(count);
        for index in 0..count {
            let at = FIXED + index * ENTRY;
            let number = u32::from_le_bytes(array(&bytes, at));
            let length = usize::try_from(u64::from_le_bytes(array(&bytes, at + 4))).ok();
            let end = length.and_then(|length| start.checked_add(length)).filter(|&end| end <= bytes.len());
            let end = end.ok_or_else(|| damaged(Fault::Truncated))?;
            if sections.last().is_some_and(|(before, _)| *before >= number) {
                return Err(damaged(Fault::Inconsistent { reason: "its sections are out of order" }));
            }
            sections.push((number, start..end));
            start = end;
        }
        if start != bytes.len() {
            return Err(damaged(Fault::Truncated));
        }
        Ok(Self {
            program: Digest(array(&bytes, 16)),
            peer,
            incarnation: u64::from_le_bytes(array(&bytes, 16 + HASH)),
            sections,
            header,
            is_signed,
            bytes,
        })
    }

    fn check_sections(&self) -> Result<(), RestoreError> {
        for (index, (number, place)) in self.sections.iter().enumerate() {
            let expected: [u8; HASH] = array(&self.bytes, FIXED + index * ENTRY + 12);
            if *blake3::hash(&self.bytes[place.clone()]).as_bytes() != expected {
                let section = super::name(*number).map_or_else(|| number.to_string(), str::to_owned);
                return Err(RestoreError::Corrupt { section, fault: Fault::Hash });
            }
        }
        Ok(())
    }
}

impl fmt::Debug for NodeSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeSnapshot")
            .field("program", &self.program)
            .field("peer", &self.peer)
            .field("incarnation", &self.incarnation)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

fn damaged(fault: Fault) -> RestoreError {
    RestoreError::Corrupt { section: "header".to_owned(), fault }
}

/// Bytes that are known to be there.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut held = [0; N];
    held.copy_from_slice(&bytes[at..at + N]);
    held
}
