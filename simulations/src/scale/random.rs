//! Randomness that can be asked for by place: the same place gives the same number,
//! whenever it is asked for, so that a million tables need not be kept.

/// A well-mixed number for a place (the finaliser of SplitMix64, Steele et al. 2014).
pub(super) const fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A number for three coordinates.
pub(super) const fn at(seed: u64, a: u64, b: u64) -> u64 {
    mix(mix(mix(seed) ^ a) ^ b)
}

/// A share of one.
pub(super) fn share(x: u64) -> f64 {
    // The 53 bits that a float keeps.
    (x >> 11) as f64 / (1u64 << 53) as f64
}
