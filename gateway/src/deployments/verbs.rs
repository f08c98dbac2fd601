//! The ports: what dialects ask of deployments.

use std::{ops::Range, time::Instant};

use embermesh_crypto::{UnixMillis, ids::JobId};
use embermesh_dialects::{
    ErrorCode, Failure,
    port::{
        Principal,
        deployments::{
            Answered, Deploy, DeploymentFilter, DeploymentPage, DeploymentState, DeploymentView,
            Deployments, Inference, Measure, Weights,
        },
        jobs::{Jobs as _, Submission},
        models::Models as _,
    },
};
use embermesh_job::{
    ask::{Ask, Part},
    spec::Input,
};
use futures::StreamExt as _;

use super::{present::of_other, rows::KeptDeployment, spec::spec};
use crate::{
    Gateway,
    failure::{failure, store_failed},
    registry::fresh_id,
};

/// The most deployments of one owner, with those that have ended and are not forgotten.
const MAX_DEPLOYMENTS: u64 = 1000;
/// Deployments of a page, where the caller does not say.
const PAGE: usize = 50;
/// The most deployments of a page.
const LONGEST_PAGE: usize = 500;
/// The most minutes of measures in one answer: a week.
const MAX_MINUTES: usize = 7 * 24 * 60;
/// The most parts of an answer that is given as a whole.
const MAX_PARTS: usize = 65_536;
/// How long to wait for a deployment to be out of memory.
const STOP_WAIT: std::time::Duration = std::time::Duration::from_secs(10);

/// A deployment, and its job in the mesh.
type Found = (DeploymentView, Option<JobId>);

impl Gateway {
    /// A deployment of somebody's own.
    async fn own_deployment(&self, who: &Principal, id: &str) -> Result<KeptDeployment, Failure> {
        let found = self.inner.store.find_deployment(who, id).await;
        found
            .map_err(|error| store_failed(&error))?
            .ok_or_else(|| unknown(id))
    }

    /// A deployment of somebody's own, or one that he may ask.
    async fn found(&self, who: &Principal, id: &str) -> Result<Found, Failure> {
        let own = self.inner.store.find_deployment(who, id).await;
        let own = own.map_err(|error| store_failed(&error))?;
        let known = self.known(who).await?;
        if let Some(kept) = own {
            return self.present_own(who, kept, &known).await;
        }
        let other = known.others().find(|other| other.job.to_string() == id);
        let other = other.ok_or_else(|| unknown(id))?;
        Ok((self.present_other(who, other).await?, Some(other.job)))
    }

    /// Unloads, and waits a while until that is done.
    async fn unload(&self, who: &Principal, id: &str) -> Result<(), Failure> {
        let kept = self.inner.store.find(who, id).await;
        let kept = kept.map_err(|error| store_failed(&error))?;
        let Some((kept, live)) = kept.and_then(|kept| {
            let live = self.inner.table.get(kept.number)?;
            Some((kept, live))
        }) else {
            // It has ended.
            return Ok(());
        };
        let job = kept.job.ok_or_else(|| {
            let message = "the deployment is being submitted; try again in a moment";
            Failure::new(ErrorCode::Unavailable, message)
        })?;
        let client = self.inner.clients.of(who).await?;
        let mut changes = live.subscribe();
        if let Err(error) = client.undeploy(job).await {
            // It may have ended by itself meanwhile.
            if !live.view().state.is_final() {
                return Err(failure(&error));
            }
        }
        let ended = changes.wait_for(|_| live.view().state.is_final());
        let _ = tokio::time::timeout(STOP_WAIT, ended).await;
        Ok(())
    }
}

fn unknown(id: &str) -> Failure {
    Failure::not_found(format!(
        "no deployment {id:?} of yours, or that you may ask, is known here"
    ))
}

#[tonic::async_trait]
impl Deployments for Gateway {
    async fn deploy(&self, who: &Principal, what: Deploy) -> Result<DeploymentView, Failure> {
        let mut path = None;
        let (model, input, format, metadata) = match &what.weights {
            Weights::Kept(id) => {
                let kept = self.readable(who, id).await?;
                let whole = kept.whole.ok_or_else(|| {
                    let message = format!("the model {id:?} is not whole yet: send the rest of it");
                    Failure::new(ErrorCode::Precondition, message)
                })?;
                path = Some(self.inner.models.path(kept.number));
                let input = Input {
                    digest: whole.digest,
                    size: whole.size,
                };
                (
                    Some(id.clone()),
                    input,
                    kept.said.format,
                    kept.said.metadata,
                )
            }
            Weights::Blob(input, format) => (None, *input, *format, Default::default()),
        };
        let spec = spec(&what, input, format, &metadata)?;
        let now = UnixMillis::now();
        let id = match what.id {
            Some(id) => id,
            None => fresh_id(now)?,
        };
        let kept = KeptDeployment {
            number: 0,
            id: id.clone(),
            name: what.name,
            model,
            digest: input.digest,
            format,
            created_at: now,
            asked: Measure::default(),
        };
        let store = &self.inner.store;
        let added = store.add_deployment(who, &kept, MAX_DEPLOYMENTS).await;
        if !added.map_err(|error| store_failed(&error))? {
            let message = format!(
                "there is a deployment {id:?} of yours, or there are {MAX_DEPLOYMENTS}: choose another id, or delete some"
            );
            return Err(Failure::new(ErrorCode::Exists, message));
        }
        let job = Submission {
            payment: None,
            foreign_id: Some(id.clone()),
            spec,
            inputs: Default::default(),
            notes: Default::default(),
        };
        let taken = self.take_on(who, job, move |folders, number| match path {
            Some(path) => folders.link(number, input.digest, &path),
            None => Ok(()),
        });
        if let Err(failed) = taken.await {
            let removed = store.remove_deployment(who, &id).await;
            removed.map_err(|error| store_failed(&error))?;
            return Err(failed);
        }
        self.deployment(who, &id).await
    }

    async fn deployment(&self, who: &Principal, id: &str) -> Result<DeploymentView, Failure> {
        Ok(self.found(who, id).await?.0)
    }

    async fn deployments(
        &self,
        who: &Principal,
        filter: DeploymentFilter,
    ) -> Result<DeploymentPage, Failure> {
        let known = self.known(who).await?;
        let own = self.inner.store.deployments_of(who).await;
        let mut all = Vec::new();
        for kept in own.map_err(|error| store_failed(&error))? {
            let place = format!("o{:020}", i64::MAX - kept.number);
            all.push((place, self.present_own(who, kept, &known).await?.0));
        }
        if !filter.own_only {
            let mut others: Vec<_> = known.others().collect();
            others.sort_by_key(|other| std::cmp::Reverse(other.job));
            for other in others {
                // Ids are ordered by time: the newest has the least place.
                let place = other.job.as_bytes().map(|byte| format!("{:02x}", !byte));
                all.push((format!("p{}", place.concat()), of_other(other)));
            }
        }
        all.retain(|(_, view)| filter.states.is_empty() || filter.states.contains(&view.state));
        let total = all.len() as u64;
        if let Some(after) = &filter.after {
            all.retain(|(place, _)| place > after);
        }
        let most = match filter.most {
            0 => PAGE,
            most => most.min(LONGEST_PAGE),
        };
        let more = all.len() > most;
        all.truncate(most);
        let next = all.last().filter(|_| more).map(|(place, _)| place.clone());
        Ok(DeploymentPage {
            deployments: all.into_iter().map(|(_, view)| view).collect(),
            next,
            total,
        })
    }

    async fn undeploy(&self, who: &Principal, id: &str) -> Result<DeploymentView, Failure> {
        self.own_deployment(who, id).await?;
        self.unload(who, id).await?;
        self.deployment(who, id).await
    }

    async fn forget_deployment(&self, who: &Principal, id: &str) -> Result<(), Failure> {
        self.own_deployment(who, id).await?;
        self.unload(who, id).await?;
        match self.forget(who, id).await {
            // Its job was forgotten before.
            Err(failed) if failed.code == ErrorCode::NotFound => {}
            Err(failed) if failed.code == ErrorCode::Precondition => {
                let message = "the deployment is being unloaded; try again in a moment";
                return Err(Failure::new(ErrorCode::Unavailable, message));
            }
            forgotten => forgotten?,
        }
        let removed = self.inner.store.remove_deployment(who, id).await;
        removed.map_err(|error| store_failed(&error))
    }
}

#[tonic::async_trait]
impl Inference for Gateway {
    async fn infer(&self, who: &Principal, id: &str, ask: Ask) -> Result<Answered, Failure> {
        let (view, job) = self.found(who, id).await?;
        let job = job.filter(|_| view.state == DeploymentState::Ready);
        let job = job.ok_or_else(|| {
            let message = format!("the deployment {id:?} cannot be asked now: {}", why(&view));
            Failure::new(ErrorCode::Precondition, message)
        })?;
        let began = Instant::now();
        let mut answer = self.ask(who, &job.to_string(), ask).await?;
        let mut parts = Vec::new();
        while let Some(part) = answer.next().await {
            match part? {
                Part::Refused(reason) => return Err(Failure::invalid(reason)),
                part if parts.len() < MAX_PARTS => parts.push(part),
                _ => {
                    let message = format!("the answer has more than {MAX_PARTS} parts");
                    return Err(Failure::new(ErrorCode::Exhausted, message));
                }
            }
        }
        Ok(Answered {
            parts,
            took: began.elapsed(),
        })
    }

    async fn measures(
        &self,
        who: &Principal,
        id: &str,
        within: Range<UnixMillis>,
    ) -> Result<Vec<Measure>, Failure> {
        let kept = self.own_deployment(who, id).await?;
        let minutes = self
            .inner
            .store
            .minutes(kept.number, within.start, within.end, MAX_MINUTES)
            .await;
        minutes.map_err(|error| store_failed(&error))
    }
}

/// Why a deployment cannot be asked.
fn why(view: &DeploymentView) -> String {
    let state = match view.state {
        DeploymentState::Waiting => "it waits for a node",
        DeploymentState::Placed | DeploymentState::Loading => "it is being loaded",
        DeploymentState::Ready => "its job is not known",
        DeploymentState::Stopped => "it was stopped",
        DeploymentState::Failed => "it has failed",
    };
    if view.message.is_empty() {
        return state.to_owned();
    }
    format!("{state}: {}", view.message)
}
