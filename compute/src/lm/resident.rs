//! A resident language model: asks that come and go join the running batch between
//! two tokens, each with a sampler and a cache of its own.
//!
//! What is computed beside an ask changes nothing of its text, as for the requests of
//! a job. So that a long prompt does not make the others wait, texts that go on take
//! their row of a pass first, and prompts share what is left.

use std::collections::VecDeque;

use embermesh_job::ask::{Ask, Part};
use embermesh_job::event::EventKind;
use embermesh_job::spec::{LanguageModel, Request, Serve};

use super::answer::Answer;
use super::cache::Cache;
use super::forward::{Buffers, MAX_ROWS, Row};
use super::language::{Files, Language};
use super::prepare::{self, Prompt};
use super::run::device;
use crate::dataset::room::Room;
use crate::failure::WorkFailed;
use crate::job::Job;
use crate::pace::Pace;
use crate::pipe::WorkSummary;
use crate::serve::{Engine, Step, attend, refused};

/// Loads a model and answers until the end.
pub(crate) fn run(
    serve: &Serve,
    model: &LanguageModel,
    job: &mut Job<'_>,
) -> Result<WorkSummary, WorkFailed> {
    let files = Files::read(model, job.order)?;
    let mut room = Room::new(job.source().room);
    let language = files.open(&mut room)?;
    let shape = &language.model.shape;
    let context = shape.context.min(serve.context as usize);
    let largest = Cache::bytes(language.model.layers.len(), shape.keys(), context);
    let ceiling = job.order.ceilings.memory_bytes;
    let budget = prepare::budget(ceiling, &language, largest)?;
    let started = EventKind::Started {
        device: device(job)?,
        parameters: language.model.parameters,
        total_steps: 0,
        samples: 0,
    };
    let mut speaker = Speaker {
        language: &language,
        context,
        concurrency: serve.concurrency as usize,
        waiting: VecDeque::new(),
        live: Vec::new(),
        caches: Vec::new(),
        budget,
        buffers: Buffers::default(),
    };
    let context = u32::try_from(context).unwrap_or(u32::MAX);
    attend(&mut speaker, serve, started, context, job)
}

/// An ask in tokens that waits for its turn.
struct Waiting {
    id: u32,
    request: Request,
    tokens: Vec<u32>,
    room: usize,
    bytes: u64,
}

/// The asks of a language model.
struct Speaker<'m, 'a> {
    language: &'m Language<'a>,
    /// Tokens that a text may have.
    context: usize,
    concurrency: usize,
    waiting: VecDeque<Waiting>,
    live: Vec<Answer>,
    /// One for each that is live.
    caches: Vec<Cache>,
    /// Bytes for further caches.
    budget: u64,
    buffers: Buffers,
}

impl Engine for Speaker<'_, '_> {
    fn take(&mut self, id: u32, ask: Ask) -> Result<(), String> {
        let Ask::Text(request) = ask else {
            return Err("this is a language model: ask it a text, not rows".to_owned());
        };
        let Prompt {
            tokens,
            room,
            bytes,
            ..
        } = prepare::prompt(id, &request, self.context, self.language).map_err(|failed| {
            match failed {
                WorkFailed::Request { reason, .. } => reason,
                failed => failed.to_string(),
            }
        })?;
        self.waiting.push_back(Waiting {
            id,
            request: *request,
            tokens,
            room,
            bytes,
        });
        Ok(())
    }

    fn forget(&mut self, id: u32) {
        self.waiting.retain(|waiting| waiting.id != id);
        if let Some(at) = self.live.iter().position(|answer| answer.number() == id) {
            self.dismiss(at);
        }
    }

    fn open(&self) -> Vec<u32> {
        let waiting = self.waiting.iter().map(|waiting| waiting.id);
        let live = self.live.iter().map(Answer::number);
        live.chain(waiting).collect()
    }

    fn step(&mut self, job: &mut Job<'_>, pace: &mut Pace) -> Result<Step, WorkFailed> {
        self.admit();
        let rows = self.rows();
        let between = &mut || job.breathe(pace);
        let logits =
            self.language
                .model
                .forward(&rows, &mut self.caches, &mut self.buffers, between)?;
        let mut step = Step::default();
        let mut lost = Vec::new();
        let lasts = rows.iter().filter(|row| row.last);
        for (row, logits) in lasts.zip(logits.chunks_exact(self.language.model.shape.vocabulary)) {
            let answer = &mut self.live[row.cache];
            let id = answer.number();
            let before = answer.tokens();
            if answer.go_on(logits, &self.language.words).is_err() {
                let reason = "the network gave no numbers: its weights are damaged";
                job.log.answer(id, refused(reason.to_owned()));
                lost.push(row.cache);
                continue;
            }
            step.made += answer.tokens() - before;
            pace.step(1);
            for event in answer.told(1, pace.overall()) {
                if let EventKind::Generated(piece) = event {
                    job.log.answer(id, Part::Text(piece));
                }
            }
        }
        for at in (0..self.live.len()).rev() {
            let finished = self.live[at].is_finished();
            if finished || lost.contains(&at) {
                step.answered += u64::from(finished);
                self.dismiss(at);
            }
        }
        Ok(step)
    }
}

impl Speaker<'_, '_> {
    /// Begins what there is room for, in the order of the asks.
    fn admit(&mut self) {
        while self.live.len() < self.concurrency
            && let Some(next) = self.waiting.pop_front_if(|next| next.bytes <= self.budget)
        {
            self.budget -= next.bytes;
            let model = &self.language.model;
            let (layers, keys) = (model.layers.len(), model.shape.keys());
            self.caches.push(Cache::new(layers, keys, next.room));
            self.live.push(Answer::new(Prompt {
                number: next.id,
                request: &next.request,
                tokens: next.tokens,
                room: next.room,
                bytes: next.bytes,
            }));
        }
    }

    /// The rows of the next pass: first a token of each text that goes on, then what
    /// there is room for of the prompts.
    fn rows(&mut self) -> Vec<Row> {
        let mut rows = Vec::new();
        for speaking in [true, false] {
            for (cache, answer) in self.live.iter_mut().enumerate() {
                // One whose row is in already has nothing unread.
                if answer.is_speaking() == speaking {
                    answer.rows(cache, MAX_ROWS, &mut rows);
                }
            }
        }
        rows
    }

    /// Takes one away; the others stay in their order.
    fn dismiss(&mut self, at: usize) {
        self.live.remove(at);
        self.budget += self.caches.remove(at).size();
    }
}
