//! Snapshot files taken apart and put together by hand, as the schema describes them.

use std::collections::BTreeMap;

const FIXED: usize = 8 + 4 + 4 + 32 + 8 + 65 + 4;

/// The sections of a file without authentication, by their numbers.
pub(crate) fn sections(file: &[u8]) -> BTreeMap<u32, Vec<u8>> {
    let count = u32::from_le_bytes(file[FIXED - 4..FIXED].try_into().unwrap()) as usize;
    let mut at = FIXED + count * 44 + 32;
    let mut sections = BTreeMap::new();
    for index in 0..count {
        let entry = &file[FIXED + index * 44..][..44];
        let number = u32::from_le_bytes(entry[..4].try_into().unwrap());
        let length = u64::from_le_bytes(entry[4..12].try_into().unwrap()) as usize;
        sections.insert(number, file[at..at + length].to_vec());
        at += length;
    }
    sections
}

/// The file with these sections and all hashes as they must be.
pub(crate) fn file(like: &[u8], sections: &BTreeMap<u32, Vec<u8>>) -> Vec<u8> {
    let mut out = like[..FIXED - 4].to_vec();
    out.extend((sections.len() as u32).to_le_bytes());
    for (number, bytes) in sections {
        out.extend(number.to_le_bytes());
        out.extend((bytes.len() as u64).to_le_bytes());
        out.extend(blake3::hash(bytes).as_bytes());
    }
    let hash = blake3::hash(&out);
    out.extend(hash.as_bytes());
    sections.values().for_each(|bytes| out.extend(bytes));
    out
}
