//! The port: workers, and tasks for them.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use embermesh_crypto::{Digest, UnixMillis, ids::PeerId};
use embermesh_dialects::{
    Dialect, Failure,
    port::{
        Principal,
        jobs::{JobView, Jobs as _, Submission},
        nodes::Nodes as _,
        users::{Credentials, Users as _},
        workers::{Offer, WorkerView, Workers},
    },
};
use embermesh_job::{
    place::{Buyer, NodeView, Pays, Takes, Wanted, place_as},
    spec::JobSpec,
};

use super::book::{Known, Task, not_yours};
use crate::{Gateway, failure::store_failed, users::pins::PinKind};

/// What a task is told that nobody takes yet.
pub(super) const WAITS: &str =
    "it waits for a node that runs such programs, or for a worker that is alive";
/// The longest state that a worker says, in bytes; more is left out of the log.
const MAX_STATE: usize = 200;

impl Gateway {
    /// The nodes of the mesh that could run something now or when they have ended another.
    /// None, where the index does not say.
    pub(crate) async fn nodes_that_could(&self) -> Vec<NodeView> {
        let nodes = self.nodes().await.unwrap_or_else(|failure| {
            tracing::debug!(%failure, "the nodes of the mesh are not known now");
            Vec::new()
        });
        let live = nodes.iter().filter(|node| node.live);
        let mut nodes: Vec<NodeView> = live
            .filter_map(|node| Some(NodeView::of(node.advert.as_ref()?)))
            .collect();
        for node in &mut nodes {
            node.free_slots = node.free_slots.max(1);
        }
        nodes
    }

    /// Whether one of some nodes would run a job of somebody's who pays so.
    pub(crate) fn takes(
        &self,
        spec: &JobSpec,
        who: &Principal,
        pays: Pays,
        nodes: &[NodeView],
    ) -> bool {
        takes(spec, self.inner.clients.account(who), pays, nodes)
    }
}

/// Whether one of some nodes would run a job for a client who pays so.
pub(super) fn takes(spec: &JobSpec, client: PeerId, pays: Pays, nodes: &[NodeView]) -> bool {
    let wanted = Wanted {
        takes: Takes::of(&spec.work),
        requires: &spec.requires,
        limits: &spec.limits,
        runtime: spec.runtime(),
        buyer: Some(Buyer { client, pays }),
    };
    let placed = place_as(&wanted, nodes, &[], 0);
    !placed.ranked.is_empty()
}

#[tonic::async_trait]
impl Workers for Gateway {
    async fn enroll(
        &self,
        dialect: Dialect,
        credentials: Credentials,
        offer: Offer,
    ) -> Result<(), Failure> {
        let remote = credentials.remote;
        let who = self.authenticate(dialect, credentials).await?;
        let remote = remote.ok_or_else(|| {
            Failure::invalid("a worker registers from where it can be called: by TCP")
        })?;
        let users = &self.inner.users;
        if offer.id != who.name && self.exists(dialect, &offer.id).await? {
            return Err(not_yours(&offer.id));
        }
        users
            .pin(PinKind::Worker, dialect, &offer.id, &who.name)
            .await?;
        let id = (dialect, offer.id.clone());
        let known = Known {
            owner: who.name,
            address: SocketAddr::new(remote.to_canonical(), offer.port),
            offer,
            heard: Some(UnixMillis::now()),
            shunned: None,
        };
        self.inner.desk.book().enroll(id.clone(), known.clone())?;
        let kept = self.inner.store.keep_worker(&id, &known).await;
        kept.map_err(|error| store_failed(&error))?;
        self.inner.desk.wake.notify_one();
        Ok(())
    }

    async fn alive(&self, who: &Principal, worker: &str, state: &str) -> Result<(), Failure> {
        self.inner
            .desk
            .book()
            .heard(who, worker, UnixMillis::now())?;
        if state.len() <= MAX_STATE {
            tracing::debug!(worker, state, "a worker is alive");
        }
        Ok(())
    }

    async fn workers(&self, dialect: Dialect) -> Result<Vec<WorkerView>, Failure> {
        let book = self.inner.desk.book();
        Ok(book.workers(dialect, UnixMillis::now()))
    }

    async fn take_on(
        &self,
        who: &Principal,
        mut job: Submission,
        package: Bytes,
    ) -> Result<JobView, Failure> {
        let client = self.inner.clients.account(who);
        if takes(
            &job.spec,
            client,
            Pays::Nothing,
            &self.nodes_that_could().await,
        ) {
            return self.submit(who, job).await;
        }
        let spec = Arc::new(job.spec.clone());
        let digest = Digest::of(&package);
        job.inputs.insert(digest, package);
        let (kept, live) = self.keep(who, job).await?;
        let task = Task {
            owner: who.clone(),
            package: digest.to_string(),
            spec,
            attempt: 0,
            lost: 0,
            lease: None,
            result: None,
        };
        if let Err(error) = self.inner.store.keep_task(kept.number, &task).await {
            self.drop_kept(kept.number).await?;
            return Err(store_failed(&error));
        }
        live.change(|view| WAITS.clone_into(&mut view.message));
        let shown = live.view();
        let desk = &self.inner.desk;
        desk.book().add(kept.number, task, UnixMillis::now());
        desk.wake.notify_one();
        Ok(shown)
    }
}
