//! Running a tree on one block: leaves as blocks, and each instruction over them.

use super::op::Op;
use super::{From, Instruction, Repeat};
use crate::{math, simd};

/// Runs all instructions on one block.
pub(super) fn run_block(
    instructions: &[Instruction],
    registers: &mut [Vec<f32>],
    leaves: &[Leaf<'_>],
    start: usize,
    result: &mut [f32],
) {
    let count = result.len();
    let Some((last, instructions)) = instructions.split_last() else { return };
    for instruction in instructions {
        let mut to = std::mem::take(&mut registers[instruction.to]);
        step(instruction, leaves, registers, start, &mut to[..count]);
        registers[instruction.to] = to;
    }
    step(last, leaves, registers, start, result);
}

/// A leaf as one run reads it.
pub(super) struct Leaf<'a> {
    numbers: &'a [f32],
    flags: &'a [u8],
    repeat: Repeat,
    /// A block of it, where it cannot be read from where it stands; else nothing.
    held: &'a mut [f32],
}

impl<'a> Leaf<'a> {
    pub(super) fn new(
        numbers: &'a [f32],
        flags: &'a [u8],
        repeat: Repeat,
        held: &'a mut Vec<f32>,
        block: usize,
    ) -> Self {
        let is_held = matches!(repeat, Repeat::Scalar | Repeat::Cycle) || !flags.is_empty();
        let size = if is_held { block } else { 0 };
        if held.len() < size {
            held.resize(size, 0.0);
        }
        let leaf = Self { numbers, flags, repeat, held: &mut held[..size] };
        if repeat == Repeat::Scalar {
            let only = leaf.number(0);
            leaf.held.fill(only);
        }
        leaf
    }

    fn number(&self, at: usize) -> f32 {
        match self.numbers.get(at) {
            Some(&number) => number,
            None => f32::from(u8::from(self.flags.get(at).is_some_and(|&flag| flag != 0))),
        }
    }

    /// Makes ready the elements from `start` to `end` of the result.
    pub(super) fn load(&mut self, start: usize, end: usize) {
        match self.repeat {
            Repeat::Scalar => {}
            Repeat::Cycle => {
                let period = self.numbers.len().max(self.flags.len());
                let mut at = start % period;
                let mut done = 0;
                while done < end - start {
                    let run = (period - at).min(end - start - done);
                    if self.flags.is_empty() {
                        self.held[done..done + run].copy_from_slice(&self.numbers[at..at + run]);
                    } else {
                        flags_to_numbers(&self.flags[at..at + run], &mut self.held[done..done + run]);
                    }
                    done += run;
                    at = 0;
                }
            }
            Repeat::None | Repeat::Expand => {
                if !self.flags.is_empty() {
                    flags_to_numbers(&self.flags[start..end], &mut self.held[..end - start]);
                }
            }
        }
    }

    fn block(&self, start: usize, count: usize) -> &[f32] {
        if self.held.is_empty() { &self.numbers[start..start + count] } else { &self.held[..count] }
    }
}

fn flags_to_numbers(from: &[u8], to: &mut [f32]) {
    simd::map(from, to, |flag| f32::from(u8::from(flag != 0)));
}

fn step(
    instruction: &Instruction,
    leaves: &[Leaf<'_>],
    registers: &[Vec<f32>],
    start: usize,
    to: &mut [f32],
) {
    let count = to.len();
    let read = |place: usize| match instruction.from[place] {
        From::Leaf(leaf) => leaves[leaf].block(start, count),
        From::Register(register) => &registers[register][..count],
    };
    let flag = |on: bool| f32::from(u8::from(on));
    match instruction.op {
        Op::Abs => simd::map(read(0), to, f32::abs),
        Op::Add => simd::map2(read(0), read(1), to, |a, b| a + b),
        Op::And | Op::Mul => simd::map2(read(0), read(1), to, |a, b| a * b),
        Op::CastToF32 => to.copy_from_slice(read(0)),
        Op::Div => simd::map2(read(0), read(1), to, |a, b| a / b),
        Op::Equal => simd::map2(read(0), read(1), to, |a, b| flag(a == b)),
        Op::Exp => simd::map(read(0), to, math::exp),
        Op::Greater => simd::map2(read(0), read(1), to, |a, b| flag(a > b)),
        Op::GreaterOrEqual => simd::map2(read(0), read(1), to, |a, b| flag(a >= b)),
        Op::Less => simd::map2(read(0), read(1), to, |a, b| flag(a < b)),
        Op::LessOrEqual => simd::map2(read(0), read(1), to, |a, b| flag(a <= b)),
        Op::Log => simd::map(read(0), to, math::ln),
        Op::Max => simd::map2(read(0), read(1), to, crate::ops::types::Number::most),
        Op::Min => simd::map2(read(0), read(1), to, crate::ops::types::Number::least),
        Op::Neg => simd::map(read(0), to, |a: f32| -a),
        Op::Not => simd::map(read(0), to, |a: f32| 1.0 - a),
        Op::Or => simd::map2(read(0), read(1), to, |a, b| flag(a + b > 0.0)),
        Op::Reciprocal => simd::map(read(0), to, |a: f32| 1.0 / a),
        Op::Relu => simd::map(read(0), to, |a: f32| if a < 0.0 { 0.0 } else { a }),
        Op::Sigmoid => simd::map(read(0), to, math::sigmoid),
        Op::Sqrt => simd::map(read(0), to, f32::sqrt),
        Op::Sub => simd::map2(read(0), read(1), to, |a, b| a - b),
        Op::Tanh => simd::map(read(0), to, math::tanh),
        Op::Where => simd::map3(read(0), read(1), read(2), to, |on, a, b| if on != 0.0 { a } else { b }),
    }
}
