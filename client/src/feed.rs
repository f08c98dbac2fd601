//! Gives a task the samples of data that stays on this side, as its node asks for
//! them.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use embermesh_job::assignment::NodeAssignment;
use embermesh_proto::v1::{self, feed_request::Part};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    ClientError,
    bounds::{FEED_PART, FEED_QUEUE},
    node::NodeLink,
};

/// Samples that stay on this side.
pub trait Samples: Send + Sync {
    /// These samples, one after another, as the job's spec says that they travel;
    /// `None` when there is no such sample. May block.
    fn records(&self, numbers: &[u32]) -> Option<Vec<u8>>;
}

/// Data that stays. Clones are the same data.
#[derive(Clone)]
pub struct Staying(Arc<dyn Samples>);

impl Staying {
    /// Data that stays.
    pub fn new(samples: impl Samples + 'static) -> Self {
        Self(Arc::new(samples))
    }
}

impl fmt::Debug for Staying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Staying")
    }
}

/// Answers the questions of a task until it ends, or another client feeds it.
pub(crate) async fn feed(
    link: NodeLink,
    assignment: NodeAssignment,
    data: Staying,
) -> Result<(), ClientError> {
    let (answers, queue) = mpsc::channel(FEED_QUEUE);
    let task = v1::ControlRequest {
        token: assignment.token,
        job_id: assignment.job.to_string(),
        task: assignment.task.0,
    };
    // The call is not answered before its first message is heard.
    let _ = answers.send(request(Part::Task(task))).await;
    let mut questions = link.feed(ReceiverStream::new(queue)).await?;
    loop {
        let want = match link.next_want(&mut questions).await {
            Ok(Some(want)) => want,
            Ok(None) => return Ok(()),
            // A newer one has taken its place, or there is nobody to feed any more.
            Err(error) if matches!(error.refusal(), Some("feeder_replaced" | "task_ended")) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let ask = want.ask;
        let data = data.clone();
        let read = tokio::task::spawn_blocking(move || data.0.records(&want.samples)).await;
        let Ok(Some(records)) = read else {
            return Err(ClientError::Wire {
                who: link.name().to_owned(),
                reason: "it asks for samples that there are not".to_owned(),
            });
        };
        let mut rest = Bytes::from(records);
        while !rest.is_empty() {
            let data = rest.split_to(rest.len().min(FEED_PART));
            let samples = v1::feed_request::Samples { ask, data };
            if answers.send(request(Part::Samples(samples))).await.is_err() {
                // The node has ended the call; its last word says why.
                break;
            }
        }
    }
}

fn request(part: Part) -> v1::FeedRequest {
    v1::FeedRequest { part: Some(part) }
}
