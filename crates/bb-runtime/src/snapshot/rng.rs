//! Section 3: the random generator.

use bb_framework::Rng;
use bb_framework::rng::RngState;
use bb_ir::wire_codec::Cursor;
use bb_ir::wire_codec::write::{put_bytes, put_fixed64};

use super::SnapshotError;
use super::codec::{Bad, Read, fields, put_number, set, unknown};
use super::save::Saving;

/// The generator's position is a number below 2⁶⁸.
const POSITION_HIGH_BITS: u32 = 4;

pub(super) fn save(cx: &mut Saving<'_>, out: &mut super::TryBytes) -> Result<(), SnapshotError> {
    let RngState { seed, position } = cx.engine.rng.state();
    put_bytes(out, 1, &seed);
    put_fixed64(out, 2, position as u64);
    put_number(out, 3, (position >> 64) as u64);
    Ok(())
}

pub(super) fn load(section: &[u8]) -> Result<Rng, Bad> {
    let (mut seed, mut low, mut high) = (None, None, None);
    fields(Cursor::new(section), |field| match field.number {
        1 => set(&mut seed, &field, field.array::<32>()?),
        2 => set(&mut low, &field, field.fixed64()?),
        3 => set(&mut high, &field, field.varint()?),
        _ => Err(unknown(&field)),
    })?;
    let seed = seed.ok_or_else(|| Bad::missing("seed"))?;
    let high = high.unwrap_or(0);
    if high >> POSITION_HIGH_BITS != 0 {
        return Err(Bad::inconsistent("the generator has no such position"));
    }
    let position = u128::from(high) << 64 | u128::from(low.unwrap_or(0));
    Ok(Rng::restore(RngState { seed, position }))
}
