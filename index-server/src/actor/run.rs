//! The actor's loop: take what is queued, apply, commit once, answer.

use std::{sync::Arc, time::Duration};

use embermesh_crypto::{keys::Keypair, time::UnixMillis};
use embermesh_job::event::Outcome;
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    CallFailed, GROUP, Handle, MESSAGES_QUEUED, Message,
    clock::Clock,
    group::{Ended, Group, Pending, Phase, commit, ended},
    orders::OrderStreams,
    watches::Watches,
};
use crate::{
    metrics::{CommandCounts, Metrics},
    state::{Command, Effects, Entropy, Outputs, Refused, Reply, Settings, State},
    store::{Store, StoreError},
};

/// The longest time between two looks at the clock, so that a leap of it is
/// noticed even when nothing is due.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// How long to wait before the next try after the store has failed.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

/// The task that owns the state.
pub(crate) struct Actor {
    settings: Settings,
    identity: Arc<Keypair>,
    state: State,
    entropy: Entropy,
    clock: Clock,
    messages: mpsc::Receiver<Message>,
    orders: OrderStreams,
    watches: Watches,
    metrics: Metrics,
    counts: CommandCounts,
}

impl Actor {
    /// Takes the state up from the store. What that changes (a new key set) is
    /// durable before this returns.
    pub(crate) async fn start(
        settings: Settings,
        identity: Arc<Keypair>,
        mut store: Store,
        mut entropy: Entropy,
        metrics: Metrics,
    ) -> Result<(Self, Store, Handle), StoreError> {
        let mut clock = Clock::start();
        let mut state = restore(
            &settings,
            &identity,
            &mut store,
            clock.read().now,
            &mut entropy,
        )
        .await?;
        store.commit(&state.take_writes()).await?;
        let (sender, messages) = mpsc::channel(MESSAGES_QUEUED);
        let actor = Self {
            settings,
            identity,
            state,
            entropy,
            clock,
            messages,
            orders: OrderStreams::new(metrics.clone()),
            watches: Watches::default(),
            counts: CommandCounts::new(metrics.clone()),
            metrics,
        };
        Ok((actor, store, Handle::new(sender)))
    }

    /// Runs until cancelled, or until the store can neither be written nor read.
    ///
    /// While one group is being committed the next one is applied; it is let out
    /// only after its own commit, and refused with the first if that fails.
    pub(crate) async fn run(
        mut self,
        store: Store,
        cancel: CancellationToken,
    ) -> Result<(), StoreError> {
        let mut taken = Vec::with_capacity(GROUP);
        let mut group = Group::default();
        let mut phase = Phase::Idle(store);
        loop {
            phase = match phase {
                Phase::Idle(store) if group.begun => {
                    self.begin_commit(store, std::mem::take(&mut group))
                }
                phase => phase,
            };
            let reading = self.clock.read();
            let due = self.state.next_tick().since(reading.now).min(LONGEST_SLEEP);
            let room = GROUP - group.pending.len().min(GROUP);
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                ended = ended(&mut phase) => {
                    phase = self.end_commit(ended, &mut group).await?;
                }
                n = self.messages.recv_many(&mut taken, room), if room > 0 => {
                    if n == 0 {
                        break;
                    }
                    self.turn(&mut taken, &mut group);
                }
                () = sleep(due) => self.turn(&mut taken, &mut group),
            }
        }
        // What was being committed is answered; whoever is still queued is told
        // by the closed channel.
        if matches!(phase, Phase::Committing(_)) {
            let last = ended(&mut phase).await;
            phase = self.end_commit(last, &mut group).await?;
        }
        self.messages.close();
        if let Phase::Idle(store) = phase {
            store.close().await;
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Applies what was taken from the queue, and what is due.
    fn turn(&mut self, taken: &mut Vec<Message>, group: &mut Group) {
        let reading = self.clock.read();
        let now = reading.now;
        group.begun = true;
        if reading.leapt {
            tracing::warn!("the clock leapt; every lease is extended");
            self.by_itself(Command::Grace, now, &mut group.outputs);
        }
        if self.state.next_tick() <= now {
            self.by_itself(Command::Tick, now, &mut group.outputs);
        }
        for message in taken.drain(..) {
            self.take(message, now, &mut group.outputs, &mut group.pending);
        }
        self.metrics.jobs_queued.set(self.state.queued() as f64);
        self.metrics.jobs_assigned.set(self.state.assigned() as f64);
        self.metrics
            .nodes_live
            .set(self.state.registry().live() as f64);
    }

    /// Starts to make a group durable. A group that changed nothing is let out at
    /// once: all that it saw has been committed.
    fn begin_commit(&mut self, store: Store, group: Group) -> Phase {
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
    async fn end_commit(&mut self, ended: Ended, next: &mut Group) -> Result<Phase, StoreError> {
        let Ended {
            mut store,
            result,
            group,
            took,
        } = ended;
        match result {
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

    fn take(
        &mut self,
        message: Message,
        now: UnixMillis,
        outputs: &mut Outputs,
        pending: &mut Vec<Pending>,
    ) {
        match message {
            Message::Call {
                command,
                asked_at,
                answer,
            } => {
                let kind = command.kind();
                let result = self.apply(command, now, outputs);
                pending.push(Pending::Reply {
                    answer,
                    result,
                    kind,
                    asked_at,
                });
            }
            Message::Orders { node, answer } => {
                let result = self.apply(Command::Orders { node }, now, outputs);
                pending.push(Pending::Orders {
                    node,
                    answer,
                    result,
                });
            }
            Message::Changes { job, answer } => {
                // Nobody waits for an answer that was not wanted any more.
                let _ = answer.send(self.watches.open(job));
            }
        }
    }

    fn apply(
        &mut self,
        command: Command,
        now: UnixMillis,
        outputs: &mut Outputs,
    ) -> Result<Reply, Refused> {
        let Effects {
            reply,
            outputs: more,
        } = self.state.handle(command, now, &mut self.entropy);
        outputs.append(more);
        reply
    }

    /// A command that nobody asked for, so nobody is told that it was refused.
    fn by_itself(&mut self, command: Command, now: UnixMillis, outputs: &mut Outputs) {
        let kind = command.kind();
        if let Err(error) = self.apply(command, now, outputs) {
            tracing::error!(kind, %error, "the index refused itself");
        }
    }

    /// What was committed may be told.
    fn let_out(
        &mut self,
        Group {
            outputs, pending, ..
        }: Group,
    ) {
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
        for answer in pending {
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
        let now = self.clock.read().now;
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
async fn restore(
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
    .map_err(|error| StoreError::bad_row("statements", error))
}
