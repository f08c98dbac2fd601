//! Half precision to single precision, in a form that compiles to a handful of
//! vector instructions.

/// The value of an IEEE half. What is infinite or no number in it comes out as
/// a large finite number: weights are neither.
#[inline(always)]
pub(crate) fn half(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff) << 13;
    let sign = u32::from(bits & 0x8000) << 16;
    // The exponents of the two forms are 112 apart; the product also gives the
    // subnormal ones their value.
    let value = f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(value.to_bits() | sign)
}

/// The half that two bytes hold, little endian.
#[inline(always)]
pub(crate) fn half_at(bytes: [u8; 2]) -> f32 {
    half(u16::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the definition of the format.
    fn slow(bits: u16) -> f32 {
        let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
        let exponent = i32::from(bits >> 10 & 31);
        let fraction = f32::from(bits & 1023) / 1024.0;
        match exponent {
            0 => sign * fraction * 2.0_f32.powi(-14),
            _ => sign * (1.0 + fraction) * 2.0_f32.powi(exponent - 15),
        }
    }

    #[test]
    fn every_half_has_its_value() {
        for bits in 0..=u16::MAX {
            assert_eq!(half(bits).to_bits(), slow(bits).to_bits(), "{bits:#x}");
        }
    }
}
