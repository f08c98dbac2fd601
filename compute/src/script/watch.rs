//! The watch over a running script, whatever runs it: what it writes becomes events,
//! what it takes is held against its ceilings, and a cancel ends it at once.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use embermesh_job::event::LogStream;
use embermesh_job::spec::Script;
use embermesh_job::units::Bytes;

use super::ScriptFailed;
use super::folder::size_on_disk;
use super::layout::Layout;
use super::pipes::Pipes;
use super::taken::Taken;
use super::text::Text;
use crate::failure::WorkFailed;
use crate::job::Job;

/// How often the script is looked after, at least.
const TICK: Duration = Duration::from_millis(20);

/// How long what it wrote waits to become a piece.
const SAY_EVERY: Duration = Duration::from_millis(100);

/// The least time between two looks at what it takes.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The same for its working folder.
const WALK_EVERY: Duration = Duration::from_millis(200);

/// A look may take one part in so many of the time, and one of them more.
const LOOK_SHARE: u32 = 5;

/// The most bytes of log, whatever the job may make beside it: each piece is kept by
/// the node, and by whoever follows.
pub(crate) const MAX_LOG: u64 = 16 << 20;

/// How long what has been killed may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// The most threads and processes.
pub(crate) const MAX_TASKS: u64 = 96;

/// What the script has written, as it comes.
type Heard = Receiver<(LogStream, Vec<u8>)>;

/// A script that runs.
pub(crate) trait Running {
    /// What it takes now; asked every [`LOOK_EVERY`] or so.
    fn taken(&mut self) -> Taken;
    /// How much memory it may take of what the job may.
    fn memory(&self, ceiling: u64) -> u64;
    /// How it ended, if it has. Never waits.
    fn ended(&mut self) -> Option<Result<(), ScriptFailed>>;
    /// Whether all that it has started is gone too, once it has ended.
    fn is_gone(&self) -> bool {
        true
    }
    /// Ends it, with all that it has started.
    fn kill(&mut self);
    /// Lets it wait, or go on. False where it cannot wait.
    fn pause(&mut self, paused: bool) -> bool;
}

/// Watches a script until it and all of it is gone.
pub(crate) fn watch(
    script: &Script,
    layout: &Layout,
    running: impl Running,
    pipes: Pipes,
    job: &mut Job<'_>,
) -> Result<(), WorkFailed> {
    let ceilings = job.order.ceilings;
    let mut watch = Watch {
        memory: running.memory(ceilings.memory_bytes),
        disk: ceilings.output_bytes,
        log: ceilings.output_bytes.min(MAX_LOG),
        written: 0,
        running,
        script,
        layout,
        stdout: Text::new(LogStream::Stdout),
        stderr: Text::new(LogStream::Stderr),
        said: Instant::now(),
        look: Pace::new(LOOK_EVERY),
        walk: Pace::new(WALK_EVERY),
        was_over_memory: false,
    };
    let ended = watch.until_end(&pipes.heard, job);
    if ended.is_err() {
        watch.running.kill();
    }
    let gone = watch.until_gone(&pipes.heard, job);
    if matches!(ended, Err(WorkFailed::Cancelled)) {
        return ended;
    }
    watch.say(true, job);
    match ended {
        Ok(()) => gone.map_err(WorkFailed::from),
        Err(WorkFailed::Script(failed)) => {
            let mut words = watch.stderr.last_lines();
            if words.is_empty() {
                words = watch.stdout.last_lines();
            }
            Err(failed.with_words(&words).into())
        }
        failed => failed,
    }
}

struct Watch<'a, R> {
    running: R,
    script: &'a Script,
    layout: &'a Layout,
    /// Bytes of memory that it may take.
    memory: u64,
    /// Bytes that its working folder may have.
    disk: u64,
    /// Bytes that it may write to its log.
    log: u64,
    /// Bytes that it has written there.
    written: u64,
    stdout: Text,
    stderr: Text,
    /// When it was last said what it wrote.
    said: Instant,
    look: Pace,
    walk: Pace,
    /// Whether it had more memory than it may at the last look.
    was_over_memory: bool,
}

impl<R: Running> Watch<'_, R> {
    /// Until the program has ended, or must.
    fn until_end(&mut self, heard: &Heard, job: &mut Job<'_>) -> Result<(), WorkFailed> {
        loop {
            match heard.recv_timeout(TICK) {
                Ok((stream, bytes)) => self.hear(stream, &bytes, job)?,
                Err(RecvTimeoutError::Timeout) => {}
                // It has closed its pipes: its end is known in a moment, or it runs on
                // in silence.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TICK),
            }
            if self.said.elapsed() >= SAY_EVERY {
                self.say(false, job);
            }
            if job.is_paused() && self.running.pause(true) {
                job.wait()?;
                self.running.pause(false);
            }
            job.check_cancelled()?;
            self.look()?;
            if let Some(ended) = self.running.ended() {
                return Ok(ended?);
            }
        }
    }

    /// Until nothing of it is left.
    fn until_gone(&mut self, heard: &Heard, job: &mut Job<'_>) -> Result<(), ScriptFailed> {
        let end = Instant::now() + GONE_WITHIN;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match heard.recv_timeout(left) {
                // What is beyond its ceiling is not said; the pipe holds little.
                Ok((stream, bytes)) => drop(self.hear(stream, &bytes, job)),
                Err(RecvTimeoutError::Disconnected) if self.running.is_gone() => return Ok(()),
                // There is no event for the end of somebody else's child.
                Err(RecvTimeoutError::Disconnected) if !left.is_zero() => {
                    std::thread::sleep(TICK / 10);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(ScriptFailed::NotGone(GONE_WITHIN));
                }
                Err(RecvTimeoutError::Timeout) => return Err(ScriptFailed::NotGone(GONE_WITHIN)),
            }
        }
    }

    fn hear(
        &mut self,
        stream: LogStream,
        bytes: &[u8],
        job: &mut Job<'_>,
    ) -> Result<(), ScriptFailed> {
        self.written = self.written.saturating_add(bytes.len() as u64);
        if self.written > self.log {
            return Err(ScriptFailed::Said {
                allowed: Bytes(self.log),
            });
        }
        let text = match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        };
        for piece in text.take(bytes) {
            job.log.fleeting(piece);
        }
        Ok(())
    }

    fn say(&mut self, over: bool, job: &mut Job<'_>) {
        self.said = Instant::now();
        for text in [&mut self.stdout, &mut self.stderr] {
            for piece in text.flush(over) {
                job.log.fleeting(piece);
            }
        }
    }

    /// Holds what it takes against its ceilings.
    fn look(&mut self) -> Result<(), ScriptFailed> {
        let running = &mut self.running;
        if let Some(taken) = self.look.when_due(|| running.taken()) {
            // First: where there are too many, not all were counted.
            if taken.tasks > MAX_TASKS {
                return Err(ScriptFailed::Tasks {
                    count: taken.tasks,
                    most: MAX_TASKS,
                });
            }
            // Of processes that come into being while they are counted, the memory that they
            // share may be counted more than once. That does not last until the next look.
            let is_over = taken.memory > self.memory;
            if is_over && self.was_over_memory {
                return Err(ScriptFailed::Memory {
                    used: Bytes(taken.memory),
                    allowed: Bytes(self.memory),
                });
            }
            self.was_over_memory = is_over;
            if let Some(allowed) = self.script.cpu
                && taken.cpu.as_millis() > u128::from(allowed.0)
            {
                return Err(ScriptFailed::Cpu { allowed });
            }
        }
        let work = &self.layout.work;
        if let Some(used) = self.walk.when_due(|| size_on_disk(work)) {
            let used = used?;
            if used > self.disk {
                return Err(ScriptFailed::Disk {
                    used: Bytes(used),
                    allowed: Bytes(self.disk),
                });
            }
        }
        Ok(())
    }
}

/// When to look again.
struct Pace {
    every: Duration,
    next: Instant,
}

impl Pace {
    fn new(every: Duration) -> Self {
        Self {
            every,
            next: Instant::now(),
        }
    }

    /// Looks when it is time to. A look that takes long is not repeated soon.
    fn when_due<T>(&mut self, look: impl FnOnce() -> T) -> Option<T> {
        let began = Instant::now();
        if began < self.next {
            return None;
        }
        let seen = look();
        self.next = Instant::now() + self.every.max(began.elapsed() * LOOK_SHARE);
        Some(seen)
    }
}
