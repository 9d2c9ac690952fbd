//! Ops that select elements by place.

use super::harness::{Case, Feed, NEWEST, Rng, int, ints, text};

#[test]
fn gather_matches_differences_with_repeated_and_negative_indices() {
    let mut rng = Rng::new(801);
    for round in 0..30 {
        let rank = rng.below(1, 4);
        let shape = rng.shape(rank);
        let axis = rng.below(0, rank);
        let indices_rank = rng.below(0, 3);
        let indices = rng.shape(indices_rank);
        let extent = shape[axis] as i64;
        let places = (0..indices.iter().product::<usize>())
            .map(|_| rng.below(0, 2 * shape[axis]) as i64 - extent)
            .collect();
        let signed = axis as i64 - if rng.flag() { rank as i64 } else { 0 };
        Case::new("Gather")
            .opset([22, 16, 13, 11][round % 4])
            .attribute(int("axis", signed))
            .float(&mut rng, &shape, -1.0, 1.0)
            .feed(Feed::Labels(indices, places))
            .check();
    }
}

#[test]
fn gather_elements_matches_differences() {
    let mut rng = Rng::new(802);
    for round in 0..20 {
        let shape = rng.shape(2);
        let axis = rng.below(0, 2);
        let mut indices = shape.clone();
        indices[axis] = rng.below(1, 5);
        indices[1 - axis] = rng.below(1, shape[1 - axis] + 1);
        let places =
            (0..indices.iter().product::<usize>()).map(|_| rng.below(0, shape[axis]) as i64).collect();
        Case::new("GatherElements")
            .opset([NEWEST, 13, 11][round % 3])
            .attribute(int("axis", axis as i64))
            .float(&mut rng, &shape, -1.0, 1.0)
            .feed(Feed::Labels(indices, places))
            .check();
    }
}

#[test]
fn gather_nd_matches_differences() {
    let mut rng = Rng::new(803);
    for round in 0..20 {
        let rank = rng.below(2, 4);
        let shape = rng.shape(rank);
        let batch = round % 2;
        let depth = rng.below(1, rank - batch + 1);
        let count = rng.below(1, 4);
        let mut indices = shape[..batch].to_vec();
        indices.extend([count, depth]);
        let mut places = Vec::new();
        for _ in 0..shape[..batch].iter().product::<usize>() * count {
            places.extend(shape[batch..batch + depth].iter().map(|&extent| rng.below(0, extent) as i64));
        }
        Case::new("GatherND")
            .opset([NEWEST, 12][round / 2 % 2])
            .attribute(int("batch_dims", batch as i64))
            .float(&mut rng, &shape, -1.0, 1.0)
            .feed(Feed::Labels(indices, places))
            .check();
    }
}

#[test]
fn scatter_elements_matches_differences() {
    let mut rng = Rng::new(804);
    for round in 0..20 {
        let (rows, columns) = (rng.below(2, 5), rng.below(1, 4));
        let order = rng.permutation(rows);
        let places: Vec<i64> = (0..2).flat_map(|row| vec![order[row]; columns]).collect();
        let mut case = Case::new("ScatterElements").attribute(int("axis", 0));
        if round % 2 == 0 {
            case = case.attribute(text("reduction", "add"));
        }
        case.float(&mut rng, &[rows, columns], -1.0, 1.0)
            .feed(Feed::Labels(vec![2, columns], places))
            .float(&mut rng, &[2, columns], -1.0, 1.0)
            .check();
    }
}

#[test]
fn scatter_of_older_operator_sets_matches_differences() {
    let mut rng = Rng::new(811);
    for round in 0..24 {
        let (rows, columns, axis) = (rng.below(2, 5), rng.below(1, 4), round / 2 % 2);
        let order = rng.permutation(rows);
        // The updates may end before the data does along the other axis.
        let (taken, across) = (rng.below(1, rows + 1), rng.below(1, columns + 1));
        let turned = |first: usize, second: usize| if axis == 0 { [first, second] } else { [second, first] };
        let indices = turned(taken, across);
        let places: Vec<i64> = (0..indices[0] * indices[1])
            .map(|at| order[if axis == 0 { at / indices[1] } else { at % indices[1] }])
            .collect();
        Case::new("Scatter")
            .opset([9, 10][round % 2])
            .attribute(int("axis", axis as i64))
            .float(&mut rng, &turned(rows, columns), -1.0, 1.0)
            .feed(Feed::Labels(indices.to_vec(), places))
            .float(&mut rng, &indices, -1.0, 1.0)
            .check();
    }
}

#[test]
fn scatter_nd_matches_differences() {
    let mut rng = Rng::new(805);
    for round in 0..20 {
        let (rows, columns) = (rng.below(2, 5), rng.below(1, 4));
        let order = rng.permutation(rows);
        let mut case = Case::new("ScatterND");
        if round % 2 == 0 {
            case = case.attribute(text("reduction", "add"));
        }
        case.float(&mut rng, &[rows, columns], -1.0, 1.0)
            .feed(Feed::Labels(vec![2, 1], order[..2].to_vec()))
            .float(&mut rng, &[2, columns], -1.0, 1.0)
            .check();
    }
}

#[test]
fn slice_matches_differences_forwards_and_backwards() {
    let mut rng = Rng::new(806);
    for round in 0..40 {
        let rank = rng.below(1, 4);
        let shape: Vec<usize> = (0..rank).map(|_| rng.below(2, 6)).collect();
        let axes = rng.axes(rank);
        let bound = |rng: &mut Rng| rng.below(0, 12) as i64 - 5;
        let (mut starts, mut ends, mut steps) = (vec![], vec![], vec![]);
        for &axis in &axes {
            let extent = shape[axis.rem_euclid(rank as i64) as usize] as i64;
            let step = if round % 2 == 0 { 1 } else { [1, 2, -1, -2][rng.below(0, 4)] };
            let start = bound(&mut rng).rem_euclid(extent);
            starts.push(if rng.flag() { start } else { start - extent });
            ends.push(if step > 0 { [start + 1, i64::MAX, extent][rng.below(0, 3)] } else { -extent - 1 });
            steps.push(step);
        }
        let mut case = Case::new("Slice");
        if round % 8 == 0 {
            case = case.opset(9).attribute(ints("axes", &axes));
            case = case.attribute(ints("starts", &starts)).attribute(ints("ends", &ends));
            case.float(&mut rng, &shape, -1.0, 1.0).check();
        } else {
            case = case.opset([NEWEST, 13, 11][round % 3]);
            case.float(&mut rng, &shape, -1.0, 1.0)
                .held(&starts)
                .held(&ends)
                .held(&axes)
                .held(&steps)
                .check();
        }
    }
}

#[test]
fn split_matches_differences_when_parts_are_unused_too() {
    let mut rng = Rng::new(807);
    for round in 0..20 {
        let mut shape = rng.shape(2);
        let axis = rng.below(0, 2);
        let sizes: Vec<i64> = (0..rng.below(1, 4)).map(|_| rng.below(1, 4) as i64).collect();
        shape[axis] = sizes.iter().sum::<i64>() as usize;
        let mut read: Vec<bool> = sizes.iter().map(|_| rng.flag()).collect();
        read[0] = true;
        let case = Case::new("Split").attribute(int("axis", axis as i64)).outputs(&read);
        match round % 3 {
            0 => case.opset(11).attribute(ints("split", &sizes)).float(&mut rng, &shape, -1.0, 1.0).check(),
            _ => case.float(&mut rng, &shape, -1.0, 1.0).held(&sizes).check(),
        }
    }
}

#[test]
fn tile_matches_differences() {
    let mut rng = Rng::new(808);
    for _ in 0..20 {
        let rank = rng.below(1, 4);
        let shape = rng.shape(rank);
        let repeats: Vec<i64> = (0..rank).map(|_| rng.below(1, 4) as i64).collect();
        Case::new("Tile").float(&mut rng, &shape, -1.0, 1.0).held(&repeats).check();
    }
}

#[test]
fn the_numbers_of_one_hot_match_differences() {
    let mut rng = Rng::new(809);
    for round in 0..20 {
        let indices = rng.shape(1);
        let places = (0..indices[0]).map(|_| rng.below(0, 8) as i64 - 4).collect();
        Case::new("OneHot")
            .attribute(int("axis", [-1, 0, 1][round % 3]))
            .feed(Feed::Labels(indices, places))
            .feed(Feed::Labels(vec![], vec![3]))
            .float(&mut rng, &[2], -1.0, 1.0)
            .check();
    }
}

#[test]
fn start_and_step_of_a_range_match_differences() {
    let mut rng = Rng::new(810);
    for _ in 0..20 {
        let (start, step) = (rng.float(-1.0, 1.0), rng.float(0.3, 0.6));
        Case::new("Range")
            .feed(Feed::Float(vec![], vec![start]))
            .feed(Feed::Fixed(vec![], vec![start + 2.5 * step]))
            .feed(Feed::Float(vec![], vec![step]))
            .check();
    }
}
