//! The requests of a job, side by side: as many as there is memory for, each
//! joining the others as soon as one has ended.
//!
//! What goes through the network together depends on the requests and on the
//! ceiling of the job alone, so the events have the same numbers in every
//! attempt.

use std::collections::VecDeque;

use embermesh_job::event::EventKind;
use embermesh_job::spec::Generate;

use super::answer::{Answer, Line};
use super::cache::Cache;
use super::forward::{Buffers, MAX_ROWS};
use super::language::{Files, Words};
use super::model::Model;
use super::prepare::{self, Prompt};
use crate::dataset::room::Room;
use crate::device::{DeviceChoice, open};
use crate::failure::WorkFailed;
use crate::job::Job;
use crate::pace::Pace;
use crate::pipe::WorkSummary;

/// The name of the result, within the job and as a file.
const ARTIFACT: &str = "answers.jsonl";

/// The most requests side by side.
const MAX_LIVE: usize = 16;

/// Answers the requests of an order.
pub(crate) fn run(generate: &Generate, job: &mut Job<'_>) -> Result<WorkSummary, WorkFailed> {
    let files = Files::read(&generate.model, job.order)?;
    let mut room = Room::new(job.source().room);
    let language = files.open(&mut room)?;
    let model = &language.model;
    let prompts = prepare::prompts(generate, &language)?;
    let ceiling = job.order.ceilings.memory_bytes;
    let largest = prompts.iter().map(|prompt| prompt.bytes).max();
    let budget = prepare::budget(ceiling, &language, largest.unwrap_or(0))?;
    job.log.plain(EventKind::Started {
        device: device(job)?,
        parameters: model.parameters,
        total_steps: generate.total_tokens(),
        samples: prompts.len() as u64,
    });
    let mut desk = Desk {
        model,
        words: &language.words,
        report_every: generate.report_every,
        waiting: prompts.into(),
        live: Vec::new(),
        caches: Vec::new(),
        budget,
        buffers: Buffers::default(),
        pace: Pace::new(),
        lines: Vec::new(),
    };
    while desk.admit() {
        desk.step(job)?;
        if job.asked().finish && desk.is_open() {
            desk.stop(generate.report_every, job);
        }
    }
    finish(desk.lines, job)
}

/// The processor, whatever the worker holds: nothing else runs these yet.
pub(super) fn device(job: &Job<'_>) -> Result<String, WorkFailed> {
    match job.order.device {
        DeviceChoice::Cpu => Ok(job.device.name.clone()),
        _ => Ok(open(DeviceChoice::Cpu)?.name),
    }
}

/// The requests under way.
struct Desk<'m, 'a, 'r> {
    model: &'m Model<'a>,
    words: &'m Words<'a>,
    report_every: u32,
    waiting: VecDeque<Prompt<'r>>,
    live: Vec<Answer>,
    /// One for each that is live.
    caches: Vec<Cache>,
    /// Bytes for further caches.
    budget: u64,
    buffers: Buffers,
    /// Begins with the first token.
    pace: Pace,
    lines: Vec<Line>,
}

impl Desk<'_, '_, '_> {
    /// Begins the requests that there is room for; false when all have ended.
    fn admit(&mut self) -> bool {
        while self.live.len() < MAX_LIVE
            && let Some(next) = self.waiting.pop_front_if(|next| next.bytes <= self.budget)
        {
            self.budget -= next.bytes;
            let shape = &self.model.shape;
            let layers = self.model.layers.len();
            self.caches
                .push(Cache::new(layers, shape.keys(), next.room));
            self.live.push(Answer::new(next));
        }
        !self.live.is_empty()
    }

    /// Takes what is unread through the network, and each request whose text it
    /// has read on by a token.
    fn step(&mut self, job: &mut Job<'_>) -> Result<(), WorkFailed> {
        let mut rows = Vec::new();
        for (cache, answer) in self.live.iter_mut().enumerate() {
            answer.rows(cache, MAX_ROWS, &mut rows);
        }
        let pace = &mut self.pace;
        let between = &mut || job.breathe(pace);
        let logits = self
            .model
            .forward(&rows, &mut self.caches, &mut self.buffers, between)?;
        let lasts = rows.iter().filter(|row| row.last);
        for (row, logits) in lasts.zip(logits.chunks_exact(self.model.shape.vocabulary)) {
            let answer = &mut self.live[row.cache];
            let number = answer.number();
            let gone_on = answer.go_on(logits, self.words);
            gone_on.map_err(|_| WorkFailed::Request {
                number,
                reason: "the network gave no numbers: its weights are damaged".to_owned(),
            })?;
            if self.pace.samples() == 0 {
                self.pace = Pace::new();
            }
            let speed = self.pace.overall();
            self.pace.step(1);
            for event in answer.told(self.report_every, speed) {
                job.log.plain(event);
            }
        }
        self.dismiss();
        Ok(())
    }

    /// Whether anything is unanswered.
    fn is_open(&self) -> bool {
        !self.live.is_empty() || !self.waiting.is_empty()
    }

    /// Ends all requests where they are, because that was asked. Those that had
    /// not begun have no text.
    fn stop(&mut self, report_every: u32, job: &mut Job<'_>) {
        let speed = self.pace.overall();
        self.live.extend(self.waiting.drain(..).map(Answer::new));
        for answer in &mut self.live {
            answer.stop();
            for event in answer.told(report_every, speed) {
                job.log.plain(event);
            }
        }
        let finished = self.live.drain(..).map(Answer::line);
        self.lines.extend(finished);
        self.caches.clear();
        let step = self.pace.samples();
        job.log.plain(EventKind::Stopped {
            step,
            reason: format!("as asked, after {step} tokens"),
        });
    }

    /// Takes away what has ended; the others stay in their order.
    fn dismiss(&mut self) {
        for at in (0..self.live.len()).rev() {
            if self.live[at].is_finished() {
                let answer = self.live.remove(at);
                let cache = self.caches.remove(at);
                self.budget += cache.size();
                self.lines.push(answer.line());
            }
        }
    }
}

/// Writes the result, in the order of the requests.
fn finish(mut lines: Vec<Line>, job: &mut Job<'_>) -> Result<WorkSummary, WorkFailed> {
    lines.sort_by_key(|line| line.request);
    let mut bytes = Vec::new();
    for line in &lines {
        serde_json::to_writer(&mut bytes, line)
            .map_err(|error| WorkFailed::Internal(format!("a line does not encode: {error}")))?;
        bytes.push(b'\n');
    }
    job.artifact(ARTIFACT, &bytes)?;
    Ok(WorkSummary {
        steps: lines.iter().map(|line| line.tokens as u64).sum(),
        samples: lines.len() as u64,
        loss: None,
        accuracy: None,
        next_seq: job.log.next(),
    })
}
