//! Random streams that are keyed by what they are for, never by what was drawn
//! before: the order of a pass, the mask of a layer in a step, the first value
//! of a weight. A job that resumes at step 900 draws what the job that never
//! stopped would have drawn.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What a stream is for. The numbers are part of the format: a change of one
/// changes every result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Purpose {
    /// First values of the parameter with this index.
    Weights = 1,
    /// Which samples are held out.
    Split = 2,
    /// The order of the samples in a pass.
    Order = 3,
    /// The mask of a dropout layer in a step.
    Mask = 4,
    /// A token of a text.
    Token = 5,
    /// The rows that a step of a preparation draws.
    Prepare = 6,
}

/// The stream of a purpose. `major` and `minor` say which: pass, step, layer.
pub(crate) fn stream(seed: u32, purpose: Purpose, major: u64, minor: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&seed.to_le_bytes());
    key[4..8].copy_from_slice(&(purpose as u32).to_le_bytes());
    key[8..16].copy_from_slice(&major.to_le_bytes());
    key[16..24].copy_from_slice(&minor.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// A number in `0..1` with 24 bits, all that an `f32` holds evenly.
pub(crate) fn unit(rng: &mut ChaCha8Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1_u32 << 24) as f32
}

/// The numbers `0..count` in an order drawn from `rng` (Fisher and Yates).
/// Written out here because a library may change its drawing between versions,
/// and a checkpoint must outlive them.
pub(crate) fn permutation(count: u32, rng: &mut ChaCha8Rng) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count).collect();
    for last in (1..order.len()).rev() {
        let range = last as u128 + 1;
        // The bias of a plain multiply and shift is below 2^-32 for 2^32 items.
        let other = ((u128::from(rng.next_u64()) * range) >> 64) as usize;
        order.swap(last, other);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_holds_each_number_once() {
        for count in [0, 1, 2, 97, 1000] {
            let mut order = permutation(count, &mut stream(7, Purpose::Order, 3, 0));
            order.sort_unstable();
            assert!(order.iter().copied().eq(0..count));
        }
    }

    #[test]
    fn streams_differ_by_every_part_of_their_key() {
        let draw = |seed, purpose, major, minor| stream(seed, purpose, major, minor).next_u64();
        let base = draw(1, Purpose::Order, 0, 0);
        assert_eq!(base, draw(1, Purpose::Order, 0, 0));
        for other in [
            draw(2, Purpose::Order, 0, 0),
            draw(1, Purpose::Split, 0, 0),
            draw(1, Purpose::Order, 1, 0),
            draw(1, Purpose::Order, 0, 1),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn the_drawing_never_changes() {
        let order = permutation(8, &mut stream(42, Purpose::Order, 1, 0));
        assert_eq!(order, GOLDEN);
    }

    /// Taken from this code when it was written.
    const GOLDEN: [u32; 8] = [0, 5, 2, 6, 3, 4, 7, 1];

    #[test]
    fn a_unit_stays_below_one() {
        let mut rng = stream(0, Purpose::Mask, 0, 0);
        assert!(
            (0..10_000)
                .map(|_| unit(&mut rng))
                .all(|x| (0.0..1.0).contains(&x))
        );
    }
}
