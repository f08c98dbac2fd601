//! A group of commands: applied together, committed together, let out together.

use std::time::Duration;

use embermesh_crypto::ids::PeerId;
use embermesh_job::order::Order;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};

use super::CallFailed;
use crate::{
    state::{Outputs, Refused, Reply, Writes},
    store::{Store, StoreError},
};

/// What was applied together, to be let out together.
#[derive(Default)]
pub(super) struct Group {
    pub(super) outputs: Outputs,
    pub(super) pending: Vec<Pending>,
    /// True once there is anything to commit or to let out.
    pub(super) begun: bool,
}

/// Where the store is: here, or away with a commit. There is no third place, so
/// nothing can be let out that ought to have been committed first.
pub(super) enum Phase {
    Idle(Store),
    Committing(Commit),
}

/// A commit under way, and what it will let out. The store comes back with the
/// result.
pub(super) struct Commit {
    task: JoinHandle<(Store, Result<(), StoreError>)>,
    group: Group,
    began: Instant,
    probe: bool,
}

/// An answer that waits for its commit.
pub(super) enum Pending {
    Reply {
        answer: oneshot::Sender<Result<Reply, CallFailed>>,
        result: Result<Reply, Refused>,
        kind: &'static str,
        asked_at: Instant,
    },
    Orders {
        node: PeerId,
        answer: oneshot::Sender<Result<mpsc::Receiver<Order>, CallFailed>>,
        result: Result<Reply, Refused>,
    },
}

/// A commit that is over, well or not.
pub(super) struct Ended {
    pub(super) store: Store,
    pub(super) result: Result<(), StoreError>,
    pub(super) group: Group,
    pub(super) took: Duration,
    /// True when nothing was to be made durable, only the store to be tried.
    pub(super) probe: bool,
}

/// Hands the store to a task that makes `writes` durable.
pub(super) fn commit(mut store: Store, writes: Writes, group: Group) -> Phase {
    let task = tokio::spawn(async move {
        let result = store.commit(&writes).await;
        (store, result)
    });
    Phase::Committing(Commit {
        task,
        group,
        began: Instant::now(),
        probe: false,
    })
}

/// Hands the store to a task that finds out whether it can be written.
pub(super) fn probe(mut store: Store) -> Phase {
    let task = tokio::spawn(async move {
        let result = store.probe().await;
        (store, result)
    });
    Phase::Committing(Commit {
        task,
        group: Group::default(),
        began: Instant::now(),
        probe: true,
    })
}

/// Waits for the commit under way; for ever when there is none.
pub(super) async fn ended(phase: &mut Phase) -> Ended {
    let Phase::Committing(commit) = phase else {
        return std::future::pending().await;
    };
    match (&mut commit.task).await {
        Ok((store, result)) => Ended {
            store,
            result,
            group: std::mem::take(&mut commit.group),
            took: commit.began.elapsed(),
            probe: commit.probe,
        },
        // Only a panic ends the task early: nothing aborts it.
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
