//! Samples that stay with the client: it is asked for them on the stream of updates,
//! and gives them on that of commands.
//!
//! First it says what it has, and is held to what the job says. Then each question is
//! passed on as it comes, and answers are taken in the order of the questions.

use std::collections::VecDeque;

use embermesh_job::spec::ClientData;
use tokio::sync::mpsc;

use super::{super::super::wire, stream::Updates};
use crate::{
    ErrorCode, Failure,
    cyxwiz::{code, records::Batch},
    port::node::execution::{Feed, Want},
};
use wire::training_update::Update;

/// What a client says of its data.
pub(super) enum Answer {
    Info(Box<wire::DatasetInfoResponse>),
    Batch(Box<wire::BatchResponse>),
}

/// Passes questions and answers on until the task has ended.
pub(super) async fn pass(
    said: &ClientData,
    mut feed: Box<dyn Feed>,
    mut answers: mpsc::Receiver<Answer>,
    updates: &Updates,
) -> Result<(), Failure> {
    let question = Update::DatasetInfoRequest(wire::DatasetInfoRequest {
        job_id: updates.job(),
        auth_token: String::new(),
    });
    updates.say(question).await;
    match answers.recv().await {
        Some(Answer::Info(info)) => fits(&info, said)?,
        Some(Answer::Batch(_)) => return Err(unasked()),
        None => return Ok(()),
    }
    let mut asked = VecDeque::new();
    loop {
        tokio::select! {
            biased;
            want = feed.want() => match want? {
                None => return Ok(()),
                Some(want) => {
                    updates.say(Update::BatchRequest(request(updates.job(), said, &want)?)).await;
                    asked.push_back(want);
                }
            },
            answer = answers.recv() => match answer {
                None => return Ok(()),
                // It has said so already.
                Some(Answer::Info(_)) => {}
                Some(Answer::Batch(batch)) => {
                    let want = asked.pop_front().ok_or_else(unasked)?;
                    let ask = want.ask;
                    let records = taken(*batch, said, &want)?;
                    feed.give(ask, records).await?;
                }
            },
        }
    }
}

fn unasked() -> Failure {
    Failure::invalid("batch_response: nothing was asked")
}

/// A question in this form. What is held out is the validation split.
fn request(job: String, said: &ClientData, want: &Want) -> Result<wire::BatchRequest, Failure> {
    let held = want
        .samples
        .first()
        .is_some_and(|first| *first >= said.samples);
    let (split, from) = if held {
        (wire::DatasetSplit::SplitValidation, said.samples)
    } else {
        (wire::DatasetSplit::SplitTrain, 0)
    };
    let mixed = |sample: &&u32| (**sample >= said.samples) != held;
    if want.samples.iter().any(|sample| mixed(&sample)) {
        let message = "the work asked for samples of two splits at once";
        return Err(Failure::new(ErrorCode::Internal, message));
    }
    Ok(wire::BatchRequest {
        job_id: job,
        auth_token: String::new(),
        split: split.into(),
        sample_indices: want
            .samples
            .iter()
            .map(|sample| i64::from(sample - from))
            .collect(),
        request_id: number(want.ask),
    })
}

/// The number of a question, as this wire has it: the low bits, for it only tells
/// neighbours apart.
fn number(ask: u64) -> i32 {
    i32::try_from(ask & 0x7fff_ffff).unwrap_or(0)
}

/// The samples of an answer.
fn taken(
    batch: wire::BatchResponse,
    said: &ClientData,
    want: &Want,
) -> Result<bytes::Bytes, Failure> {
    if batch.request_id != number(want.ask) {
        return Err(Failure::invalid(format!(
            "batch_response: {} came, and {} is to be answered",
            batch.request_id,
            number(want.ask)
        )));
    }
    gave("batch_response", batch.status, batch.error)?;
    let batch = Batch {
        images: batch.images,
        labels: batch.labels,
        batch_shape: batch.batch_shape,
        label_shape: batch.label_shape,
    };
    batch.records(said, want.samples.len())
}

/// Whether a client gave what it was asked for.
fn gave(what: &str, status: i32, error: Option<wire::Error>) -> Result<(), Failure> {
    match error {
        None if status == 0 || status == code::SUCCESS => Ok(()),
        None => Err(Failure::invalid(format!("{what}: its status is {status}"))),
        Some(error) => Err(Failure::invalid(format!("{what}: {}", error.message))),
    }
}

/// Whether a client has what the job says.
fn fits(info: &wire::DatasetInfoResponse, said: &ClientData) -> Result<(), Failure> {
    gave("dataset_info_response", info.status, info.error.clone())?;
    let differs = |what: &str, has: String, says: String| {
        Err(Failure::invalid(format!(
            "dataset_info_response: {what}: the client has {has}, and the job says {says}"
        )))
    };
    let count =
        |split: &Option<wire::SplitInfo>| split.as_ref().map_or(0, |split| split.num_samples);
    for (what, has, says) in [
        ("train", count(&info.train), said.samples),
        ("validation", count(&info.validation), said.holdout),
    ] {
        // More than is asked for is nobody's harm.
        if has < i64::from(says) {
            return differs(what, format!("{has} samples"), says.to_string());
        }
    }
    let mut axes = info
        .sample_shape
        .iter()
        .map(|axis| u64::try_from(*axis).ok());
    let volume = axes.try_fold(1_u64, |product, axis| product.checked_mul(axis?));
    if !info.sample_shape.is_empty() && volume != Some(said.volume()) {
        let has = format!("{:?}", info.sample_shape);
        return differs("sample_shape", has, format!("{:?}", said.shape));
    }
    if !matches!(info.dtype.as_str(), "" | "float32" | "float") {
        return differs("dtype", info.dtype.clone(), "float32".to_owned());
    }
    Ok(())
}
