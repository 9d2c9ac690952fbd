//! Products of `f32` matrices small enough to stay in the cache: register blocks straight from the operands.
//!
//! Libraries for large matrices copy both factors into panels first; where a factor is used a few times only, that
//! costs more than the product. Here the left factor is read element by element and the right one row by row.

use pulp::{Arch, Simd, WithSimd};

/// Elements that the right factor may have: it is read once for each block of rows.
const MAX_RIGHT: usize = 1 << 15;

/// What is added to a product.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Added<'a> {
    /// This factor times what the result holds before.
    Held(f32),
    /// This factor times a matrix of the result's extents.
    Matrix(f32, &'a [f32]),
    Nothing,
    /// This factor times a row, for each row.
    Row(f32, &'a [f32]),
}

/// `to = alpha · a · b + added`, with `a` of `m` rows and `k` columns and `b` of `n` columns.
#[derive(Debug)]
pub(crate) struct Product<'a> {
    pub(crate) alpha: f32,
    pub(crate) a: &'a [f32],
    /// `a` stands in memory column by column.
    pub(crate) a_by_columns: bool,
    pub(crate) b: &'a [f32],
    /// `b` stands in memory column by column.
    pub(crate) b_by_columns: bool,
    /// `m`, `k` and `n`.
    pub(crate) extents: (usize, usize, usize),
    pub(crate) added: Added<'a>,
    pub(crate) to: &'a mut [f32],
    /// Memory for columns of `b` that do not stand as vectors; its content means nothing.
    pub(crate) scratch: &'a mut Vec<f32>,
}

/// Whether a right factor of this many rows and columns is small.
pub(crate) fn is_small(k: usize, n: usize) -> bool {
    k.checked_mul(n).is_some_and(|count| count <= MAX_RIGHT)
}

/// Columns of the right factor, row by row.
#[derive(Clone, Copy)]
struct Panel<'a> {
    rows: &'a [f32],
    /// Elements a row.
    stride: usize,
    /// Where in a row its columns begin.
    offset: usize,
    /// The result's column that the first one makes, and how many of them count.
    column: usize,
    width: usize,
}

impl Panel<'_> {
    #[inline(always)]
    fn row<S: Simd, const V: usize>(&self, simd: S, place: usize) -> [S::f32s; V] {
        let from = &self.rows[place * self.stride + self.offset..][..V * S::F32_LANES];
        let mut vectors = [simd.splat_f32s(0.0); V];
        for (index, vector) in vectors.iter_mut().enumerate() {
            *vector = S::as_simd_f32s(&from[index * S::F32_LANES..][..S::F32_LANES]).0[0];
        }
        vectors
    }
}

impl Product<'_> {
    /// Computes it; `false`, with nothing done, where the machine has no vectors to do it with or extents and slices
    /// disagree.
    pub(crate) fn compute(self) -> bool {
        let (m, k, n) = self.extents;
        let fits = self.a.len() == m * k && self.b.len() == k * n && self.to.len() == m * n;
        let added_fits = match self.added {
            Added::Row(_, row) => row.len() == n,
            Added::Matrix(_, matrix) => matrix.len() == m * n,
            Added::Held(_) | Added::Nothing => true,
        };
        fits && added_fits && Arch::new().dispatch(self)
    }

    #[inline(always)]
    fn by_panels<S: Simd, const T: bool>(&mut self, simd: S) {
        let n = self.extents.2;
        let mut scratch = std::mem::take(self.scratch);
        let mut column = 0;
        while column < n {
            let width = (n - column).min(2 * S::F32_LANES);
            let whole = if width > S::F32_LANES { 2 * S::F32_LANES } else { S::F32_LANES };
            let panel = if width == whole && !self.b_by_columns {
                Panel { rows: self.b, stride: n, offset: column, column, width }
            } else {
                self.pack(&mut scratch, column, width, whole);
                Panel { rows: &scratch, stride: whole, offset: 0, column, width }
            };
            if whole > S::F32_LANES {
                self.panel::<S, T, 2>(simd, panel);
            } else {
                self.panel::<S, T, 1>(simd, panel);
            }
            column += width;
        }
        *self.scratch = scratch;
    }

    /// Copies columns of the right factor into rows of `whole` elements.
    fn pack(&self, scratch: &mut Vec<f32>, column: usize, width: usize, whole: usize) {
        let (_, k, n) = self.extents;
        if scratch.len() < k * whole {
            scratch.resize(k * whole, 0.0);
        }
        let scratch = &mut scratch[..k * whole];
        if self.b_by_columns {
            for index in 0..width {
                let from = &self.b[(column + index) * k..][..k];
                for (to, &from) in scratch.chunks_exact_mut(whole).zip(from) {
                    to[index] = from;
                }
            }
        } else {
            for (to, from) in scratch.chunks_exact_mut(whole).zip(self.b.chunks_exact(n)) {
                // So few that a loop takes less time than a call.
                for (to, &from) in to.iter_mut().zip(&from[column..column + width]) {
                    *to = from;
                }
            }
        }
    }

    /// The columns of a panel, which take `V` vectors.
    ///
    /// As many rows at a time as keep the units busy while sums wait for each other, and the rows that are left in one
    /// tile too: a tile of few takes as long as one of more.
    #[inline(always)]
    fn panel<S: Simd, const T: bool, const V: usize>(&mut self, simd: S, panel: Panel<'_>) {
        let m = self.extents.0;
        let mut row = 0;
        if const { V == 1 } {
            while row + 8 <= m {
                self.tile::<S, T, 8, V>(simd, row, panel);
                row += 8;
            }
        }
        while row + 6 <= m {
            self.tile::<S, T, 6, V>(simd, row, panel);
            row += 6;
        }
        match m - row {
            5 => self.tile::<S, T, 5, V>(simd, row, panel),
            4 => self.tile::<S, T, 4, V>(simd, row, panel),
            3 => self.tile::<S, T, 3, V>(simd, row, panel),
            2 => self.tile::<S, T, 2, V>(simd, row, panel),
            1 => self.tile::<S, T, 1, V>(simd, row, panel),
            _ => {}
        }
    }

    /// `R` rows of a panel; `T`: the left factor stands column by column.
    #[inline(always)]
    fn tile<S: Simd, const T: bool, const R: usize, const V: usize>(
        &mut self,
        simd: S,
        row: usize,
        panel: Panel<'_>,
    ) {
        let (m, k, n) = self.extents;
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        // Written out for both forms: with a choice inside, the loops over rows stay loops and the sums leave the
        // registers.
        if T {
            for place in 0..k {
                let b = panel.row::<S, V>(simd, place);
                let a = &self.a[place * m + row..][..R];
                for (sums, &a) in sums.iter_mut().zip(a) {
                    let a = simd.splat_f32s(a);
                    for (sum, &b) in sums.iter_mut().zip(&b) {
                        *sum = simd.mul_add_e_f32s(a, b, *sum);
                    }
                }
            }
        } else {
            let mut rows: [&[f32]; R] = [&[]; R];
            for (index, held) in rows.iter_mut().enumerate() {
                *held = &self.a[(row + index) * k..][..k];
            }
            for place in 0..k {
                let b = panel.row::<S, V>(simd, place);
                for (sums, a) in sums.iter_mut().zip(&rows) {
                    let a = simd.splat_f32s(a[place]);
                    for (sum, &b) in sums.iter_mut().zip(&b) {
                        *sum = simd.mul_add_e_f32s(a, b, *sum);
                    }
                }
            }
        }
        for (index, sums) in sums.iter().enumerate() {
            let place = (row + index) * n + panel.column;
            let to = &mut self.to[place..][..panel.width];
            let added = match self.added {
                Added::Row(beta, added) => Added::Row(beta, &added[panel.column..][..panel.width]),
                Added::Matrix(beta, added) => Added::Row(beta, &added[place..][..panel.width]),
                other => other,
            };
            if panel.width == V * S::F32_LANES {
                store(simd, to, sums, self.alpha, added);
            } else {
                store_some(to, bytemuck::cast_slice(sums), self.alpha, added);
            }
        }
    }
}

impl WithSimd for Product<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) -> bool {
        if const { S::F32_LANES < 4 } {
            return false;
        }
        if self.a_by_columns {
            self.by_panels::<S, true>(simd);
        } else {
            self.by_panels::<S, false>(simd);
        }
        true
    }
}

/// `to = alpha · sums + added`, vector by vector.
#[inline(always)]
fn store<S: Simd>(simd: S, to: &mut [f32], sums: &[S::f32s], alpha: f32, added: Added<'_>) {
    let alpha = simd.splat_f32s(alpha);
    let to = S::as_mut_simd_f32s(to).0;
    match added {
        Added::Nothing => {
            for (to, &sum) in to.iter_mut().zip(sums) {
                *to = simd.mul_f32s(alpha, sum);
            }
        }
        Added::Held(beta) => {
            let beta = simd.splat_f32s(beta);
            for (to, &sum) in to.iter_mut().zip(sums) {
                *to = simd.mul_add_e_f32s(alpha, sum, simd.mul_f32s(beta, *to));
            }
        }
        Added::Matrix(beta, row) | Added::Row(beta, row) => {
            let beta = simd.splat_f32s(beta);
            for ((to, &sum), &row) in to.iter_mut().zip(sums).zip(S::as_simd_f32s(row).0) {
                *to = simd.mul_add_e_f32s(alpha, sum, simd.mul_f32s(beta, row));
            }
        }
    }
}

/// `to = alpha · sums + added`, for fewer elements than vectors hold.
#[inline(always)]
fn store_some(to: &mut [f32], sums: &[f32], alpha: f32, added: Added<'_>) {
    let to = to.iter_mut().zip(sums);
    match added {
        Added::Nothing => to.for_each(|(to, sum)| *to = alpha * sum),
        Added::Held(beta) => to.for_each(|(to, sum)| *to = alpha * sum + beta * *to),
        Added::Matrix(beta, row) | Added::Row(beta, row) => {
            to.zip(row).for_each(|((to, sum), row)| *to = alpha * sum + beta * row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small whole numbers: products and sums of them are exact.
    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|at| ((at * 31 + seed * 17) % 11) as f32 - 5.0).collect()
    }

    fn plain(product: &Product<'_>) -> Vec<f32> {
        let (m, k, n) = product.extents;
        let mut result = product.to.to_vec();
        for row in 0..m {
            for column in 0..n {
                let a =
                    |place| product.a[if product.a_by_columns { place * m + row } else { row * k + place }];
                let b = |place| {
                    product.b[if product.b_by_columns { column * k + place } else { place * n + column }]
                };
                let sum: f32 = (0..k).map(|place| a(place) * b(place)).sum();
                let held = &mut result[row * n + column];
                let added = match product.added {
                    Added::Held(beta) => beta * *held,
                    Added::Nothing => 0.0,
                    Added::Matrix(beta, added) => beta * added[row * n + column],
                    Added::Row(beta, added) => beta * added[column],
                };
                *held = product.alpha * sum + added;
            }
        }
        result
    }

    #[test]
    fn products_of_all_small_extents_are_those_of_the_plain_loops() {
        let mut scratch = Vec::new();
        for m in [1, 2, 3, 4, 5, 6, 7, 8, 14, 15, 21] {
            for k in [0, 1, 5, 16] {
                for n in [1, 7, 8, 15, 16, 17, 32, 33, 64, 75] {
                    for (a_by_columns, b_by_columns) in
                        [(false, false), (false, true), (true, false), (true, true)]
                    {
                        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
                        let (row, matrix) = (numbers(n, 3), numbers(m * n, 5));
                        let rows = [Added::Row(3.0, &row), Added::Matrix(3.0, &matrix)];
                        for added in [Added::Nothing, Added::Held(2.0)].into_iter().chain(rows) {
                            let mut to = numbers(m * n, 4);
                            let mut again = to.clone();
                            let mut product = |to, compute: fn(Product<'_>) -> Option<Vec<f32>>| {
                                compute(Product {
                                    alpha: 2.0,
                                    a: &a,
                                    a_by_columns,
                                    b: &b,
                                    b_by_columns,
                                    extents: (m, k, n),
                                    added,
                                    to,
                                    scratch: &mut scratch,
                                })
                            };
                            let expected = product(&mut to, |product| Some(plain(&product)));
                            if product(&mut again, |product| product.compute().then(Vec::new)).is_some() {
                                let form = (a_by_columns, b_by_columns, added);
                                assert_eq!(Some(again), expected, "{m} · {k} · {n}, {form:?}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn slices_of_other_lengths_are_refused() {
        let mut to = [0.0; 4];
        let product = Product {
            alpha: 1.0,
            a: &[1.0; 3],
            a_by_columns: false,
            b: &[1.0; 4],
            b_by_columns: false,
            extents: (2, 2, 2),
            added: Added::Nothing,
            to: &mut to,
            scratch: &mut Vec::new(),
        };
        assert!(!product.compute());
        assert_eq!(to, [0.0; 4]);
    }
}
