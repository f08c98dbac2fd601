//! Whatever runs here, whosever it is, for the owner of the node.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use embermesh_crypto::{ids::JobId, time::UnixMillis, token::TaskRef};
use embermesh_dialects::{
    ErrorCode, Failure,
    port::node::{
        Call,
        owner::jobs::{JobNews, News, OwnedJob, OwnedJobs},
    },
};
use embermesh_job::{event::EventKind, wire};
use futures::stream;
use tokio::sync::watch;

use super::{Foreign, Right};
use crate::{
    foreign::{failure, view},
    store::Remembered,
    task::{Found, Phase, StopWhy, TaskHandle},
};

/// How often jobs that run are looked at for whoever follows them.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[tonic::async_trait]
impl OwnedJobs for Foreign {
    async fn jobs(&self, call: &Call, ended: bool, most: u32) -> Result<Vec<OwnedJob>, Failure> {
        self.entitled(call, Right::Look)?;
        let store = &self.inner.parts.site.store;
        let remembered = store.remembered(None, ended, most).await;
        let mut jobs = Vec::new();
        for one in remembered.map_err(|error| failure::store(&error))? {
            // It may have been forgotten meanwhile.
            jobs.extend(self.told(one).await?);
        }
        Ok(jobs)
    }

    async fn job(&self, call: &Call) -> Result<OwnedJob, Failure> {
        self.entitled(call, Right::Look)?;
        self.named(&call.job).await.map(|(_, job)| job)
    }

    async fn cancel(&self, call: &Call) -> Result<OwnedJob, Failure> {
        self.entitled(call, Right::Command)?;
        let (found, _) = self.named(&call.job).await?;
        let Some(handle) = &found.running else {
            let message = "the job has ended";
            return Err(Failure::new(ErrorCode::Precondition, message));
        };
        end(handle).await;
        self.named(&call.job).await.map(|(_, job)| job)
    }

    fn follow(&self, call: &Call) -> Result<JobNews, Failure> {
        let until = self.entitled(call, Right::Look)?;
        let watching = Watching {
            node: self.clone(),
            changed: self.inner.parts.site.changed.subscribe(),
            known: BTreeMap::new(),
            news: VecDeque::new(),
            first: true,
        };
        let news = stream::try_unfold(watching, |mut watching| async move {
            let news = watching.next().await?;
            Ok(Some((news, watching)))
        });
        self.streamed(until, news)
    }
}

/// Ends a task: its job too, where nobody else has placed it.
pub(super) async fn end(handle: &TaskHandle) {
    let why = match handle.reports_to() {
        Some(_) => StopWhy::Evicted,
        None => StopWhy::Cancelled,
    };
    tracing::info!(job = %handle.key().job, "the owner ends a task");
    handle.stop(why).await;
}

impl Foreign {
    /// The newest attempt at a job by its id.
    pub(super) async fn named(&self, id: &str) -> Result<(Found, OwnedJob), Failure> {
        let unknown = || Failure::not_found(format!("no job {id:?} has run on this node"));
        let job: JobId = wire::job_id(id).map_err(|_| unknown())?;
        let store = &self.inner.parts.site.store;
        let remembered = store.remembered(Some(job), true, 1).await;
        let remembered = remembered.map_err(|error| failure::store(&error))?;
        let one = remembered.into_iter().next().ok_or_else(unknown)?;
        let found = self.look(&one).await?.ok_or_else(unknown)?;
        let told = self.tell(&found, one).await?;
        Ok((found, told))
    }

    async fn look(&self, one: &Remembered) -> Result<Option<Found>, Failure> {
        let key = one.attempt.key;
        let task = TaskRef {
            job: key.job,
            task: key.task,
        };
        let found = self.inner.parts.tasks.find_now(task).await;
        found.map_err(|error| failure::store(&error))
    }

    async fn told(&self, one: Remembered) -> Result<Option<OwnedJob>, Failure> {
        let Some(found) = self.look(&one).await? else {
            return Ok(None);
        };
        self.tell(&found, one).await.map(Some)
    }

    async fn tell(&self, found: &Found, one: Remembered) -> Result<OwnedJob, Failure> {
        let running = found.running.as_ref();
        Ok(OwnedJob {
            task: view::of(&self.inner.parts.site, found).await?,
            kind: one.kind,
            name: one.name,
            client: one.attempt.client,
            began: one.admitted,
            due: running.and_then(due),
        })
    }
}

/// When a task will be done, by its own last word.
fn due(handle: &TaskHandle) -> Option<UnixMillis> {
    let latest = handle.log().latest()?;
    let EventKind::Progress(at) = &latest.kind else {
        return None;
    };
    let left = Duration::from_millis(at.remaining_ms);
    (at.remaining_ms > 0).then(|| latest.at.saturating_add(left))
}

/// Whoever follows every job of the node.
struct Watching {
    node: Foreign,
    /// Changes when a task starts or ends.
    changed: watch::Receiver<u64>,
    known: BTreeMap<JobId, OwnedJob>,
    news: VecDeque<(News, OwnedJob)>,
    first: bool,
}

impl Watching {
    async fn next(&mut self) -> Result<(News, OwnedJob), Failure> {
        loop {
            if let Some(news) = self.news.pop_front() {
                return Ok(news);
            }
            if !std::mem::take(&mut self.first) {
                self.wait().await;
            }
            self.look().await?;
        }
    }

    async fn wait(&mut self) {
        let looked = tokio::time::sleep(LOOK_EVERY);
        tokio::select! {
            changed = self.changed.changed() => if changed.is_err() {
                // The node is gone, and this stream with it.
                std::future::pending().await
            },
            () = looked, if !self.known.is_empty() => {}
        }
    }

    async fn look(&mut self) -> Result<(), Failure> {
        self.changed.mark_unchanged();
        let all = self.node.inner.parts.tasks.all();
        let running = all.iter().filter(|task| task.phase() != Phase::Ended);
        let running: Vec<JobId> = running.map(|task| task.key().job).collect();
        let over = self.known.keys().filter(|job| !running.contains(job));
        for job in over.copied().collect::<Vec<_>>() {
            self.known.remove(&job);
            // One that was forgotten has nothing to be told of.
            if let Ok((_, told)) = self.node.named(&job.to_string()).await {
                self.news.push_back((News::Ended, told));
            }
        }
        for job in running {
            let (_, told) = self.node.named(&job.to_string()).await?;
            let news = match self.known.get(&job) {
                None => News::Began,
                Some(known) if *known != told => News::Changed,
                Some(_) => continue,
            };
            self.known.insert(job, told.clone());
            self.news.push_back((news, told));
        }
        Ok(())
    }
}
