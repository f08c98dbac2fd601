//! How large a proof can be, before anything is executed.

use crate::program::Program;

/// The most bytes of a commitment, and of what else a proof says once.
const COMMITMENT: u64 = 256;
/// The most bytes of a digest in a list.
const DIGEST: u64 = 34;
/// The most bytes of what a step or a tensor says beside its digests and numbers.
const FRAME: u64 = 32;
/// Bytes of a number.
const NUMBER: u64 = 4;

/// The most bytes of the proof of one of a gang of so many, with so many steps opened,
/// whichever are drawn.
#[must_use]
pub fn most_bytes(program: &Program, opened: u32, gang: u32) -> u64 {
    let steps = program.steps.len() as u64;
    let depth = u64::from(u64::BITS - steps.leading_zeros());
    let mut leaves = 0_u64;
    let mut tensors = Vec::with_capacity(program.steps.len());
    for step in &program.steps {
        let values = step.reads.iter().chain(&step.gives);
        let digests = (values.clone().count() as u64).saturating_add(depth);
        leaves = leaves.saturating_add(FRAME + digests.saturating_mul(DIGEST));
        let numbers = values.map(|value| {
            let count = program.type_of(*value).len();
            count.saturating_mul(NUMBER).saturating_add(FRAME)
        });
        tensors.push(numbers.fold(0, u64::saturating_add));
    }
    tensors.sort_unstable_by(|a, b| b.cmp(a));
    let opened = usize::try_from(opened).unwrap_or(usize::MAX);
    let largest = tensors.into_iter().take(opened);
    u64::from(gang)
        .saturating_add(1)
        .saturating_mul(COMMITMENT)
        .saturating_add(leaves)
        .saturating_add(largest.fold(0, u64::saturating_add))
}
