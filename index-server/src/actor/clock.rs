//! The time that the state machine is told: the wall clock, but with its leaps,
//! forwards and back, reported instead of hidden.
//!
//! A machine that slept, or whose clock was set, would see every lease lapse at
//! once, or none for as long as the clock was wrong. So the clock runs on the
//! monotonic one and is set by the wall clock only when the two have drifted
//! apart, which the caller hears of and mends its deadlines for.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use embermesh_crypto::time::UnixMillis;

/// How far the wall clock may leave the monotonic one before it is believed.
const DRIFT: Duration = Duration::from_secs(2);

/// A clock that goes backwards only where it says so.
#[derive(Debug)]
pub(super) struct Clock {
    /// The reading of the wall clock at `anchor`.
    wall: Duration,
    anchor: Instant,
    leapt: bool,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            wall: wall(),
            anchor: Instant::now(),
            leapt: false,
        }
    }

    pub(super) fn read(&mut self) -> UnixMillis {
        self.step(wall(), self.anchor.elapsed())
    }

    /// Whether the clock leapt since the leaps were last taken note of.
    pub(super) fn leapt(&self) -> bool {
        self.leapt
    }

    /// The same, and takes note of it.
    pub(super) fn take_leap(&mut self) -> bool {
        std::mem::take(&mut self.leapt)
    }

    fn step(&mut self, wall: Duration, elapsed: Duration) -> UnixMillis {
        let steady = self.wall + elapsed;
        let leapt = wall.abs_diff(steady) > DRIFT;
        if leapt {
            self.leapt = true;
            self.wall = wall;
            self.anchor += elapsed;
        }
        let told = if leapt { wall } else { steady };
        UnixMillis(u64::try_from(told.as_millis()).unwrap_or(u64::MAX))
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
            leapt: false,
        }
    }

    #[test]
    fn small_corrections_of_the_wall_clock_are_not_seen() {
        let mut clock = clock();
        assert_eq!(clock.step(s(1_011), s(10)), UnixMillis(1_010_000));
        assert_eq!(clock.step(s(1_010), s(11)), UnixMillis(1_011_000));
        assert!(!clock.leapt());
    }

    #[test]
    fn a_leap_is_reported_until_it_is_taken_note_of_and_only_once() {
        let mut clock = clock();
        assert_eq!(clock.step(s(5_000), s(10)), UnixMillis(5_000_000));
        assert_eq!(clock.step(s(5_001), s(1)), UnixMillis(5_001_000));
        assert!(clock.leapt() && clock.take_leap());
        clock.step(s(5_002), s(2));
        assert!(!clock.take_leap());
    }

    #[test]
    fn a_clock_that_is_set_back_goes_on_from_there_and_says_so() {
        let mut clock = clock();
        assert_eq!(clock.step(s(1_010), s(10)), UnixMillis(1_010_000));
        assert_eq!(clock.step(s(10), s(11)), UnixMillis(10_000));
        assert!(clock.take_leap());
        // Counted from the leap: time does not stand until the old reading.
        assert_eq!(clock.step(s(12), s(2)), UnixMillis(12_000));
        assert!(!clock.take_leap());
    }
}
