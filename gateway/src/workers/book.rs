//! Which workers there are, which task each has, and who may speak of a task. Pure: no
//! IO, no clock.
//!
//! A task that is given to a worker has a name of its own in each attempt, so that a late
//! word of an earlier one is known by its name, even from the same worker.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use embermesh_crypto::UnixMillis;
use embermesh_dialects::{
    Dialect, ErrorCode, Failure,
    hivemind::worker::Worker,
    port::{
        Principal,
        workers::{OfTask, Offer, WorkerView},
    },
};
use embermesh_job::{event::Artifact, lifecycle::JobState, spec::JobSpec};
use serde::{Deserialize, Serialize};

/// A worker that was not heard of for so long is gone, and what it had is given to
/// another. They report every 5 seconds.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);
/// How long a worker is left alone that could not be called or did not take a task.
pub(crate) const SHUN: Duration = Duration::from_secs(60);
/// How long a worker that was told to stop a task may take to say what it has made.
pub(crate) const STOPPING: Duration = Duration::from_secs(50);
/// The most workers that may be lost with one task.
pub(crate) const MAX_LOST: u32 = 3;
/// The most workers that are known.
const MAX_WORKERS: usize = 4096;

/// A worker's system and id.
pub(crate) type WorkerId = (Dialect, String);

/// A worker that is known.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) owner: String,
    pub(crate) offer: Offer,
    pub(crate) address: SocketAddr,
    pub(crate) heard: Option<UnixMillis>,
    /// Until when it is left alone.
    pub(crate) shunned: Option<UnixMillis>,
}

/// A task that is with a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) worker: String,
    pub(crate) given: UnixMillis,
    /// How much of it has been paid for.
    pub(crate) paid: Duration,
    /// It is being stopped.
    pub(crate) stopping: Option<Stopping>,
}

/// How a task is being stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stopping {
    /// Since when.
    pub(crate) since: UnixMillis,
    /// What it ends as, whatever its worker says.
    pub(crate) state: JobState,
    /// Why.
    pub(crate) message: String,
}

/// A task that waits, or is with a worker.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) owner: Principal,
    pub(crate) spec: Arc<JobSpec>,
    /// What a worker is sent, among the inputs of the job.
    pub(crate) package: String,
    pub(crate) attempt: u32,
    pub(crate) lost: u32,
    pub(crate) lease: Option<Lease>,
    pub(crate) result: Option<Artifact>,
}

/// A task for a worker.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) worker: Worker,
    pub(crate) attempt: u32,
    pub(crate) task: Task,
}

/// Workers and tasks.
#[derive(Debug, Default)]
pub(crate) struct Book {
    workers: BTreeMap<WorkerId, Known>,
    tasks: BTreeMap<i64, Task>,
}

/// What a task is called in one attempt.
pub(crate) fn name(number: i64, attempt: u32) -> String {
    format!("task-{number}-{attempt}")
}

fn read(name: &str) -> Option<(i64, u32)> {
    let (number, attempt) = name.strip_prefix("task-")?.split_once('-')?;
    Some((number.parse().ok()?, attempt.parse().ok()?))
}

fn since(now: UnixMillis, then: UnixMillis) -> Duration {
    Duration::from_millis(now.0.saturating_sub(then.0))
}

impl Known {
    fn live(&self, now: UnixMillis) -> bool {
        self.heard.is_some_and(|heard| since(now, heard) <= SILENCE)
    }
}

impl Book {
    /// Makes a worker known, or known anew; whose it is has been seen to before.
    pub(crate) fn enroll(&mut self, id: WorkerId, known: Known) -> Result<(), Failure> {
        if self.workers.len() >= MAX_WORKERS && !self.workers.contains_key(&id) {
            let message = format!("{MAX_WORKERS} workers are known: there is no room for more");
            return Err(Failure::new(ErrorCode::Exhausted, message));
        }
        self.workers.insert(id, known);
        Ok(())
    }

    /// A worker has said something.
    pub(crate) fn heard(
        &mut self,
        who: &Principal,
        id: &str,
        now: UnixMillis,
    ) -> Result<(), Failure> {
        let known = self.workers.get_mut(&(who.dialect, id.to_owned()));
        let known = known.ok_or_else(|| {
            Failure::not_found(format!("no worker {id:?} is known: register it first"))
        })?;
        if known.owner != who.name {
            return Err(not_yours(id));
        }
        known.heard = Some(now);
        Ok(())
    }

    /// Every worker of a system.
    pub(crate) fn workers(&self, dialect: Dialect, now: UnixMillis) -> Vec<WorkerView> {
        let of = self.workers.iter().filter(|((of, _), _)| *of == dialect);
        of.map(|(_, known)| WorkerView {
            offer: known.offer.clone(),
            live: known.live(now),
            last_heard: known.heard,
        })
        .collect()
    }

    /// Takes a task in, a new one or one that was kept.
    pub(crate) fn add(&mut self, number: i64, task: Task, now: UnixMillis) {
        // Its worker has the usual time to be heard of, whoever was away until now.
        if let Some(lease) = &task.lease
            && let Some(known) = self
                .workers
                .get_mut(&(task.owner.dialect, lease.worker.clone()))
        {
            known.heard = Some(now);
        }
        self.tasks.insert(number, task);
    }

    /// A task, as it stands.
    pub(crate) fn task(&self, number: i64) -> Option<&Task> {
        self.tasks.get(&number)
    }

    /// Whom a task's worker belongs to.
    pub(crate) fn owner_of_worker(&self, task: &Task) -> Option<Principal> {
        let id = (task.owner.dialect, task.lease.as_ref()?.worker.clone());
        Some(Principal {
            dialect: task.owner.dialect,
            name: self.workers.get(&id)?.owner.clone(),
        })
    }

    /// Where a task's worker is.
    pub(crate) fn worker_of(&self, number: i64) -> Option<Worker> {
        let task = self.tasks.get(&number)?;
        let id = (task.owner.dialect, task.lease.as_ref()?.worker.clone());
        self.workers.get(&id).map(|known| worker(&id.1, known))
    }

    /// The tasks that nobody has, the oldest first.
    pub(crate) fn waiting(&self) -> Vec<i64> {
        let free = self.tasks.iter().filter(|(_, task)| task.lease.is_none());
        free.map(|(number, _)| *number).collect()
    }

    /// Gives a task to the worker that has the least to do, if one can take it.
    pub(crate) fn grant(&mut self, number: i64, now: UnixMillis) -> Option<Grant> {
        let task = self
            .tasks
            .get(&number)
            .filter(|task| task.lease.is_none())?;
        let busy = |id: &WorkerId| self.with(id).count();
        let fit = self.workers.iter().filter(|(id, known)| {
            id.0 == task.owner.dialect && self.fits(id, known, &task.spec, now)
        });
        let (id, known) = fit.min_by_key(|(id, _)| (busy(id), (*id).clone()))?;
        let (id, worker) = (id.1.clone(), worker(&id.1, known));
        let task = self.tasks.get_mut(&number)?;
        task.attempt += 1;
        task.result = None;
        task.lease = Some(Lease {
            worker: id,
            given: now,
            paid: Duration::ZERO,
            stopping: None,
        });
        let (attempt, task) = (task.attempt, task.clone());
        Some(Grant {
            worker,
            attempt,
            task,
        })
    }

    fn with<'a>(&'a self, id: &'a WorkerId) -> impl Iterator<Item = &'a Task> {
        let has = move |task: &&Task| {
            task.owner.dialect == id.0
                && task
                    .lease
                    .as_ref()
                    .is_some_and(|lease| lease.worker == id.1)
        };
        self.tasks.values().filter(has)
    }

    /// Whether a worker can take a task beside those that it has: a core for each, and
    /// memory for all.
    fn fits(&self, id: &WorkerId, known: &Known, spec: &JobSpec, now: UnixMillis) -> bool {
        let has = self.with(id).count();
        let taken: u64 = self.with(id).map(|task| task.spec.limits.memory.0).sum();
        let cores = usize::try_from(known.offer.cores.max(1)).unwrap_or(usize::MAX);
        let memory = known.offer.memory;
        let region = spec.requires.region.as_ref();
        known.live(now)
            && known.shunned.is_none_or(|until| until <= now)
            && has < cores
            && (memory == 0 || taken.saturating_add(spec.limits.memory.0) <= memory)
            && region.is_none_or(|region| known.offer.region.as_ref() == Some(region))
    }

    /// An attempt did not begin: the task waits again, and its worker is left alone for a
    /// while. Says whether it was still that attempt.
    pub(crate) fn refused(&mut self, number: i64, attempt: u32, now: UnixMillis) -> bool {
        let Some(task) = self.tasks.get_mut(&number) else {
            return false;
        };
        if task.attempt != attempt {
            return false;
        }
        let Some(lease) = task.lease.take() else {
            return false;
        };
        let id = (task.owner.dialect, lease.worker);
        if let Some(known) = self.workers.get_mut(&id) {
            known.shunned = Some(now.saturating_add(SHUN));
        }
        true
    }

    /// Which task somebody speaks of, if it is with a worker of his: that worker has been
    /// heard of with it.
    pub(crate) fn speaks(
        &mut self,
        who: &Principal,
        of: &OfTask,
        now: UnixMillis,
    ) -> Result<i64, Failure> {
        let unknown = || Failure::not_found(format!("there is no task {:?}", of.task));
        let (number, attempt) = read(&of.task).ok_or_else(unknown)?;
        let task = self.tasks.get(&number).ok_or_else(unknown)?;
        let lease = task.lease.as_ref().filter(|_| task.attempt == attempt);
        let lease = lease.ok_or_else(|| {
            let message = format!("the task {:?} is not with that worker any more", of.task);
            Failure::new(ErrorCode::Denied, message)
        })?;
        let id = lease.worker.clone();
        if task.owner.dialect != who.dialect || of.worker.as_ref().is_some_and(|said| *said != id) {
            return Err(not_yours(&of.task));
        }
        self.heard(who, &id, now).map_err(|_| not_yours(&of.task))?;
        Ok(number)
    }

    /// Keeps what a task has made; gives back what was there before.
    pub(crate) fn made(&mut self, number: i64, result: Artifact) -> Option<Artifact> {
        self.tasks.get_mut(&number)?.result.replace(result)
    }

    /// A task shall be stopped. Says which attempt, if a worker has it.
    pub(crate) fn stop(
        &mut self,
        number: i64,
        now: UnixMillis,
        state: JobState,
        message: &str,
    ) -> Option<u32> {
        let task = self.tasks.get_mut(&number)?;
        let lease = task.lease.as_mut()?;
        lease.stopping.get_or_insert(Stopping {
            since: now,
            state,
            message: message.to_owned(),
        });
        Some(task.attempt)
    }

    /// So much of an attempt has been paid for.
    pub(crate) fn paid(&mut self, number: i64, attempt: u32, until: Duration) {
        if let Some(task) = self.tasks.get_mut(&number)
            && task.attempt == attempt
            && let Some(lease) = &mut task.lease
        {
            lease.paid = lease.paid.max(until);
        }
    }

    /// The tasks that are with workers.
    pub(crate) fn given(&self) -> Vec<(i64, Task)> {
        let given = self.tasks.iter().filter(|(_, task)| task.lease.is_some());
        given
            .map(|(number, task)| (*number, task.clone()))
            .collect()
    }

    /// Takes the tasks back whose workers are gone, and says which those are and whether
    /// they may be given to another.
    pub(crate) fn lapse(&mut self, now: UnixMillis) -> Vec<(i64, String, bool)> {
        let gone: BTreeSet<WorkerId> = self
            .workers
            .iter()
            .filter(|(_, known)| !known.live(now))
            .map(|(id, _)| id.clone())
            .collect();
        let mut lapsed = Vec::new();
        for (number, task) in &mut self.tasks {
            let Some(lease) = &task.lease else { continue };
            let id = (task.owner.dialect, lease.worker.clone());
            let is_there = self.workers.contains_key(&id) && !gone.contains(&id);
            if lease.stopping.is_some() || is_there {
                continue;
            }
            task.lease = None;
            task.lost += 1;
            lapsed.push((*number, id.1, task.lost < MAX_LOST));
        }
        lapsed
    }

    /// A task is over, or goes to the mesh.
    pub(crate) fn close(&mut self, number: i64) -> Option<Task> {
        self.tasks.remove(&number)
    }
}

fn worker(id: &str, known: &Known) -> Worker {
    Worker {
        id: id.to_owned(),
        address: known.address,
        form: known.offer.form,
    }
}

pub(crate) fn not_yours(what: &str) -> Failure {
    Failure::new(
        ErrorCode::Denied,
        format!("{what:?} is not yours: you may speak of your own workers and what they have"),
    )
}

#[cfg(test)]
pub(crate) mod tests;
