//! Blocks of weights, as ggml packs them, unpacked to single precision.
//!
//! The layouts are those of ggml's `ggml-common.h`, the arithmetic that of
//! `dequantize_row_*` in `ggml-quants.c`. Everything here is inlined into a
//! caller that was compiled for the widest vectors of the processor.

use super::half::half_at;

mod small;
mod superblock;

/// How a tensor's numbers are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

impl Kind {
    const ALL: [Self; 13] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// Its number in a file.
    const fn number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Q2K => 10,
            Self::Q3K => 11,
            Self::Q4K => 12,
            Self::Q5K => 13,
            Self::Q6K => 14,
            Self::BF16 => 30,
        }
    }

    /// The kind with this number in a file.
    pub(crate) fn of(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// All kinds, for a message.
    pub(crate) fn names() -> String {
        let names = Self::ALL.map(|kind| format!("{} ({kind:?})", kind.number()));
        names.join(", ")
    }

    /// Numbers in a block, and the bytes that it takes.
    const fn block(self) -> (u64, u64) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::BF16 => (1, 2),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q2K => (256, 84),
            Self::Q3K => (256, 110),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
        }
    }

    /// Bytes of a tensor; none where its rows are not of whole blocks.
    pub(crate) fn bytes_of(self, shape: &[u64]) -> Option<u64> {
        let (numbers, bytes) = self.block();
        let (row, others) = shape.split_first()?;
        if !row.is_multiple_of(numbers) || shape.contains(&0) {
            return None;
        }
        others
            .iter()
            .try_fold((row / numbers).checked_mul(bytes)?, |all, axis| {
                all.checked_mul(*axis)
            })
    }

    /// Bytes of a row of whole blocks.
    pub(crate) fn row_bytes(self, columns: usize) -> usize {
        let (numbers, bytes) = self.block();
        columns / numbers as usize * bytes as usize
    }

    /// Unpacks whole blocks: as many as both slices have.
    #[inline(always)]
    pub(crate) fn unpack(self, from: &[u8], to: &mut [f32]) {
        match self {
            Self::F32 => each(from, to, |bytes: &[u8; 4], to: &mut [f32; 1]| {
                to[0] = f32::from_le_bytes(*bytes);
            }),
            Self::F16 => each(from, to, |bytes: &[u8; 2], to: &mut [f32; 1]| {
                to[0] = half_at(*bytes);
            }),
            Self::BF16 => each(from, to, |bytes: &[u8; 2], to: &mut [f32; 1]| {
                to[0] = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
            }),
            Self::Q4_0 => each(from, to, small::q4_0),
            Self::Q4_1 => each(from, to, small::q4_1),
            Self::Q5_0 => each(from, to, small::q5_0),
            Self::Q5_1 => each(from, to, small::q5_1),
            Self::Q8_0 => each(from, to, small::q8_0),
            Self::Q2K => each(from, to, superblock::q2),
            Self::Q3K => each(from, to, superblock::q3),
            Self::Q4K => each(from, to, superblock::q4),
            Self::Q5K => each(from, to, superblock::q5),
            Self::Q6K => each(from, to, superblock::q6),
        }
    }
}

/// Each block of `B` bytes and the `N` numbers in it.
#[inline(always)]
fn each<const B: usize, const N: usize>(
    from: &[u8],
    to: &mut [f32],
    unpack: impl Fn(&[u8; B], &mut [f32; N]),
) {
    let (blocks, _) = from.as_chunks::<B>();
    let (numbers, _) = to.as_chunks_mut::<N>();
    for (block, numbers) in blocks.iter().zip(numbers) {
        unpack(block, numbers);
    }
}

#[cfg(test)]
mod tests;
