//! What workers say of the tasks that they have.

use bytes::Bytes;
use tonic::Request;

use super::{MAX_TASK, Pool, PoolPort};
use crate::{ErrorCode, Failure, port::workers::OfTask};

/// How a worker begins what it says of its resources every few seconds, among a task's
/// output.
const RESOURCES: &str = "RESOURCE_USAGE:";
/// The most that a worker can say of a task's output at once, in bytes.
const MAX_WORDS: usize = 256 << 10;

impl<P: PoolPort> Pool<P> {
    pub(super) async fn wrote<T>(
        &self,
        request: &Request<T>,
        worker: &str,
        task: &str,
        text: &str,
    ) -> Result<String, Failure> {
        let who = self.who(request, "", worker).await?;
        if text.len() > MAX_WORDS {
            let message = format!("say {MAX_WORDS} bytes of a task's output at most at once");
            return Err(Failure::new(ErrorCode::Exhausted, message));
        }
        // It is a sign of life, and no line of the task.
        let words = if text.starts_with(RESOURCES) {
            ""
        } else {
            text
        };
        let of = of(worker, task);
        self.port.wrote(&who, of, words.to_owned()).await?;
        Ok("kept".to_owned())
    }

    pub(super) async fn made<T>(
        &self,
        request: &Request<T>,
        task: &str,
        result: Bytes,
    ) -> Result<String, Failure> {
        let who = self.who(request, "", "").await?;
        if result.len() > MAX_TASK {
            let message = format!("a result has {MAX_TASK} bytes at most");
            return Err(Failure::new(ErrorCode::Exhausted, message));
        }
        self.port.made(&who, of("", task), result).await?;
        Ok("kept".to_owned())
    }

    pub(super) async fn ended<T>(
        &self,
        request: &Request<T>,
        worker: &str,
        task: &str,
        well: bool,
    ) -> Result<String, Failure> {
        let who = self.who(request, "", worker).await?;
        self.port.ended(&who, of(worker, task), well).await?;
        Ok("noted".to_owned())
    }
}

fn of(worker: &str, task: &str) -> OfTask {
    OfTask {
        worker: Some(worker.to_owned()).filter(|worker| !worker.is_empty()),
        task: task.to_owned(),
    }
}
