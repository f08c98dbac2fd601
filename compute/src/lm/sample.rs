//! The next token, from what the network says of each.
//!
//! The draws of a request are keyed by its seed and the number of the token, so
//! that nothing depends on what was drawn beside it. Equal numbers go to the
//! token that comes first.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use embermesh_job::spec::Request;

use crate::randomness::{Purpose, stream};
use rand_chacha::rand_core::RngCore;

/// A network that has lost the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotFinite;

/// Draws tokens for one request.
#[derive(Debug)]
pub(crate) struct Sampler {
    temperature: f64,
    top_k: usize,
    top_p: f64,
    penalty: f32,
    seed: u32,
    /// Tokens that the text has.
    seen: BTreeSet<u32>,
}

impl Sampler {
    /// A sampler for a text that begins with `prompt`.
    pub(crate) fn new(request: &Request, prompt: &[u32]) -> Self {
        Self {
            temperature: request.temperature,
            top_k: request.top_k as usize,
            top_p: request.top_p,
            penalty: request.repetition_penalty as f32,
            seed: request.seed,
            seen: prompt.iter().copied().collect(),
        }
    }

    /// The token after `made` others, from a number for each there is.
    pub(crate) fn next(&mut self, logits: &[f32], made: u32) -> Result<u32, NotFinite> {
        if !logits.iter().all(|logit| logit.is_finite()) {
            return Err(NotFinite);
        }
        let penalised = (self.penalty != 1.0).then(|| self.penalised(logits));
        let logits = penalised.as_deref().unwrap_or(logits);
        let token = if self.temperature == 0.0 {
            likeliest(logits)
        } else {
            self.draw(logits, made)
        };
        self.seen.insert(token);
        Ok(token)
    }

    /// Keskar et al., 2019: what is there already is divided by the penalty, or
    /// multiplied where it is negative.
    fn penalised(&self, logits: &[f32]) -> Vec<f32> {
        let mut logits = logits.to_vec();
        for token in &self.seen {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit = if *logit > 0.0 {
                    *logit / self.penalty
                } else {
                    *logit * self.penalty
                };
            }
        }
        logits
    }

    fn draw(&self, logits: &[f32], made: u32) -> u32 {
        let mut tokens: Vec<u32> = (0..logits.len() as u32).collect();
        let by_likelihood = |a: &u32, b: &u32| better(logits, *a, *b);
        if self.top_k > 0 && self.top_k < tokens.len() {
            tokens.select_nth_unstable_by(self.top_k - 1, by_likelihood);
            tokens.truncate(self.top_k);
        }
        tokens.sort_unstable_by(by_likelihood);
        let most = f64::from(logits[tokens[0] as usize]);
        let weight = |token: &u32| {
            let logit = f64::from(logits[*token as usize]);
            ((logit - most) / self.temperature).exp()
        };
        let mut weights: Vec<f64> = tokens.iter().map(weight).collect();
        if self.top_p < 1.0 {
            let kept = nucleus(&weights, self.top_p);
            weights.truncate(kept);
        }
        let total: f64 = weights.iter().sum();
        let mut rng = stream(self.seed, Purpose::Token, u64::from(made), 0);
        // 53 bits are all that a double holds evenly.
        let unit = (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let mut left = unit * total;
        for (token, weight) in tokens.iter().zip(&weights) {
            left -= weight;
            if left < 0.0 {
                return *token;
            }
        }
        tokens[weights.len() - 1]
    }
}

/// How many of the first weights have this share of all; at least one.
fn nucleus(weights: &[f64], share: f64) -> usize {
    let wanted = share * weights.iter().sum::<f64>();
    let mut sum = 0.0;
    let enough = weights.iter().position(|weight| {
        sum += weight;
        sum >= wanted
    });
    enough.map_or(weights.len(), |last| last + 1)
}

/// Whether token `a` comes before `b`.
fn better(logits: &[f32], a: u32, b: u32) -> Ordering {
    let (x, y) = (logits[a as usize], logits[b as usize]);
    y.total_cmp(&x).then(a.cmp(&b))
}

fn likeliest(logits: &[f32]) -> u32 {
    let tokens = 0..logits.len() as u32;
    tokens
        .min_by(|a, b| better(logits, *a, *b))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            ..Request::prompt("x")
        }
    }

    fn draws(request: &Request, logits: &[f32]) -> Vec<u32> {
        let mut sampler = Sampler::new(request, &[]);
        (0..2000)
            .map(|made| sampler.next(logits, made).unwrap())
            .collect()
    }

    fn share(draws: &[u32], token: u32) -> f64 {
        let count = draws.iter().filter(|drawn| **drawn == token).count();
        count as f64 / draws.len() as f64
    }

    #[test]
    fn draws_follow_the_probabilities_and_the_seed() {
        let logits = [3.0_f32.ln(), 0.0, 0.0, -100.0];
        let first = draws(&request(), &logits);
        assert!(
            (share(&first, 0) - 0.6).abs() < 0.04,
            "{}",
            share(&first, 0)
        );
        assert!((share(&first, 2) - 0.2).abs() < 0.04);
        assert_eq!(share(&first, 3), 0.0);
        assert_eq!(draws(&request(), &logits), first);
        let other = Request {
            seed: 1,
            ..request()
        };
        assert_ne!(draws(&other, &logits), first);
    }

    #[test]
    fn each_bound_leaves_the_likeliest() {
        let logits = [1.0, 3.0, 2.0, 3.0];
        for bounded in [
            Request {
                temperature: 0.0,
                ..request()
            },
            Request {
                top_k: 1,
                ..request()
            },
            Request {
                top_p: 0.3,
                ..request()
            },
            Request {
                temperature: 1e-300,
                top_k: 1,
                ..request()
            },
        ] {
            assert_eq!(share(&draws(&bounded, &logits), 1), 1.0, "{bounded:?}");
        }
        let two = draws(
            &Request {
                top_k: 2,
                ..request()
            },
            &logits,
        );
        assert_eq!(share(&two, 1) + share(&two, 3), 1.0);
        assert!(share(&two, 3) > 0.4);
    }

    #[test]
    fn a_penalty_falls_on_what_is_there() {
        let greedy = Request {
            temperature: 0.0,
            repetition_penalty: 2.0,
            ..request()
        };
        let mut sampler = Sampler::new(&greedy, &[0]);
        assert_eq!(sampler.next(&[3.0, 2.0, -1.0], 0), Ok(1));
        assert_eq!(sampler.next(&[3.0, 2.5, 1.6], 1), Ok(2));
        assert_eq!(sampler.next(&[-1.0, -1.1, -3.0], 2), Ok(0));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut sampler = Sampler::new(&request(), &[]);
            assert_eq!(sampler.next(&[0.0, bad], 0), Err(NotFinite));
        }
    }
}
