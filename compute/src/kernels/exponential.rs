//! The exponential and the normal distribution function, without branches or tables,
//! so that a compiler makes vectors of a loop over them.

/// Beyond these the result is 0, or as large as an `f32` can be.
const LEAST: f32 = -87.0;
const MOST: f32 = 88.0;
/// Added to a number, it leaves the nearest whole number in the lowest bits.
const ROUNDING: f32 = 12_582_912.0;
/// ln 2, the leading bits and the rest (Cody and Waite 1980).
#[allow(clippy::excessive_precision, reason = "it is exact")]
const LN_2_HIGH: f32 = 0.693_359_375;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// e to the power of `x`, to within 2 units of the last place.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let bounded = if x < LEAST { LEAST } else { x };
    let bounded = if bounded > MOST { MOST } else { bounded };
    let shifted = bounded * std::f32::consts::LOG2_E + ROUNDING;
    let whole = shifted - ROUNDING;
    let rest = bounded - whole * LN_2_HIGH - whole * LN_2_LOW;
    // The coefficients of Cephes' expf (Moshier 1989).
    let mut sum = 1.987_569_1e-4;
    sum = sum * rest + 1.398_2e-3;
    sum = sum * rest + 8.333_452e-3;
    sum = sum * rest + 4.166_579_6e-2;
    sum = sum * rest + 1.666_666_5e-1;
    sum = sum * rest + 0.5;
    let fraction = sum * rest * rest + rest + 1.0;
    let power = shifted.to_bits().wrapping_add(127) << 23;
    let value = fraction * f32::from_bits(power);
    if x < LEAST { 0.0 } else { value }
}

/// 1 / (1 + e to the power of `-x`).
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The normal distribution function and its density.
#[inline(always)]
pub(super) fn normal(x: f32) -> (f32, f32) {
    const ROOT_HALF: f32 = std::f32::consts::FRAC_1_SQRT_2;
    /// 1 / sqrt(2 pi).
    const PEAK: f32 = 0.398_942_3;
    let bell = exp(-0.5 * x * x);
    // Abramowitz and Stegun 1964, 7.1.26, of the tail, which keeps its digits.
    let t = 1.0 / (1.0 + 0.327_591_1 * (x.abs() * ROOT_HALF));
    let mut sum = 1.061_405_4;
    sum = sum * t - 1.453_152;
    sum = sum * t + 1.421_413_7;
    sum = sum * t - 0.284_496_74;
    sum = sum * t + 0.254_829_6;
    let tail = 0.5 * sum * t * bell;
    (if x < 0.0 { tail } else { 1.0 - tail }, PEAK * bell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_that_of_the_library() {
        for step in -8_700..8_800 {
            let x = step as f32 * 0.01;
            let right = f64::from(x).exp();
            let off = (f64::from(exp(x)) - right).abs() / right;
            assert!(off < 3e-7, "{x}: {off:e}");
        }
        assert_eq!(exp(-200.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(1000.0) > 1e38);
        assert!(exp(f32::NAN).is_nan());
    }

    /// Values of the normal distribution function from the literature.
    #[test]
    fn the_normal_distribution_is_that_of_the_tables() {
        let right = [
            (-4.0, 3.167_124_2e-5),
            (-1.0, 0.158_655_25),
            (0.0, 0.5),
            (0.5, 0.691_462_46),
            (2.0, 0.977_249_87),
        ];
        for (x, right) in right {
            let (found, _) = normal(x);
            assert!((found - right).abs() < 2e-7, "{x}: {found} {right}");
        }
        assert!(normal(f32::NAN).0.is_nan());
    }
}
