//! The conversation with one prover.
//!
//! It is a stream that whoever sends the answers polls: it hears the prover and passes
//! orders on from within one poll, so an open stream costs no task and no buffer. The
//! answer begins before the prover has said anything, because provers wait for that.

use std::{sync::Arc, time::Duration};

use embermesh_proto::zisk::{CoordinatorMessage, ProverMessage};
use futures::{Stream, stream};
use tonic::{Code, Status, Streaming};

use super::{parse, render};
use crate::port::{
    Principal,
    provers::{Order, Provers, Seat},
};

/// How long a stream may be open before its prover says who it is.
const HELLO_WAIT: Duration = Duration::from_secs(10);

/// Where a conversation is.
enum Talk<P> {
    /// The prover has to say who it is.
    Begun {
        port: Arc<P>,
        who: Principal,
        inbound: Streaming<ProverMessage>,
    },
    /// It has a place.
    Seated {
        id: String,
        seat: Box<dyn Seat>,
        inbound: Streaming<ProverMessage>,
    },
    /// The stream ends.
    Over,
}

type Step<P> = Option<(Result<CoordinatorMessage, Status>, Talk<P>)>;

/// What a prover is told, from its first message on.
pub(super) fn conversation<P: Provers>(
    port: Arc<P>,
    who: Principal,
    inbound: Streaming<ProverMessage>,
) -> impl Stream<Item = Result<CoordinatorMessage, Status>> + Send {
    let begun = Talk::Begun { port, who, inbound };
    stream::unfold(begun, |talk| async {
        match talk {
            Talk::Begun { port, who, inbound } => begin(&*port, &who, inbound).await,
            Talk::Seated { id, seat, inbound } => go_on(id, seat, inbound).await,
            Talk::Over => None,
        }
    })
}

async fn begin<P: Provers>(
    port: &P,
    who: &Principal,
    mut inbound: Streaming<ProverMessage>,
) -> Step<P> {
    let Ok(message) = tokio::time::timeout(HELLO_WAIT, inbound.message()).await else {
        let status = Status::deadline_exceeded("no prover has registered on this stream");
        return Some((Err(status), Talk::Over));
    };
    let hello = match message {
        Ok(Some(message)) => parse::hello(message),
        Ok(None) => return None,
        Err(status) => return Some((Err(status), Talk::Over)),
    };
    let hello = match hello {
        Ok(hello) => hello,
        Err(failure) => return Some((Err(failure.into()), Talk::Over)),
    };
    let id = hello.id.clone();
    Some(match port.enter(who, hello).await {
        Ok(seat) => {
            let welcome = render::welcome(id.clone(), Ok(seat.since()));
            (Ok(welcome), Talk::Seated { id, seat, inbound })
        }
        Err(failure) => (Ok(render::welcome(id, Err(&failure))), Talk::Over),
    })
}

/// What comes next for a prover that has a place.
enum Next {
    Order(Option<Box<Order>>),
    Said(Result<Option<ProverMessage>, Status>),
}

async fn go_on<P>(
    id: String,
    mut seat: Box<dyn Seat>,
    mut inbound: Streaming<ProverMessage>,
) -> Step<P> {
    loop {
        let next = tokio::select! {
            biased;
            order = seat.order() => Next::Order(order),
            said = inbound.message() => Next::Said(said),
        };
        let ended = match next {
            Next::Order(Some(order)) => {
                let message = render::order(&id, *order);
                return Some((Ok(message), Talk::Seated { id, seat, inbound }));
            }
            Next::Order(None) => return None,
            Next::Said(Ok(Some(message))) => hear(&mut *seat, message).await,
            Next::Said(Ok(None)) => {
                seat.leave().await;
                return None;
            }
            Next::Said(Err(status)) if is_garbage(&status) => Err(status),
            // The connection is gone; the prover may come back.
            Next::Said(Err(_)) => return None,
        };
        if let Err(status) = ended {
            seat.leave().await;
            return Some((Err(status), Talk::Over));
        }
    }
}

async fn hear(seat: &mut dyn Seat, message: ProverMessage) -> Result<(), Status> {
    let word = parse::word(message)?;
    Ok(seat.hear(word).await?)
}

/// Whether a stream ended by what was said on it, and not by its connection.
fn is_garbage(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Internal | Code::OutOfRange | Code::InvalidArgument | Code::Unimplemented
    )
}
