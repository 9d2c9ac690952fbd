//! Padding, blocks, order, running sums.

use super::harness::{Case, Feed, NEWEST, Rng, int, ints, text};

#[test]
fn compress_matches_differences() {
    let mut rng = Rng::new(1701);
    for round in 0..20 {
        let shape = rng.shape(2);
        let mut case = Case::new("Compress").float(&mut rng, &shape, -1.0, 1.0);
        let mut flags: Vec<u8> = (0..shape[round % 2]).map(|_| u8::from(rng.flag())).collect();
        flags[0] = 1;
        if round % 4 < 2 {
            case = case.attribute(int("axis", (round % 2) as i64));
        }
        case.feed(Feed::Flags(vec![flags.len()], flags)).check();
    }
}

#[test]
fn running_sums_match_differences() {
    let mut rng = Rng::new(1702);
    for round in 0..20 {
        let rank = rng.below(1, 4);
        let shape = rng.shape(rank);
        let axis = rng.axes(rank)[0];
        Case::new("CumSum")
            .attribute(int("exclusive", round % 2))
            .attribute(int("reverse", round / 2 % 2))
            .float(&mut rng, &shape, -1.0, 1.0)
            .feed(Feed::Labels(vec![], vec![axis]))
            .check();
    }
}

#[test]
fn running_products_match_differences_where_elements_are_zero_too() {
    let mut rng = Rng::new(1703);
    for round in 0..20 {
        let rank = rng.below(1, 4);
        let shape = rng.shape(rank);
        let axis = rng.axes(rank)[0];
        let count = shape.iter().product::<usize>();
        let values =
            (0..count).map(|_| if rng.below(0, 4) == 0 { 0.0 } else { rng.float(-1.5, 1.5) }).collect();
        Case::new("CumProd")
            .opset(26)
            .attribute(int("exclusive", round % 2))
            .attribute(int("reverse", [0, 1, 2, -1][round as usize / 2 % 4]))
            .feed(Feed::Float(shape, values))
            .held(&[axis])
            .check();
    }
}

#[test]
fn blocks_match_differences() {
    let mut rng = Rng::new(1704);
    for round in 0..24 {
        let size = rng.below(1, 4);
        let mut shape = rng.shape(4);
        shape.iter_mut().for_each(|extent| *extent = (*extent).min(3));
        if round % 3 == 0 {
            shape[2] *= size;
            shape[3] *= size;
            let case = Case::new("SpaceToDepth").attribute(int("blocksize", size as i64));
            case.float(&mut rng, &shape, -1.0, 1.0).check();
            continue;
        }
        shape[1] *= size * size;
        Case::new("DepthToSpace")
            .attribute(int("blocksize", size as i64))
            .attribute(text("mode", ["CRD", "DCR"][round % 2]))
            .float(&mut rng, &shape, -1.0, 1.0)
            .check();
    }
}

#[test]
fn pads_match_differences_in_all_modes() {
    let mut rng = Rng::new(1705);
    for round in 0..40 {
        let shape: Vec<usize> = (0..rng.below(1, 4)).map(|_| rng.below(2, 5)).collect();
        let mode = ["constant", "reflect", "edge", "wrap"][round % 4];
        let lowest = if mode == "constant" { -1 } else { 0 };
        let pads: Vec<i64> = (0..2 * shape.len()).map(|_| rng.below(0, 3) as i64 + lowest).collect();
        let pads: Vec<i64> = pads.iter().map(|&pad| pad.min(1)).collect();
        let shape: Vec<usize> = shape.iter().map(|&extent| extent.max(3)).collect();
        let case = Case::new("Pad").attribute(text("mode", mode)).float(&mut rng, &shape, -1.0, 1.0);
        match (mode, round % 3) {
            ("constant", 0) => Case::new("Pad")
                .opset(9)
                .attribute(ints("pads", &pads))
                .float(&mut rng, &shape, -1.0, 1.0)
                .check(),
            ("constant", 1) => case.held(&pads).float(&mut rng, &[], -1.0, 1.0).check(),
            ("constant", _) => case.held(&[1, 0]).feed(Feed::Absent).held(&[shape.len() as i64 - 1]).check(),
            _ => case.opset(19).held(&pads).check(),
        }
    }
}

#[test]
fn reversed_sequences_match_differences() {
    let mut rng = Rng::new(1706);
    for round in 0..20 {
        let shape = [rng.below(1, 5), rng.below(1, 5), rng.below(1, 3)];
        let (time, batch) = if round % 2 == 0 { (0, 1) } else { (1, 0) };
        let lengths: Vec<i64> = (0..shape[batch]).map(|_| rng.below(1, shape[time] + 1) as i64).collect();
        Case::new("ReverseSequence")
            .attribute(int("time_axis", time as i64))
            .attribute(int("batch_axis", batch as i64))
            .float(&mut rng, &shape, -1.0, 1.0)
            .feed(Feed::Labels(vec![lengths.len()], lengths))
            .check();
    }
}

#[test]
fn the_largest_match_differences() {
    let mut rng = Rng::new(1707);
    for round in 0..20 {
        let rank = rng.below(1, 4);
        let shape: Vec<usize> = (0..rank).map(|_| rng.below(2, 5)).collect();
        let axis = rng.below(0, rank);
        let count = rng.below(1, shape[axis] + 1) as i64;
        Case::new("TopK")
            .opset([NEWEST, 11][round as usize / 2 % 2])
            .attribute(int("axis", axis as i64))
            .attribute(int("largest", round % 2))
            .outputs(&[true, false])
            .distinct(&mut rng, &shape)
            .held(&[count])
            .check();
    }
}

#[test]
fn triangles_match_differences() {
    let mut rng = Rng::new(1708);
    for round in 0..20 {
        let shape = rng.shape(2 + round % 2);
        let mut case =
            Case::new("Trilu").attribute(int("upper", (round % 2) as i64)).float(&mut rng, &shape, -1.0, 1.0);
        if round % 3 > 0 {
            case = case.feed(Feed::Labels(vec![], vec![rng.below(0, 5) as i64 - 2]));
        }
        case.check();
    }
}

#[test]
fn distinct_elements_match_differences() {
    let mut rng = Rng::new(1709);
    for round in 0..20 {
        let shape = rng.shape(2);
        let mut case = Case::new("Unique").attribute(int("sorted", round % 2)).distinct(&mut rng, &shape);
        if round % 4 < 2 {
            case = case.attribute(int("axis", round % 2));
        }
        case.check();
    }
}

#[test]
fn scattered_products_and_extremes_match_differences() {
    let mut rng = Rng::new(1710);
    for round in 0..36 {
        let (rows, columns) = (rng.below(2, 5), rng.below(1, 4));
        let reduction = ["mul", "max", "min"][round % 3];
        let places: Vec<i64> = (0..2 * columns).map(|_| rng.below(0, rows) as i64).collect();
        let elements = round % 2 == 0;
        let case = Case::new(if elements { "ScatterElements" } else { "ScatterND" })
            .opset(18)
            .attribute(text("reduction", reduction));
        let places = if elements { places } else { places[..2].to_vec() };
        let indices = if elements { vec![2, columns] } else { vec![2, 1] };
        // No two numbers are close to each other, nor to zero.
        let total = (rows + 2) * columns;
        let order = rng.permutation(total);
        let number = |at: usize| 0.3 + 0.1 * order[at] as f64;
        let first = (0..rows * columns).map(number).collect();
        let second = (rows * columns..total).map(number).collect();
        case.feed(Feed::Float(vec![rows, columns], first))
            .feed(Feed::Labels(indices, places))
            .feed(Feed::Float(vec![2, columns], second))
            .check();
    }
}

#[test]
fn crops_of_the_middle_match_differences() {
    let mut rng = Rng::new(1711);
    for round in 0..20 {
        let shape: Vec<usize> = (0..3).map(|_| rng.below(1, 6)).collect();
        let target: Vec<i64> = (0..2).map(|_| rng.below(1, 6) as i64).collect();
        let axes = if round % 2 == 0 { [0, 2] } else { [-1, 0] };
        let case =
            Case::new("CenterCropPad").attribute(ints("axes", &axes)).float(&mut rng, &shape, -1.0, 1.0);
        case.held(&target).check();
    }
}
