//! The port: what dialects ask of jobs.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use embermesh_client::fetch::Download;
use embermesh_crypto::UnixMillis;
use embermesh_dialects::{
    ErrorCode, Failure,
    port::{
        Principal,
        jobs::{JobFilter, JobPage, JobUpdate, JobView, Jobs, LogPiece, Submission},
    },
};
use embermesh_job::lifecycle::JobState;
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::task::spawn_blocking;

use super::{
    live::{Heard, Live},
    view,
};
use crate::{
    Gateway,
    failure::{failure, store_failed},
    folder,
    store::Kept,
};

/// The longest name that a client may give a job, in bytes.
const MAX_ID: usize = 256;
/// The most notes of a job, and the most bytes that they may have together.
const MAX_NOTES: (usize, usize) = (32, 64 << 10);
/// Jobs of a page, where the caller does not say.
const PAGE: usize = 50;
/// The most jobs of a page.
const LONGEST_PAGE: usize = 500;
/// The most bytes of an artifact that are read at once.
const MAX_READ: u64 = 128 << 20;

impl Gateway {
    /// Takes a job in before anybody is asked to run it: its row, its place in memory
    /// and its inputs.
    pub(crate) async fn keep(
        &self,
        who: &Principal,
        job: Submission,
    ) -> Result<(Kept, Arc<Live>), Failure> {
        let inputs = job.inputs.clone();
        let write = move |folders: &folder::Folders, number| folders.keep(number, &inputs);
        self.keep_with(who, job, write).await
    }

    /// The same with inputs that `write` puts into the folder of the job's number.
    async fn keep_with(
        &self,
        who: &Principal,
        job: Submission,
        write: impl FnOnce(&folder::Folders, i64) -> std::io::Result<()> + Send + 'static,
    ) -> Result<(Kept, Arc<Live>), Failure> {
        fits(&job)?;
        if self.inner.table.len() >= self.inner.open_jobs {
            let message = "too many jobs are open here; try again when some have ended";
            return Err(Failure::new(ErrorCode::Exhausted, message));
        }
        let mut submit_key = [0; 16];
        getrandom::fill(&mut submit_key).map_err(|error| store_failed(&error))?;
        let mut kept = Kept {
            number: 0,
            owner: who.clone(),
            id: job.foreign_id,
            submit_key,
            job: None,
            spec: job.spec.canonical(),
            notes: job.notes,
            submitted_at: UnixMillis::now(),
            state: JobState::Queued,
            ended: None,
        };
        let added = self.inner.store.add(&kept).await;
        let Some(number) = added.map_err(|error| store_failed(&error))? else {
            let id = kept.id.unwrap_or_default();
            let message = format!("a job {id:?} of yours exists; give it another name");
            return Err(Failure::new(ErrorCode::Exists, message));
        };
        kept.number = number;
        // In memory before the index has it: whoever looks now sees it wait.
        let live = Arc::new(Live::new(view(kept.clone())));
        self.inner.table.insert(number, Arc::clone(&live));
        let folders = self.inner.folders.clone();
        let written = spawn_blocking(move || write(&folders, number)).await;
        if let Err(error) = written.map_err(std::io::Error::other).flatten() {
            self.drop_kept(number).await?;
            return Err(store_failed(&error));
        }
        Ok((kept, live))
    }

    /// Takes a job on, whose inputs `write` puts into the folder of its number.
    pub(crate) async fn take_on(
        &self,
        who: &Principal,
        job: Submission,
        write: impl FnOnce(&folder::Folders, i64) -> std::io::Result<()> + Send + 'static,
    ) -> Result<JobView, Failure> {
        let (kept, live) = self.keep_with(who, job, write).await?;
        self.have_run(&kept, live).await
    }

    /// Has a kept job run, and follows it.
    async fn have_run(&self, kept: &Kept, live: Arc<Live>) -> Result<JobView, Failure> {
        let number = kept.number;
        let (client, job, follow) = match self.place(kept).await {
            Ok(placed) => placed,
            Err(failed) => {
                self.drop_kept(number).await?;
                return Err(failed);
            }
        };
        live.change(|view| {
            if view.id.is_empty() {
                view.id = job.to_string();
            }
            view.assignment = follow.assignment();
            if let Some(assignment) = &view.assignment {
                view.state = JobState::Assigned;
                view.node = Some(assignment.node.peer.to_string());
            }
        });
        let shown = live.view();
        let gateway = self.clone();
        self.go_on_with(async move { gateway.follow(number, &client, follow, &live).await });
        Ok(shown)
    }

    /// Forgets a job that nobody was asked to run in the end.
    pub(crate) async fn drop_kept(&self, number: i64) -> Result<(), Failure> {
        self.inner.table.remove(number);
        self.drop_all(number).await
    }

    /// A job of somebody's.
    async fn kept(&self, who: &Principal, id: &str) -> Result<Kept, Failure> {
        let found = self.inner.store.find(who, id).await;
        found
            .map_err(|error| store_failed(&error))?
            .ok_or_else(|| Failure::not_found(format!("no job {id:?} of yours is known here")))
    }

    /// How many jobs of somebody's a filter means, whatever page.
    async fn total(&self, who: &Principal, filter: &JobFilter) -> Result<u64, Failure> {
        let census = self.inner.store.census(who, filter.note.as_ref()).await;
        let (ended, open) = census.map_err(|error| store_failed(&error))?;
        let is_meant = |state: JobState| filter.states.is_empty() || filter.states.contains(&state);
        let ended = ended.into_iter().filter(|(state, _)| is_meant(*state));
        let open = open.into_iter().filter(|number| {
            // One that has gone from the table since is counted as it was.
            let live = self.inner.table.get(*number);
            is_meant(live.map_or(JobState::Queued, |live| live.view().state))
        });
        Ok(ended.map(|(_, many)| many).sum::<u64>() + open.count() as u64)
    }

    /// What a kept job looks like now.
    fn present(&self, kept: Kept) -> JobView {
        match self.inner.table.get(kept.number) {
            Some(live) => live.view(),
            None => view(kept),
        }
    }
}

fn fits(job: &Submission) -> Result<(), Failure> {
    if let Some(id) = &job.foreign_id
        && (id.is_empty() || id.len() > MAX_ID || id.chars().any(char::is_control))
    {
        let reason = format!("a job's name has 1 to {MAX_ID} bytes and no control characters");
        return Err(Failure::invalid(reason));
    }
    let bytes: usize = job.notes.iter().map(|(k, v)| k.len() + v.len()).sum();
    if job.notes.len() > MAX_NOTES.0 || bytes > MAX_NOTES.1 {
        return Err(Failure::invalid("too much is noted with the job"));
    }
    for input in job.spec.inputs() {
        if let Some(bytes) = job.inputs.get(&input.digest)
            && bytes.len() as u64 != input.size
        {
            return Err(Failure::invalid("an input is not as long as the job says"));
        }
    }
    job.spec
        .validate()
        .map_err(|error| Failure::invalid(error.to_string()))
}

#[tonic::async_trait]
impl Jobs for Gateway {
    async fn submit(&self, who: &Principal, mut job: Submission) -> Result<JobView, Failure> {
        let hold = self.note_budget(who, &mut job).await?;
        let (kept, live) = self.keep(who, job).await?;
        if let Some(hold) = hold
            && let Err(failed) = self.free(who, &hold).await
        {
            self.drop_kept(kept.number).await?;
            return Err(failed);
        }
        self.have_run(&kept, live).await
    }

    async fn job(&self, who: &Principal, id: &str) -> Result<JobView, Failure> {
        Ok(self.present(self.kept(who, id).await?))
    }

    async fn jobs(&self, who: &Principal, filter: JobFilter) -> Result<JobPage, Failure> {
        let most = match filter.most {
            0 => PAGE,
            most => most.min(LONGEST_PAGE),
        };
        let mut before = match &filter.after {
            None => i64::MAX,
            Some(place) => place
                .parse()
                .map_err(|_| Failure::invalid("the page token is not one of this gateway's"))?,
        };
        let mut jobs = Vec::new();
        let mut next = None;
        'pages: loop {
            let page = self
                .inner
                .store
                .page(who, filter.note.as_ref(), before, LONGEST_PAGE)
                .await;
            let page = page.map_err(|error| store_failed(&error))?;
            let last = page.len() < LONGEST_PAGE;
            for kept in page {
                let number = kept.number;
                let shown = self.present(kept);
                if filter.states.is_empty() || filter.states.contains(&shown.state) {
                    if jobs.len() == most {
                        next = Some(before.to_string());
                        break 'pages;
                    }
                    jobs.push(shown);
                }
                before = number;
            }
            if last {
                break;
            }
        }
        let total = self.total(who, &filter).await?;
        Ok(JobPage { jobs, next, total })
    }

    async fn watch(
        &self,
        who: &Principal,
        id: &str,
    ) -> Result<BoxStream<'static, Result<JobUpdate, Failure>>, Failure> {
        let kept = self.kept(who, id).await?;
        let Some(live) = self.inner.table.get(kept.number) else {
            let number = kept.number;
            let shown = JobUpdate::Changed(Box::new(view(kept)));
            let mut said: Vec<_> = self.log_of(number).await?;
            let mut all: Vec<JobUpdate> = said.drain(..).map(JobUpdate::Logged).collect();
            all.push(shown);
            return Ok(stream::iter(all.into_iter().map(Ok)).boxed());
        };
        let changes = live.subscribe();
        let cancel = self.inner.cancel.clone();
        let began = (live, changes, Heard::default(), false);
        let news = stream::unfold(began, move |(live, mut changes, mut heard, over)| {
            let cancel = cancel.clone();
            async move {
                if over {
                    return None;
                }
                loop {
                    changes.borrow_and_update();
                    let news = live.since(&mut heard);
                    if !news.is_empty() {
                        let over = news.iter().any(is_end);
                        let news = stream::iter(news.into_iter().map(Ok));
                        return Some((news, (live, changes, heard, over)));
                    }
                    let changed = cancel.run_until_cancelled(changes.changed()).await;
                    if !matches!(changed, Some(Ok(()))) {
                        return None;
                    }
                }
            }
        });
        Ok(news.flatten().boxed())
    }

    async fn cancel(&self, who: &Principal, id: &str) -> Result<JobView, Failure> {
        let kept = self.kept(who, id).await?;
        let Some(live) = self.inner.table.get(kept.number) else {
            let state = kept.state;
            let message = format!("the job {id:?} has ended already: {state}");
            return Err(Failure::new(ErrorCode::Precondition, message));
        };
        let mut changes = live.subscribe();
        if self.cancel_task(kept.number).await || self.cancel_served(kept.number).await {
            let ended = changes.wait_for(|_| live.view().state.is_final());
            let _ = tokio::time::timeout(CANCEL_WAIT, ended).await;
            return Ok(live.view());
        }
        let Some(job) = kept.job else {
            let message = format!("the job {id:?} is being submitted; try again in a moment");
            return Err(Failure::new(ErrorCode::Unavailable, message));
        };
        let client = self.inner.clients.of(who).await?;
        let held = live.view().assignment;
        client
            .cancel(job, held)
            .await
            .map_err(|error| failure(&error))?;
        // The answer says how it is now, which is how it ended.
        let ended = changes.wait_for(|_| live.view().state.is_final());
        let _ = tokio::time::timeout(CANCEL_WAIT, ended).await;
        Ok(live.view())
    }

    async fn forget(&self, who: &Principal, id: &str) -> Result<(), Failure> {
        let kept = self.kept(who, id).await?;
        if self.inner.table.get(kept.number).is_some() {
            let message = format!("the job {id:?} has not ended; cancel it first");
            return Err(Failure::new(ErrorCode::Precondition, message));
        }
        self.drop_all(kept.number).await
    }

    async fn log(&self, who: &Principal, id: &str) -> Result<Vec<LogPiece>, Failure> {
        let number = self.kept(who, id).await?.number;
        match self.inner.table.get(number) {
            Some(live) => Ok(live.log()),
            None => self.log_of(number).await,
        }
    }

    async fn artifact(
        &self,
        who: &Principal,
        id: &str,
        name: &str,
        range: Range<u64>,
    ) -> Result<Bytes, Failure> {
        let kept = self.kept(who, id).await?;
        let number = kept.number;
        let shown = self.present(kept.clone());
        let artifact = shown.artifacts.iter().find(|made| made.name == name);
        let artifact = artifact.ok_or_else(|| {
            Failure::not_found(format!(
                "the job {id:?} has made nothing of the name {name:?}"
            ))
        })?;
        let path = self.inner.folders.result(number, &artifact.digest);
        if !path.exists() {
            let node = match kept.ended.and_then(|ended| ended.node) {
                Some(node) => node,
                None => shown
                    .assignment
                    .map(|assignment| assignment.node)
                    .ok_or_else(|| {
                        let message =
                            format!("{name:?} is not here yet; ask when the job has ended");
                        Failure::new(ErrorCode::Unavailable, message)
                    })?,
            };
            let client = self.inner.clients.of(who).await?;
            let download = Download::artifact(artifact, &node);
            self.fetch(number, &client, artifact, &download).await?;
        }
        let range = range.start..range.end.min(range.start.saturating_add(MAX_READ));
        spawn_blocking(move || folder::read(&path, &range))
            .await
            .map_err(|error| store_failed(&error))?
            .map_err(|error| store_failed(&error))
    }
}

/// Whether a word is the last.
fn is_end(word: &JobUpdate) -> bool {
    matches!(word, JobUpdate::Changed(view) if view.state.is_final())
}

/// How long a cancel waits for the end that it brings about.
const CANCEL_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

impl Gateway {
    async fn log_of(&self, number: i64) -> Result<Vec<LogPiece>, Failure> {
        let folders = self.inner.folders.clone();
        spawn_blocking(move || folders.log(number))
            .await
            .map_err(|error| store_failed(&error))?
            .map_err(|error| store_failed(&error))
    }

    /// Forgets a job: first that there is one, then its files.
    async fn drop_all(&self, number: i64) -> Result<(), Failure> {
        let removed = self.inner.store.remove(number).await;
        removed.map_err(|error| store_failed(&error))?;
        let folders = self.inner.folders.clone();
        spawn_blocking(move || folders.remove(number))
            .await
            .map_err(|error| store_failed(&error))?
            .map_err(|error| store_failed(&error))
    }
}
