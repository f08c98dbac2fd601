//! Rotary positions: pairs of numbers turned by an angle that grows with the
//! token's place (Su et al., 2021).

/// How fast each pair turns.
#[derive(Clone, Debug)]
pub(crate) struct Rope {
    /// Radians a token, for each pair of a head that turns.
    rates: Vec<f64>,
    pairs: Pairs,
}

/// Which numbers of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pairs {
    /// Each with the next, as GGUF files are written for.
    Neighbours,
    /// Those of the first half with those of the second, as the `transformers`
    /// library has it.
    Halves,
}

impl Rope {
    /// Rates of `pairs` pairs. `factors` slow each pair down by itself, where
    /// the file has them; `scale` slows all of them down.
    pub(crate) fn new(pairs: usize, base: f64, scale: f64, factors: Option<&[f32]>) -> Self {
        let rate = |pair: usize| {
            let factor = factors.and_then(|factors| factors.get(pair));
            base.powf(-(pair as f64) / pairs as f64)
                / scale
                / f64::from(factor.copied().unwrap_or(1.0))
        };
        Self {
            rates: (0..pairs).map(rate).collect(),
            pairs: Pairs::Neighbours,
        }
    }

    /// The same for other pairs.
    pub(crate) fn with(self, pairs: Pairs) -> Self {
        Self { pairs, ..self }
    }

    /// Turns every head of a token at `position`.
    pub(crate) fn turn(&self, heads: &mut [f32], width: usize, position: usize) {
        let turns: Vec<(f32, f32)> = self
            .rates
            .iter()
            .map(|rate| (rate * position as f64).sin_cos())
            .map(|(sin, cos)| (sin as f32, cos as f32))
            .collect();
        let halves = self.pairs == Pairs::Halves;
        for head in heads.chunks_exact_mut(width) {
            if halves {
                let (first, rest) = head.split_at_mut(turns.len());
                for ((a, b), (sin, cos)) in first.iter_mut().zip(rest).zip(&turns) {
                    (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
                }
                continue;
            }
            for (pair, (sin, cos)) in head.as_chunks_mut::<2>().0.iter_mut().zip(&turns) {
                let [a, b] = *pair;
                *pair = [a * cos - b * sin, a * sin + b * cos];
            }
        }
    }
}
