//! The "K quants": blocks of 256 weights in parts of 16 or 32, each with a
//! scale of its own that is a whole number too.

use super::half_at;

/// The 6-bit scale and offset of part `part` of 8, as Q4_K and Q5_K pack them.
#[inline(always)]
fn scale_and_least(part: usize, packed: &[u8]) -> (f32, f32) {
    let (scale, least) = if part < 4 {
        (packed[part] & 63, packed[part + 4] & 63)
    } else {
        (
            packed[part + 4] & 15 | packed[part - 4] >> 6 << 4,
            packed[part + 4] >> 4 | packed[part] >> 6 << 4,
        )
    };
    (f32::from(scale), f32::from(least))
}

#[inline(always)]
pub(super) fn q4(block: &[u8; 144], to: &mut [f32; 256]) {
    let scale = half_at([block[0], block[1]]);
    let least = half_at([block[2], block[3]]);
    let (packed, quants) = block[4..].split_at(12);
    for (pair, to) in to.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let quants = &quants[32 * pair..32 * pair + 32];
        let (lower, upper) = to.split_at_mut(32);
        let (step, offset) = scale_and_least(2 * pair, packed);
        let (step, offset) = (scale * step, least * offset);
        for (quant, to) in quants.iter().zip(lower) {
            *to = step * f32::from(quant & 15) - offset;
        }
        let (step, offset) = scale_and_least(2 * pair + 1, packed);
        let (step, offset) = (scale * step, least * offset);
        for (quant, to) in quants.iter().zip(upper) {
            *to = step * f32::from(quant >> 4) - offset;
        }
    }
}

#[inline(always)]
pub(super) fn q5(block: &[u8; 176], to: &mut [f32; 256]) {
    let scale = half_at([block[0], block[1]]);
    let least = half_at([block[2], block[3]]);
    let (packed, rest) = block[4..].split_at(12);
    let (high, quants) = rest.split_at(32);
    for (pair, to) in to.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let quants = &quants[32 * pair..32 * pair + 32];
        let (lower, upper) = to.split_at_mut(32);
        let (step, offset) = scale_and_least(2 * pair, packed);
        let (step, offset) = (scale * step, least * offset);
        for ((quant, high), to) in quants.iter().zip(high).zip(lower) {
            let quant = quant & 15 | (high >> (2 * pair) & 1) << 4;
            *to = step * f32::from(quant) - offset;
        }
        let (step, offset) = scale_and_least(2 * pair + 1, packed);
        let (step, offset) = (scale * step, least * offset);
        for ((quant, high), to) in quants.iter().zip(high).zip(upper) {
            let quant = quant >> 4 | (high >> (2 * pair + 1) & 1) << 4;
            *to = step * f32::from(quant) - offset;
        }
    }
}

#[inline(always)]
pub(super) fn q6(block: &[u8; 210], to: &mut [f32; 256]) {
    let (lows, rest) = block.split_at(128);
    let (highs, rest) = rest.split_at(64);
    let (scales, scale) = rest.split_at(16);
    let scale = half_at([scale[0], scale[1]]);
    for (part, to) in to.as_chunks_mut::<128>().0.iter_mut().enumerate() {
        let lows = &lows[64 * part..64 * part + 64];
        let highs = &highs[32 * part..32 * part + 32];
        let scales = &scales[8 * part..8 * part + 8];
        // Four runs of 32: two of lower and two of upper halves of bytes.
        for (run, to) in to.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let lows = &lows[32 * (run % 2)..32 * (run % 2) + 32];
            for (half, to) in to.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let step = scale * f32::from(scales[2 * run + half] as i8);
                let lows = &lows[16 * half..16 * half + 16];
                let highs = &highs[16 * half..16 * half + 16];
                for ((low, high), to) in lows.iter().zip(highs).zip(to) {
                    let low = low >> (4 * (run / 2)) & 15;
                    let high = high >> (2 * run) & 3;
                    *to = step * (f32::from(low | high << 4) - 32.0);
                }
            }
        }
    }
}

#[inline(always)]
pub(super) fn q2(block: &[u8; 84], to: &mut [f32; 256]) {
    let (scales, rest) = block.split_at(16);
    let (quants, rest) = rest.split_at(64);
    let scale = half_at([rest[0], rest[1]]);
    let least = half_at([rest[2], rest[3]]);
    for (part, to) in to.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let step = scale * f32::from(scales[part] & 15);
        let offset = least * f32::from(scales[part] >> 4);
        for (quant, to) in of_part(quants, part).iter().zip(to) {
            *to = step * f32::from(quant >> shift(part) & 3) - offset;
        }
    }
}

#[inline(always)]
pub(super) fn q3(block: &[u8; 110], to: &mut [f32; 256]) {
    let (high, rest) = block.split_at(32);
    let (quants, rest) = rest.split_at(64);
    let (packed, scale) = rest.split_at(12);
    let scale = half_at([scale[0], scale[1]]);
    for (part, to) in to.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let low = packed[part % 8] >> (4 * (part / 8)) & 15;
        let top = packed[8 + part % 4] >> (2 * (part / 4)) & 3;
        let step = scale * (f32::from(low | top << 4) - 32.0);
        let high = &high[16 * (part % 2)..16 * (part % 2) + 16];
        for ((quant, high), to) in of_part(quants, part).iter().zip(high).zip(to) {
            let quant = f32::from(quant >> shift(part) & 3);
            // A bit that is not set takes four away.
            let high = f32::from(high >> (part / 2) & 1);
            *to = step * (quant + 4.0 * high - 4.0);
        }
    }
}

/// The 16 bytes that hold part `part` of 16, two bits a weight.
#[inline(always)]
fn of_part(quants: &[u8], part: usize) -> &[u8] {
    let at = 32 * (part / 8) + 16 * (part % 2);
    &quants[at..at + 16]
}

/// Where in a byte the bits of part `part` stand.
#[inline(always)]
fn shift(part: usize) -> usize {
    2 * (part % 8 / 2)
}
