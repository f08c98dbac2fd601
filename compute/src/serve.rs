//! A resident model: loaded once, then asked until it is told to end, or nobody has
//! asked for long enough.
//!
//! The thread that hears the daemon puts asks into the [`inbox`]; the thread that
//! computes takes them out between two steps of its [`Engine`], so that an ask joins
//! those that are under way. Answers are no events: they have no numbers, are kept
//! nowhere, and reach nobody but who asked. The events of a deployment say the start
//! and that it is loaded, and are the same in every attempt.

pub(crate) mod inbox;
mod rows;

use std::time::{Duration, Instant};

use embermesh_job::ask::{Ask, MAX_REASON, Part};
use embermesh_job::event::{EventKind, Loaded};
use embermesh_job::spec::{Serve, Served};

use self::inbox::{Mail, Woken};
use crate::failure::WorkFailed;
use crate::job::Job;
use crate::lm;
use crate::pace::Pace;
use crate::pipe::WorkSummary;

/// Why an answer ends that is under way when the model is unloaded.
const UNLOADED: &str = "the model was unloaded meanwhile: deploy it again, or ask another";

/// What answers asks. A further kind of model is a further one of these.
pub(crate) trait Engine {
    /// Takes an ask up, beside those that are under way; or says why it cannot be
    /// answered.
    fn take(&mut self, id: u32, ask: Ask) -> Result<(), String>;

    /// Lets go of an ask, as if it had never been.
    fn forget(&mut self, id: u32);

    /// Those that are under way or wait.
    fn open(&self) -> Vec<u32>;

    /// One step for those that are under way, and what came of it, said by the job.
    fn step(&mut self, job: &mut Job<'_>, pace: &mut Pace) -> Result<Step, WorkFailed>;
}

/// What a step came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Step {
    /// Tokens, or answers to rows, that were made.
    pub(crate) made: u64,
    /// Asks that were answered to the end.
    pub(crate) answered: u64,
}

/// Loads the model of a deployment and answers.
pub(crate) fn run(serve: &Serve, job: &mut Job<'_>) -> Result<WorkSummary, WorkFailed> {
    match &serve.model {
        Served::Language(model) => lm::serve(serve, model, job),
        Served::Network(network) => rows::run(serve, network, job),
    }
}

/// Bytes that a deployment takes at least, where its spec alone says it.
pub(crate) fn peak_bytes(serve: &Serve) -> Result<u64, WorkFailed> {
    match &serve.model {
        Served::Language(_) => Ok(0),
        Served::Network(network) => rows::peak_bytes(network),
    }
}

/// Answers until the end. `loaded` says what is in memory; the daemon measures how
/// much that is.
pub(crate) fn attend(
    engine: &mut dyn Engine,
    serve: &Serve,
    started: EventKind,
    context: u32,
    job: &mut Job<'_>,
) -> Result<WorkSummary, WorkFailed> {
    job.log.plain(started);
    job.log.plain(EventKind::Loaded(Loaded {
        model: serve.digest(),
        memory_bytes: 0,
        context,
        concurrency: serve.concurrency,
    }));
    let mut done = Step::default();
    let mut pace = Pace::new();
    let why = until_end(engine, serve, job, &mut pace, &mut done)?;
    for id in engine.open() {
        engine.forget(id);
        job.log.answer(id, Part::Refused(UNLOADED.to_owned()));
    }
    job.log.plain(EventKind::Stopped {
        step: done.made,
        reason: why,
    });
    Ok(WorkSummary {
        steps: done.made,
        samples: done.answered,
        loss: None,
        accuracy: None,
        next_seq: job.log.next(),
    })
}

/// Answers, and says why that has come to an end.
fn until_end(
    engine: &mut dyn Engine,
    serve: &Serve,
    job: &mut Job<'_>,
    pace: &mut Pace,
    done: &mut Step,
) -> Result<String, WorkFailed> {
    let idle = serve.idle.map(|idle| Duration::from_millis(idle.0));
    let mut quiet = Instant::now();
    loop {
        job.breathe(pace)?;
        if job.asked().finish {
            return Ok("as asked".to_owned());
        }
        let rested = engine.open().is_empty();
        for mail in job.inbox().take() {
            match mail {
                Mail::Ask { id, ask } => {
                    if let Err(reason) = engine.take(id, *ask) {
                        job.log.answer(id, refused(reason));
                    }
                }
                Mail::Drop { id } => engine.forget(id),
            }
            quiet = Instant::now();
        }
        if !engine.open().is_empty() {
            if rested {
                // Speed is told of the time in which there was something to do.
                *pace = Pace::new();
            }
            let step = engine.step(job, pace)?;
            done.made += step.made;
            done.answered += step.answered;
            quiet = Instant::now();
            continue;
        }
        let left = idle.map(|idle| idle.saturating_sub(quiet.elapsed()));
        if job.inbox().wait(left) == Woken::Late
            && let Some(idle) = serve.idle
        {
            return Ok(format!("because nobody has asked for {idle}"));
        }
    }
}

/// A refusal in as many words as one may have.
pub(crate) fn refused(mut reason: String) -> Part {
    reason.truncate(reason.floor_char_boundary(MAX_REASON));
    Part::Refused(reason)
}
