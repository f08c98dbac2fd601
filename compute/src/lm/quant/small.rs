//! Blocks of 32 weights: a scale, at times an offset, and whole numbers of 4,
//! 5 or 8 bits.

use super::half_at;

/// Half of a block: the lower four bits of each byte, then the upper ones.
const HALF: usize = 16;

#[inline(always)]
pub(super) fn q4_0(block: &[u8; 18], to: &mut [f32; 32]) {
    let scale = half_at([block[0], block[1]]);
    nibbles(&block[2..], to, |quant| (f32::from(quant) - 8.0) * scale);
}

#[inline(always)]
pub(super) fn q4_1(block: &[u8; 20], to: &mut [f32; 32]) {
    let scale = half_at([block[0], block[1]]);
    let least = half_at([block[2], block[3]]);
    nibbles(&block[4..], to, |quant| f32::from(quant) * scale + least);
}

#[inline(always)]
fn nibbles(quants: &[u8], to: &mut [f32; 32], value: impl Fn(u8) -> f32) {
    let (lower, upper) = to.split_at_mut(HALF);
    for (quant, to) in quants.iter().zip(lower) {
        *to = value(quant & 15);
    }
    for (quant, to) in quants.iter().zip(upper) {
        *to = value(quant >> 4);
    }
}

#[inline(always)]
pub(super) fn q5_0(block: &[u8; 22], to: &mut [f32; 32]) {
    let scale = half_at([block[0], block[1]]);
    let high = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
    fives(&block[6..], high, to, |quant| {
        (f32::from(quant) - 16.0) * scale
    });
}

#[inline(always)]
pub(super) fn q5_1(block: &[u8; 24], to: &mut [f32; 32]) {
    let scale = half_at([block[0], block[1]]);
    let least = half_at([block[2], block[3]]);
    let high = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
    fives(&block[8..], high, to, |quant| {
        f32::from(quant) * scale + least
    });
}

/// The fifth bit of each weight stands in a word of its own.
#[inline(always)]
fn fives(quants: &[u8], high: u32, to: &mut [f32; 32], value: impl Fn(u8) -> f32) {
    let (lower, upper) = to.split_at_mut(HALF);
    for (at, (quant, to)) in quants.iter().zip(lower).enumerate() {
        *to = value(quant & 15 | ((high >> at) as u8 & 1) << 4);
    }
    for (at, (quant, to)) in quants.iter().zip(upper).enumerate() {
        *to = value(quant >> 4 | ((high >> (at + HALF)) as u8 & 1) << 4);
    }
}

#[inline(always)]
pub(super) fn q8_0(block: &[u8; 34], to: &mut [f32; 32]) {
    let scale = half_at([block[0], block[1]]);
    for (quant, to) in block[2..].iter().zip(to) {
        *to = f32::from(*quant as i8) * scale;
    }
}
