//! Several indexes that know nothing of each other, as one: whoever answers first takes a
//! job, and a job stays with the index that took it.
//!
//! A submit that is not answered goes to the next index. It may have been committed all
//! the same, so it is sent *tentatively*: an index that does not hear of the client again
//! never has such a job run, and ends it. So no job runs twice, whenever an index dies.
//!
//! [`memory`]: which index has which job, and where that runs, for the next command.

pub mod memory;

use std::{future::Future, sync::Arc};

use embermesh_crypto::{ids::JobId, keys::Keypair};
use embermesh_job::{lifecycle::JobState, spec::JobSpec, units::MicroUnits};
use futures::future::join_all;
use tokio::time::{Duration, Instant, sleep, timeout};

use crate::{
    Client, ClientError, IdempotencyKey, IndexTarget, JobView, Options, Submitted,
    bounds::{INDEX_WAIT, LONGEST_WAIT, MAX_INDEXES},
    index::waits,
};

/// Every index that a client knows, in the order in which they are asked.
#[derive(Debug, Clone)]
pub struct Indexes {
    targets: Vec<IndexTarget>,
    keypair: Arc<Keypair>,
    options: Options,
}

/// A submit at one of the indexes: the connection, and the name of the submit there.
struct Offer {
    client: Option<Client>,
    key: IdempotencyKey,
}

impl Indexes {
    /// The indexes at these addresses, the first [`MAX_INDEXES`] of them.
    #[must_use]
    pub fn new(mut targets: Vec<IndexTarget>, keypair: Arc<Keypair>, options: Options) -> Self {
        targets.truncate(MAX_INDEXES);
        Self {
            targets,
            keypair,
            options,
        }
    }

    /// Where they are.
    #[must_use]
    pub fn targets(&self) -> &[IndexTarget] {
        &self.targets
    }

    /// A client of the first that answers.
    ///
    /// # Errors
    /// Why the only one does not; [`ClientError::NoIndex`] when there are several, or none.
    pub async fn connect(&self) -> Result<Client, ClientError> {
        if let [only] = &self.targets[..] {
            return self.connect_to(only).await;
        }
        let mut tried = Vec::new();
        for target in &self.targets {
            match in_time(target, self.connect_to(target)).await {
                Ok(client) => return Ok(client),
                Err(error) => pass_over(&mut tried, target, &error),
            }
        }
        Err(none("answers", tried))
    }

    /// Submits a job to the first index that answers. Asks all of them again and again for
    /// `patience`, at least once. Whoever submits so has to follow or watch the job soon:
    /// until then the index takes it for one that may have gone elsewhere.
    ///
    /// # Errors
    /// When the spec is not valid, an index refuses the job, or none answers.
    pub async fn submit_for(
        &self,
        spec: &JobSpec,
        budget: Option<MicroUnits>,
        patience: Duration,
    ) -> Result<(Client, Submitted), ClientError> {
        spec.validate()?;
        let mut offers = Vec::new();
        for _ in &self.targets {
            let (client, key) = (None, IdempotencyKey::fresh()?);
            offers.push(Offer { client, key });
        }
        let deadline = Instant::now() + patience;
        let mut waits = waits();
        loop {
            let mut tried = Vec::new();
            for (target, offer) in self.targets.iter().zip(&mut offers) {
                let sent = in_time(target, self.offer_to(target, offer, spec, budget)).await;
                match sent {
                    Ok(taken) => return Ok(taken),
                    Err(error) if may_go_on(&error) => pass_over(&mut tried, target, &error),
                    Err(error) => return Err(error),
                }
            }
            let wait = waits.next().unwrap_or(LONGEST_WAIT);
            if Instant::now() + wait >= deadline {
                return Err(none("has taken the job", tried));
            }
            sleep(wait).await;
        }
    }

    /// Sends a submit to one index. One that came there before, without an answer, and was
    /// ended since because nobody came for it, is sent anew.
    async fn offer_to(
        &self,
        target: &IndexTarget,
        offer: &mut Offer,
        spec: &JobSpec,
        budget: Option<MicroUnits>,
    ) -> Result<(Client, Submitted), ClientError> {
        let client = match &offer.client {
            Some(client) => client.clone(),
            None => self.connect_to(target).await?,
        };
        offer.client = Some(client.clone());
        let mut submitted = client.submit_tentatively(spec, offer.key, budget).await?;
        if submitted.job.state == JobState::Cancelled {
            offer.key = IdempotencyKey::fresh()?;
            submitted = client.submit_tentatively(spec, offer.key, budget).await?;
        }
        Ok((client, submitted))
    }

    /// A client of the index that has a job: all are asked at once.
    ///
    /// # Errors
    /// When none has it that answers; what keeps the others from answering is told.
    pub async fn holder(&self, job: JobId) -> Result<Client, ClientError> {
        if let [only] = &self.targets[..] {
            return self.connect_to(only).await;
        }
        let asked = self.targets.iter().map(|target| {
            in_time(target, async {
                let client = self.connect_to(target).await?;
                client.job_now(job).await.map(|_| client)
            })
        });
        let mut tried = Vec::new();
        for (target, answer) in self.targets.iter().zip(join_all(asked).await) {
            match answer {
                Ok(client) => return Ok(client),
                Err(error) => pass_over(&mut tried, target, &error),
            }
        }
        Err(none("has the job", tried))
    }

    /// The newest jobs of all indexes together, at most `most`, in any of `states` (none
    /// means all); and the indexes that could not be asked, each with the reason.
    ///
    /// # Errors
    /// When none answers.
    pub async fn jobs(
        &self,
        states: &[JobState],
        most: usize,
    ) -> Result<(Vec<JobView>, Vec<(String, String)>), ClientError> {
        if let [only] = &self.targets[..] {
            let client = self.connect_to(only).await?;
            return Ok((client.jobs(states, most).await?, Vec::new()));
        }
        let asked = self.targets.iter().map(|target| {
            in_time(target, async {
                let client = self.connect_to(target).await?;
                client.jobs(states, most).await
            })
        });
        let (mut jobs, mut silent) = (Vec::new(), Vec::new());
        for (target, answer) in self.targets.iter().zip(join_all(asked).await) {
            match answer {
                Ok(mut of_one) => jobs.append(&mut of_one),
                Err(error) => pass_over(&mut silent, target, &error),
            }
        }
        if silent.len() == self.targets.len() {
            return Err(none("answers", silent));
        }
        jobs.sort_by_key(|job| std::cmp::Reverse((job.submitted_at, job.id)));
        jobs.dedup_by_key(|job| job.id);
        jobs.truncate(most);
        Ok((jobs, silent))
    }

    async fn connect_to(&self, target: &IndexTarget) -> Result<Client, ClientError> {
        let (keypair, options) = (Arc::clone(&self.keypair), self.options.clone());
        Box::pin(Client::connect(target.clone(), keypair, options)).await
    }
}

/// What one of several comes to within its time.
async fn in_time<T>(
    target: &IndexTarget,
    asking: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    let asked = timeout(INDEX_WAIT, Box::pin(asking)).await;
    asked.unwrap_or_else(|_| {
        Err(ClientError::Timeout {
            what: format!("the index {}", target.address),
            after: INDEX_WAIT,
        })
    })
}

/// Whether another index may take what this one does not.
const fn may_go_on(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Unreachable { .. }
            | ClientError::Timeout { .. }
            | ClientError::Exhausted { .. }
            | ClientError::Failed { .. }
            | ClientError::NotAnIndex { .. }
            | ClientError::AnotherIndex { .. }
    )
}

fn pass_over(tried: &mut Vec<(String, String)>, target: &IndexTarget, error: &ClientError) {
    tracing::info!(index = %target, %error, "asking the next index");
    tried.push((target.to_string(), error.to_string()));
}

const fn none(what: &'static str, tried: Vec<(String, String)>) -> ClientError {
    ClientError::NoIndex { what, tried }
}
