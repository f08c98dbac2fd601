//! An answer on its way to whoever asked.

use std::sync::Arc;

use embermesh_job::ask::Part;
use tokio::sync::mpsc;

use super::Resident;

/// The parts of an answer. Dropped before the last one, it ends the answer in the
/// worker, too.
pub(crate) struct AnswerStream {
    parts: mpsc::Receiver<Part>,
    resident: Arc<Resident>,
}

impl AnswerStream {
    pub(super) fn new(parts: mpsc::Receiver<Part>, resident: Arc<Resident>) -> Self {
        Self { parts, resident }
    }

    /// The next part; `None` behind the last one, and where the model has gone or the
    /// reader was too slow. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Part> {
        self.parts.recv().await
    }
}

impl Drop for AnswerStream {
    fn drop(&mut self) {
        self.parts.close();
        self.resident.gone.notify_one();
    }
}
