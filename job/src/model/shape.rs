//! Shapes, and arithmetic over them that cannot overflow.

use std::fmt;

use super::MAX_ELEMENTS;

/// The number of elements, if it is within bounds.
pub(super) fn elements(shape: &[usize]) -> Option<u64> {
    let size = shape
        .iter()
        .try_fold(1u64, |size, axis| size.checked_mul(*axis as u64))?;
    (1..=MAX_ELEMENTS).contains(&size).then_some(size)
}

/// The same of what comes out of a layer.
pub(super) fn output_elements(shape: &[usize]) -> Result<u64, String> {
    elements(shape).ok_or_else(|| format!("its output {} is too large", show(shape)))
}

/// A product of counts, within what can be counted.
pub(super) fn product(factors: &[u64]) -> Result<u64, String> {
    factors
        .iter()
        .try_fold(1u64, |size, factor| size.checked_mul(*factor))
        .filter(|size| *size <= MAX_ELEMENTS << 16)
        .ok_or_else(|| "it is too large".to_owned())
}

/// A size times a small number.
pub(super) fn times(count: usize, size: usize) -> Result<usize, String> {
    count
        .checked_mul(size)
        .ok_or_else(|| "it is too large".to_owned())
}

/// How often a window fits along one axis.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
    pub(super) dilation: usize,
}

impl Window {
    /// What is left of an axis of `length` of the shape `input`.
    pub(super) fn along(self, length: usize, input: &[usize]) -> Result<usize, String> {
        let Self {
            kernel,
            stride,
            padding,
            dilation,
        } = self;
        at_least_one("kernel", kernel)?;
        at_least_one("stride", stride)?;
        at_least_one("dilation", dilation)?;
        let padded = padding
            .checked_mul(2)
            .and_then(|both| both.checked_add(length))
            .ok_or("padding is too large")?;
        let span = times(kernel - 1, dilation)?
            .checked_add(1)
            .ok_or("dilation is too large")?;
        if padding >= span {
            return Err(format!(
                "padding {padding} is not smaller than kernel {span}: lower it"
            ));
        }
        if span > padded {
            let dilated = if dilation == 1 {
                String::new()
            } else {
                format!(" at dilation {dilation}")
            };
            return Err(format!(
                "kernel {kernel}{dilated} does not fit input {}",
                show(input)
            ));
        }
        Ok((padded - span) / stride + 1)
    }
}

pub(super) fn at_least_one(what: &str, value: usize) -> Result<(), String> {
    if value == 0 {
        return Err(format!("{what} must be at least 1"));
    }
    Ok(())
}

/// A number from `least` to below `below`; what is no number is neither.
pub(super) fn within(what: &str, value: f64, least: f64, below: f64) -> Result<(), String> {
    if value >= least && value < below {
        return Ok(());
    }
    Err(format!(
        "{what} {value} is not at least {least} and below {below}"
    ))
}

/// What is added to a variance.
pub(super) fn epsilon(value: f64) -> Result<(), String> {
    within("epsilon", value, 1e-12, 1.0)
}

pub(super) struct Show<'a>(&'a [usize]);

/// A shape as people read it: `3x32x32`.
pub(super) fn show(shape: &[usize]) -> Show<'_> {
    Show(shape)
}

impl fmt::Display for Show<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let axes: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&axes.join("x"))
    }
}
