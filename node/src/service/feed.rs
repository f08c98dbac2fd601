//! Samples that stay with a client, taken from its stream: parse, one call, render.

use std::sync::Arc;

use embermesh_proto::v1::{self, feed_request::Part};
use futures::Stream;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};

use super::refusal;
use crate::task::{Exchange, FEEDER_SILENCE as SILENCE, Feeder, NotFed, Want};

/// Questions that wait for the connection.
const QUESTIONS: usize = 4;

/// The task that a feeder names with its first message.
pub(super) async fn task(
    parts: &mut Streaming<v1::FeedRequest>,
) -> Result<v1::ControlRequest, Status> {
    match parts.message().await?.and_then(|message| message.part) {
        Some(Part::Task(task)) => Ok(task),
        _ => Err(Status::invalid_argument("the first message names the task")),
    }
}

/// Serves a feeder until the task ends or it is sent away.
pub(super) fn serve(
    exchange: &Arc<Exchange>,
    parts: Streaming<v1::FeedRequest>,
    place: OwnedSemaphorePermit,
    cancel: CancellationToken,
) -> (
    impl Future<Output = ()> + Send + use<>,
    impl Stream<Item = Result<v1::FeedWant, Status>> + Send + use<>,
) {
    let (questions, stream) = mpsc::channel(QUESTIONS);
    let (asking, giving) = (exchange.feeder(), parts);
    let run = async move {
        let _place = place;
        let end = cancel
            .run_until_cancelled(exchange_words(asking, giving, &questions))
            .await;
        if let Some(Err(status)) = end {
            // Whoever is gone does not hear why.
            let _ = timeout(SILENCE, questions.send(Err(status))).await;
        }
    };
    (run, ReceiverStream::new(stream))
}

async fn exchange_words(
    mut feeder: Feeder,
    mut parts: Streaming<v1::FeedRequest>,
    questions: &mpsc::Sender<Result<v1::FeedWant, Status>>,
) -> Result<(), Status> {
    enum Next {
        Ask(Result<Want, NotFed>),
        Heard(Result<Option<v1::FeedRequest>, Status>),
    }
    loop {
        let next = tokio::select! {
            biased;
            () = questions.closed() => return Ok(()),
            want = feeder.want() => Next::Ask(want),
            heard = parts.message() => Next::Heard(heard),
        };
        match next {
            Next::Ask(Ok(want)) => {
                let question = v1::FeedWant {
                    ask: want.ask,
                    samples: want.samples,
                };
                match timeout(SILENCE, questions.send(Ok(question))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return Ok(()),
                    Err(_) => return Err(status(&NotFed::Silent)),
                }
            }
            Next::Ask(Err(NotFed::Ended)) => return Ok(()),
            Next::Ask(Err(not)) => return Err(status(&not)),
            Next::Heard(message) => {
                let Some(message) = message? else {
                    return Ok(());
                };
                let Some(Part::Samples(samples)) = message.part else {
                    return Err(Status::invalid_argument(
                        "only the first message names the task",
                    ));
                };
                match feeder.give(samples.ask, samples.data.to_vec()).await {
                    Ok(()) => {}
                    Err(NotFed::Ended) => return Ok(()),
                    Err(not) => return Err(status(&not)),
                }
            }
        }
    }
}

fn status(not: &NotFed) -> Status {
    let (code, word) = match not {
        NotFed::Replaced => (Code::Aborted, "feeder_replaced"),
        NotFed::Ended => (Code::FailedPrecondition, "task_ended"),
        NotFed::Silent => (Code::DeadlineExceeded, "feeder_silent"),
        NotFed::OutOfTurn { .. } | NotFed::Unasked | NotFed::Part(_) | NotFed::TooMuch { .. } => {
            (Code::InvalidArgument, "bad_samples")
        }
    };
    tracing::info!(%not, word, "a feeder was sent away");
    refusal::refused(code, word, not.to_string())
}
