//! Takes the state up from what the store kept.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use embermesh_crypto::{keys::Keypair, statement::StatementError, time::UnixMillis};
use embermesh_job::spec::JobSpec;

use super::{
    Entropy, LoadedJob, Settings, Snapshot, State, Writes,
    idempotency::Idempotency,
    issuer::Issuer,
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
) -> Result<State, StatementError> {
    let (issuer, made) = Issuer::restore(identity, snapshot.issuer, &settings, now, entropy)?;
    let mut state = State {
        settings,
        jobs: BTreeMap::new(),
        ended: VecDeque::new(),
        queue: BTreeSet::new(),
        queue_from: None,
        leases: BTreeSet::new(),
        retries: BTreeSet::new(),
        open: BTreeMap::new(),
        spec_bytes: 0,
        idempotency: Idempotency::default(),
        registry: Registry::default(),
        placing_due: false,
        dirty: BTreeSet::new(),
        writes: Writes {
            issuer: made.then(|| issuer.snapshot()),
            ..Writes::default()
        },
        issuer,
    };
    for node in snapshot.nodes {
        state
            .registry
            .remember(node.advert, node.seen_at, &state.settings);
    }
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
    fn take_up(&mut self, loaded: LoadedJob) {
        let LoadedJob { stored, spec } = loaded;
        let id = stored.job.id;
        let (idempotency, submitted_at, updated_at) =
            (stored.idempotency, stored.submitted_at, stored.updated_at);
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
        };
        if record.outcome().is_some() {
            self.ended.push_back(id);
        } else {
            *self.open.entry(record.job.owner).or_default() += 1;
            self.spec_bytes += record.open.as_ref().map_or(0, |open| open.canonical.len());
        }
        let standing = record.standing();
        match (standing.node, standing.lease) {
            (Some(node), Some(lease)) => {
                self.leases.insert((lease, id));
                self.registry.take(&node, id);
            }
            _ if record.outcome().is_none() => {
                self.queue.insert(id);
            }
            _ => {}
        }
        self.jobs.insert(id, record);
    }

    /// Keeps the nodes of a state that had to be given up because it could not
    /// be made durable: they are alive, whatever the disk says.
    pub fn keep_nodes_of(&mut self, given_up: Self) {
        let mut registry = given_up.registry;
        registry.clear_tasks();
        for (id, record) in &self.jobs {
            if let Some(node) = record.standing().node {
                registry.take(&node, *id);
            }
        }
        self.registry = registry;
        self.placing_due = true;
    }
}
