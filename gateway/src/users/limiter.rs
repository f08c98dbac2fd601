//! How often somebody may try: counts in windows of time, in a map of bounded size. Pure:
//! the time is an argument.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use embermesh_crypto::UnixMillis;

/// The most that are counted at once. When there are more, whoever began longest ago is
/// forgotten first.
const MAX_COUNTED: usize = 10_000;

/// Counts tries by key.
#[derive(Debug)]
pub(super) struct Limiter<K> {
    most: u32,
    window: Duration,
    counted: HashMap<K, Count>,
}

#[derive(Debug)]
struct Count {
    since: UnixMillis,
    tries: u32,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    /// Allows `most` tries in a `window` that begins with the first.
    pub(super) fn new(most: u32, window: Duration) -> Self {
        Self {
            most,
            window,
            counted: HashMap::new(),
        }
    }

    /// Counts a try, or says that it is one too many.
    pub(super) fn allow(&mut self, key: K, now: UnixMillis) -> bool {
        let window = self.window;
        if self.counted.len() >= MAX_COUNTED && !self.counted.contains_key(&key) {
            self.counted
                .retain(|_, count| now.since(count.since) < window);
            self.forget_oldest();
        }
        let count = self.counted.entry(key).or_insert(Count {
            since: now,
            tries: 0,
        });
        if now.since(count.since) >= window {
            *count = Count {
                since: now,
                tries: 0,
            };
        }
        if count.tries >= self.most {
            return false;
        }
        count.tries += 1;
        true
    }

    /// Forgets what was counted: the last try was a good one.
    pub(super) fn forgive(&mut self, key: &K) {
        self.counted.remove(key);
    }

    fn forget_oldest(&mut self) {
        if self.counted.len() < MAX_COUNTED {
            return;
        }
        let oldest = self.counted.iter().min_by_key(|(_, count)| count.since);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.counted.remove(&key);
        }
    }
}

/// What one caller is counted by: an IPv4 address, or the /64 that one host has of IPv6.
pub(super) fn host(remote: Option<IpAddr>) -> Option<IpAddr> {
    remote.map(|remote| match remote.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(
            address.to_bits() & !u128::from(u64::MAX),
        )),
        address @ IpAddr::V4(_) => address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn tries_end_at_the_limit_and_begin_anew_after_the_window() {
        let mut limiter = Limiter::new(2, MINUTE);
        let begin = UnixMillis(1_000_000);
        assert!(limiter.allow("a", begin));
        assert!(limiter.allow("a", begin));
        assert!(!limiter.allow("a", begin));
        assert!(limiter.allow("b", begin));
        let last = UnixMillis(begin.0 + 59_999);
        assert!(!limiter.allow("a", last));
        assert!(limiter.allow("a", begin.saturating_add(MINUTE)));
        limiter.forgive(&"b");
        assert!(limiter.allow("b", begin));
    }

    #[test]
    fn the_map_stays_bounded_and_the_oldest_goes_first() {
        let mut limiter = Limiter::new(1, MINUTE);
        for number in 0..MAX_COUNTED as u64 + 50 {
            assert!(limiter.allow(number, UnixMillis(number)));
        }
        assert_eq!(limiter.counted.len(), MAX_COUNTED);
        let now = UnixMillis(MAX_COUNTED as u64 + 50);
        assert!(limiter.allow(0, now), "the oldest was forgotten");
        assert!(!limiter.allow(MAX_COUNTED as u64 + 49, now));
    }

    #[test]
    fn one_host_of_ipv6_is_one_caller() {
        let of = |text: &str| host(Some(text.parse().unwrap()));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
