//! Resident models: found by name or id, listed, asked.

use std::time::Duration;

use embermesh_crypto::{JobId, UnixMillis, statement::MAX_MODEL_NAME};
use embermesh_job::{
    address::PeerAddress,
    ask::{Ask, Part},
    lifecycle::JobState,
};
use embermesh_mesh::road::{Identity, Target};
use embermesh_proto::v1;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Streaming};

pub use embermesh_job::wire::{Deployment, ResidentModel};

use crate::{
    Client, ClientError, Options, bounds::ANSWER_SLACK, node::NodeLink, status, view::convert,
};

/// A model that can be asked: what to ask for, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The job's id, or the name where only that is known.
    pub model: String,
    /// Where it is resident.
    pub node: PeerAddress,
}

/// The parts of an answer as they come. Dropped before the end, it ends the answer.
pub struct Answer {
    stream: Streaming<v1::InferUpdate>,
    link: NodeLink,
    within: Duration,
    deadline: Instant,
    over: bool,
}

impl Answer {
    pub(crate) fn new(
        stream: Streaming<v1::InferUpdate>,
        link: NodeLink,
        within: Duration,
    ) -> Self {
        Self {
            stream,
            link,
            within,
            deadline: Instant::now() + within + ANSWER_SLACK,
            over: false,
        }
    }

    /// The next part; `None` behind the last one.
    ///
    /// # Errors
    /// When the model refuses or has gone, or the time is over.
    pub async fn next(&mut self) -> Result<Option<Part>, ClientError> {
        if self.over {
            return Ok(None);
        }
        let name = self.link.name();
        let late = || ClientError::Timeout {
            what: format!("the model at {name}"),
            after: self.within,
        };
        let update = match timeout_at(self.deadline, self.stream.message()).await {
            Err(_) => return Err(late()),
            Ok(Err(status)) if status.code() == Code::DeadlineExceeded => return Err(late()),
            Ok(Err(status)) => return Err(status::error(name, &status)),
            Ok(Ok(update)) => update,
        };
        let Some(update) = update else {
            return Err(ClientError::Failed {
                who: name.to_owned(),
                message: "the answer ended before its end".to_owned(),
            });
        };
        let part: Part = convert(name, update)?;
        self.over = part.is_last();
        Ok(Some(part))
    }
}

impl Client {
    /// The deployments that this client may ask, as the index knows them.
    ///
    /// # Errors
    /// When the index cannot be reached.
    pub async fn deployments(&self) -> Result<Vec<Deployment>, ClientError> {
        self.index().deployments().await
    }

    /// The deployment that is meant by a name or a job's id.
    ///
    /// # Errors
    /// When there is none, or there are several of that name.
    pub async fn deployment(&self, what: &str) -> Result<Deployment, ClientError> {
        one(self.deployments().await?, what)
    }

    /// Where a model is that is meant by a name or a job's id: by the deployments of
    /// the index, and else by the adverts of its nodes.
    ///
    /// # Errors
    /// When there is none that is loaded, or there are several of that name.
    pub async fn find_model(&self, what: &str) -> Result<Found, ClientError> {
        let unknown = match self.deployment(what).await {
            Ok(deployment) => {
                let place = deployment.node.clone().filter(|_| deployment.loaded);
                return place
                    .map(|node| Found {
                        model: deployment.job.to_string(),
                        node,
                    })
                    .ok_or_else(|| not_loaded(&deployment));
            }
            Err(ClientError::NoModel(unknown)) => unknown,
            Err(error) => return Err(error),
        };
        let short = &what[..what.floor_char_boundary(MAX_MODEL_NAME)];
        let mut nodes = self.nodes().await?;
        nodes.retain(|node| {
            let advert = node.advert.as_ref().filter(|_| node.live);
            advert.is_some_and(|advert| advert.models.iter().any(|model| model.name == short))
        });
        match nodes.as_slice() {
            [] => Err(ClientError::NoModel(unknown)),
            [node] => Ok(Found {
                model: what.to_owned(),
                node: node.address.clone(),
            }),
            several => Err(ClientError::SeveralModels {
                name: what.to_owned(),
                ids: several
                    .iter()
                    .map(|node| format!("at node {}", node.address.peer))
                    .collect(),
            }),
        }
    }

    /// Asks a model, whose answer may take so long. Where its node does not know this
    /// client, the index's permission is fetched and shown.
    ///
    /// # Errors
    /// When its node cannot be reached, or it does not take the ask.
    pub async fn ask(
        &self,
        found: &Found,
        ask: &Ask,
        within: Duration,
    ) -> Result<Answer, ClientError> {
        let node = self.node(&found.node).await?;
        let infer = |permit: Option<String>| {
            let node = node.clone();
            async move {
                node.infer(&found.model, ask, within, permit.as_deref())
                    .await
            }
        };
        let Ok(job) = found.model.parse::<JobId>() else {
            return infer(None).await;
        };
        let kept = self.permits().token(job, UnixMillis::now());
        let refused = match infer(kept).await {
            Err(refused @ ClientError::Refused { .. }) => refused,
            said => return said,
        };
        self.permits().forget(job);
        // Who gets none hears why the node has refused.
        let Ok(permit) = self.index().permit_ask(job).await else {
            return Err(refused);
        };
        let token = permit.token.clone();
        self.permits().keep(permit);
        infer(Some(token)).await
    }

    /// The models that are resident on a node and that this client may ask.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn models(&self, node: &PeerAddress) -> Result<Vec<ResidentModel>, ClientError> {
        self.node(node).await?.models().await
    }

    /// Unloads a deployment: in good order where it runs, and else by ending its job.
    ///
    /// # Errors
    /// When it is another's, or neither its node nor the index takes it.
    pub async fn undeploy(&self, job: JobId) -> Result<JobState, ClientError> {
        match self.finish(job).await {
            Ok(state) => Ok(state),
            Err(refused @ ClientError::Refused { .. }) => Err(refused),
            // It waits for a node, or its node is gone.
            Err(error) => {
                tracing::debug!(%error, %job, "a deployment is cancelled instead");
                self.cancel(job, None).await
            }
        }
    }
}

/// Asks a model at a node that is known by its address, without an index.
///
/// # Errors
/// As [`Client::ask`].
pub async fn ask_at(
    identity: &Identity,
    node: &Target,
    options: &Options,
    model: &str,
    ask: &Ask,
    within: Duration,
) -> Result<Answer, ClientError> {
    let link = NodeLink::connect(identity, node, options.mesh.as_ref(), options.road).await?;
    link.infer(model, ask, within, None).await
}

/// The models of a node that is known by its address, without an index.
///
/// # Errors
/// When it cannot be reached.
pub async fn models_at(
    identity: &Identity,
    node: &Target,
    options: &Options,
) -> Result<Vec<ResidentModel>, ClientError> {
    let link = NodeLink::connect(identity, node, options.mesh.as_ref(), options.road).await?;
    link.models().await
}

fn not_loaded(deployment: &Deployment) -> ClientError {
    ClientError::NotLoaded {
        name: deployment.name.clone(),
        job: deployment.job,
        state: deployment.state.to_string(),
    }
}

/// The one that is meant. Of several of one name, one that is loaded is.
fn one(deployments: Vec<Deployment>, what: &str) -> Result<Deployment, ClientError> {
    let id = what.parse::<JobId>().ok();
    let mut named: Vec<Deployment> = deployments
        .into_iter()
        .filter(|deployment| id == Some(deployment.job) || deployment.name == what)
        .collect();
    if named.len() > 1 && named.iter().any(|deployment| deployment.loaded) {
        named.retain(|deployment| deployment.loaded);
    }
    match (named.pop(), named.as_slice()) {
        (None, _) => Err(ClientError::NoModel(what.to_owned())),
        (Some(one), []) => Ok(one),
        (Some(last), others) => Err(ClientError::SeveralModels {
            name: what.to_owned(),
            ids: others
                .iter()
                .chain([&last])
                .map(|deployment| deployment.job.to_string())
                .collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::{Digest, Keypair, UnixMillis};

    use super::*;

    fn deployment(number: u8, name: &str, loaded: bool) -> Deployment {
        Deployment {
            job: JobId::v7(UnixMillis(1), [number; 10]),
            name: name.to_owned(),
            owner: Keypair::from_seed(&[1; 32]).peer_id(),
            state: JobState::Running,
            model: Digest::of(b"m"),
            submitted_at: UnixMillis(1),
            node: None,
            loaded,
        }
    }

    #[test]
    fn a_name_means_the_one_that_is_loaded_and_an_id_the_one_it_names() {
        let all = || {
            vec![
                deployment(1, "chat", false),
                deployment(2, "chat", true),
                deployment(3, "digits", false),
            ]
        };
        assert_eq!(one(all(), "chat").unwrap(), all()[1]);
        assert_eq!(one(all(), &all()[0].job.to_string()).unwrap(), all()[0]);
        assert_eq!(one(all(), "digits").unwrap(), all()[2]);
        assert!(matches!(one(all(), "x"), Err(ClientError::NoModel(_))));
        let mut both = all();
        both[0].loaded = true;
        let several = one(both, "chat").unwrap_err();
        assert!(matches!(&several, ClientError::SeveralModels { ids, .. } if ids.len() == 2));
    }
}
