//! Takes the state up from what the store kept.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use embermesh_crypto::{keys::Keypair, time::UnixMillis};
use embermesh_job::{
    ledger::{Bounds, Ledger},
    reservation::Book,
    spec::JobSpec,
};

use super::{
    Entropy, LoadedJob, RestoreError, Settings, Snapshot, State, StoredNode, Writes,
    idempotency::Idempotency,
    ids::JobIds,
    issuer::Issuer,
    nodes::where_to,
    record::{OpenSpec, Record},
    registry::Registry,
};

/// The state as the store has it, with every lease extended: the index was away,
/// and the nodes could not tell it that they were alive.
pub(super) fn restore(
    settings: Settings,
    identity: Arc<Keypair>,
    snapshot: Snapshot,
    now: UnixMillis,
    entropy: &mut Entropy,
) -> Result<State, RestoreError> {
    let (issuer, made) = Issuer::restore(identity, snapshot.issuer, &settings, now, entropy)?;
    let mut state = State {
        settings,
        jobs: BTreeMap::new(),
        ids: JobIds::default(),
        ended: VecDeque::new(),
        queue: BTreeSet::new(),
        residences: BTreeSet::new(),
        walk: None,
        leases: BTreeSet::new(),
        retries: BTreeSet::new(),
        open: BTreeMap::new(),
        spec_bytes: 0,
        idempotency: Idempotency::default(),
        registry: Registry::default(),
        placing_due: false,
        dirty: BTreeSet::new(),
        writes: Writes {
            keys: made.then(|| issuer.keys_snapshot()),
            ..Writes::default()
        },
        issuer,
        owed: BTreeMap::new(),
        ledger: Ledger::restore(snapshot.ledger, Bounds::default())?,
        reservations: Book::restore(snapshot.reservations),
        listening_since: now,
        silence_look_at: now,
    };
    state.take_up_nodes(snapshot.nodes);
    state.mark_reserved();
    for submit in snapshot.idempotency {
        state.idempotency.remember(submit);
    }
    for loaded in snapshot.jobs {
        state.take_up(loaded);
    }
    state.grace(now);
    Ok(state)
}

impl State {
    /// Nodes, as far as there is room for them: those heard of last come first.
    /// A row that means nothing any more is deleted, so that the table never
    /// holds what the registry does not.
    fn take_up_nodes(&mut self, mut nodes: Vec<StoredNode>) {
        nodes.sort_unstable_by_key(|node| std::cmp::Reverse(node.seen_at));
        for StoredNode {
            advert,
            peer,
            seen_at,
        } in nodes
        {
            if !self.registry.remember(advert, seen_at, &self.settings) {
                self.writes.nodes.insert(peer, None);
            }
        }
    }

    fn take_up(&mut self, loaded: LoadedJob) {
        let LoadedJob { stored, spec } = loaded;
        let id = stored.job.id;
        self.ids.seen(&id);
        let (idempotency, submitted_at, updated_at) =
            (stored.idempotency, stored.submitted_at, stored.updated_at);
        let (bill, terms) = (stored.bill.clone(), stored.terms.clone());
        let unclaimed = stored.unclaimed;
        let job = stored.into_job();
        let open = spec.and_then(|canonical| {
            // The store keeps the bytes whose digest the job has; the parse can
            // only fail when a later version narrows what a spec may say.
            let spec = JobSpec::from_canonical(&canonical)
                .inspect_err(
                    |error| tracing::error!(job = %id, %error, "a stored spec is not understood"),
                )
                .ok()?;
            Some(OpenSpec::new(&spec, canonical))
        });
        let record = Record {
            journal_written: job.journal.last().map_or(0, |entry| entry.number),
            job,
            open,
            idempotency,
            submitted_at,
            updated_at,
            bill,
            terms,
            unclaimed,
        };
        if record.outcome().is_some() {
            self.ended.push_back(id);
        } else {
            *self.open.entry(record.job.owner).or_default() += 1;
            self.spec_bytes += record.open.as_ref().map_or(0, |open| open.canonical.len());
        }
        let standing = record.standing();
        if let (Some(node), Some(lease)) = (standing.node, standing.lease) {
            self.leases.insert((lease, id));
            self.registry.take(&node, id);
        }
        let waits = standing.node.is_none() && record.outcome().is_none();
        self.jobs.insert(id, record);
        if waits {
            self.enqueue(id);
        }
    }

    /// Tells the registry which nodes are reserved.
    fn mark_reserved(&mut self) {
        self.registry.clear_reserved();
        for one in self.reservations.open() {
            self.registry.reserve(&one.node, Some(one.client));
        }
    }

    /// Keeps the nodes of a state that had to be given up because it could not
    /// be made durable: they are alive, whatever the disk says. What the store
    /// has otherwise is mended with the next commit.
    pub fn keep_nodes_of(&mut self, given_up: Self) {
        let stored = std::mem::replace(&mut self.registry, given_up.registry);
        self.registry.clear_tasks();
        self.mark_reserved();
        for (id, record) in &self.jobs {
            if let Some(node) = record.standing().node {
                self.registry.take(&node, *id);
            }
        }
        let forgotten = stored.nodes().map(|node| node.content.peer);
        for peer in forgotten.filter(|peer| self.registry.node(peer).is_none()) {
            self.owed.insert(peer, None);
        }
        for node in self.registry.nodes().filter(|node| node.registered) {
            let peer = node.content.peer;
            if stored.node(&peer).map(where_to) != Some(where_to(node)) {
                let row = StoredNode {
                    advert: node.advert.clone(),
                    peer,
                    seen_at: node.last_seen,
                };
                self.owed.insert(peer, Some(row));
            }
        }
        self.placing_due = true;
    }
}
