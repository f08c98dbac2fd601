//! One direction of a link: what happens to a packet on its way.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// How much later a packet is that others overtake, at least.
const LEAST_LATENESS: Duration = Duration::from_millis(5);

/// What a link does. The default does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkConfig {
    /// How long a packet takes, beside its own length, in milliseconds.
    pub delay_ms: u64,
    /// How much longer at most, drawn evenly, in milliseconds. It changes no order.
    pub jitter_ms: u64,
    /// The share of packets that are lost.
    pub loss: f64,
    /// The share of packets that later ones overtake.
    pub reorder: f64,
    /// Bits that pass in a second; 0: without a bound.
    pub rate_bits: u64,
    /// Bytes that wait for the link at most; what comes beyond is lost.
    pub queue_bytes: u64,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            delay_ms: 0,
            jitter_ms: 0,
            loss: 0.0,
            reorder: 0.0,
            rate_bits: 0,
            queue_bytes: 1 << 20,
        }
    }
}

impl LinkConfig {
    /// A link that only takes time.
    #[must_use]
    pub fn delay(delay_ms: u64) -> Self {
        Self {
            delay_ms,
            ..Self::default()
        }
    }

    /// The same with a rate, and a queue of what passes in a tenth of a second.
    #[must_use]
    pub fn with_rate(self, rate_bits: u64) -> Self {
        Self {
            rate_bits,
            queue_bytes: rate_bits / 80,
            ..self
        }
    }
}

/// One direction of a link. Times are since some beginning.
#[derive(Clone, Debug)]
pub struct Link {
    config: LinkConfig,
    rng: ChaCha8Rng,
    /// When all that waits has passed.
    free_at: Duration,
    /// When the last packet arrives that none overtakes.
    last: Duration,
}

impl Link {
    /// A link that is empty.
    #[must_use]
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        Self {
            config,
            rng: ChaCha8Rng::seed_from_u64(seed),
            free_at: Duration::ZERO,
            last: Duration::ZERO,
        }
    }

    /// When a packet arrives that is sent now; nothing when it is lost.
    pub fn carry(&mut self, now: Duration, bytes: usize) -> Option<Duration> {
        let LinkConfig {
            delay_ms,
            jitter_ms,
            loss,
            reorder,
            rate_bits,
            queue_bytes,
        } = self.config;
        if loss > 0.0 && self.rng.random_bool(loss.min(1.0)) {
            return None;
        }
        let sent = if rate_bits == 0 {
            now
        } else {
            let begins = self.free_at.max(now);
            let waiting = (begins - now).as_secs_f64() * rate_bits as f64 / 8.0;
            if waiting > queue_bytes as f64 {
                return None;
            }
            self.free_at = begins + Duration::from_secs_f64(bytes as f64 * 8.0 / rate_bits as f64);
            self.free_at
        };
        let jitter = match jitter_ms {
            0 => 0,
            most => self.rng.random_range(0..=most * 1000),
        };
        let arrives = sent + Duration::from_millis(delay_ms) + Duration::from_micros(jitter);
        let in_order = arrives.max(self.last);
        if reorder > 0.0 && self.rng.random_bool(reorder.min(1.0)) {
            let late = Duration::from_millis(jitter_ms).max(LEAST_LATENESS);
            return Some(in_order + late);
        }
        self.last = in_order;
        Some(in_order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_link_of_nothing_changes_nothing() {
        let mut link = Link::new(LinkConfig::default(), 1);
        assert_eq!(link.carry(7 * MS, 1500), Some(7 * MS));
        assert_eq!(link.carry(8 * MS, 1), Some(8 * MS));
    }

    #[test]
    fn a_rate_spaces_packets_and_a_full_queue_loses_them() {
        // 1,000 bytes take a millisecond; ten of them may wait.
        let config = LinkConfig {
            queue_bytes: 10_000,
            ..LinkConfig::delay(20).with_rate(8_000_000)
        };
        let mut link = Link::new(config, 1);
        let arrivals: Vec<_> = (0..20).map(|_| link.carry(Duration::ZERO, 1000)).collect();
        assert_eq!(arrivals[0], Some(21 * MS));
        assert_eq!(arrivals[9], Some(30 * MS));
        assert_eq!(arrivals.iter().flatten().count(), 11);
        // It is free again when they have passed.
        assert_eq!(link.carry(50 * MS, 1000), Some(71 * MS));
    }

    #[test]
    fn jitter_keeps_the_order_and_a_share_is_lost() {
        let config = LinkConfig {
            jitter_ms: 30,
            loss: 0.1,
            ..LinkConfig::delay(50)
        };
        let mut link = Link::new(config, 7);
        let sent: Vec<_> = (0..10_000).map(|n| n * MS).collect();
        let arrivals: Vec<_> = sent.iter().map(|at| link.carry(*at, 100)).collect();
        let arrived: Vec<_> = arrivals.iter().flatten().copied().collect();
        assert!(arrived.is_sorted());
        assert!((8_800..9_200).contains(&arrived.len()), "{}", arrived.len());
        for (at, arrival) in sent.iter().zip(&arrivals) {
            let Some(arrival) = arrival else { continue };
            let took = *arrival - *at;
            assert!(50 * MS <= took && took <= 80 * MS, "{took:?}");
        }
        let mut again = Link::new(config, 7);
        let repeated: Vec<_> = sent.iter().map(|at| again.carry(*at, 100)).collect();
        assert_eq!(arrivals, repeated);
    }

    #[test]
    fn a_share_is_overtaken_and_nobody_else_waits_for_it() {
        let config = LinkConfig {
            reorder: 0.05,
            ..LinkConfig::delay(10)
        };
        let mut link = Link::new(config, 3);
        let mut arrivals: Vec<_> = (0..1000)
            .map(|n| (link.carry(n * MS, 100).unwrap(), n))
            .collect();
        let late = arrivals.iter().filter(|(at, n)| *at > (*n + 10) * MS);
        assert!((20..90).contains(&late.count()));
        arrivals.sort_unstable();
        assert!(!arrivals.is_sorted_by_key(|(_, n)| *n));
    }
}
