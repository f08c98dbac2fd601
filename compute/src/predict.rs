//! Prediction: what weights make of samples, written as they are made.

mod answer;
mod columns;
mod lines;
mod sheet;

use embermesh_job::event::{EventKind, Progress};
use embermesh_job::spec::Predict;

pub(crate) use self::answer::Meaning;
use crate::dataset::load;
use crate::evaluate::floats;
use crate::failure::WorkFailed;
use crate::job::Job;
use crate::judged::{Ready, ready};
use crate::network::Mode;
use crate::output::Output;
use crate::pace::Pace;
use crate::pipe::WorkSummary;

/// The name of the result, within the job and as a file, but for its ending.
const ARTIFACT: &str = "predictions";

/// How often a prediction reports on its way.
const REPORTS: u64 = 10;

/// Answers the samples of an order.
pub(crate) fn run(predict: &Predict, job: &mut Job<'_>) -> Result<WorkSummary, WorkFailed> {
    let Ready {
        network,
        fitted,
        output_shape,
    } = ready(&predict.model, predict.weights, predict.batch, job)?;
    predict
        .fits(&output_shape)
        .map_err(|error| WorkFailed::Spec(error.to_string()))?;
    let samples = load::for_prediction(predict, &job.source(), fitted.as_ref())?;

    let batch = predict.batch as usize;
    let total_steps = samples.len().div_ceil(batch.max(1)) as u64;
    job.log.plain(EventKind::Started {
        device: job.device.name.clone(),
        parameters: network.count(),
        total_steps,
        samples: samples.len() as u64,
    });
    let every = total_steps.div_ceil(REPORTS);
    let mut pace = Pace::new();
    let meaning = Meaning::of(predict, output_shape.iter().product());
    let name = format!("{ARTIFACT}.{}", predict.out.extension());
    let path = job.order.workdir.join(&name);
    let output = Output::create(&path, job.order.ceilings.output_bytes)?;
    let mut sheet = sheet::open(predict.out, output, &meaning)?;
    let values = network.constants();
    for (step, batch) in (1..).zip(samples.batches(batch)) {
        job.breathe(&mut pace)?;
        let outputs = floats(network.forward(&values, &batch, Mode::Infer)?.outputs)?;
        let rows = meaning.answers(&outputs);
        sheet.write(&rows)?;
        pace.step(batch.len() as u64);
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
    let path = sheet.finish()?.finish()?;
    job.log.artifact(&name, path);
    Ok(WorkSummary {
        steps: total_steps,
        samples: samples.len() as u64,
        loss: None,
        accuracy: None,
        next_seq: job.log.next(),
    })
}
