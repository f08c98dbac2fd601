//! What becomes of a commit: what it made durable is told, or its callers are
//! refused and the state is taken up anew.

use std::{sync::Arc, time::Duration};

use embermesh_crypto::{keys::Keypair, time::UnixMillis};
use embermesh_job::event::Outcome;
use tokio::time::sleep;

use super::{
    Actor, CallFailed,
    group::{Ended, Group, Pending, Phase, commit},
};
use crate::{
    state::{Entropy, Reply, Settings, State},
    store::{Store, StoreError},
};

/// How long to wait before the next try after the store has failed.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

impl Actor {
    /// Starts to make a group durable. A group that changed nothing is let out at
    /// once: all that it saw has been committed.
    pub(super) fn begin_commit(&mut self, store: Store, group: Group) -> Phase {
        let writes = self.state.take_writes();
        if writes.is_empty() {
            self.let_out(group);
            return Phase::Idle(store);
        }
        self.metrics
            .batch_commands
            .record(group.pending.len() as f64);
        commit(store, writes, group)
    }

    /// Lets out what has become durable, or refuses it and all that was applied
    /// on top of it.
    pub(super) async fn end_commit(
        &mut self,
        ended: Ended,
        next: &mut Group,
    ) -> Result<Phase, StoreError> {
        let Ended {
            mut store,
            result,
            group,
            took,
            probe,
        } = ended;
        self.writable.tried(result.is_ok());
        match result {
            Err(error) if probe => tracing::debug!(%error, "the store cannot be written yet"),
            Ok(()) if probe => tracing::info!("the store can be written again"),
            Ok(()) => {
                self.metrics.commits.increment(1);
                self.metrics.commit_seconds.record(took);
                self.let_out(group);
            }
            Err(error) => {
                self.metrics.commit_failures.increment(1);
                let mut pending = group.pending;
                pending.append(&mut std::mem::take(next).pending);
                self.give_up(error, pending, &mut store).await?;
            }
        }
        Ok(Phase::Idle(store))
    }

    /// What was committed may be told.
    fn let_out(
        &mut self,
        Group {
            outputs, pending, ..
        }: Group,
    ) {
        // Streams that were opened in this group come first: what was ordered after
        // the node was told what waits for it must not go to the stream it had
        // before. What was ordered before comes twice then, which is no harm: a node
        // knows an attempt that it has.
        let opened = |answer: &Pending| matches!(answer, Pending::Orders { .. });
        let (streams, replies): (Vec<_>, Vec<_>) = pending.into_iter().partition(opened);
        for answer in streams {
            self.answer(answer);
        }
        for (node, order) in outputs.orders {
            self.orders.push(&node, order);
        }
        for order in &outputs.broadcast {
            self.orders.broadcast(order);
        }
        for job in &outputs.changed {
            self.watches.changed(job);
        }
        for (_, outcome) in &outputs.ended {
            self.metrics.job_ended(match outcome {
                Outcome::Succeeded => "succeeded",
                Outcome::Failed => "failed",
                Outcome::Cancelled => "cancelled",
            });
        }
        for answer in replies {
            self.answer(answer);
        }
    }

    fn answer(&mut self, pending: Pending) {
        match pending {
            Pending::Reply {
                answer,
                result,
                kind,
                asked_at,
            } => {
                self.counts
                    .count(kind, if result.is_ok() { "done" } else { "refused" });
                self.metrics.command_seconds.record(asked_at.elapsed());
                // A caller that has gone does not need the answer.
                let _ = answer.send(result.map_err(CallFailed::Refused));
            }
            Pending::Orders {
                node,
                answer,
                result,
            } => {
                let opened = result.map(|reply| {
                    let stream = self.orders.open(node);
                    if let Reply::Orders(waiting) = reply {
                        for order in waiting {
                            self.orders.push(&node, order);
                        }
                    }
                    stream
                });
                let _ = answer.send(opened.map_err(CallFailed::Refused));
            }
        }
    }

    /// The group could not be made durable: everyone hears why, and the state is
    /// what the store has. An error is returned only when it cannot be read.
    async fn give_up(
        &mut self,
        error: StoreError,
        pending: Vec<Pending>,
        store: &mut Store,
    ) -> Result<(), StoreError> {
        tracing::error!(%error, "a transaction failed; its callers are refused");
        let error = Arc::new(error);
        let failed = || CallFailed::Store(Arc::clone(&error));
        for answer in pending {
            match answer {
                Pending::Reply { answer, kind, .. } => {
                    self.counts.count(kind, "store_failed");
                    let _ = answer.send(Err(failed()));
                }
                Pending::Orders { answer, .. } => {
                    let _ = answer.send(Err(failed()));
                }
            }
        }
        sleep(FAILURE_PAUSE).await;
        let now = self.clock.read();
        let restored = restore(
            &self.settings,
            &self.identity,
            store,
            now,
            &mut self.entropy,
        )
        .await?;
        let given_up = std::mem::replace(&mut self.state, restored);
        self.state.keep_nodes_of(given_up);
        Ok(())
    }
}

/// The state as the store has it.
pub(super) async fn restore(
    settings: &Settings,
    identity: &Arc<Keypair>,
    store: &mut Store,
    now: UnixMillis,
    entropy: &mut Entropy,
) -> Result<State, StoreError> {
    let snapshot = store.load().await?;
    State::restore(
        settings.clone(),
        Arc::clone(identity),
        snapshot,
        now,
        entropy,
    )
    .map_err(|error| StoreError::bad_row(error.table(), error))
}
