//! Which steps are opened: drawn from all commitments of a gang, so that nobody knows
//! before he has committed, and nobody can choose.
//!
//! One who is alone in his gang can change what he commits to until the draw suits him.
//! Whoever asks for a proof and fears that puts a commitment of his own into the gang, made
//! of random bytes, after the others have committed.

use std::collections::BTreeSet;

use embermesh_crypto::Digest;

use super::Commitment;

/// The domain of the draw.
const DRAW: &[u8] = b"embermesh proof draw v1\0";

/// The challenge of a gang.
#[must_use]
pub fn challenge(gang: &[Commitment]) -> Digest {
    let mut hasher = Digest::hasher();
    hasher.update(DRAW);
    hasher.update(&(gang.len() as u64).to_le_bytes());
    for commitment in gang {
        // Each has the same length, so the bytes say who said what.
        hasher.update(commitment.root.as_bytes());
        hasher.update(&commitment.steps.to_le_bytes());
        hasher.update(commitment.spec.as_bytes());
        hasher.update(commitment.input.as_bytes());
        hasher.update(&commitment.attempt.bytes());
    }
    hasher.finalize()
}

/// The steps that one of a gang opens: as many as `opened`, or all that there are.
#[must_use]
pub fn draw(gang: &[Commitment], rank: u32, steps: u32, opened: u32) -> BTreeSet<u32> {
    if opened >= steps {
        return (0..steps).collect();
    }
    let seed = challenge(gang);
    // The largest multiple of the count, so that no step is drawn more often.
    let fair = u64::MAX - u64::MAX % u64::from(steps);
    let mut drawn = BTreeSet::new();
    let wanted = usize::try_from(opened).unwrap_or(usize::MAX);
    for turn in 0_u64.. {
        if drawn.len() >= wanted {
            break;
        }
        let mut hasher = Digest::hasher();
        hasher.update(DRAW).update(seed.as_bytes());
        hasher.update(&rank.to_le_bytes());
        hasher.update(&turn.to_le_bytes());
        let bytes = *hasher.finalize().as_bytes();
        for word in bytes.as_chunks::<8>().0 {
            let word = u64::from_le_bytes(*word);
            if word < fair && drawn.len() < wanted {
                drawn.insert(u32::try_from(word % u64::from(steps)).unwrap_or_default());
            }
        }
    }
    drawn
}

/// How likely it is that one who changed so many steps is caught: that a draw without
/// return has one of them.
#[must_use]
pub fn caught(steps: u32, changed: u32, opened: u32) -> f64 {
    let (steps, changed) = (f64::from(steps), f64::from(changed.min(steps)));
    let missed = (0..opened).map(f64::from).fold(1.0, |missed, turn| {
        let (left, honest) = (steps - turn, steps - changed - turn);
        if left <= 0.0 || honest <= 0.0 {
            return 0.0;
        }
        missed * honest / left
    });
    if changed > 0.0 { 1.0 - missed } else { 0.0 }
}
