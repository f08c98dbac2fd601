//! The time that the state machine is told: the wall clock, but never backwards,
//! and with leaps forward reported instead of hidden.
//!
//! A machine that slept, or whose clock was set, would see every lease lapse at
//! once. So the clock runs on the monotonic one and is set by the wall clock only
//! when the two have drifted apart, which the caller hears of.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use embermesh_crypto::time::UnixMillis;

/// How far the wall clock may leave the monotonic one before it is believed.
const DRIFT: Duration = Duration::from_secs(2);

/// A clock that never goes backwards.
#[derive(Debug)]
pub(super) struct Clock {
    /// The reading of the wall clock at `anchor`.
    wall: Duration,
    anchor: Instant,
    last: Duration,
}

/// A reading, and whether the wall clock leapt since the one before.
pub(super) struct Reading {
    pub(super) now: UnixMillis,
    pub(super) leapt: bool,
}

impl Clock {
    pub(super) fn start() -> Self {
        let wall = wall();
        Self {
            wall,
            anchor: Instant::now(),
            last: wall,
        }
    }

    pub(super) fn read(&mut self) -> Reading {
        self.step(wall(), self.anchor.elapsed())
    }

    fn step(&mut self, wall: Duration, elapsed: Duration) -> Reading {
        let steady = self.wall + elapsed;
        let leapt = wall.abs_diff(steady) > DRIFT;
        if leapt {
            self.wall = wall;
            self.anchor += elapsed;
        }
        let told = if leapt { wall } else { steady };
        // Backwards is never told: the clock stands until the wall catches up.
        self.last = self.last.max(told);
        Reading {
            now: UnixMillis(u64::try_from(self.last.as_millis()).unwrap_or(u64::MAX)),
            leapt,
        }
    }
}

fn wall() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn clock() -> Clock {
        Clock {
            wall: s(1_000),
            anchor: Instant::now(),
            last: s(1_000),
        }
    }

    #[test]
    fn small_corrections_of_the_wall_clock_are_not_seen() {
        let mut clock = clock();
        let reading = clock.step(s(1_011), s(10));
        assert!(!reading.leapt);
        assert_eq!(reading.now, UnixMillis(1_010_000));
    }

    #[test]
    fn a_leap_is_reported_once() {
        let mut clock = clock();
        let reading = clock.step(s(5_000), s(10));
        assert!(reading.leapt);
        assert_eq!(reading.now, UnixMillis(5_000_000));
        assert!(!clock.step(s(5_001), s(1)).leapt);
    }

    #[test]
    fn time_never_goes_back() {
        let mut clock = clock();
        assert_eq!(clock.step(s(1_010), s(10)).now, UnixMillis(1_010_000));
        assert_eq!(clock.step(s(10), s(11)).now, UnixMillis(1_010_000));
    }
}
