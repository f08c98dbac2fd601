//! Which samples train and which are held out, as a function of a seed alone,
//! so that an evaluation elsewhere holds out the very same ones.

use std::sync::Arc;

use super::{Batch, Set};
use crate::failure::WorkFailed;
use crate::randomness::{Purpose, permutation, stream};

/// Batches that are asked for ahead of need, where samples are with a client.
pub(crate) const FORESIGHT: usize = 8;

/// Some samples of a set.
#[derive(Clone, Debug)]
pub(crate) struct Samples {
    set: Arc<Set>,
    numbers: Vec<u32>,
}

impl Samples {
    /// Every sample of a set, in its own order.
    pub(crate) fn all(set: Arc<Set>) -> Self {
        let numbers = (0..count(set.len())).collect();
        Self { set, numbers }
    }

    /// Those with these numbers.
    pub(crate) fn of(set: Arc<Set>, numbers: Vec<u32>) -> Self {
        Self { set, numbers }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Bytes that the whole set takes, with the numbers of these.
    pub(crate) fn bytes(&self) -> u64 {
        self.set.bytes() + (self.numbers.len() as u64) * 4
    }

    /// The order in which a pass over these samples takes them.
    pub(crate) fn order(&self, seed: u32, pass: u32) -> Vec<u32> {
        let mut rng = stream(seed, Purpose::Order, u64::from(pass), 0);
        permutation(self.numbers.len() as u32, &mut rng)
    }

    /// Their own order, for a training that does not shuffle.
    pub(crate) fn in_order(&self) -> Vec<u32> {
        (0..self.numbers.len() as u32).collect()
    }

    /// The samples at these places.
    ///
    /// # Errors
    /// When they are with a client and do not come.
    pub(crate) fn batch(&self, places: &[u32]) -> Result<Batch, WorkFailed> {
        self.set.batch(&self.numbers_of(places))
    }

    /// Says which places will be asked for soon. False when no more can be on their
    /// way, or none need to be.
    pub(crate) fn foresee(&self, places: &[u32]) -> bool {
        self.set.foresee(&self.numbers_of(places))
    }

    /// Batches of at most `size` samples, in order.
    pub(crate) fn batches(
        &self,
        size: usize,
    ) -> impl Iterator<Item = Result<Batch, WorkFailed>> + '_ {
        let size = size.max(1);
        self.numbers
            .chunks(size)
            .enumerate()
            .map(move |(at, numbers)| {
                let mut coming = self.numbers[at * size..].chunks(size).take(FORESIGHT);
                let _ = coming.all(|next| self.set.foresee(next));
                self.set.batch(numbers)
            })
    }

    fn numbers_of(&self, places: &[u32]) -> Vec<u32> {
        places
            .iter()
            .map(|&place| self.numbers[place as usize])
            .collect()
    }
}

/// Splits `count` samples: the numbers of those that train, and of the share
/// that is held out.
pub(crate) fn by_share(samples: usize, share: f64, seed: u32) -> (Vec<u32>, Vec<u32>) {
    let mut numbers = permutation(count(samples), &mut stream(seed, Purpose::Split, 0, 0));
    let held = held_out(numbers.len(), share);
    let mut train = numbers.split_off(held);
    // In the order of the file, so that neighbours in memory stay neighbours.
    numbers.sort_unstable();
    train.sort_unstable();
    (train, numbers)
}

/// How many of `count` samples a share holds out; never all of them.
fn held_out(count: usize, share: f64) -> usize {
    let held = (count as f64 * share).round() as usize;
    held.min(count.saturating_sub(1))
}

fn count(samples: usize) -> u32 {
    u32::try_from(samples).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_split_are_disjoint_whole_and_of_the_size_asked() {
        let (train, held) = by_share(100, 0.2, 5);
        assert_eq!((train.len(), held.len()), (80, 20));
        let mut all = [train, held].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..100));
    }

    #[test]
    fn a_split_is_a_function_of_its_seed() {
        let held = |seed| by_share(100, 0.2, seed).1;
        assert_eq!(held(5), held(5));
        assert_ne!(held(5), held(6));
    }

    #[test]
    fn nothing_is_held_out_at_zero_and_something_always_trains() {
        assert_eq!(by_share(10, 0.0, 1).1.len(), 0);
        assert_eq!(by_share(1, 0.9, 1).0.len(), 1);
    }

    #[test]
    fn passes_take_the_samples_in_different_orders() {
        let labels = (0..50).collect();
        let set = Set::images([1, 1, 1], 255, vec![0; 50], Some(labels), 50).unwrap();
        let samples = Samples::all(Arc::new(set));
        assert_ne!(samples.order(1, 1), samples.order(1, 2));
        assert_eq!(samples.order(1, 2), samples.order(1, 2));
    }
}
