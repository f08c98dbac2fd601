//! The area under the receiver operating characteristic: how likely a sample
//! that is of a class scores higher than one that is not.

/// The scores of an evaluation, by class.
pub(crate) struct Scores {
    /// By class, the score of each sample and whether it is of the class;
    /// `None` where they would be too many.
    kept: Option<Vec<Vec<(f64, bool)>>>,
}

impl Scores {
    /// No scores yet. They are kept where no more than `room` will come.
    pub(super) fn new(classes: usize, samples: usize, room: usize) -> Self {
        let fits = classes
            .checked_mul(samples)
            .is_some_and(|scores| scores <= room);
        Self {
            kept: fits.then(|| vec![Vec::with_capacity(samples); classes]),
        }
    }

    /// Adds the scores of one sample, a class each.
    pub(super) fn add(&mut self, scores: &[f64], is: impl Iterator<Item = bool>) {
        for ((kept, &score), is) in self.kept.iter_mut().flatten().zip(scores).zip(is) {
            kept.push((score, is));
        }
    }

    /// The area of a class; none when all samples are of it, or none is.
    pub(super) fn auc(&self, class: usize) -> Option<f64> {
        let mut ranked = self.kept.as_ref()?.get(class)?.clone();
        ranked.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let of_class = ranked.iter().filter(|(_, is)| *is).count() as f64;
        let others = ranked.len() as f64 - of_class;
        if of_class == 0.0 || others == 0.0 {
            return None;
        }
        // Mann and Whitney: the sum of the ranks, where equals share theirs.
        let mut ranks = 0.0;
        let mut below = 0;
        for equals in ranked.chunk_by(|(one, _), (other, _)| one == other) {
            let rank = below as f64 + (equals.len() as f64 + 1.0) / 2.0;
            ranks += rank * equals.iter().filter(|(_, is)| *is).count() as f64;
            below += equals.len();
        }
        Some((ranks - of_class * (of_class + 1.0) / 2.0) / (of_class * others))
    }
}
