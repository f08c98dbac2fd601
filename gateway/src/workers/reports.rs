//! The port: what workers say of the tasks that they have.

use bytes::Bytes;
use embermesh_crypto::{Digest, UnixMillis};
use embermesh_dialects::{
    ErrorCode, Failure,
    port::{
        Principal,
        jobs::LogPiece,
        workers::{OfTask, RESULT, Reports},
    },
};
use embermesh_job::{
    event::{Artifact, LogStream},
    lifecycle::JobState,
};
use tokio::task::spawn_blocking;

use crate::{Gateway, failure::store_failed, jobs::Live};

/// What a failed task is told, where its worker says no more.
const FAILED: &str = "the program failed at its worker: its logs say how";

impl Gateway {
    /// Which task somebody speaks of, if he may.
    fn spoken_of(&self, who: &Principal, of: &OfTask) -> Result<i64, Failure> {
        let mut book = self.inner.desk.book();
        book.speaks(who, of, UnixMillis::now())
    }

    /// Keeps what somebody says that a job has written, and then says it.
    pub(crate) async fn keep_reported(
        &self,
        number: i64,
        piece: LogPiece,
        live: &Live,
    ) -> Result<(), Failure> {
        let folders = self.inner.folders.clone();
        let (line, so_far) = (piece.clone(), live.log());
        let written = spawn_blocking(move || folders.append(number, line, so_far)).await;
        let written = written.map_err(std::io::Error::other).flatten();
        written.map_err(|error| store_failed(&error))?;
        live.hear_log(piece);
        Ok(())
    }
}

#[tonic::async_trait]
impl Reports for Gateway {
    async fn wrote(&self, who: &Principal, of: OfTask, mut text: String) -> Result<(), Failure> {
        let number = self.spoken_of(who, &of)?;
        if text.is_empty() {
            return Ok(());
        }
        // Each call is of whole lines, with or without the end of the last.
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let Some(live) = self.inner.table.get(number) else {
            return Err(Failure::not_found("the task has ended"));
        };
        let piece = LogPiece {
            at: UnixMillis::now(),
            stream: LogStream::Stdout,
            text,
        };
        self.keep_reported(number, piece, &live).await
    }

    async fn made(&self, who: &Principal, of: OfTask, result: Bytes) -> Result<(), Failure> {
        let number = self.spoken_of(who, &of)?;
        let artifact = Artifact {
            name: RESULT.to_owned(),
            digest: Digest::of(&result),
            size: result.len() as u64,
        };
        let folders = self.inner.folders.clone();
        let digest = artifact.digest;
        let written = spawn_blocking(move || folders.keep_result(number, &digest, &result)).await;
        let written = written.map_err(std::io::Error::other).flatten();
        written.map_err(|error| store_failed(&error))?;
        // It may have been taken from its worker meanwhile.
        self.spoken_of(who, &of)?;
        let task = {
            let mut book = self.inner.desk.book();
            book.made(number, artifact.clone());
            book.task(number).cloned()
        };
        if let Some(task) = task {
            let kept = self.inner.store.keep_task(number, &task).await;
            kept.map_err(|error| store_failed(&error))?;
        }
        Ok(())
    }

    async fn ended(&self, who: &Principal, of: OfTask, well: bool) -> Result<(), Failure> {
        let number = self.spoken_of(who, &of)?;
        let (state, message) = if well {
            (JobState::Succeeded, "")
        } else {
            (JobState::Failed, FAILED)
        };
        if self.end_task(number, state, message).await {
            return Ok(());
        }
        let message = "the pool stops: say it again when it is back";
        Err(Failure::new(ErrorCode::Unavailable, message))
    }
}
