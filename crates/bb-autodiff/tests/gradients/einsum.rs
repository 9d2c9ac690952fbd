//! Sums of products in Einstein's notation.

use super::harness::{Case, Rng, text};

#[test]
fn einsum_matches_differences_in_all_its_forms() {
    let mut rng = Rng::new(1601);
    for round in 0..36 {
        let equation = [
            "ij,jk->ik",
            "bij,bjk->bik",
            "ij->ji",
            "ij->",
            "i,j->ij",
            "ij,ij->i",
            "ii->i",
            "ii->",
            "bhqd,bhkd->bhqk",
            "...ij,...jk->...ik",
            "i,i",
            "ij , kj -> k i",
        ][round % 12];
        let extents = [rng.below(1, 4), rng.below(1, 4), rng.below(1, 4), rng.below(1, 4), rng.below(1, 4)];
        let plain: String = equation.chars().filter(|letter| *letter != ' ').collect();
        let left = plain.split("->").next().unwrap().replace("...", "z");
        let mut case = Case::new("Einsum").attribute(text("equation", equation));
        for term in left.split(',') {
            let shape: Vec<usize> = term.bytes().map(|letter| extents[usize::from(letter) % 5]).collect();
            case = case.float(&mut rng, &shape, -1.0, 1.0);
        }
        case.check();
    }
}

#[test]
fn axes_that_are_broadcast_match_differences() {
    let mut rng = Rng::new(1602);
    for round in 0..60 {
        let equation = [
            "...ij->ij",
            "...->",
            "i...,i...->i",
            "...i,...i->i",
            "i...j,...j->ij",
            "i...,j...->ij...",
            "i...j->j",
            "a...b,b...c->...ac",
            "...,...",
            "ij,jk->ik",
            "...a,a...b,b...->a",
            "i...i->i",
        ][round % 12];
        let extents = [rng.below(1, 4), rng.below(1, 4), rng.below(1, 4), rng.below(1, 4), rng.below(1, 4)];
        let rank = rng.below(0, 3);
        let rest = rng.shape(rank);
        let mut case = Case::new("Einsum").attribute(text("equation", equation));
        for term in equation.split("->").next().unwrap().split(',') {
            let mut shape = Vec::new();
            let twice = term == "i...i";
            for letter in term.replace("...", ".").chars() {
                match letter {
                    '.' => shape.extend(rng.narrowed(&rest)),
                    _ if !twice && rng.below(0, 4) == 0 => shape.push(1),
                    _ => shape.push(extents[letter as usize % 5]),
                }
            }
            case = case.float(&mut rng, &shape, -1.0, 1.0);
        }
        case.check();
    }
}
