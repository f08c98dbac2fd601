//! Sums and the like in strands, which a processor takes side by side, whatever the
//! width of its vectors: the result is the same on all.

/// Strands of a sum.
const STRANDS: usize = 16;

/// What `join` makes of the strands and then of the rest.
#[inline(always)]
fn close(
    strands: [f32; STRANDS],
    rest: impl Iterator<Item = f32>,
    join: impl Fn(f32, f32) -> f32,
) -> f32 {
    let [first, others @ ..] = strands;
    others.into_iter().chain(rest).fold(first, join)
}

/// The sum.
#[inline(always)]
pub(super) fn sum(values: &[f32]) -> f32 {
    let (whole, rest) = values.as_chunks::<STRANDS>();
    let mut strands = [0.0_f32; STRANDS];
    for chunk in whole {
        for (strand, value) in strands.iter_mut().zip(chunk) {
            *strand += value;
        }
    }
    close(strands, rest.iter().copied(), |a, b| a + b)
}

/// The larger; no number where one is none.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a || b.is_nan() { b } else { a }
}

/// The largest; no number where there is one that is none.
#[inline(always)]
pub(super) fn largest(values: &[f32]) -> f32 {
    let (whole, rest) = values.as_chunks::<STRANDS>();
    let mut strands = [f32::NEG_INFINITY; STRANDS];
    for chunk in whole {
        for (strand, value) in strands.iter_mut().zip(chunk) {
            *strand = larger(*strand, *value);
        }
    }
    close(strands, rest.iter().copied(), larger)
}

/// The sum of products.
#[inline(always)]
pub(super) fn dot(one: &[f32], other: &[f32]) -> f32 {
    let (ones, one_rest) = one.as_chunks::<STRANDS>();
    let (others, other_rest) = other.as_chunks::<STRANDS>();
    let mut strands = [0.0_f32; STRANDS];
    for (one, other) in ones.iter().zip(others) {
        for ((strand, one), other) in strands.iter_mut().zip(one).zip(other) {
            *strand += one * other;
        }
    }
    let rest = one_rest.iter().zip(other_rest);
    close(strands, rest.map(|(one, other)| one * other), |a, b| a + b)
}

/// The sum of the squares of what is off `mean`.
#[inline(always)]
pub(super) fn spread(values: &[f32], mean: f32) -> f32 {
    let (whole, rest) = values.as_chunks::<STRANDS>();
    let mut strands = [0.0_f32; STRANDS];
    for chunk in whole {
        for (strand, value) in strands.iter_mut().zip(chunk) {
            *strand += (value - mean) * (value - mean);
        }
    }
    let squares = rest.iter().map(|value| (value - mean) * (value - mean));
    close(strands, squares, |a, b| a + b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strands_and_their_rest_come_to_the_whole() {
        let values: Vec<f32> = (0..37).map(|at| at as f32).collect();
        assert_eq!(sum(&values), 666.0);
        assert_eq!(largest(&values), 36.0);
        assert_eq!(largest(&values[..3]), 2.0);
        assert_eq!(dot(&values, &values), 16206.0);
        assert_eq!(spread(&values, 0.0), 16206.0);
        assert_eq!(sum(&[]), 0.0);
        let mut broken = values;
        broken[5] = f32::NAN;
        assert!(largest(&broken).is_nan());
    }
}
