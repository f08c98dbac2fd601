//! Models that are deployed in the mesh.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use embermesh_client::bounds::ANSWER_TIME;
use embermesh_dialects::{
    Failure,
    port::{
        Principal,
        models::{Load, ModelView, Models},
    },
};
use embermesh_job::ask::{Ask, Part};
use futures::stream::{self, BoxStream, StreamExt as _};

use crate::{Gateway, deployments::Asking, failure::failure};

/// The most nodes whose load is remembered; beyond them the first goes.
const NODES: usize = 4096;

/// How much each node's models are asked through this gateway.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loads {
    nodes: Arc<Mutex<BTreeMap<String, Load>>>,
}

/// An answer that is under way, until it is dropped.
struct Answering {
    loads: Loads,
    node: String,
}

impl Loads {
    fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, Load>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, node: String) -> Answering {
        let mut nodes = self.nodes();
        if nodes.len() >= NODES && !nodes.contains_key(&node) {
            nodes.pop_first();
        }
        nodes.entry(node.clone()).or_default().answering += 1;
        drop(nodes);
        Answering {
            loads: self.clone(),
            node,
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(load) = self.loads.nodes().get_mut(&self.node) {
            load.answering = load.answering.saturating_sub(1);
            load.answered += 1;
        }
    }
}

#[tonic::async_trait]
impl Models for Gateway {
    async fn models(&self, who: &Principal) -> Result<Vec<ModelView>, Failure> {
        let client = self.inner.clients.of(who).await?;
        let deployments = client
            .deployments()
            .await
            .map_err(|error| failure(&error))?;
        Ok(deployments
            .into_iter()
            .filter(|deployment| deployment.loaded)
            .filter_map(|deployment| {
                Some(ModelView {
                    name: deployment.name,
                    job: deployment.job.to_string(),
                    node: deployment.node?,
                })
            })
            .collect())
    }

    fn load(&self, node: &str) -> Load {
        self.inner
            .loads
            .nodes()
            .get(node)
            .copied()
            .unwrap_or_default()
    }

    async fn ask(
        &self,
        who: &Principal,
        what: &str,
        ask: Ask,
    ) -> Result<BoxStream<'static, Result<Part, Failure>>, Failure> {
        let client = self.inner.clients.of(who).await?;
        let found = client
            .find_model(what)
            .await
            .map_err(|error| failure(&error))?;
        let asking = Asking::begin(self, &found.model);
        let answer = client
            .ask(&found, &ask, ANSWER_TIME)
            .await
            .map_err(|error| failure(&error))?;
        let under_way = self.inner.loads.begin(found.node.peer.to_string());
        let parts = stream::unfold(Some((answer, under_way, asking)), |answer| async {
            let (mut answer, under_way, mut asking) = answer?;
            match answer.next().await {
                Ok(Some(part)) => {
                    if part.is_last() && !matches!(part, Part::Refused(_)) {
                        asking.well();
                    }
                    Some((Ok(part), Some((answer, under_way, asking))))
                }
                Ok(None) => None,
                Err(error) => Some((Err(failure(&error)), None)),
            }
        });
        Ok(parts.boxed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_while_it_is_under_way_and_once_after() {
        let loads = Loads::default();
        let (one, two) = (loads.begin("n".to_owned()), loads.begin("n".to_owned()));
        let of = |loads: &Loads| loads.nodes().get("n").copied().unwrap();
        assert_eq!((of(&loads).answering, of(&loads).answered), (2, 0));
        drop(one);
        assert_eq!((of(&loads).answering, of(&loads).answered), (1, 1));
        drop(two);
        assert_eq!((of(&loads).answering, of(&loads).answered), (0, 2));
        for node in 0..=NODES {
            drop(loads.begin(node.to_string()));
        }
        assert!(loads.nodes().len() <= NODES);
    }
}
