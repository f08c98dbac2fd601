//! The jobs of clients without a key.
//!
//! Each open job has a task that follows it as any client would, and writes down how it
//! ended. Whoever asks for an open job is answered from memory, and for one that has
//! ended from the database; what it made is fetched when it ends, so that it outlives
//! its node.
//!
//! - `live`: a job that is followed.
//! - `follow`: the task that follows it.
//! - `pay`: what a job is paid from.
//! - `verbs`: the port.

mod follow;
mod live;
mod pay;
mod verbs;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use embermesh_dialects::port::jobs::JobView;

pub(crate) use self::{follow::finite, live::Live};
use crate::store::Kept;

/// The open jobs, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Table {
    open: Mutex<HashMap<i64, Arc<Live>>>,
}

impl Table {
    fn open(&self) -> MutexGuard<'_, HashMap<i64, Arc<Live>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.open().len()
    }

    pub(crate) fn get(&self, number: i64) -> Option<Arc<Live>> {
        self.open().get(&number).cloned()
    }

    pub(crate) fn insert(&self, number: i64, live: Arc<Live>) {
        self.open().insert(number, live);
    }

    pub(crate) fn remove(&self, number: i64) {
        self.open().remove(&number);
    }
}

/// What a kept job looks like.
pub(crate) fn view(kept: Kept) -> JobView {
    let id = kept.id.unwrap_or_default();
    let ended = kept.ended;
    let of_end = |of: fn(&crate::store::Ended) -> _| ended.as_ref().map(of).unwrap_or_default();
    JobView {
        progress: ended.as_ref().map_or(0.0, |ended| ended.progress),
        pass: ended.as_ref().map_or((0, 0), |ended| ended.pass),
        metrics: ended
            .as_ref()
            .map(|ended| ended.metrics.clone())
            .unwrap_or_default(),
        node: ended.as_ref().and_then(|ended| match &ended.node {
            Some(node) => Some(node.peer.to_string()),
            None => ended.worker.clone(),
        }),
        submitted_at: kept.submitted_at,
        started_at: ended.as_ref().and_then(|ended| ended.started_at),
        ended_at: ended.as_ref().map(|ended| ended.at),
        message: of_end(|ended| ended.message.clone()),
        artifacts: ended
            .as_ref()
            .map(|ended| ended.artifacts.clone())
            .unwrap_or_default(),
        receipt: ended
            .as_ref()
            .filter(|ended| !ended.receipt.is_empty())
            .map(|ended| ended.receipt.clone().into()),
        assignment: None,
        id,
        owner: kept.owner,
        state: kept.state,
        notes: kept.notes,
    }
}
