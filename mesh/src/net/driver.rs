//! Drives [`crate::protocol::Table`]: what it puts out becomes gossip, streams,
//! signatures and what the handle shows.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use embermesh_crypto::{
    ids::PeerId,
    statement::{Advert, MAX_ADVERT_TEXT, Signed, StatementError, sign},
};
use libp2p::gossipsub::PublishError;

use super::{
    AdvertDraft, MeshError, MeshEvent,
    actor::{Actor, unix_now},
    address, exchange,
};
use crate::protocol::{Input, Output, Reason, Ticket, Verdict, after, own, roster::Known};

/// The timer is looked at again after this, whatever the table said: a wall clock
/// that is set back must not stop the refresh of the own advert.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Multiaddrs that an advert names.
const MAX_ADVERTISED: usize = 6;

/// What one input brought beside its effects.
#[derive(Default)]
pub(crate) struct Fed {
    /// The verdict on a message.
    pub(crate) verdict: Option<Verdict>,
    /// The answer to a request for the table.
    pub(crate) table: Option<Vec<Known>>,
}

impl Actor {
    /// Hands an input to the table and does what it says.
    pub(crate) fn feed(&mut self, input: Input) -> Fed {
        let mut fed = Fed::default();
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for output in self.table.handle(input, unix_now(), &mut self.rng) {
                match output {
                    Output::Verdict(verdict) => fed.verdict = Some(verdict),
                    Output::SendTable { to: _, adverts } => fed.table = Some(adverts),
                    Output::Sign(ticket) => inputs.extend(self.sign_own(ticket)),
                    other => self.carry_out(other),
                }
            }
        }
        fed
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Publish(bytes) => self.publish(bytes),
            Output::Repeat(bytes) => {
                // One that finds no room is left to later exchanges.
                let _ = self.repeats.add(bytes, Instant::now(), &mut self.rng);
            }
            Output::RequestTable { to, summary } => {
                let ask = exchange::ask(
                    self.control.clone(),
                    self.table_protocol.clone(),
                    to,
                    summary,
                    self.weak.clone(),
                );
                self.tracker
                    .spawn(self.cancel.clone().run_until_cancelled_owned(ask));
            }
            Output::RefuseTable { to } => {
                tracing::debug!(peer = %to, "refused a table request: it asks too often");
            }
            Output::Changed(peer) => self.shared.set_advert(peer, self.table.roster().of(&peer)),
            Output::Gone(peer) => {
                self.shared.set_advert(peer, self.table.roster().of(&peer));
                self.unroute_absent(&address::theirs(&peer));
            }
            Output::Equivocation(evidence) => {
                let (peer, sequence) = (evidence.peer, evidence.sequence);
                tracing::warn!(%peer, sequence, "a peer signed two adverts with one number");
                self.shared.tell(MeshEvent::Equivocation { peer, sequence });
            }
            Output::KeyElsewhere { sequence } => {
                tracing::warn!(
                    sequence,
                    "another process uses this process's key; give each its own (`embermesh keys new`)"
                );
                self.shared.tell(MeshEvent::KeyElsewhere { sequence });
            }
            Output::Distrust { peer, reason } => self.distrust(peer, reason),
            Output::WakeAt(at) => {
                let wait = Duration::from_millis(at.0.saturating_sub(unix_now().0));
                self.table_wake = Some(Instant::now() + wait.min(LONGEST_SLEEP));
            }
            Output::Verdict(_) | Output::SendTable { .. } | Output::Sign(_) => {}
        }
    }

    fn distrust(&mut self, peer: PeerId, reason: Reason) {
        tracing::warn!(%peer, %reason, "a peer sent what no honest peer sends; turned away");
        self.shared
            .tell(MeshEvent::AdvertRejected { from: peer, reason });
        self.shun(address::theirs(&peer));
    }

    /// The exchange with a peer has ended.
    pub(crate) fn table_done(&mut self, from: PeerId, complete: bool) {
        self.feed(Input::TableDone { from, complete });
        if complete {
            let known = self.table.roster().len();
            self.shared.tell(MeshEvent::TableReceived { from, known });
            self.widen();
        }
        self.stand();
    }

    /// Takes a new draft, once it is clear that it fits an advert.
    pub(crate) fn advertise(&mut self, draft: AdvertDraft) -> Result<(), MeshError> {
        let now = unix_now();
        let trial = Ticket {
            sequence: u64::MAX,
            issued_at: now,
            expires_at: after(now, crate::protocol::MAX_LIFETIME),
            farewell: false,
        };
        self.signed(&draft, trial)?;
        if self.draft.as_ref() != Some(&draft) {
            self.draft = Some(draft);
            self.feed(Input::Change);
        }
        Ok(())
    }

    /// The own addresses have changed, and the own advert with them.
    pub(crate) fn addresses_changed(&mut self) {
        let all = {
            let reached = self.reached_at().into_iter();
            address::dialable(reached.chain(self.listening.iter().cloned()), true)
        };
        self.shared.set_addresses(&all, &self.me);
        self.show_whether_local();
        if self.draft.is_some() {
            self.feed(Input::Change);
        }
    }

    fn sign_own(&mut self, ticket: Ticket) -> Option<Input> {
        let mut draft = self.draft.clone()?;
        draft.draining |= ticket.farewell;
        match self.signed(&draft, ticket) {
            Ok(signed) => Some(Input::Local(signed)),
            Err(error) => {
                tracing::error!(%error, "the own advert cannot be published");
                None
            }
        }
    }

    /// The advert of a draft, with as many addresses and models as fit: models are
    /// found through their index, too, and addresses are not.
    fn signed(&self, draft: &AdvertDraft, ticket: Ticket) -> Result<Signed<Advert>, MeshError> {
        let mut draft = draft.clone();
        let mut addresses: Vec<String> = address::advertised(&self.reached_at(), &self.listening)
            .iter()
            .map(ToString::to_string)
            .filter(|address| address.len() <= MAX_ADVERT_TEXT)
            .take(MAX_ADVERTISED)
            .collect();
        loop {
            let advert = draft.advert(self.me, &self.network, ticket, addresses.clone());
            match sign(&advert, &self.keypair) {
                Ok(signed) => return Ok(signed),
                Err(StatementError::Size { .. }) if !draft.models.is_empty() => {
                    draft.models.pop();
                }
                // The first two are the likeliest to be reached.
                Err(StatementError::Size { .. }) if addresses.len() > 2 => {
                    addresses.pop();
                }
                Err(StatementError::Size { len, .. }) => {
                    return Err(MeshError::AdvertTooLarge { bytes: len });
                }
                Err(error) => return Err(MeshError::InvalidAdvert(error.to_string())),
            }
        }
    }

    fn publish(&mut self, bytes: Vec<u8>) {
        let topic = self.topic.clone();
        match self
            .swarm
            .behaviour_mut()
            .gossip
            .publish(topic, bytes.clone())
        {
            Ok(_) | Err(PublishError::Duplicate) => self.unheard = None,
            Err(PublishError::NoPeersSubscribedToTopic | PublishError::AllQueuesFull(_)) => {
                self.unheard = Some(bytes);
            }
            Err(error) => tracing::warn!(%error, "the own advert was not published"),
        }
    }

    /// Publishes adverts of others that gossip has not brought in the meantime.
    pub(crate) fn repeat(&mut self, now: Instant) {
        while let Some(bytes) = self.repeats.due(now) {
            let topic = self.topic.clone();
            // A duplicate has come by gossip, which is as good.
            let _ = self.swarm.behaviour_mut().gossip.publish(topic, bytes);
        }
    }

    /// Publishes the own advert again that nobody heard: somebody has come who listens, or
    /// those who were too busy may be so no more.
    pub(crate) fn say_unheard(&mut self) {
        if let Some(bytes) = self.unheard.take() {
            self.publish(bytes);
        }
    }
}

const _: () = assert!(own::REFRESH.as_secs() < crate::protocol::MAX_LIFETIME.as_secs());
