//! Drives a proof until it has ended.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use embermesh_crypto::{Epoch, TaskIndex, UnixMillis};
use embermesh_dialects::port::provers::{Order, ProofRequest, ProofState};
use embermesh_job::plan::{
    self, Ended, NodeName, Row, Value,
    proving::{Input, Output, Phase, Proving},
    run::{Input as TaskInput, Output as TaskOutput},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep,
};

use super::{Driven, SAID, Said, Share, Shown, orders::orders, rows::KeptProof};
use crate::{Gateway, StoreError};

/// How long to wait before a step is written down that could not be.
const AGAIN: Duration = Duration::from_secs(5);

/// A proof and its way in, before it is driven.
pub(super) struct Driver {
    gateway: Gateway,
    kept: KeptProof,
    asked: ProofRequest,
    proving: Proving,
    /// The name of the round that runs.
    round: Arc<str>,
    said: mpsc::Sender<Said>,
    queue: mpsc::Receiver<Said>,
    /// Answers without a proof that the aggregator has left to give.
    empty_left: usize,
    /// Whether something has changed that must be written down.
    changed: bool,
}

impl Gateway {
    /// Goes on with every proof that was under way when the gateway stopped. Its gang has
    /// to come back, so its round is dealt again.
    pub(crate) async fn go_on_with_proofs(&self) -> Result<(), StoreError> {
        for (kept, proving) in self.inner.store.open_proofs().await? {
            let mut driver = Driver::new(self.clone(), kept, proving);
            let again = Input::Again {
                reason: "the coordinator was started again".to_owned(),
            };
            // Refused only by a proof that has ended, and that is not open.
            let outputs = driver.proving.handle(again, UnixMillis::now());
            driver.changed = true;
            driver.drive(outputs.unwrap_or_default(), None);
        }
        Ok(())
    }
}

impl Driver {
    pub(super) fn new(gateway: Gateway, kept: KeptProof, proving: Proving) -> Self {
        let (said, queue) = mpsc::channel(SAID);
        let asked = ProofRequest {
            block: kept.block.clone(),
            input: kept.input.clone(),
            units: kept.units,
        };
        Self {
            gateway,
            round: kept.id.as_str().into(),
            kept,
            asked,
            proving,
            said,
            queue,
            empty_left: 0,
            changed: false,
        }
    }

    /// Takes the gang of the first round, or nobody.
    pub(super) fn take_first(&mut self) -> Result<Vec<Output>, plan::gang::NoGang> {
        let units = self.asked.units;
        let mut roster = self.gateway.inner.hall.roster();
        let (gang, shares) = roster.take(units, &[], &self.round, &self.said)?;
        drop(roster);
        self.kept.gang = shares;
        // Refused only when the units are not those that were asked for.
        let outputs = self.proving.handle(Input::Gang(gang), UnixMillis::now());
        Ok(outputs.unwrap_or_default())
    }

    /// Drives the proof from now on. A new one is first kept, and `kept` told of it.
    pub(super) fn drive(
        mut self,
        outputs: Vec<Output>,
        kept: Option<oneshot::Sender<Result<(), StoreError>>>,
    ) {
        let hall = &self.gateway.inner.hall;
        let (shown, looks) = watch::channel(self.shown());
        let driven = Driven {
            said: self.said.clone(),
            shown: looks,
        };
        hall.open().insert(self.kept.id.clone(), driven);
        let gateway = self.gateway.clone();
        gateway.clone().inner.tasks.spawn(async move {
            let id = self.kept.id.clone();
            if let Some(told) = kept {
                let added = gateway.inner.store.add_proof(&self.kept, &self.proving);
                match added.await {
                    Ok(number) => {
                        self.kept.number = number;
                        let _ = told.send(Ok(()));
                    }
                    Err(error) => {
                        self.release_all();
                        gateway.inner.hall.open().remove(&id);
                        let _ = told.send(Err(error));
                        return;
                    }
                }
            }
            let cancel = gateway.inner.cancel.clone();
            let running = self.run(outputs, shown);
            if cancel.run_until_cancelled(running).await.is_some() {
                gateway.inner.hall.open().remove(&id);
            }
        });
    }

    async fn run(mut self, outputs: Vec<Output>, shown: watch::Sender<Shown>) {
        let mut free = self.gateway.inner.hall.free.subscribe();
        self.perform(outputs);
        loop {
            // An end is shown when it is written down, and not before.
            if self.proving.ended().is_none() {
                shown.send_replace(self.shown());
            }
            if self.changed {
                self.write().await;
                self.changed = false;
            }
            if self.proving.ended().is_some() {
                shown.send_replace(self.shown());
                return;
            }
            let wake = self.proving.wake_at().unwrap_or(UnixMillis(u64::MAX));
            let wait = Duration::from_millis(wake.0.saturating_sub(UnixMillis::now().0));
            let wants = self.proving.wants().is_some();
            tokio::select! {
                biased;
                said = self.queue.recv() => {
                    if let Some(said) = said {
                        self.hear(said);
                    }
                }
                _ = free.changed(), if wants => {
                    let outputs = self.deal();
                    self.perform(outputs);
                }
                () = sleep(wait) => self.pass(TaskInput::Tick),
            }
        }
    }

    /// A word of a prover, or of the owner.
    fn hear(&mut self, said: Said) {
        match said {
            Said::Cancel => self.pass(TaskInput::Cancel {
                reason: "cancelled by its owner".to_owned(),
            }),
            Said::Lost { prover, round } if round == self.round => {
                self.pass(TaskInput::Lost { node: prover });
            }
            Said::Error {
                prover,
                round,
                reason,
            } if round == self.round => self.fail(prover, reason),
            Said::Answer {
                prover,
                round,
                phase,
                given,
            } if round == self.round => self.answer(prover, phase, given),
            // Of a round that is over.
            Said::Lost { .. } | Said::Error { .. } | Said::Answer { .. } => {}
        }
    }

    fn answer(&mut self, prover: NodeName, phase: Phase, given: Result<Vec<Row>, String>) {
        let now_in = self.proving.phase();
        let Some((task, epoch)) = self.task_of(&prover, Some(phase)) else {
            if now_in.is_some_and(|now_in| phase > now_in) {
                let reason = format!("it answered for {} too early", phase.as_str());
                self.fail(prover, reason);
            }
            // Else it said again what it has said.
            return;
        };
        match given {
            // While it takes proofs in, an aggregator answers without one.
            Ok(rows) if rows.is_empty() && phase == Phase::Aggregate && self.empty_left > 1 => {
                self.empty_left -= 1;
            }
            Ok(rows) => self.pass(TaskInput::Done {
                task,
                epoch,
                value: Value::Rows(rows),
                samples: None,
            }),
            Err(reason) => self.fail(prover, reason),
        }
    }

    /// A prover has failed: in what it does, or, where it waits for others, altogether.
    fn fail(&mut self, prover: NodeName, reason: String) {
        let input = match self.task_of(&prover, None) {
            Some((task, epoch)) => TaskInput::Failed {
                task,
                epoch,
                reason: format!("prover {prover}: {reason}"),
                transient: false,
            },
            None => TaskInput::Lost { node: prover },
        };
        self.pass(input);
    }

    /// What a prover does now, if it is of a phase.
    fn task_of(&self, prover: &NodeName, phase: Option<Phase>) -> Option<(TaskIndex, Epoch)> {
        let (_, run) = self.proving.running()?;
        let mut tasks = run.plan().tasks().iter().zip(run.findings());
        let (_, finding) = tasks.find(|(task, finding)| {
            finding.state == "running"
                && finding.node == Some(prover)
                && phase.is_none_or(|phase| task.what.phase == phase)
        })?;
        Some((finding.task, finding.epoch))
    }

    fn pass(&mut self, input: TaskInput) {
        // A word that comes too late changes nothing.
        if let Ok(outputs) = self.proving.handle(Input::Task(input), UnixMillis::now()) {
            self.perform(outputs);
        }
    }

    fn perform(&mut self, outputs: Vec<Output>) {
        let mut left = VecDeque::from(outputs);
        while let Some(output) = left.pop_front() {
            match output {
                Output::Deal { .. } => {
                    self.changed = true;
                    left.extend(self.deal());
                }
                Output::Task(TaskOutput::Start {
                    task, epoch, node, ..
                }) => left.extend(self.start(task, epoch, node)),
                Output::Task(TaskOutput::Cancel { node, reason, .. }) => {
                    // Of a round that is over all are told when they are released.
                    if let Some(node) = node
                        && self.proving.running().is_some()
                    {
                        self.cancel(&node, reason);
                    }
                }
                Output::Task(TaskOutput::Ended) => {}
                Output::Release(names) => self.release(&names),
                Output::Ended => self.changed = true,
            }
        }
        if let Some((gang, _)) = self.proving.running()
            && let Some(phase) = self.proving.phase()
        {
            let names = gang.members().iter().map(|member| &member.name);
            let mut roster = self.gateway.inner.hall.roster();
            roster.set_phase(names, &self.round, phase);
        }
    }

    /// Takes a gang for the round that waits for one, if there is one now.
    fn deal(&mut self) -> Vec<Output> {
        let Some((units, without)) = self.proving.wants() else {
            return Vec::new();
        };
        // Another name for each round, which is all that tells them apart on the wire.
        let round: Arc<str> = format!("{}.{}", self.kept.id, self.proving.round()).into();
        let mut roster = self.gateway.inner.hall.roster();
        let Ok((gang, shares)) = roster.take(units, without, &round, &self.said) else {
            return Vec::new();
        };
        drop(roster);
        self.round = round;
        self.kept.gang = shares;
        self.changed = true;
        // Refused only when it is not what was asked for.
        let outputs = self.proving.handle(Input::Gang(gang), UnixMillis::now());
        outputs.unwrap_or_default()
    }

    fn start(&mut self, task: TaskIndex, epoch: Epoch, node: Option<NodeName>) -> Vec<Output> {
        let Some((gang, run)) = self.proving.running() else {
            return Vec::new();
        };
        let Some(node) = node else {
            // Nobody is left who could aggregate.
            let failed = TaskInput::Failed {
                task,
                epoch,
                reason: "no prover of the gang is left for it".to_owned(),
                transient: false,
            };
            let outputs = self.proving.handle(Input::Task(failed), UnixMillis::now());
            return outputs.unwrap_or_default();
        };
        let orders = orders(&self.asked, &self.round, gang, run, task, &node);
        self.empty_left = orders.len();
        let mut roster = self.gateway.inner.hall.roster();
        let told = orders
            .into_iter()
            .all(|order| roster.order(&node, &self.round, order));
        drop(roster);
        let input = if told {
            TaskInput::Started { task, epoch, node }
        } else {
            TaskInput::Lost { node }
        };
        let outputs = self.proving.handle(Input::Task(input), UnixMillis::now());
        outputs.unwrap_or_default()
    }

    fn cancel(&self, node: &NodeName, reason: String) {
        let job = Arc::clone(&self.round);
        let mut roster = self.gateway.inner.hall.roster();
        // A prover that is gone needs no word.
        roster.order(node, &self.round, Order::Cancelled { job, reason });
    }

    /// The provers of a round are free, and told so unless it ended well.
    fn release(&self, names: &[NodeName]) {
        if !matches!(self.proving.ended(), Some(Ended::Done(_))) {
            let reason = self.message();
            for name in names {
                self.cancel(name, reason.clone());
            }
        }
        let hall = &self.gateway.inner.hall;
        hall.roster().release(names, &self.round);
        hall.free.send_replace(());
    }

    fn release_all(&self) {
        if let Some((gang, _)) = self.proving.running() {
            let members = gang.members().iter();
            let names: Vec<NodeName> = members.map(|member| member.name.clone()).collect();
            self.release(&names);
        }
    }

    /// Why it failed, or why its latest round was dealt again.
    fn message(&self) -> String {
        match self.proving.ended() {
            Some(Ended::Done(_)) => String::new(),
            Some(Ended::Failed(failure)) => failure.to_string(),
            Some(Ended::Cancelled { reason }) => reason.clone(),
            None => self.proving.past().last().cloned().unwrap_or_default(),
        }
    }

    fn shown(&self) -> Shown {
        let state = match (self.proving.ended(), self.proving.phase()) {
            (Some(Ended::Done(_)), _) => ProofState::Made,
            (Some(_), _) => ProofState::Failed,
            (None, Some(phase)) => ProofState::Running(phase),
            (None, None) => ProofState::Waiting,
        };
        Shown {
            state,
            gang: self.kept.gang.clone(),
            message: self.message(),
        }
    }

    /// Writes a step down, however long the disk refuses: what was not written did not
    /// happen.
    async fn write(&mut self) {
        let ended = self.proving.ended();
        if ended.is_some() {
            self.kept.ended_at = Some(UnixMillis::now());
        }
        self.kept.message = self.message();
        let store = &self.gateway.inner.store;
        while let Err(error) = store.step_proof(&self.kept, &self.proving).await {
            let proof = &self.kept.id;
            tracing::error!(%proof, %error, "a step of a proof cannot be written");
            sleep(AGAIN).await;
        }
    }
}

/// Who is in a gang, by rank.
pub(super) fn names(gang: &[Share]) -> Vec<String> {
    gang.iter().map(|share| share.prover.clone()).collect()
}
