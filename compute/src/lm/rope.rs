//! Rotary positions: pairs of numbers turned by an angle that grows with the
//! token's place (Su et al., 2021), in the interleaved form that GGUF files of
//! the Llama family are written for.

/// How fast each pair turns.
#[derive(Clone, Debug)]
pub(crate) struct Rope {
    /// Radians a token, for each pair of a head that turns.
    rates: Vec<f64>,
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
        }
    }

    /// Turns every head of a token at `position`.
    pub(crate) fn turn(&self, heads: &mut [f32], width: usize, position: usize) {
        let turns: Vec<(f32, f32)> = self
            .rates
            .iter()
            .map(|rate| (rate * position as f64).sin_cos())
            .map(|(sin, cos)| (sin as f32, cos as f32))
            .collect();
        for head in heads.chunks_exact_mut(width) {
            for (pair, (sin, cos)) in head.as_chunks_mut::<2>().0.iter_mut().zip(&turns) {
                let [a, b] = *pair;
                *pair = [a * cos - b * sin, a * sin + b * cos];
            }
        }
    }
}
