//! Evaluation: weights judged by samples they were not fitted to.

use burn::tensor::Tensor;
use embermesh_job::event::{EventKind, Progress};
use embermesh_job::spec::Evaluate;

use crate::dataset::split::Samples;
use crate::dataset::{Batch, load};
use crate::failure::WorkFailed;
use crate::job::Job;
use crate::judged::{Ready, ready};
use crate::loss::Objective;
use crate::metrics::measures::Measures;
use crate::metrics::{Outcome, Tally};
use crate::network::{Mode, Network};
use crate::pace::Pace;
use crate::pipe::WorkSummary;

/// The name of the full result, within the job and as a file.
const ARTIFACT: &str = "metrics.json";

/// The most scores that are kept for ranking: 64 MiB of them.
const MAX_SCORES: usize = 4 << 20;

/// How often an evaluation reports on its way.
const REPORTS: u64 = 10;

/// Judges the weights of an order.
pub(crate) fn run(evaluate: &Evaluate, job: &mut Job<'_>) -> Result<WorkSummary, WorkFailed> {
    let Ready {
        network,
        fitted,
        output_shape,
    } = ready(&evaluate.model, evaluate.weights, evaluate.batch, job)?;
    evaluate
        .fits(&output_shape)
        .map_err(|error| WorkFailed::Spec(error.to_string()))?;
    let samples = load::for_evaluation(evaluate, &job.source(), fitted.as_ref())?;

    let batch = evaluate.batch as usize;
    let total_steps = samples.len().div_ceil(batch.max(1)) as u64;
    job.log.plain(EventKind::Started {
        device: job.device.name.clone(),
        parameters: network.count(),
        total_steps,
        samples: samples.len() as u64,
    });
    let every = total_steps.div_ceil(REPORTS);
    let mut pace = Pace::new();
    let mut step = 0;
    let objective = Objective::new(evaluate.loss(), evaluate.data.target());
    // A quarter of what the job may use: a score takes 16 bytes.
    let room = usize::try_from(job.order.ceilings.memory_bytes / 64).unwrap_or(usize::MAX);
    let mut measures = Measures::new(&objective, samples.len(), room.min(MAX_SCORES));
    let between = &mut |judged: Judged<'_>| {
        job.breathe(&mut pace)?;
        measures.add(&floats(judged.outputs)?, &judged.batch.targets);
        pace.step(judged.batch.len() as u64);
        step += 1;
        if step % every == 0 && step < total_steps {
            job.log.plain(EventKind::Progress(Progress {
                step,
                total_steps,
                pass: 1,
                total_passes: 1,
                loss: judged.so_far.loss(),
                accuracy: judged.so_far.accuracy(),
                samples_per_second: pace.samples_per_second(),
                remaining_ms: pace.remaining_ms(total_steps - step),
            }));
        }
        Ok(())
    };
    let judged = judge(&network, &samples, &objective, batch, between)?;
    let report = measures.report(&judged, objective.loss());
    let text = serde_json::to_vec_pretty(&report)
        .map_err(|error| WorkFailed::Internal(format!("the report does not encode: {error}")))?;
    job.artifact(ARTIFACT, &text)?;
    job.log.plain(EventKind::Metrics {
        values: report.headline(),
    });
    job.log.plain(EventKind::Evaluated {
        samples: judged.samples(),
        loss: judged.loss(),
        accuracy: judged.accuracy(),
    });
    Ok(WorkSummary {
        steps: total_steps,
        samples: judged.samples(),
        loss: Some(judged.loss()),
        accuracy: judged.accuracy(),
        next_seq: job.log.next(),
    })
}

/// A batch that was judged.
pub(crate) struct Judged<'a> {
    /// Sums up to it, and with it.
    so_far: Tally,
    batch: &'a Batch,
    /// What the network made of it, on its device.
    outputs: Tensor<2>,
}

/// Loss and accuracy of a network over some samples, in batches of `size`.
/// After each batch `between` hears of it, and may end the work.
pub(crate) fn judge(
    network: &Network,
    samples: &Samples,
    objective: &Objective,
    size: usize,
    between: &mut dyn FnMut(Judged<'_>) -> Result<(), WorkFailed>,
) -> Result<Tally, WorkFailed> {
    let values = network.constants();
    let mut so_far = Tally::default();
    for batch in samples.batches(size) {
        let outputs = network.forward(&values, &batch, Mode::Infer)?.outputs;
        so_far.add(outcome(objective, &batch, outputs.clone(), network)?);
        between(Judged {
            so_far,
            batch: &batch,
            outputs,
        })?;
    }
    Ok(so_far)
}

fn outcome(
    objective: &Objective,
    batch: &Batch,
    outputs: Tensor<2>,
    network: &Network,
) -> Result<Outcome, WorkFailed> {
    let answers = objective.answers(&batch.targets, network.device())?;
    let correct = answers.correct(outputs.clone());
    let weight = objective.weight(&batch.targets);
    let (loss, correct) = read(answers.loss(outputs, weight), correct)?;
    Ok(Outcome {
        loss,
        weight,
        correct,
        judged: answers.judged(),
        samples: batch.len() as u64,
    })
}

/// Reads a loss and a count of right answers from the device, at once.
pub(crate) fn read(loss: Tensor<1>, correct: Option<Tensor<1>>) -> Result<(f32, u64), WorkFailed> {
    let values = match correct {
        Some(correct) => Tensor::cat(vec![loss, correct], 0),
        None => loss,
    };
    let values = read_floats(values)?;
    match values[..] {
        [loss] => Ok((loss, 0)),
        [loss, correct] => Ok((loss, correct as u64)),
        _ => Err(WorkFailed::Internal("a loss is one number".to_owned())),
    }
}

/// The outputs of a batch, row-major.
pub(crate) fn floats(outputs: Tensor<2>) -> Result<Vec<f32>, WorkFailed> {
    let [samples, width] = outputs.dims();
    read_floats(outputs.reshape([samples * width]))
}

fn read_floats(values: Tensor<1>) -> Result<Vec<f32>, WorkFailed> {
    values
        .try_into_vec_as::<f32>()
        .map_err(|error| WorkFailed::Internal(format!("a result cannot be read: {error}")))
}
