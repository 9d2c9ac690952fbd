//! Loops compiled for the widest vectors that the machine has.

use pulp::{Arch, Simd, WithSimd};

/// Below this many elements choosing a loop costs more than it gains.
const WORTH_IT: usize = 32;

/// Runs a loop over `count` elements of type `T`.
///
/// Loops are compiled for several widths only where elements have four bytes, as those of most models do: every
/// further type would add its share to the time it takes to compile this crate.
#[inline]
fn run<T, W: WithSimd>(count: usize, job: W) -> W::Output {
    if const { size_of::<T>() == 4 } {
        if count < WORTH_IT { job.with_simd(pulp::Scalar) } else { Arch::new().dispatch(job) }
    } else {
        job.with_simd(pulp::Scalar)
    }
}

struct Map1<'a, T, R, F> {
    from: &'a [T],
    to: &'a mut [R],
    f: F,
}

impl<T: Copy, R, F: Fn(T) -> R> WithSimd for Map1<'_, T, R, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (to, &from) in self.to.iter_mut().zip(self.from) {
            *to = (self.f)(from);
        }
    }
}

/// `to[i] = f(from[i])`.
#[inline]
pub(crate) fn map<T: Copy, R>(from: &[T], to: &mut [R], f: impl Fn(T) -> R) {
    let job = Map1 { from, to, f };
    run::<T, _>(job.from.len(), job)
}

struct MapInPlace<'a, T, F> {
    to: &'a mut [T],
    f: F,
}

impl<T: Copy, F: Fn(T) -> T> WithSimd for MapInPlace<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for to in self.to {
            *to = (self.f)(*to);
        }
    }
}

/// `to[i] = f(to[i])`.
#[inline]
pub(crate) fn map_in_place<T: Copy>(to: &mut [T], f: impl Fn(T) -> T) {
    let job = MapInPlace { to, f };
    run::<T, _>(job.to.len(), job)
}

struct Map2<'a, A, B, R, F> {
    a: &'a [A],
    b: &'a [B],
    to: &'a mut [R],
    f: F,
}

impl<A: Copy, B: Copy, R, F: Fn(A, B) -> R> WithSimd for Map2<'_, A, B, R, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for ((to, &a), &b) in self.to.iter_mut().zip(self.a).zip(self.b) {
            *to = (self.f)(a, b);
        }
    }
}

/// `to[i] = f(a[i], b[i])`.
#[inline]
pub(crate) fn map2<A: Copy, B: Copy, R>(a: &[A], b: &[B], to: &mut [R], f: impl Fn(A, B) -> R) {
    let job = Map2 { a, b, to, f };
    run::<A, _>(job.a.len(), job)
}

struct Map3<'a, A, B, C, R, F> {
    a: &'a [A],
    b: &'a [B],
    c: &'a [C],
    to: &'a mut [R],
    f: F,
}

impl<A: Copy, B: Copy, C: Copy, R, F: Fn(A, B, C) -> R> WithSimd for Map3<'_, A, B, C, R, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (((to, &a), &b), &c) in self.to.iter_mut().zip(self.a).zip(self.b).zip(self.c) {
            *to = (self.f)(a, b, c);
        }
    }
}

/// `to[i] = f(a[i], b[i], c[i])`.
#[inline]
pub(crate) fn map3<A: Copy, B: Copy, C: Copy, R>(
    a: &[A],
    b: &[B],
    c: &[C],
    to: &mut [R],
    f: impl Fn(A, B, C) -> R,
) {
    let job = Map3 { a, b, c, to, f };
    run::<A, _>(job.a.len(), job)
}

struct Update<'a, T, B, F> {
    to: &'a mut [T],
    b: &'a [B],
    f: F,
}

impl<T: Copy, B: Copy, F: Fn(T, B) -> T> WithSimd for Update<'_, T, B, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (to, &b) in self.to.iter_mut().zip(self.b) {
            *to = (self.f)(*to, b);
        }
    }
}

/// `to[i] = f(to[i], b[i])`.
#[inline]
pub(crate) fn update<T: Copy, B: Copy>(to: &mut [T], b: &[B], f: impl Fn(T, B) -> T) {
    let job = Update { to, b, f };
    run::<T, _>(job.to.len(), job)
}

struct Pick<'a, T> {
    from: &'a [T],
    step: usize,
    to: &'a mut [T],
}

impl<T: Copy> WithSimd for Pick<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        pick_inline(self.from, self.step, self.to);
    }
}

/// [`pick`], to be compiled into a loop for vectors.
#[inline(always)]
pub(crate) fn pick_inline<T: Copy>(from: &[T], step: usize, to: &mut [T]) {
    if step != 2 {
        for (to, &from) in to.iter_mut().zip(from.iter().step_by(step)) {
            *to = from;
        }
        return;
    }
    // Pairs are what compilers make shuffles of.
    let (pairs, rest) = from.as_chunks::<2>();
    let last = to.len().min(pairs.len());
    for (to, pair) in to.iter_mut().zip(pairs) {
        *to = pair[0];
    }
    if let (Some(to), Some(&from)) = (to.get_mut(last), rest.first()) {
        *to = from;
    }
}

/// `to[i] = from[i · step]`.
#[inline]
pub(crate) fn pick<T: Copy>(from: &[T], step: usize, to: &mut [T]) {
    let job = Pick { from, step, to };
    run::<T, _>(job.to.len(), job)
}

/// Lanes of a fold; fixed, so that the order of additions does not depend on the machine.
const LANES: usize = 16;

struct Fold<'a, T, F, G> {
    from: &'a [T],
    start: T,
    map: F,
    join: G,
}

impl<T: Copy, F: Fn(T) -> T, G: Fn(T, T) -> T> WithSimd for Fold<'_, T, F, G> {
    type Output = T;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> T {
        let mut lanes = [self.start; LANES];
        let (chunks, rest) = self.from.as_chunks::<LANES>();
        for chunk in chunks {
            for (lane, &from) in lanes.iter_mut().zip(chunk) {
                *lane = (self.join)(*lane, (self.map)(from));
            }
        }
        for (lane, &from) in lanes.iter_mut().zip(rest) {
            *lane = (self.join)(*lane, (self.map)(from));
        }
        let mut width = LANES / 2;
        while width > 0 {
            for lane in 0..width {
                lanes[lane] = (self.join)(lanes[lane], lanes[lane + width]);
            }
            width /= 2;
        }
        lanes[0]
    }
}

/// Joins `map` of all elements, `start` being what changes nothing; always in the same order.
#[inline]
pub(crate) fn fold<T: Copy>(from: &[T], start: T, map: impl Fn(T) -> T, join: impl Fn(T, T) -> T) -> T {
    let job = Fold { from, start, map, join };
    run::<T, _>(job.from.len(), job)
}

/// Lanes of a sum of products: as many additions are under way as it takes to keep a machine busy.
const DOT_LANES: usize = 64;

struct Dot<'a> {
    a: &'a [f32],
    b: &'a [f32],
}

impl WithSimd for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        let mut lanes = [0.0_f32; DOT_LANES];
        let (a, a_rest) = self.a.as_chunks::<DOT_LANES>();
        let (b, b_rest) = self.b.as_chunks::<DOT_LANES>();
        for (a, b) in a.iter().zip(b) {
            for ((lane, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
                *lane += a * b;
            }
        }
        for ((lane, &a), &b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
            *lane += a * b;
        }
        let mut width = DOT_LANES / 2;
        while width > 0 {
            for lane in 0..width {
                lanes[lane] += lanes[lane + width];
            }
            width /= 2;
        }
        lanes[0]
    }
}

/// The sum of products of two slices of one length; always in the same order.
#[inline]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    run::<f32, _>(a.len(), Dot { a, b })
}
