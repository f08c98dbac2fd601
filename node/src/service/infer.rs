//! Asking a resident model: judge, pass on, stream.

use std::{sync::Arc, time::Duration};

use embermesh_crypto::{
    ids::{JobId, PeerId},
    time::UnixMillis,
    token::{Bearer, Method, Refusal},
};
use embermesh_job::ask::Ask;
use embermesh_proto::v1;
use futures::{Stream, stream};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::refusal;
use crate::{
    gate::Gate,
    resident::{AnswerStream, NotAsked},
    site::Site,
};

/// How long an answer may take, where the caller does not say.
const USUAL_TIME: Duration = Duration::from_secs(300);

/// How long an answer may take at most.
const LONGEST: Duration = Duration::from_secs(3600);

/// The longest name or id of a model.
const MAX_NAME: usize = 512;

/// Takes an ask, and streams its answer.
// A Status is what a handler returns, and tonic made it large.
#[allow(clippy::result_large_err)]
pub(super) fn infer(
    site: &Arc<Site>,
    gate: &Gate,
    asker: PeerId,
    request: &v1::InferRequest,
    closing: CancellationToken,
) -> Result<impl Stream<Item = Result<v1::InferUpdate, Status>> + Send + use<>, Status> {
    if request.model.is_empty() || request.model.len() > MAX_NAME {
        return Err(Status::invalid_argument(
            "model: give the name of a deployment, or the id of its job",
        ));
    }
    let within = match request.within_ms {
        0 => USUAL_TIME,
        ms => Duration::from_millis(ms),
    };
    if within > LONGEST {
        return Err(Status::invalid_argument(format!(
            "within_ms: an answer may take {} ms at most",
            LONGEST.as_millis()
        )));
    }
    // Who may not ask hears so before what was asked is looked at.
    let permitted = permitted(gate, asker, &request.token)?;
    let allowed = gate.allows(&asker) || permitted.is_some();
    let model = site
        .residents
        .find(&request.model, &asker, allowed)
        .map_err(|not| not_asked(&not))?;
    if permitted.is_some_and(|job| job != model.job()) && !gate.allows(&asker) {
        return Err(refusal::token(&Refusal::WrongJob));
    }
    let ask = Ask::from_json(&request.ask)
        .map_err(|error| Status::invalid_argument(format!("ask: {error}")))?;
    let answer = model.ask(ask).map_err(|not| not_asked(&not))?;
    let under_way = UnderWay {
        answer,
        within,
        deadline: Instant::now() + within,
        closing,
    };
    Ok(stream::unfold(Some(under_way), next))
}

/// The deployment that a token lets the caller ask, if he shows one.
#[allow(clippy::result_large_err)]
fn permitted(gate: &Gate, asker: PeerId, token: &str) -> Result<Option<JobId>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let bearer = Bearer::Peer(asker);
    let now = UnixMillis::now();
    let passed = gate
        .pass(token, bearer, Method::Ask, None, None, now)
        .map_err(|refusal| refusal::token(&refusal))?;
    Ok(Some(passed.assignment.claims().job))
}

struct UnderWay {
    answer: AnswerStream,
    within: Duration,
    deadline: Instant,
    closing: CancellationToken,
}

type Next = Option<(Result<v1::InferUpdate, Status>, Option<UnderWay>)>;

/// The next update. What comes with the end lets go of the answer.
async fn next(under_way: Option<UnderWay>) -> Next {
    let mut under_way = under_way?;
    let part = tokio::select! {
        biased;
        part = timeout_at(under_way.deadline, under_way.answer.next()) => part,
        () = under_way.closing.cancelled() => Ok(None),
    };
    match part {
        Ok(Some(part)) => {
            let last = part.is_last();
            match v1::InferUpdate::try_from(part) {
                Ok(update) => Some((Ok(update), (!last).then_some(under_way))),
                Err(reason) => Some((Err(Status::invalid_argument(reason)), None)),
            }
        }
        Ok(None) => Some((
            Err(Status::aborted(
                "the answer broke off: the model was unloaded, its worker ended, or the answer was read too slowly; ask again",
            )),
            None,
        )),
        Err(_) => {
            let message = format!(
                "the answer took longer than {} ms: ask for fewer tokens, or give it more time",
                under_way.within.as_millis()
            );
            Some((Err(Status::deadline_exceeded(message)), None))
        }
    }
}

/// Why an ask was not taken, as a status.
fn not_asked(not: &NotAsked) -> Status {
    let message = not.to_string();
    match not {
        NotAsked::Unknown(_) => Status::not_found(message),
        NotAsked::NotAdmitted(_) => {
            refusal::refused(Code::PermissionDenied, "not_an_asker", message)
        }
        NotAsked::Ambiguous(..) | NotAsked::WrongKind { .. } => Status::invalid_argument(message),
        NotAsked::NotReady => Status::failed_precondition(message),
        NotAsked::Busy { .. } => {
            refusal::with(refusal::NO_SLOT, Code::ResourceExhausted, "busy", message)
        }
    }
}
