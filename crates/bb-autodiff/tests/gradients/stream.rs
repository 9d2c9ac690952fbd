//! Ops that go on where an earlier run stopped.

use super::harness::{Case, Feed, Rng, int, real, text};

#[test]
fn convolutions_with_a_state_match_differences() {
    let mut rng = Rng::new(2701);
    for round in 0..20 {
        let (batch, channels, length, taps) =
            (rng.below(1, 3), rng.below(1, 4), rng.below(1, 5), rng.below(1, 4));
        let mut case = Case::new("CausalConvWithState")
            .opset(27)
            .attribute(text("activation", ["none", "silu", "swish"][round % 3]))
            .outputs(&[true, true])
            .float(&mut rng, &[batch, channels, length], -1.0, 1.0)
            .float(&mut rng, &[channels, 1, taps], -1.0, 1.0);
        case =
            if rng.flag() { case.float(&mut rng, &[channels], -1.0, 1.0) } else { case.feed(Feed::Absent) };
        if rng.flag() {
            case = case.float(&mut rng, &[batch, channels, taps - 1], -1.0, 1.0);
        }
        case.check();
    }
}

#[test]
fn linear_attention_matches_differences_under_all_rules() {
    let mut rng = Rng::new(2702);
    for round in 0..24 {
        let (batch, rows, heads, share) =
            (rng.below(1, 3), rng.below(1, 4), rng.below(1, 3), rng.below(1, 3));
        let (size, width) = (rng.below(1, 4), rng.below(1, 4));
        let rule = ["linear", "gated", "delta", "gated_delta"][round % 4];
        let mut case = Case::new("LinearAttention")
            .opset(27)
            .attribute(text("update_rule", rule))
            .attribute(int("q_num_heads", (heads * share) as i64))
            .attribute(int("kv_num_heads", heads as i64))
            .outputs(&[true, true]);
        if rng.flag() {
            case = case.attribute(real("scale", 0.7));
        }
        case = case
            .float(&mut rng, &[batch, rows, heads * share * size], -1.0, 1.0)
            .float(&mut rng, &[batch, rows, heads * size], -1.0, 1.0)
            .float(&mut rng, &[batch, rows, heads * width], -1.0, 1.0);
        case = match rng.flag() {
            true => case.float(&mut rng, &[batch, heads, size, width], -1.0, 1.0),
            false => case.feed(Feed::Absent),
        };
        let last = if rng.flag() { heads } else { heads * size };
        case = match rule.contains("gated") {
            true => case.float(&mut rng, &[batch, rows, last], -1.0, 0.0),
            false => case.feed(Feed::Absent),
        };
        if rule.contains("delta") {
            let last = if rng.flag() { heads } else { 1 };
            case = case.float(&mut rng, &[batch, rows, last], 0.0, 1.0);
        }
        case.check();
    }
}

#[test]
fn gated_units_match_differences() {
    let mut rng = Rng::new(2703);
    for round in 0..20 {
        let rank = rng.below(0, 4);
        let shape = rng.shape(rank);
        let mut case = Case::new("SwiGLU").opset(28);
        if round % 2 == 0 {
            case = case.attribute(real("alpha", 1.5));
        }
        case.float(&mut rng, &shape, -2.0, 2.0).float(&mut rng, &shape, -2.0, 2.0).check();
    }
}

#[test]
fn rows_written_into_a_cache_match_differences() {
    let mut rng = Rng::new(2704);
    for round in 0..20 {
        let circular = round % 2 == 1;
        let (batch, heads, length, size) =
            (rng.below(1, 3), rng.below(1, 3), rng.below(2, 6), rng.below(1, 4));
        let rows = rng.below(1, length + 1);
        let mut case = Case::new("TensorScatter")
            .opset(24)
            .attribute(text("mode", if circular { "circular" } else { "linear" }))
            .float(&mut rng, &[batch, heads, length, size], -1.0, 1.0)
            .float(&mut rng, &[batch, heads, rows, size], -1.0, 1.0);
        if rng.flag() {
            let most = if circular { length } else { length - rows + 1 };
            let places = (0..batch).map(|_| rng.below(0, most) as i64).collect();
            case = case.feed(Feed::Labels(vec![batch], places));
        }
        case.check();
    }
}
