//! Products of `f32` matrices tile by tile: what large matrix products and convolutions are computed with.
//!
//! The left factor is packed into tiles of a few rows, which a model's weights are once; the right one is read in
//! panels of a few vectors a row, from where it stands or from a copy of the panel. A tile of the result stays in
//! registers until its sums are complete, so that what follows — a bias, an activation — costs no pass over memory.
//! Each element's sum is added up in the order of the factors' common axis, whatever the threads are.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

/// Bytes of the left factor that go over all panels together: they stay in the second-level cache.
const BLOCK: usize = 768 << 10;

/// From this many tiles on, a panel is read so often that copying it pays.
const WORTH_A_COPY: usize = 4;

/// Multiplications from which on another thread pays.
const WORTH_A_THREAD: usize = 1 << 21;

/// Rows of a tile on this machine.
pub(crate) fn height() -> usize {
    struct Height;
    impl WithSimd for Height {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            if const { S::F32_LANES == 16 } { 8 } else { 6 }
        }
    }
    Arch::new().dispatch(Height)
}

/// A left factor in tiles: `height` rows side by side, the last tile filled up with zeros.
#[derive(Clone, Debug, Default)]
pub(crate) struct Left {
    pub(crate) elements: Vec<f32>,
    pub(crate) height: usize,
}

impl Left {
    /// Adds the tiles of a matrix of `m` rows and `k` columns, which may stand column by column; row `i` is
    /// multiplied by `scale(i)`.
    pub(crate) fn push(
        &mut self,
        from: &[f32],
        by_columns: bool,
        (m, k): (usize, usize),
        scale: impl Fn(usize) -> f32,
    ) {
        let height = self.height.max(1);
        let begin = self.elements.len();
        self.elements.resize(begin + m.div_ceil(height) * height * k, 0.0);
        if k == 0 {
            return;
        }
        for (tile, to) in self.elements[begin..].chunks_exact_mut(height * k).enumerate() {
            let first = tile * height;
            let count = height.min(m - first);
            if by_columns {
                for (to, from) in to.chunks_exact_mut(height).zip(from.chunks_exact(m)) {
                    for (at, (to, &x)) in to.iter_mut().zip(&from[first..first + count]).enumerate() {
                        *to = x * scale(first + at);
                    }
                }
                continue;
            }
            for at in 0..count {
                let factor = scale(first + at);
                let row = &from[(first + at) * k..][..k];
                for (to, &x) in to.chunks_exact_mut(height).zip(row) {
                    to[at] = x * factor;
                }
            }
        }
    }
}

/// The right factor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Right<'a> {
    /// A matrix of `n` columns, row by row.
    Rows(&'a [f32]),
    /// A matrix of `n` columns, column by column.
    Columns(&'a [f32]),
    /// Row `i` begins at the `i`-th offset; elements beyond its end exist, as many as a panel is wide.
    Shifted(&'a [f32], &'a [usize]),
}

/// What is done to a sum before it is stored.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Finish<'a> {
    /// Added to each row.
    pub(crate) bias: Option<&'a [f32]>,
    /// This factor times what the result held before is added, after the bias.
    pub(crate) held: f32,
    /// The least and the greatest result, of all that.
    pub(crate) bounds: Option<(f32, f32)>,
}

/// Elements beyond a row's end that [`Right::Shifted`] may read.
pub(crate) const SLACK: usize = 8 * 16;

/// Which columns of a product the result keeps, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid<'a> {
    /// Columns come in lines of this many, of which the first `width` are kept.
    pub(crate) line: usize,
    pub(crate) width: usize,
    /// Where in a row of the result each line goes; `None`: nowhere.
    pub(crate) lines: &'a [Option<usize>],
}

/// A product of a packed left factor of `m` rows and `k` columns and a right one of `n` columns.
#[derive(Debug)]
pub(crate) struct Tiles<'a> {
    pub(crate) left: &'a [f32],
    pub(crate) height: usize,
    pub(crate) right: Right<'a>,
    /// `m`, `k` and `n`.
    pub(crate) extents: (usize, usize, usize),
    pub(crate) grid: Grid<'a>,
    pub(crate) finish: Finish<'a>,
    /// `m` rows.
    pub(crate) to: &'a mut [f32],
    pub(crate) threads: usize,
    /// For copies of panels; its content means nothing.
    pub(crate) scratch: &'a mut Vec<f32>,
}

impl Tiles<'_> {
    /// Computes it; `false`, with nothing done, where extents and slices disagree.
    pub(crate) fn compute(self) -> bool {
        let (m, k, n) = self.extents;
        let tiles = if self.height == 0 { 0 } else { m.div_ceil(self.height) };
        let right_fits = match self.right {
            Right::Rows(elements) | Right::Columns(elements) => elements.len() == k * n,
            Right::Shifted(elements, offsets) => {
                let reach = offsets.iter().max().map_or(0, |most| most + n + SLACK);
                offsets.len() == k && reach <= elements.len()
            }
        };
        let bias_fits = self.finish.bias.is_none_or(|bias| bias.len() == m);
        let Grid { line, width, lines } = self.grid;
        let lines_fit = line > 0 && width <= line && n <= lines.len().saturating_mul(line);
        let tile_fits = matches!(self.height, 1 | 6 | 8) && self.left.len() == tiles * self.height * k;
        if !right_fits
            || !bias_fits
            || !lines_fit
            || !tile_fits
            || (m > 0 && !self.to.len().is_multiple_of(m))
        {
            return false;
        }
        if m == 0 || n == 0 || self.to.is_empty() {
            return true;
        }
        let work = m.saturating_mul(k).saturating_mul(n) / WORTH_A_THREAD;
        let threads = self.threads.min(work).min(tiles).max(1);
        if threads == 1 {
            Arch::new().dispatch(self);
            return true;
        }
        let places = self.to.len() / m;
        let share = tiles.div_ceil(threads);
        let rows = share * self.height;
        let Self { left, height, right, grid, finish, to, .. } = self;
        std::thread::scope(|scope| {
            for (at, to) in to.chunks_mut(rows * places).enumerate() {
                let left = &left[at * rows * k..left.len().min((at + 1) * rows * k)];
                let own = to.len() / places;
                let bias = finish.bias.map(|bias| &bias[at * rows..at * rows + own]);
                let finish = Finish { bias, ..finish };
                scope.spawn(move || {
                    let (extents, scratch) = ((own, k, n), &mut Vec::new());
                    let part = Tiles { left, height, right, extents, grid, finish, to, threads: 1, scratch };
                    Arch::new().dispatch(part);
                });
            }
        });
        true
    }

    /// Tiles of `R` rows over panels of at most `V` vectors.
    #[inline(always)]
    fn by_panels<S: Simd, const R: usize, const V: usize>(mut self, simd: S) {
        let (m, k, n) = self.extents;
        let mut scratch = std::mem::take(self.scratch);
        let tiles = m.div_ceil(R);
        let block = (BLOCK / (R * k * size_of::<f32>()).max(1)).max(1);
        for first in (0..tiles).step_by(block) {
            let block = first..tiles.min(first + block);
            let mut column = 0;
            while column < n {
                let vectors = (n - column).div_ceil(S::F32_LANES);
                column += if const { V >= 8 } && vectors >= 8 {
                    self.panel::<S, R, 8>(simd, column, block.clone(), &mut scratch)
                } else if const { V >= 4 } && vectors >= 4 {
                    self.panel::<S, R, 4>(simd, column, block.clone(), &mut scratch)
                } else if const { V == 3 } && vectors >= 3 {
                    self.panel::<S, R, 3>(simd, column, block.clone(), &mut scratch)
                } else if vectors >= 2 {
                    self.panel::<S, R, 2>(simd, column, block.clone(), &mut scratch)
                } else {
                    self.panel::<S, R, 1>(simd, column, block.clone(), &mut scratch)
                };
            }
        }
        *self.scratch = scratch;
    }

    /// The tiles of a block over the panel of `V` vectors that begins at a column; gives the panel's width.
    #[inline(always)]
    fn panel<S: Simd, const R: usize, const V: usize>(
        &mut self,
        simd: S,
        column: usize,
        block: Range<usize>,
        scratch: &mut Vec<f32>,
    ) -> usize {
        let (_, k, n) = self.extents;
        let width = V * S::F32_LANES;
        let (rows, stride, begin): (&[f32], usize, usize) = match self.right {
            Right::Shifted(elements, offsets) => {
                let elements = &elements[column..];
                for tile in block {
                    let left = &self.left[tile * R * k..][..R * k];
                    let rows = offsets.iter().map(|&offset| &elements[offset..][..width]);
                    let sums = sums::<S, R, V>(simd, left, rows);
                    self.store(simd, tile * R, column, sums);
                }
                return width;
            }
            Right::Rows(elements) if column + width <= n && block.len() < WORTH_A_COPY => {
                (elements, n, column)
            }
            Right::Rows(elements) => {
                let count = width.min(n - column);
                grow(scratch, k * width);
                for (to, from) in scratch.chunks_exact_mut(width).zip(elements.chunks_exact(n)) {
                    if count == width {
                        to.copy_from_slice(&from[column..column + width]);
                    } else {
                        to[..count].copy_from_slice(&from[column..column + count]);
                    }
                }
                (scratch, width, 0)
            }
            Right::Columns(elements) => {
                grow(scratch, k * width);
                for at in 0..width.min(n - column) {
                    let from = &elements[(column + at) * k..][..k];
                    for (to, &x) in scratch.chunks_exact_mut(width).zip(from) {
                        to[at] = x;
                    }
                }
                (scratch, width, 0)
            }
        };
        for tile in block {
            let left = &self.left[tile * R * k..][..R * k];
            let rows = (0..k).map(|row| &rows[row * stride + begin..][..width]);
            let sums = sums::<S, R, V>(simd, left, rows);
            self.store(simd, tile * R, column, sums);
        }
        width
    }

    /// Puts sums where they belong.
    #[inline(always)]
    fn store<S: Simd, const R: usize, const V: usize>(
        &mut self,
        simd: S,
        first: usize,
        column: usize,
        mut sums: [[S::f32s; V]; R],
    ) {
        let (m, _, n) = self.extents;
        let finish = self.finish;
        if let Some(bias) = finish.bias {
            for (sums, &bias) in sums.iter_mut().zip(&bias[first..]) {
                let bias = simd.splat_f32s(bias);
                for sum in sums {
                    *sum = simd.add_f32s(*sum, bias);
                }
            }
        }
        let places = self.to.len() / m;
        let end = n.min(column + V * S::F32_LANES);
        let count = R.min(m - first);
        let mut at = column;
        while at < end {
            let (line, within) = (at / self.grid.line, at % self.grid.line);
            let length = (self.grid.line - within).min(end - at);
            let kept = length.min(self.grid.width.saturating_sub(within));
            if let (Some(start), 1..) = (self.grid.lines[line], kept) {
                for (row, sums) in sums.iter().enumerate().take(count) {
                    let to = &mut self.to[(first + row) * places + start + within..][..kept];
                    if kept == V * S::F32_LANES {
                        // All of the panel: one store a vector.
                        for (to, &sum) in S::as_mut_simd_f32s(to).0.iter_mut().zip(sums) {
                            *to = finish.of(simd, sum, *to);
                        }
                        continue;
                    }
                    let from = &bytemuck::cast_slice::<S::f32s, f32>(sums)[at - column..][..kept];
                    let ((whole, rest), (sums, last)) = (S::as_mut_simd_f32s(to), S::as_simd_f32s(from));
                    for (to, &sum) in whole.iter_mut().zip(sums) {
                        *to = finish.of(simd, sum, *to);
                    }
                    if !rest.is_empty() {
                        let held = if finish.held == 0.0 {
                            simd.splat_f32s(0.0)
                        } else {
                            simd.partial_load_f32s(rest)
                        };
                        let sum = finish.of(simd, simd.partial_load_f32s(last), held);
                        simd.partial_store_f32s(rest, sum);
                    }
                }
            }
            at += length;
        }
    }
}

impl Finish<'_> {
    /// A sum, its bias added, as it is stored where `held` stood before.
    #[inline(always)]
    fn of<S: Simd>(&self, simd: S, mut sum: S::f32s, held: S::f32s) -> S::f32s {
        if self.held != 0.0 {
            sum = simd.add_f32s(sum, simd.mul_f32s(simd.splat_f32s(self.held), held));
        }
        match self.bounds {
            // With the sum as second operand, what is not a number stays so.
            Some((least, most)) => {
                simd.min_f32s(simd.splat_f32s(most), simd.max_f32s(simd.splat_f32s(least), sum))
            }
            None => sum,
        }
    }
}

fn grow(scratch: &mut Vec<f32>, count: usize) {
    if scratch.len() < count {
        scratch.resize(count, 0.0);
    }
}

impl WithSimd for Tiles<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.height {
            1 => self.by_panels::<S, 1, 8>(simd),
            _ if const { S::F32_LANES == 16 } => self.by_panels::<S, 8, 3>(simd),
            _ => self.by_panels::<S, 6, 2>(simd),
        }
    }
}

/// The sums of one tile: `R` rows of the left factor, side by side, times rows of `V` vectors.
#[inline(always)]
fn sums<'a, S: Simd, const R: usize, const V: usize>(
    simd: S,
    left: &[f32],
    rows: impl Iterator<Item = &'a [f32]>,
) -> [[S::f32s; V]; R] {
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    for (left, row) in left.as_chunks::<R>().0.iter().zip(rows) {
        let mut vectors = [simd.splat_f32s(0.0); V];
        // One by one: a copy of the row as a whole would go through memory.
        for (at, vector) in vectors.iter_mut().enumerate() {
            *vector = S::as_simd_f32s(&row[at * S::F32_LANES..][..S::F32_LANES]).0[0];
        }
        for (sums, &x) in sums.iter_mut().zip(left) {
            let x = simd.splat_f32s(x);
            for (sum, &vector) in sums.iter_mut().zip(&vectors) {
                *sum = simd.mul_add_e_f32s(x, vector, *sum);
            }
        }
    }
    sums
}
