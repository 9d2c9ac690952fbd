//! Attention and rotated positions.

use super::harness::{Case, Feed, Rng, int, real};

#[test]
fn attention_matches_differences_in_its_forms() {
    let mut rng = Rng::new(2201);
    for round in 0..24 {
        let (batch, rows, keys, size) = (rng.below(1, 3), rng.below(1, 4), rng.below(1, 4), rng.below(1, 4));
        let kv_heads = rng.below(1, 3);
        let heads = kv_heads * rng.below(1, 3);
        let packed = round % 3 == 0;
        let shape = |heads: usize, rows: usize| {
            if packed { vec![batch, rows, heads * size] } else { vec![batch, heads, rows, size] }
        };
        let mut case = Case::new("Attention").opset(23);
        if packed {
            case = case
                .attribute(int("q_num_heads", heads as i64))
                .attribute(int("kv_num_heads", kv_heads as i64));
        }
        if rng.flag() {
            case = case.attribute(real("scale", 0.7));
        }
        if rng.flag() {
            case = case.attribute(real("softcap", 1.5));
        }
        if rng.flag() {
            case = case.attribute(int("is_causal", 1));
        }
        case = case
            .float(&mut rng, &shape(heads, rows), -1.0, 1.0)
            .float(&mut rng, &shape(kv_heads, keys), -1.0, 1.0)
            .float(&mut rng, &shape(kv_heads, keys), -1.0, 1.0);
        let past = round % 4 == 1;
        let total = if past { keys + 2 } else { keys };
        case = match round % 4 {
            0 => case.float(&mut rng, &[rows, total], -1.0, 1.0),
            2 => case.flags(&mut rng, &[batch, 1, rows, total]),
            _ => case.feed(Feed::Absent),
        };
        if past {
            case = case
                .float(&mut rng, &[batch, kv_heads, 2, size], -1.0, 1.0)
                .float(&mut rng, &[batch, kv_heads, 2, size], -1.0, 1.0)
                .outputs(&[true, true, true]);
        }
        case.check();
    }
}

#[test]
fn rotated_positions_match_differences() {
    let mut rng = Rng::new(2202);
    for round in 0..20 {
        let (batch, heads, rows) = (rng.below(1, 3), rng.below(1, 3), rng.below(1, 4));
        let half = rng.below(1, 3);
        let table: Vec<f64> = (0..batch * rows * half).map(|_| rng.float(-1.0, 1.0)).collect();
        let shape = vec![batch, rows, half];
        Case::new("RotaryEmbedding")
            .opset(23)
            .attribute(int("interleaved", (round % 2) as i64))
            .float(&mut rng, &[batch, heads, rows, 2 * half], -1.0, 1.0)
            .feed(Feed::Fixed(shape.clone(), table.iter().map(|angle| angle.cos()).collect()))
            .feed(Feed::Fixed(shape, table.iter().map(|angle| angle.sin()).collect()))
            .check();
    }
}

#[test]
fn tables_of_cosines_and_sines_match_differences_in_all_forms() {
    let mut rng = Rng::new(2203);
    for round in 0..32 {
        let (batch, heads, rows) = (rng.below(1, 3), rng.below(1, 4), rng.below(1, 4));
        let (half, beyond) = (rng.below(1, 3), rng.below(0, 3));
        let size = 2 * half + if round / 4 % 2 == 0 { 0 } else { beyond };
        let packed = round % 4 == 3;
        let shape = if packed { vec![batch, rows, heads * size] } else { vec![batch, heads, rows, size] };
        let mut case =
            Case::new("RotaryEmbedding").opset(23).attribute(int("interleaved", (round % 2) as i64));
        if packed {
            case = case.attribute(int("num_heads", heads as i64));
        }
        if size > 2 * half || rng.flag() {
            case = case.attribute(int("rotary_embedding_dim", 2 * half as i64));
        }
        case = case.float(&mut rng, &shape, -1.0, 1.0);
        if round / 2 % 2 == 0 {
            let table = [batch, rows, half];
            case.float(&mut rng, &table, -1.0, 1.0).float(&mut rng, &table, -1.0, 1.0).check();
        } else {
            let table = [rng.below(1, 6), half];
            let places = (0..batch * rows).map(|_| rng.below(0, table[0]) as i64).collect();
            case.float(&mut rng, &table, -1.0, 1.0)
                .float(&mut rng, &table, -1.0, 1.0)
                .feed(Feed::Labels(vec![batch, rows], places))
                .check();
        }
    }
}
