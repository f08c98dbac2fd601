//! The actor's loop: take what is queued, apply it, commit once. What becomes of
//! a commit is in `outcome`.

use std::{sync::Arc, time::Duration};

use embermesh_crypto::{keys::Keypair, time::UnixMillis};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    GROUP, Handle, MESSAGES_QUEUED, Message,
    clock::Clock,
    group::{Group, Pending, Phase, ended, probe},
    orders::OrderStreams,
    outcome::restore,
    watches::Watches,
    writable::Writable,
};
use crate::{
    metrics::{CommandCounts, Metrics},
    state::{Command, Effects, Entropy, Outputs, Refused, Reply, Settings, State},
    store::{Store, StoreError},
};

/// The longest time between two looks at the clock, so that a leap of it is
/// noticed even when nothing is due.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// The task that owns the state.
pub(crate) struct Actor {
    pub(super) settings: Settings,
    pub(super) identity: Arc<Keypair>,
    pub(super) state: State,
    pub(super) entropy: Entropy,
    pub(super) clock: Clock,
    messages: mpsc::Receiver<Message>,
    pub(super) orders: OrderStreams,
    pub(super) watches: Watches,
    pub(super) writable: Writable,
    pub(super) metrics: Metrics,
    pub(super) counts: CommandCounts,
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
        let mut state =
            restore(&settings, &identity, &mut store, clock.read(), &mut entropy).await?;
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
            writable: Writable::new(),
            counts: CommandCounts::new(metrics.clone()),
            metrics,
        };
        Ok((actor, store, Handle::new(sender)))
    }

    /// Whether the store can be written, from now on.
    pub(crate) fn writable(&self) -> watch::Receiver<bool> {
        self.writable.watch()
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
                Phase::Idle(store) if self.writable.probe_is_due() => probe(store),
                Phase::Idle(store) if group.begun => {
                    self.begin_commit(store, std::mem::take(&mut group))
                }
                phase => phase,
            };
            let due = self.next_turn(&phase);
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

    /// How long until there is something to do that nobody asks for.
    fn next_turn(&mut self, phase: &Phase) -> Duration {
        let now = self.clock.read();
        if self.clock.leapt() {
            return Duration::ZERO;
        }
        let due = self.state.next_tick().since(now).min(LONGEST_SLEEP);
        match (phase, self.writable.until_probe()) {
            (Phase::Idle(_), Some(probe)) => due.min(probe),
            _ => due,
        }
    }

    #[cfg(test)]
    pub(super) fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Applies what was taken from the queue, and what is due.
    fn turn(&mut self, taken: &mut Vec<Message>, group: &mut Group) {
        let now = self.clock.read();
        group.begun = true;
        if self.clock.take_leap() {
            tracing::warn!("the clock leapt; every lease is counted anew");
            self.by_itself(Command::Grace, now, &mut group.outputs);
        }
        for message in taken.drain(..) {
            self.take(message, now, &mut group.outputs, &mut group.pending);
        }
        // Last, so that a heartbeat that came in time keeps what it keeps, however
        // late this process had its turn.
        if self.state.next_tick() <= now {
            self.by_itself(Command::Tick, now, &mut group.outputs);
        }
        self.metrics.jobs_queued.set(self.state.queued() as f64);
        self.metrics.jobs_assigned.set(self.state.assigned() as f64);
        self.metrics
            .nodes_live
            .set(self.state.registry().live() as f64);
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
}
