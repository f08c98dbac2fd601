//! The line to one index: register, heartbeat, orders, reports. An index that is
//! lost is dialled again for ever, with growing pauses; what runs here does not
//! notice.
//!
//! - `links`: whether the owner wants lines, and how many stand.
//! - `session`: one registration, until the connection is lost.
//! - `lost`: whether an index is away, or has given its final answer.
//! - `orders`: what the index wants of this node.
//! - `reports`: what it has still to hear.

mod links;
mod lost;
mod orders;
mod reports;
mod session;

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use embermesh_client::ClientError;
use embermesh_crypto::ids::PeerId;
use embermesh_mesh::road::{self, RoadChoice, Target};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::links::Links;
use self::{
    lost::{FirstWords, Lost},
    session::Session,
};
use crate::{gate::Gate, site::Site, task::Tasks};

/// The first pause before an index is dialled again.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause: an index that comes back is found within it.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long an index may take to answer a dial or a call.
const CALL_WAIT: Duration = Duration::from_secs(10);
/// A session that held for this long starts the pauses anew.
const SETTLED: Duration = Duration::from_secs(1);

/// What every uplink works with.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) site: Arc<Site>,
    pub(crate) tasks: Tasks,
    pub(crate) gate: Gate,
    /// Where a line tells that its index will never have this node.
    pub(crate) refused: mpsc::Sender<ClientError>,
    pub(crate) cancel: CancellationToken,
}

/// The line to one index.
pub(crate) struct Uplink {
    parts: Parts,
    target: Target,
    /// Who took this node first is who must answer from now on.
    peer: Option<PeerId>,
    first_words: FirstWords,
}

impl Uplink {
    pub(crate) fn new(parts: Parts, target: Target) -> Self {
        Self {
            parts,
            peer: target.peer,
            target,
            first_words: FirstWords::default(),
        }
    }

    /// Keeps the line until the node stops.
    pub(crate) async fn run(mut self) {
        let cancel = self.parts.cancel.clone();
        let links = self.parts.site.links.clone();
        let mut pauses = pauses();
        let mut told = false;
        while !cancel.is_cancelled() {
            if cancel
                .run_until_cancelled(links.until_wanted())
                .await
                .is_none()
            {
                return;
            }
            let begun = Instant::now();
            let session = links.while_wanted(Box::pin(self.session()));
            let Some(ended) = cancel.run_until_cancelled(session).await else {
                return;
            };
            let Some(ended) = ended else {
                tracing::info!(index = %self.target, "the index is left, by the owner's word");
                continue;
            };
            if begun.elapsed() >= SETTLED {
                pauses = self::pauses();
                told = false;
            }
            if let Err(reason) = ended {
                // Said once at the level that people read, then only to who asks.
                if told {
                    tracing::debug!(index = %self.target, %reason, "the index is not reached");
                } else {
                    tracing::warn!(index = %self.target, %reason, "the index is not reached; trying on");
                }
                told = true;
                self.weigh(reason);
            }
            let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
            cancel.run_until_cancelled(links.pause(pause)).await;
        }
    }

    /// Connects, registers, and serves until the connection is lost.
    async fn session(&mut self) -> Result<(), Lost> {
        let site = &self.parts.site;
        let target = Target {
            peer: self.peer,
            ..self.target.clone()
        };
        let dial = road::connect(&site.identity, &target, None, RoadChoice::Tls);
        let pinned = self.target.peer.is_some();
        let connection = timeout(CALL_WAIT, Box::pin(dial))
            .await
            .map_err(|_| format!("no answer within {CALL_WAIT:?}"))?
            .map_err(|error| lost::dialled(&target, pinned, error))?;
        let peer = connection.peer;
        let session = Session::new(&self.parts, &target, connection);
        let interval = session.register().await?;
        self.peer = Some(peer);
        self.first_words.taken();
        let _stands = self.parts.site.links.stands(peer);
        Ok(session.serve(interval).await?)
    }

    /// Tells whoever runs this node, once, that an index will not have it.
    fn weigh(&mut self, lost: Lost) {
        let settled = self.first_words.settle(&lost);
        if let (true, Lost::Final(error)) = (settled, lost) {
            // Whoever runs the node may not want to hear of it.
            let _ = self.parts.refused.try_send(error);
        }
    }
}

fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}
