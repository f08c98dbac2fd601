//! Embedding: texts to vectors with an encoder, in steps of texts of like
//! length, so that little is computed for places where a text has no token.

mod bert;
mod config;
mod settings;
mod vectors;

use burn::tensor::{Device, Tensor};
use embermesh_job::event::{EventKind, Progress};
use embermesh_job::spec::{Embed, LanguageModel, Pooling};
use rayon::prelude::*;

use self::bert::{Bert, Texts};
use self::config::Config;
use self::settings::Settings;
use self::vectors::{ARTIFACT, Vectors, encode, lines};
use crate::dataset::room::Room;
use crate::evaluate::floats;
use crate::failure::WorkFailed;
use crate::hub::tokenizer::{Cut, HubTokenizer};
use crate::hub::weights::{self, Weights};
use crate::hub::{Folder, InvalidFolder};
use crate::job::Job;
use crate::lm::MAX_GROWTH;
use crate::pace::Pace;
use crate::pipe::WorkSummary;
use crate::texts;

/// How often it reports on its way.
const REPORTS: u64 = 10;

/// Embeds the texts of an order.
pub(crate) fn run(embed: &Embed, job: &mut Job<'_>) -> Result<WorkSummary, WorkFailed> {
    let LanguageModel::Files(files) = &embed.model else {
        return Err(WorkFailed::Spec("an encoder is a folder".to_owned()));
    };
    let folder = Folder::read(files, job.order)?;
    let mut room = Room::new(job.source().room);
    let config = Config::read(&folder)?;
    let tokenizer = HubTokenizer::read(&folder, config.vocabulary, &mut room)?;
    let own = tokenizer.own_length();
    let settings = Settings::read(embed, &folder, config.context, own)?;
    let cuts = cut(embed, tokenizer, settings, job, &mut room)?;
    let plan = Plan::of(&cuts, embed.batch as usize);
    let encoder = load(&config, folder, &plan, job, &mut room)?;
    let mut vectors = Vectors::new(cuts.len(), config.width, &mut room)?;
    let total_steps = plan.steps.len() as u64;
    job.log.plain(EventKind::Started {
        device: job.device.name.clone(),
        parameters: encoder.parameters,
        total_steps,
        samples: cuts.len() as u64,
    });
    let every = total_steps.div_ceil(REPORTS);
    let mut pace = Pace::new();
    let mut done = 0;
    for (step, numbers) in (1..).zip(&plan.steps) {
        job.breathe(&mut pace)?;
        if job.asked().finish {
            job.log.plain(EventKind::Stopped {
                step: done,
                reason: format!("as asked, after step {done} of {total_steps}"),
            });
            break;
        }
        let tokens = numbers.iter().map(|&at| cuts[at].tokens.as_slice());
        let step_texts = Texts {
            tokens: tokens.collect(),
        };
        let rows = embedded(&encoder, &step_texts, settings, &job.device.device)?;
        vectors.put(numbers, &rows)?;
        done = step;
        pace.step(numbers.len() as u64);
        if step % every == 0 && step < total_steps {
            job.log.plain(EventKind::Progress(Progress {
                step,
                total_steps,
                pass: 1,
                total_passes: 1,
                // There is nothing to be wrong about.
                loss: f64::NAN,
                accuracy: None,
                samples_per_second: pace.samples_per_second(),
                remaining_ms: pace.remaining_ms(total_steps - step),
            }));
        }
    }
    finish(embed, settings, &cuts, vectors, done, job)
}

/// The tokens of all texts.
fn cut(
    embed: &Embed,
    mut tokenizer: HubTokenizer,
    settings: Settings,
    job: &Job<'_>,
    room: &mut Room,
) -> Result<Vec<Cut>, WorkFailed> {
    let texts = texts::read(&embed.texts, &job.source(), room)?;
    tokenizer.shorten(settings.max_tokens)?;
    let each = (settings.max_tokens * size_of::<u32>() + size_of::<Cut>()) as u64;
    let most: u64 = texts
        .iter()
        // No token is of less than a byte, but for those that begin and end it.
        .map(|text| each.min(4 * (text.len() as u64 + 16) + size_of::<Cut>() as u64))
        .sum();
    room.take(most, "texts")?;
    let left = room.left() / rayon::current_num_threads().max(1) as u64;
    let cut = |text: &String| {
        let cut = match settings.lowercase {
            true => tokenizer.encode(&text.to_lowercase(), true, left),
            false => tokenizer.encode(text, true, left),
        }?;
        match cut.tokens.is_empty() {
            true => Err(InvalidFolder::new(
                crate::hub::tokenizer::FILE,
                "it makes no token of a text, not even those that begin and end it",
            )),
            false => Ok(cut),
        }
    };
    let cuts: Result<Vec<Cut>, InvalidFolder> = texts.par_iter().map(cut).collect();
    Ok(cuts?)
}

/// Which texts go through the network together.
struct Plan {
    /// Numbers of texts, step by step.
    steps: Vec<Vec<usize>>,
    /// Texts and tokens of the largest step.
    largest: (usize, usize),
}

impl Plan {
    /// The longest texts first, so that what does not fit does not at once.
    fn of(cuts: &[Cut], batch: usize) -> Self {
        let mut numbers: Vec<usize> = (0..cuts.len()).collect();
        numbers.sort_by_key(|&at| (std::cmp::Reverse(cuts[at].tokens.len()), at));
        let longest = numbers.first().map_or(0, |&at| cuts[at].tokens.len());
        Self {
            largest: (batch.min(cuts.len()), longest),
            steps: numbers.chunks(batch).map(<[usize]>::to_vec).collect(),
        }
    }
}

/// Takes the encoder to the device, once there is memory for it and for its
/// largest step.
fn load(
    config: &Config,
    folder: Folder,
    plan: &Plan,
    job: &Job<'_>,
    room: &mut Room,
) -> Result<Bert, WorkFailed> {
    room.take(
        weights::header_bytes(&folder).saturating_mul(MAX_GROWTH),
        "model.safetensors",
    )?;
    let mut weights = Weights::read(&folder)?;
    let numbers = weights.total_bytes_f32();
    let (texts, tokens) = plan.largest;
    let step = Bert::step_bytes(config, texts, tokens);
    let needed = numbers.saturating_add(step);
    if needed > room.left() {
        let ceiling = job.order.ceilings.memory_bytes;
        let held = ceiling.saturating_sub(room.left());
        return Err(WorkFailed::Memory {
            needed: held.saturating_add(needed),
            ceiling,
        });
    }
    room.take(needed, "model.safetensors")?;
    Ok(Bert::load(
        config.clone(),
        &mut weights,
        &job.device.device,
    )?)
}

/// The vectors of a step's texts, one after another.
fn embedded(
    encoder: &Bert,
    texts: &Texts<'_>,
    settings: Settings,
    device: &Device,
) -> Result<Vec<f32>, WorkFailed> {
    let mask = texts.mask(device);
    let x = encoder.forward(texts, &mask);
    let [count, length, width] = x.dims();
    let mask = mask.reshape([count, length, 1]);
    let pooled: Tensor<3> = match settings.pooling {
        Pooling::Mean => {
            let tokens = mask.clone().sum_dim(1).clamp_min(1.0);
            x.mul(mask).sum_dim(1).div(tokens)
        }
        Pooling::Cls => x.narrow(1, 0, 1),
        Pooling::Max => x.add(mask.sub_scalar(1.0).mul_scalar(1e30)).max_dim(1),
    };
    let mut vectors: Tensor<2> = pooled.reshape([count, width]);
    if settings.normalise {
        let length = vectors.clone().mul(vectors.clone()).sum_dim(1).sqrt();
        vectors = vectors.div(length.clamp_min(1e-12));
    }
    floats(vectors)
}

/// Writes the results and says what they are.
fn finish(
    embed: &Embed,
    settings: Settings,
    cuts: &[Cut],
    vectors: Vectors,
    steps: u64,
    job: &mut Job<'_>,
) -> Result<WorkSummary, WorkFailed> {
    let width = vectors.width;
    let (bytes, numbers) = vectors.whole();
    let count = numbers.len();
    let file = encode(&bytes, width, &numbers, settings, job)?;
    job.artifact(ARTIFACT, &file)?;
    if embed.jsonl {
        let left = job
            .order
            .ceilings
            .output_bytes
            .saturating_sub(file.len() as u64);
        drop(file);
        lines(&bytes, width, &numbers, cuts, left, job)?;
    }
    let done = || numbers.iter().map(|&at| &cuts[at as usize]);
    let tokens: usize = done().map(|cut| cut.tokens.len()).sum();
    let shortened = done().filter(|cut| cut.shortened).count();
    let values = [
        ("texts", count),
        ("dimensions", width),
        ("tokens", tokens),
        ("shortened", shortened),
    ];
    job.log.plain(EventKind::Metrics {
        values: values
            .map(|(name, value)| (name.to_owned(), value as f64))
            .into(),
    });
    Ok(WorkSummary {
        steps,
        samples: count as u64,
        loss: None,
        accuracy: None,
        next_seq: job.log.next(),
    })
}
