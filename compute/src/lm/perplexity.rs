//! Perplexity: the mean negative log-likelihood of each token of some texts
//! after those before it, in windows that slide over what is longer than one.
//!
//! The windows are those of the `transformers` library's guide: each begins a
//! stride after the one before it, and counts the tokens that no earlier one
//! has counted. The first token of a text is foreseen from nothing and does not
//! count, nor does the first of a window that does not overlap the one before.

mod window;

use embermesh_job::event::{EventKind, Progress};
use embermesh_job::spec::{Perplexity, USUAL_WINDOW};
use serde::Serialize;

use self::window::{Window, slide};
use super::cache::Cache;
use super::forward::{Buffers, MAX_ROWS, Row};
use super::language::{Files, Language};
use super::run::device;
use crate::dataset::room::Room;
use crate::failure::WorkFailed;
use crate::job::Job;
use crate::pace::Pace;
use crate::pipe::WorkSummary;
use crate::texts;

/// The name of the result, within the job and as a file.
const ARTIFACT: &str = "perplexity.json";
/// How often it reports on its way.
const REPORTS: u64 = 20;

/// Judges the model of an order by its texts.
pub(crate) fn run(judge: &Perplexity, job: &mut Job<'_>) -> Result<WorkSummary, WorkFailed> {
    let files = Files::read(&judge.model, job.order)?;
    let mut room = Room::new(job.source().room);
    let language = files.open(&mut room)?;
    let texts = read(judge, &language, job, &mut room)?;
    let (window, stride) = windows(judge, &language)?;
    let windows: Vec<Window<'_>> = texts
        .iter()
        .flat_map(|text| slide(&text.tokens, window, stride))
        .collect();
    afford(&language, window, &texts, windows.len(), job)?;
    let total_steps = windows.len() as u64;
    job.log.plain(EventKind::Started {
        device: device(job)?,
        parameters: language.model.parameters,
        total_steps,
        samples: texts.len() as u64,
    });
    let mut judged = Judged {
        language: &language,
        buffers: Buffers::default(),
        pace: Pace::new(),
        loss: 0.0,
        tokens: 0,
    };
    let every = total_steps.div_ceil(REPORTS);
    let mut done = 0;
    for (step, window) in (1..).zip(&windows) {
        if job.asked().finish {
            job.log.plain(EventKind::Stopped {
                step: done,
                reason: format!("as asked, after window {done} of {total_steps}"),
            });
            break;
        }
        judged.read(window, job)?;
        done = step;
        if step % every == 0 && step < total_steps {
            job.log.plain(judged.progress(step, total_steps));
        }
    }
    let loss = judged.loss;
    let tokens = judged.tokens;
    let whole = done == total_steps;
    let bytes = texts.iter().map(|text| text.bytes as u64).sum();
    let report = Report::of(loss, tokens, whole.then_some(bytes), window, stride);
    report.say(&texts, job)?;
    Ok(WorkSummary {
        steps: done,
        samples: texts.len() as u64,
        loss: Some(report.cross_entropy),
        accuracy: None,
        next_seq: job.log.next(),
    })
}

/// A text in tokens.
struct Text {
    tokens: Vec<u32>,
    bytes: usize,
}

fn read(
    judge: &Perplexity,
    language: &Language<'_>,
    job: &Job<'_>,
    room: &mut Room,
) -> Result<Vec<Text>, WorkFailed> {
    let texts = texts::read(&judge.texts, &job.source(), room)?;
    let mut cut = Vec::with_capacity(texts.len());
    for text in texts {
        // No token is of less than a byte, but for the one that begins it.
        let most = 4 * (text.len() as u64 + 16) + size_of::<Text>() as u64;
        room.take(most, "texts")?;
        cut.push(Text {
            tokens: language.words.encode(&text)?,
            bytes: text.len(),
        });
    }
    if cut.iter().all(|text| text.tokens.len() < 2) {
        return Err(WorkFailed::Request {
            number: 0,
            reason: "no text has two tokens: there is nothing to foresee".to_owned(),
        });
    }
    Ok(cut)
}

/// The length of a window and the way to the next, in tokens.
fn windows(judge: &Perplexity, language: &Language<'_>) -> Result<(usize, usize), WorkFailed> {
    let context = language.model.shape.context;
    let window = match judge.window {
        None => context.min(USUAL_WINDOW as usize),
        Some(window) if window as usize <= context => window as usize,
        Some(window) => {
            return Err(WorkFailed::Spec(format!(
                "`window` is {window}, and the model reads {context} tokens at most"
            )));
        }
    };
    let stride = judge.stride.map_or(window / 2, |stride| stride as usize);
    if !(1..=window).contains(&stride) {
        return Err(WorkFailed::Spec(format!(
            "`stride` is {stride}, and the window {window}: tokens between them would not count"
        )));
    }
    Ok((window, stride))
}

/// Whether there is memory for a window.
fn afford(
    language: &Language<'_>,
    window: usize,
    texts: &[Text],
    windows: usize,
    job: &Job<'_>,
) -> Result<(), WorkFailed> {
    let model = &language.model;
    let tokens: usize = texts
        .iter()
        .map(|text| text.tokens.len() + text.bytes)
        .sum();
    let needed = [
        language.held,
        Buffers::bytes(model),
        Cache::bytes(model.layers.len(), model.shape.keys(), window),
        4 * tokens as u64,
        (windows * size_of::<Window<'_>>()) as u64,
    ];
    let needed = needed.into_iter().fold(0, u64::saturating_add);
    let ceiling = job.order.ceilings.memory_bytes;
    match needed > ceiling {
        true => Err(WorkFailed::Context { needed, ceiling }),
        false => Ok(()),
    }
}

/// What has been counted so far.
struct Judged<'l, 'a> {
    language: &'l Language<'a>,
    buffers: Buffers,
    pace: Pace,
    /// The sum over all tokens, in nats.
    loss: f64,
    tokens: u64,
}

impl Judged<'_, '_> {
    /// Reads a window and counts what of it counts.
    fn read(&mut self, window: &Window<'_>, job: &mut Job<'_>) -> Result<(), WorkFailed> {
        let model = &self.language.model;
        let tokens = window.tokens;
        // Nothing follows the last one.
        let rows: Vec<Row> = (0..tokens.len() - 1)
            .map(|position| Row {
                cache: 0,
                position,
                token: tokens[position],
                last: position + 1 >= window.from,
            })
            .collect();
        let layers = model.layers.len();
        let mut caches = [Cache::new(layers, model.shape.keys(), tokens.len())];
        let mut counted = window.from;
        for rows in rows.chunks(MAX_ROWS) {
            let pace = &mut self.pace;
            let between = &mut || job.breathe(pace);
            let logits = model.forward(rows, &mut caches, &mut self.buffers, between)?;
            for logits in logits.chunks_exact(model.shape.vocabulary) {
                let loss = surprise(logits, tokens[counted]);
                if !loss.is_finite() {
                    return Err(WorkFailed::Request {
                        number: 0,
                        reason: "the network gave no numbers: its weights are damaged".to_owned(),
                    });
                }
                self.loss += loss;
                counted += 1;
            }
        }
        let count = (counted - window.from) as u64;
        self.tokens += count;
        self.pace.step(count);
        Ok(())
    }

    fn progress(&mut self, step: u64, total_steps: u64) -> EventKind {
        EventKind::Progress(Progress {
            step,
            total_steps,
            pass: 1,
            total_passes: 1,
            loss: self.loss / self.tokens.max(1) as f64,
            accuracy: None,
            samples_per_second: self.pace.samples_per_second(),
            remaining_ms: self.pace.remaining_ms(total_steps - step),
        })
    }
}

/// The negative logarithm of a token's probability, in nats.
fn surprise(logits: &[f32], token: u32) -> f64 {
    let most = logits.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    let total: f64 = logits
        .iter()
        .map(|logit| f64::from(logit - most).exp())
        .sum();
    let logit = logits.get(token as usize).copied().unwrap_or(f32::NAN);
    total.ln() - f64::from(logit - most)
}

/// The result.
#[derive(Debug, Serialize)]
struct Report {
    /// None where it is beyond all numbers.
    perplexity: f64,
    /// Nats a token.
    cross_entropy: f64,
    /// Of the texts, where all of them were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    bits_per_byte: Option<f64>,
    /// Tokens that count.
    tokens: u64,
    window: usize,
    stride: usize,
}

impl Report {
    fn of(loss: f64, tokens: u64, bytes: Option<u64>, window: usize, stride: usize) -> Self {
        let cross_entropy = loss / tokens as f64;
        let bits = loss / std::f64::consts::LN_2;
        Self {
            perplexity: cross_entropy.exp(),
            cross_entropy,
            bits_per_byte: bytes.map(|bytes| bits / bytes.max(1) as f64),
            tokens,
            window,
            stride,
        }
    }

    /// Writes it, and says its measures.
    fn say(&self, texts: &[Text], job: &mut Job<'_>) -> Result<(), WorkFailed> {
        let text = serde_json::to_vec_pretty(self).map_err(|error| {
            WorkFailed::Internal(format!("the report does not encode: {error}"))
        })?;
        job.artifact(ARTIFACT, &text)?;
        let mut values = std::collections::BTreeMap::from([
            ("perplexity".to_owned(), self.perplexity),
            ("cross_entropy".to_owned(), self.cross_entropy),
            ("tokens".to_owned(), self.tokens as f64),
            ("texts".to_owned(), texts.len() as f64),
        ]);
        if let Some(bits) = self.bits_per_byte {
            values.insert("bits_per_byte".to_owned(), bits);
        }
        job.log.plain(EventKind::Metrics { values });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surprise_is_that_of_a_softmax() {
        let found = surprise(&[1.0, 2.0, 3.0], 2);
        let expected = -(3_f64.exp() / (1_f64.exp() + 2_f64.exp() + 3_f64.exp())).ln();
        assert!((found - expected).abs() < 1e-12);
        assert!(surprise(&[1.0], 3).is_nan());
    }
}
