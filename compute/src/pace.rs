//! How fast the work goes and how long it will take, by this process's clock.
//! Nothing that a result depends on is measured here.

use std::time::{Duration, Instant};

/// Measures the steps of an attempt; pauses do not count.
#[derive(Debug)]
pub(crate) struct Pace {
    attempt: Span,
    window: Span,
}

#[derive(Debug)]
struct Span {
    since: Instant,
    skipped: Duration,
    steps: u64,
    samples: u64,
}

impl Pace {
    /// Starts the clock.
    pub(crate) fn new() -> Self {
        Self {
            attempt: Span::new(),
            window: Span::new(),
        }
    }

    /// A step was done.
    pub(crate) fn step(&mut self, samples: u64) {
        for span in [&mut self.attempt, &mut self.window] {
            span.steps += 1;
            span.samples += samples;
        }
    }

    /// Time passed in which nothing was to be done.
    pub(crate) fn skip(&mut self, waited: Duration) {
        self.attempt.skipped += waited;
        self.window.skipped += waited;
    }

    /// Samples per second since this was last asked.
    pub(crate) fn samples_per_second(&mut self) -> f64 {
        let window = std::mem::replace(&mut self.window, Span::new());
        window.samples as f64 / window.seconds()
    }

    /// Samples so far.
    pub(crate) fn samples(&self) -> u64 {
        self.attempt.samples
    }

    /// Samples per second so far; 0 before the first.
    pub(crate) fn overall(&self) -> f64 {
        self.attempt.samples as f64 / self.attempt.seconds()
    }

    /// Milliseconds for this many steps, at the speed of the attempt so far.
    pub(crate) fn remaining_ms(&self, steps: u64) -> u64 {
        let each = self.attempt.seconds() / self.attempt.steps.max(1) as f64;
        (each * steps as f64 * 1000.0) as u64
    }
}

impl Span {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            skipped: Duration::ZERO,
            steps: 0,
            samples: 0,
        }
    }

    /// Never zero, so that it can divide.
    fn seconds(&self) -> f64 {
        let spent = self.since.elapsed().saturating_sub(self.skipped);
        spent.as_secs_f64().max(1e-9)
    }
}
