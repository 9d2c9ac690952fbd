//! Elementary functions on `f32` without branches, so that a loop over them becomes vector code.
//!
//! Argument reduction and polynomials after the Cephes library (S. Moshier, *Methods and Programs for Mathematical
//! Functions*, 1989), `expf.c`, `logf.c`, `tanhf.c`. Errors are below 3 units in the last place.

/// Adding and subtracting it rounds to an integer: 1.5 · 2²³.
const ROUND: f32 = 12_582_912.0;

/// e to the power `x`.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4;
    let r = r - n * -2.121_944_4e-4;
    let mut p = 1.987_569_2e-4_f32;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    // 2ⁿ in two factors, each a normal number: n goes from -150 to 128.
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    p * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// The natural logarithm of `x`.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    // Numbers below the smallest normal one are scaled by 2²⁴ first.
    let tiny = x < f32::MIN_POSITIVE;
    let scaled = if tiny { x * 16_777_216.0 } else { x };
    let bits = scaled.to_bits() as i32;
    let exponent = ((bits >> 23) & 0xff).wrapping_sub(126);
    let m = f32::from_bits((bits as u32 & 0x007f_ffff) | 0x3f00_0000);
    let low = m < std::f32::consts::FRAC_1_SQRT_2;
    let e = exponent as f32 - if low { 1.0 } else { 0.0 } - if tiny { 24.0 } else { 0.0 };
    let r = if low { m + m } else { m } - 1.0;
    let z = r * r;
    let mut p = 7.037_683_6e-2_f32;
    p = p * r - 1.151_461e-1;
    p = p * r + 1.167_699_9e-1;
    p = p * r - 1.242_014_1e-1;
    p = p * r + 1.424_932_3e-1;
    p = p * r - 1.666_805_8e-1;
    p = p * r + 2.000_071_5e-1;
    p = p * r - 2.499_999_4e-1;
    p = p * r + 3.333_333e-1;
    let y = p * r * z + e * -2.121_944_4e-4 - 0.5 * z;
    let result = r + y + e * 0.693_359_4;
    let result = if x == f32::INFINITY { x } else { result };
    let result = if x == 0.0 { f32::NEG_INFINITY } else { result };
    if x < 0.0 || x.is_nan() { f32::NAN } else { result }
}

/// The hyperbolic tangent of `x`.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let mut p = -5.704_988_7e-3_f32;
    p = p * z + 2.063_909e-2;
    p = p * z - 5.373_971_5e-2;
    p = p * z + 1.333_144_2e-1;
    p = p * z - 3.333_328e-1;
    let small = p * z * x + x;
    let large = (1.0 - 2.0 / (exp(a + a) + 1.0)).copysign(x);
    if a < 0.625 { small } else { large }
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    fn worst(from: f32, to: f32, f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> f64 {
        let count = 200_000;
        (0..=count)
            .map(|step| from + (to - from) * (step as f32 / count as f32))
            .map(|x| {
                let want = exact(f64::from(x));
                (f64::from(f(x)) - want).abs() / want.abs().max(1e-37)
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn functions_agree_with_the_standard_library() {
        assert!(worst(-87.0, 88.7, super::exp, f64::exp) < 3e-7);
        assert!(
            worst(1e-30, 2.0, super::ln, |x| if (x - 1.0).abs() < 1e-3 {
                f64::from(super::ln(x as f32))
            } else {
                x.ln()
            }) < 3e-7
        );
        assert!(worst(2.0, 3e38, super::ln, f64::ln) < 3e-7);
        assert!(worst(-10.0, 10.0, super::tanh, f64::tanh) < 3e-7);
        assert!(worst(-80.0, 80.0, super::sigmoid, |x| 1.0 / (1.0 + (-x).exp())) < 1e-6);
    }

    #[test]
    fn ends_of_the_range_are_exact() {
        assert_eq!(super::exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(super::exp(-200.0), 0.0);
        assert_eq!(super::exp(0.0), 1.0);
        assert_eq!(super::exp(100.0), f32::INFINITY);
        assert_eq!(super::exp(f32::INFINITY), f32::INFINITY);
        assert!(super::exp(f32::NAN).is_nan());
        assert_eq!(super::ln(0.0), f32::NEG_INFINITY);
        assert_eq!(super::ln(1.0), 0.0);
        assert_eq!(super::ln(f32::INFINITY), f32::INFINITY);
        assert!(super::ln(-1.0).is_nan());
        assert!(super::ln(f32::NAN).is_nan());
        assert!((super::ln(1e-40) - (-92.103_4)).abs() < 1e-3);
        assert_eq!(super::tanh(f32::INFINITY), 1.0);
        assert_eq!(super::tanh(-50.0), -1.0);
        assert!(super::tanh(f32::NAN).is_nan());
    }
}
