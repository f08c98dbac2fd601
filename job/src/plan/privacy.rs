//! Differential privacy of an average: what hides each single result.
//!
//! Each result is clipped to a norm, and noise that covers what one result can
//! change is added to each number of the output. Two sets of results are
//! neighbours when one result is replaced by another; weights, sample counts
//! and the number of results count as public.
//!
//! - Laplace noise of scale `reach / epsilon`, the reach in the L1 norm, gives
//!   epsilon-differential privacy (Dwork and others, 2006).
//! - Gaussian noise of deviation `reach / sqrt(2 rho)`, the reach in the L2 norm,
//!   gives rho-zero-concentrated privacy, which implies (epsilon, delta) for
//!   `rho = (sqrt(ln(1/delta) + epsilon) - sqrt(ln(1/delta)))^2` (Bun and
//!   Steinke 2016, proposition 1.3). It holds for every epsilon.
//!
//! The noise is drawn in floating point, so its lowest bits may tell more than
//! the theorem allows (Mironov 2012): the output is rounded to a grid of a
//! power of two that is far coarser than they are. The bound is that of real
//! numbers; where an adversary sees many outputs to the last bit, ask for less.

use rand_chacha::{
    ChaCha20Rng,
    rand_core::{RngCore, SeedableRng},
};
use serde::{Deserialize, Serialize};

use super::{InvalidPlan, invalid::field};

/// The least and the most that a budget may be.
const EPSILON: std::ops::RangeInclusive<f64> = 1e-3..=1e3;
/// The grid is this share of the noise, rounded down to a power of two.
const GRID: f64 = 1.0 / 1024.0;

/// Which noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Noise {
    /// Gaussian, clipped by the L2 norm.
    Gaussian,
    /// Laplace, clipped by the L1 norm.
    Laplace,
}

/// A budget, and how it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Privacy {
    /// The budget.
    pub epsilon: f64,
    /// The chance that the bound does not hold; Laplace noise needs none.
    pub delta: f64,
    /// The largest norm of a result.
    pub clip: f64,
    /// Which noise.
    pub noise: Noise,
}

impl Privacy {
    /// What is meant where only a budget is named: Gaussian noise, a chance of
    /// one in a million, results of norm 1.
    #[must_use]
    pub const fn of(epsilon: f64) -> Self {
        Self {
            epsilon,
            delta: 1e-6,
            clip: 1.0,
            noise: Noise::Gaussian,
        }
    }

    pub(super) fn check(&self) -> Result<(), InvalidPlan> {
        if !EPSILON.contains(&self.epsilon) {
            return Err(field("epsilon", "it is not from 0.001 to 1000"));
        }
        if !(self.delta > 0.0 && self.delta < 1.0) {
            return Err(field("delta", "it is not above 0 and below 1"));
        }
        if !(self.clip > 0.0 && self.clip <= 1e12) {
            return Err(field("clip", "it is not above 0 to 1e12"));
        }
        Ok(())
    }

    /// Shortens a result to the largest norm.
    pub(super) fn clip(&self, numbers: &mut [f64]) {
        let largest = numbers.iter().fold(0.0, |sum: f64, n| sum.max(n.abs()));
        if largest == 0.0 {
            return;
        }
        // By the largest first, so that no square is infinite.
        let scaled = numbers.iter().map(|number| number / largest);
        let norm = match self.noise {
            Noise::Gaussian => scaled.map(|number| number * number).sum::<f64>().sqrt(),
            Noise::Laplace => scaled.map(f64::abs).sum(),
        };
        let shrink = self.clip / largest / norm;
        if shrink < 1.0 {
            for number in numbers {
                *number *= shrink;
            }
        }
    }

    /// How far one result can move a mean of which it has this share.
    pub(super) fn reach_of_mean(&self, share: f64) -> f64 {
        2.0 * self.clip * share
    }

    /// How far one result can move a median of so many numbers: each of them
    /// from one end to the other, which is far and honest.
    pub(super) fn reach_of_median(&self, width: usize) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "it only scales noise")]
        let width = width as f64;
        match self.noise {
            Noise::Gaussian => 2.0 * self.clip * width.sqrt(),
            Noise::Laplace => 2.0 * self.clip * width,
        }
    }

    /// The scale of the noise: the deviation of the Gaussian, the mean distance
    /// of the Laplace noise.
    #[must_use]
    pub fn scale(&self, reach: f64) -> f64 {
        match self.noise {
            Noise::Laplace => reach / self.epsilon,
            Noise::Gaussian => {
                let tail = -self.delta.ln();
                let root = (tail + self.epsilon).sqrt() - tail.sqrt();
                reach / (std::f64::consts::SQRT_2 * root)
            }
        }
    }

    pub(super) fn add_noise(&self, numbers: &mut [f64], reach: f64, seed: &[u8; 32]) {
        let mut rng = ChaCha20Rng::from_seed(*seed);
        let scale = self.scale(reach);
        let grid = (scale * GRID).log2().floor().exp2();
        for number in numbers {
            let noise = match self.noise {
                Noise::Gaussian => gaussian(&mut rng),
                Noise::Laplace => laplace(&mut rng),
            };
            let noisy = *number + scale * noise;
            let rounded = (noisy / grid).round() * grid;
            // A number beyond the grid's reach keeps its own bits.
            *number = if rounded.is_finite() { rounded } else { noisy };
        }
    }
}

/// Evenly from above 0 to 1, in steps of 2^-53.
fn unit(rng: &mut impl RngCore) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let steps = ((rng.next_u64() >> 11) + 1) as f64;
    steps * f64::EPSILON / 2.0
}

/// Normal about 0 with deviation 1 (Box and Muller 1958).
fn gaussian(rng: &mut impl RngCore) -> f64 {
    let radius = (-2.0 * unit(rng).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit(rng)).cos()
}

/// Laplace about 0 with scale 1: an exponential with a random sign.
fn laplace(rng: &mut impl RngCore) -> f64 {
    let distance = -unit(rng).ln();
    if rng.next_u64() & 1 == 0 {
        distance
    } else {
        -distance
    }
}
