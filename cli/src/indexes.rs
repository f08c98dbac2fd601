//! The indexes of a user: where they are, as settings, and which of them has which job.

use std::path::PathBuf;

use embermesh_client::{
    Client, ClientError, Follow, IndexTarget, Indexes, JobView, Options,
    indexes::memory::{Held, Memory},
};
use embermesh_crypto::JobId;
use embermesh_job::assignment::NodeAssignment;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    cmd::by_road,
    config::{Road, Settings, default_folder},
    exit::WrongInput,
    identity,
};

/// The folder of jobs that indexes have, in the user's folder.
const MEMORY_FOLDER: &str = "jobs-at-indexes";

/// Where indexes are: one address, or a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "OneOrMany", into = "OneOrMany")]
pub(crate) struct Addresses(Vec<String>);

/// The same as it is written.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Addresses {
    fn from(written: OneOrMany) -> Self {
        let mut addresses = match written {
            OneOrMany::One(address) => vec![address],
            OneOrMany::Many(addresses) => addresses,
        };
        addresses.retain(|address| !address.is_empty());
        Self(addresses)
    }
}

impl From<Addresses> for OneOrMany {
    fn from(Addresses(mut addresses): Addresses) -> Self {
        match (addresses.pop(), addresses.is_empty()) {
            (Some(only), true) => Self::One(only),
            (last, _) => {
                addresses.extend(last);
                Self::Many(addresses)
            }
        }
    }
}

impl From<String> for Addresses {
    fn from(address: String) -> Self {
        OneOrMany::One(address).into()
    }
}

impl Addresses {
    /// The same, as they were written.
    pub(crate) fn texts(&self) -> &[String] {
        &self.0
    }

    /// The same, read; each once.
    pub(crate) fn targets(&self) -> Result<Vec<IndexTarget>, ClientError> {
        let mut targets: Vec<IndexTarget> = Vec::new();
        for address in &self.0 {
            let target: IndexTarget = address.parse()?;
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        Ok(targets)
    }
}

/// Every index of the settings, for the user.
pub(crate) fn all(settings: &Settings) -> anyhow::Result<Indexes> {
    let keypair = identity::user_key(settings)?;
    let targets = settings.index_targets()?;
    let options = Options {
        membership: settings.private.membership()?,
        ..Options::default()
    };
    Ok(Indexes::new(targets, keypair, options))
}

fn memory() -> anyhow::Result<Memory> {
    Ok(Memory::at(memory_folder()?))
}

fn memory_folder() -> anyhow::Result<PathBuf> {
    Ok(default_folder()?.join(MEMORY_FOLDER))
}

/// A client of the index that has a job, and what is remembered of the job. An index of
/// which that is remembered need not answer now.
///
/// # Errors
/// When no index is known that has it.
pub(crate) async fn holder(
    settings: &Settings,
    job: JobId,
) -> anyhow::Result<(Client, Option<Held>)> {
    let indexes = all(settings)?;
    let Some(held) = memory()?.find(job) else {
        let client = Box::pin(indexes.holder(job)).await?;
        return Ok((by_road(settings, client).await?, None));
    };
    let named = |target: &IndexTarget| target.address == held.index;
    if !indexes.targets().iter().any(named) {
        // It may have moved to where the settings say.
        match Box::pin(indexes.holder(job)).await {
            Ok(client) if client.index_peer() == held.index_peer => {
                return Ok((by_road(settings, client).await?, Some(held)));
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the indexes of the settings have not the job"),
        }
    }
    let client = Client::of_job(
        (held.index_peer, held.index.clone()),
        held.assignment(),
        identity::user_key(settings)?,
        Options {
            road: settings.road.into(),
            mesh: None,
            membership: settings.private.membership()?,
        },
    )?;
    if settings.road == Road::Mesh {
        return Ok((by_road(settings, client).await?, Some(held)));
    }
    Ok((client, Some(held)))
}

/// Whether an index is away, rather than against something.
pub(crate) const fn is_away(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Unreachable { .. } | ClientError::Timeout { .. }
    )
}

/// Why nothing can be asked of a job whose index is away.
pub(crate) fn away(job: JobId, error: &ClientError) -> anyhow::Error {
    WrongInput(format!(
        "{error}: the samples of job {job} are compared with what its index says of it; give them once the index is back"
    ))
    .into()
}

/// Remembers where a job is, while it is followed.
#[derive(Clone)]
pub(crate) struct Keeper {
    memory: Memory,
    held: Held,
    assignments: watch::Receiver<Option<NodeAssignment>>,
}

impl Keeper {
    /// Remembers a job that an index has.
    ///
    /// # Errors
    /// When the user has no folder.
    pub(crate) fn new(client: &Client, job: &JobView, follow: &Follow) -> anyhow::Result<Self> {
        let held = Held::new(client, job);
        Self::of(held, follow)
    }

    /// The same for one that was remembered before.
    ///
    /// # Errors
    /// When the user has no folder.
    pub(crate) fn of(held: Held, follow: &Follow) -> anyhow::Result<Self> {
        let mut keeper = Self {
            memory: memory()?,
            held,
            assignments: follow.assignments(),
        };
        let assignment = follow.assignment();
        assignment.map(|assignment| keeper.held.assign(&assignment));
        keeper.keep();
        Ok(keeper)
    }

    /// Remembers where it is now.
    pub(crate) fn look(&mut self) {
        let assignment = self.assignments.borrow_and_update().clone();
        if assignment.is_some_and(|assignment| self.held.assign(&assignment)) {
            self.keep();
        }
    }

    /// Remembers wherever it comes to, until it is no longer followed.
    pub(crate) async fn run(mut self) {
        while self.assignments.changed().await.is_ok() {
            self.look();
        }
    }

    /// That it cannot be remembered is no reason to stop.
    fn keep(&self) {
        if let Err(error) = self.memory.keep(&self.held) {
            tracing::warn!(%error, "it is not remembered which index has the job");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Addresses {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn one_address_and_a_list_are_read_and_shown_as_they_were_written() {
        for text in [r#""a:1""#, r#"["a:1","b:2"]"#] {
            assert_eq!(serde_json::to_string(&read(text)).unwrap(), text);
        }
        assert_eq!(read(r#"["a:1"]"#), read(r#""a:1""#));
        assert_eq!(read(r#""""#).targets().unwrap(), []);
    }

    #[test]
    fn each_index_is_asked_once_and_in_order() {
        let targets = read(r#"["b:2","a:1","b:2"]"#).targets().unwrap();
        let addresses: Vec<_> = targets.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["b:2", "a:1"]);
        let wrong = read(r#"["a:1","https://b"]"#).targets().unwrap_err();
        assert!(wrong.to_string().contains("https://b"), "{wrong}");
    }
}
