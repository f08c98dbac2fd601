//! The models that are resident here, for whoever asks without a key, too: such a one
//! may ask what is deployed for everybody.

use std::time::Duration;

use embermesh_crypto::{ids::PeerId, time::UnixMillis};
use embermesh_dialects::{
    ErrorCode, Failure,
    port::node::{
        Line,
        asking::{AskedCounts, AskedView, Asking, ResidentView},
    },
};
use embermesh_job::{
    ask::{Ask, Part},
    wire::ResidentModel,
};
use futures::{StreamExt as _, stream, stream::BoxStream};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Foreign, asks::Owner};
use crate::resident::{AnswerStream, NotAsked, Shapes};

/// Bytes of the name of a question that has none.
const NAME: usize = 8;

/// A model as foreign systems see it.
pub(super) fn view(model: ResidentModel, shapes: Shapes) -> ResidentView {
    let (input, output) = shapes.unwrap_or_default();
    ResidentView {
        job: model.job,
        name: model.name,
        kind: model.kind,
        input,
        output,
        ready: model.ready,
        memory: model.memory_bytes,
        asks: model.asks,
        answered: model.answered,
        made: model.tokens,
        since: model.since,
    }
}

fn not_asked(not: &NotAsked) -> Failure {
    let code = match not {
        NotAsked::Unknown(_) => ErrorCode::NotFound,
        NotAsked::Ambiguous(..) => ErrorCode::Precondition,
        NotAsked::NotAdmitted(_) => ErrorCode::Denied,
        NotAsked::NotReady => ErrorCode::Unavailable,
        NotAsked::Busy { .. } => ErrorCode::Exhausted,
        NotAsked::WrongKind { .. } => ErrorCode::Invalid,
    };
    Failure::new(code, not.to_string())
}

struct UnderWay {
    answer: AnswerStream,
    deadline: Instant,
    closing: CancellationToken,
}

type Next = Option<(Result<Part, Failure>, Option<UnderWay>)>;

/// The next part. What comes with the end lets go of the answer.
async fn next(under_way: Option<UnderWay>) -> Next {
    let mut under_way = under_way?;
    let part = tokio::select! {
        biased;
        part = timeout_at(under_way.deadline, under_way.answer.next()) => part,
        () = under_way.closing.cancelled() => Ok(None),
    };
    let broken = |message: &str| Err(Failure::new(ErrorCode::Unavailable, message));
    match part {
        Ok(Some(part)) => {
            let last = part.is_last();
            Some((Ok(part), (!last).then_some(under_way)))
        }
        Ok(None) => Some((
            broken(
                "the answer broke off: the model was unloaded, or the answer was read too slowly; ask again",
            ),
            None,
        )),
        Err(_) => Some((broken("the answer took longer than it may"), None)),
    }
}

impl Foreign {
    /// Whose key a line asks with, and whether the owner lets it use the node.
    pub(super) fn asker(&self, line: &Line) -> Result<(PeerId, bool), Failure> {
        let key = self.comer(line)?.unwrap_or(self.inner.nobody);
        Ok((key, self.inner.parts.gate.allows(&key)))
    }

    fn answer(
        &self,
        line: &Line,
        model: &str,
        ask: Ask,
        within: Duration,
    ) -> Result<BoxStream<'static, Result<Part, Failure>>, Failure> {
        let (asker, allowed) = self.asker(line)?;
        let residents = &self.inner.parts.site.residents;
        let answer = residents
            .find(model, &asker, allowed)
            .and_then(|model| model.ask(ask))
            .map_err(|not| not_asked(&not))?;
        let under_way = UnderWay {
            answer,
            deadline: Instant::now() + within,
            closing: self.inner.parts.cancel.clone(),
        };
        Ok(stream::unfold(Some(under_way), next).boxed())
    }
}

#[tonic::async_trait]
impl Asking for Foreign {
    fn residents(&self, line: &Line) -> Result<Vec<ResidentView>, Failure> {
        let (asker, allowed) = self.asker(line)?;
        let shaped = self.inner.parts.site.residents.shaped(&asker, allowed);
        Ok(shaped
            .into_iter()
            .map(|(model, shapes)| view(model, shapes))
            .collect())
    }

    async fn ask(
        &self,
        line: &Line,
        model: &str,
        ask: Ask,
        within: Duration,
    ) -> Result<BoxStream<'static, Result<Part, Failure>>, Failure> {
        self.answer(line, model, ask, within)
    }

    async fn ask_later(
        &self,
        line: &Line,
        id: &str,
        model: &str,
        ask: Ask,
        within: Duration,
    ) -> Result<AskedView, Failure> {
        let owner = Owner::of(line)?;
        let id = if id.is_empty() {
            let bytes: [u8; NAME] = rand::random();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("job-{hex}")
        } else {
            id.to_owned()
        };
        // Asked before it is taken on: who may not ask has no job that failed.
        let mut answer = self.answer(line, model, ask, within)?;
        let (view, cancel) = self.inner.asks.begin(owner, &id, UnixMillis::now())?;
        let this = self.clone();
        self.inner.parts.site.tracker.spawn(async move {
            let asks = &this.inner.asks;
            let heard = async {
                while let Some(part) = answer.next().await {
                    match part {
                        Ok(Part::Refused(reason)) => return Err(reason),
                        Ok(part) => {
                            if !asks.hear(owner, &id, part) {
                                return Err("the answer is longer than is kept".to_owned());
                            }
                        }
                        Err(failure) => return Err(failure.message),
                    }
                }
                Ok(())
            };
            if let Some(ended) = cancel.run_until_cancelled(heard).await {
                asks.end(owner, &id, ended, UnixMillis::now());
            }
        });
        Ok(view)
    }

    fn asked(&self, line: &Line, id: &str) -> Result<AskedView, Failure> {
        self.comer(line)?;
        self.inner.asks.view(Owner::of(line)?, id)
    }

    fn unask(&self, line: &Line, id: &str) -> Result<AskedView, Failure> {
        self.comer(line)?;
        let owner = Owner::of(line)?;
        self.inner.asks.cancel(owner, id, UnixMillis::now())
    }

    fn clock(&self) -> UnixMillis {
        UnixMillis::now()
    }

    fn counts(&self) -> AskedCounts {
        self.inner.asks.counts()
    }
}
