//! What a deployment looks like now: its row, its job as it is followed, and whether the
//! index says that it is loaded.

use std::time::Duration;

use embermesh_client::ask::Deployment;
use embermesh_crypto::{UnixMillis, ids::JobId};
use embermesh_dialects::{
    Failure,
    port::{
        Principal,
        deployments::{DeploymentState, DeploymentView, Measure, Signature},
        jobs::JobView,
        registry::ModelFormat,
    },
};
use embermesh_job::{ask::AskKind, lifecycle::JobState, spec::JobSpec};

use super::{rows::KeptDeployment, spec};
use crate::{
    Gateway,
    failure::{failure, store_failed},
    store::Kept,
};

/// What the index knows of the deployments that somebody may ask.
pub(super) struct Known {
    deployments: Vec<Deployment>,
    owner: embermesh_crypto::PeerId,
}

impl Known {
    fn of(&self, job: Option<JobId>) -> Option<&Deployment> {
        let job = job?;
        self.deployments.iter().find(|known| known.job == job)
    }

    /// Those that are somebody else's.
    pub(super) fn others(&self) -> impl Iterator<Item = &Deployment> {
        let own = self.owner;
        self.deployments
            .iter()
            .filter(move |known| known.owner != own)
    }
}

impl Gateway {
    /// What the index knows of the deployments that somebody may ask.
    pub(super) async fn known(&self, who: &Principal) -> Result<Known, Failure> {
        let client = self.inner.clients.of(who).await?;
        Ok(Known {
            deployments: client
                .deployments()
                .await
                .map_err(|error| failure(&error))?,
            owner: client.peer_id(),
        })
    }

    /// A deployment of somebody's own, and its job in the mesh.
    pub(super) async fn present_own(
        &self,
        who: &Principal,
        kept: KeptDeployment,
        known: &Known,
    ) -> Result<(DeploymentView, Option<JobId>), Failure> {
        let job = self.inner.store.find(who, &kept.id).await;
        let job = job.map_err(|error| store_failed(&error))?;
        let mut view = of_row(who, kept);
        let Some(job) = job else {
            view.state = DeploymentState::Failed;
            view.message = "its job is not known any more".to_owned();
            return Ok((view, None));
        };
        let id = job.job;
        let at_index = known.of(id);
        let spec = JobSpec::from_canonical(&job.spec).ok();
        view.signature = spec.as_ref().and_then(spec::signature);
        join(&mut view, &self.shown(job), at_index, UnixMillis::now());
        Ok((view, id))
    }

    fn shown(&self, kept: Kept) -> JobView {
        match self.inner.table.get(kept.number) {
            Some(live) => live.view(),
            None => crate::jobs::view(kept),
        }
    }

    /// A deployment of somebody else's that the caller may ask. What it is asked is for
    /// its node to say.
    pub(super) async fn present_other(
        &self,
        who: &Principal,
        other: &Deployment,
    ) -> Result<DeploymentView, Failure> {
        let mut view = of_other(other);
        if let Some(node) = other.node.as_ref().filter(|_| other.loaded) {
            let client = self.inner.clients.of(who).await?;
            // A node that is slow or gone leaves it unknown.
            let models = client.models(node).await.unwrap_or_default();
            let resident = models.iter().find(|model| model.job == other.job);
            view.signature = resident.map(|resident| match resident.kind {
                AskKind::Text => Signature::Text,
                AskKind::Rows => Signature::Rows {
                    input: None,
                    output: None,
                },
            });
        }
        Ok(view)
    }
}

fn of_row(who: &Principal, kept: KeptDeployment) -> DeploymentView {
    DeploymentView {
        id: kept.id,
        owner: who.name.clone(),
        is_own: true,
        name: kept.name,
        model: kept.model,
        digest: kept.digest,
        format: kept.format,
        state: DeploymentState::Waiting,
        message: String::new(),
        node: None,
        signature: None,
        created_at: kept.created_at,
        started_at: None,
        stopped_at: None,
        uptime: Duration::ZERO,
        asked: kept.asked,
    }
}

/// Adds what its job and the index say.
fn join(view: &mut DeploymentView, job: &JobView, at_index: Option<&Deployment>, now: UnixMillis) {
    let loaded = at_index.is_some_and(|known| known.loaded);
    view.state = state(job.state, loaded);
    view.message.clone_from(&job.message);
    view.node = at_index.and_then(|known| known.node.clone());
    view.started_at = job.started_at;
    view.stopped_at = job.ended_at;
    if let Some(started) = job.started_at {
        let until = job.ended_at.unwrap_or(now);
        view.uptime = Duration::from_millis(until.0.saturating_sub(started.0));
    }
}

/// A deployment of somebody else's, as the index has it.
pub(super) fn of_other(other: &Deployment) -> DeploymentView {
    DeploymentView {
        id: other.job.to_string(),
        owner: other.owner.to_string(),
        is_own: false,
        name: other.name.clone(),
        model: None,
        digest: other.model,
        format: ModelFormat::Unknown,
        state: state(other.state, other.loaded),
        message: String::new(),
        node: other.node.clone(),
        signature: None,
        created_at: other.submitted_at,
        started_at: None,
        stopped_at: None,
        uptime: Duration::ZERO,
        asked: Measure::default(),
    }
}

const fn state(job: JobState, loaded: bool) -> DeploymentState {
    match job {
        JobState::Queued => DeploymentState::Waiting,
        JobState::Assigned | JobState::Running | JobState::Paused if loaded => {
            DeploymentState::Ready
        }
        JobState::Assigned => DeploymentState::Placed,
        JobState::Running | JobState::Paused => DeploymentState::Loading,
        JobState::Succeeded | JobState::Cancelled => DeploymentState::Stopped,
        JobState::Failed => DeploymentState::Failed,
    }
}
