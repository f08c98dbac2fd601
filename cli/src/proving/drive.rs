//! Drives a proof of several until it has ended.

use std::{collections::VecDeque, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use embermesh_client::{Client, IdempotencyKey};
use embermesh_crypto::{Digest, Epoch, Keypair, TaskIndex, UnixMillis, statement::DeviceKind};
use embermesh_job::{
    plan::{
        Combined, Ended, NodeName,
        gang::{Gang, Worker},
        proving::{Input as ProvingInput, Output, Phase, Proving, Terms},
        run::{Input as TaskInput, Output as TaskOutput},
    },
    spec::Input,
};
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    Kept, Work, input_of, name_of,
    part::{self, Wanted},
    value_of,
};
use crate::{exit::Interrupted, show::progress::Progressing};

/// How often the work is dealt again among other nodes.
const ROUNDS: u32 = 3;
/// How long a gang is waited for.
const DEAL_WAIT: Duration = Duration::from_secs(60);
/// How much longer than its job may run a phase may take: to be placed, sent, fetched.
const SLACK: Duration = Duration::from_secs(120);

/// What a node came to.
struct Report {
    task: TaskIndex,
    epoch: Epoch,
    /// What it made, or why it made nothing; none where it was stopped.
    made: Option<Result<Input, String>>,
}

/// A proof under way.
pub(crate) struct Driver {
    client: Client,
    work: Arc<Work>,
    kept: Kept,
    parts: JoinSet<Report>,
    /// Stops the jobs of the round that runs.
    round: CancellationToken,
}

impl Driver {
    /// Begins, or goes on with what the folder of the work has; and what is to be done
    /// first.
    pub(crate) fn new(client: Client, work: Work) -> anyhow::Result<(Self, Vec<Output>)> {
        let spec = work.spec.digest();
        std::fs::create_dir_all(work.folder.join(super::PARTS))
            .with_context(|| format!("cannot make the folder {}", work.folder.display()))?;
        let (kept, outputs) = match Kept::read(&work.folder)? {
            Some(kept) if kept.spec == spec && kept.workers == work.workers => (kept, None),
            _ => {
                let phase = Duration::from_millis(work.spec.limits.wall.0).saturating_add(SLACK);
                let terms = Terms {
                    units: work.workers,
                    rounds: ROUNDS,
                    deal_wait: DEAL_WAIT,
                    lease: phase,
                    phase,
                    round: phase.saturating_mul(3),
                };
                let (proving, outputs) = Proving::start(terms, UnixMillis::now())?;
                let kept = Kept {
                    spec,
                    workers: work.workers,
                    // A key that nobody has seen is as good as any number.
                    seed: Digest::of(Keypair::generate()?.peer_id().as_bytes()),
                    proving,
                };
                (kept, Some(outputs))
            }
        };
        let mut driver = Self {
            client,
            work: Arc::new(work),
            kept,
            parts: JoinSet::new(),
            round: CancellationToken::new(),
        };
        let outputs = match outputs {
            Some(outputs) => outputs,
            None => driver.again(),
        };
        Ok((driver, outputs))
    }

    /// What was under way when this was broken off.
    fn again(&mut self) -> Vec<Output> {
        let Some((_, run)) = self.kept.proving.running() else {
            let again = ProvingInput::Again {
                reason: "it was broken off".to_owned(),
            };
            let outputs = self.kept.proving.handle(again, UnixMillis::now());
            return outputs.unwrap_or_default();
        };
        let running: Vec<_> = run
            .findings()
            .filter(|finding| finding.state == "running")
            .filter_map(|finding| Some((finding.task, finding.epoch, finding.node?.clone())))
            .collect();
        for (task, epoch, node) in running {
            self.spawn(task, epoch, &node);
        }
        Vec::new()
    }

    /// Drives it to its end, and gives the proof and where it is.
    pub(crate) async fn run(
        mut self,
        outputs: Vec<Output>,
        shown: &Progressing,
        cancel: &CancellationToken,
    ) -> anyhow::Result<(PathBuf, Input)> {
        self.perform(outputs, shown).await?;
        loop {
            self.kept.write(&self.work.folder)?;
            if let Some(ended) = self.kept.proving.ended() {
                return match ended {
                    Ended::Done(Combined { output, .. }) => {
                        let made = output.as_ref().and_then(input_of);
                        self.work.keep(made.context("the proof names no file")?)
                    }
                    Ended::Failed(failure) => Err(anyhow::anyhow!("{failure}")),
                    Ended::Cancelled { reason } => Err(anyhow::anyhow!("{reason}")),
                };
            }
            let wake = self.kept.proving.wake_at();
            let wake = wake.map_or(0, |wake| wake.0.saturating_sub(UnixMillis::now().0));
            let outputs = tokio::select! {
                biased;
                () = cancel.cancelled() => {
                    let text = ": what there is so far is kept, and the same command goes on";
                    return Err(Interrupted(text.to_owned()).into());
                }
                Some(report) = self.parts.join_next() => self.hear(report?, shown),
                () = sleep(Duration::from_millis(wake.max(1))) => self.pass(TaskInput::Tick),
            };
            self.perform(outputs, shown).await?;
        }
    }

    fn hear(&mut self, report: Report, shown: &Progressing) -> Vec<Output> {
        let Report { task, epoch, made } = report;
        let Some(made) = made else {
            return Vec::new();
        };
        self.pass(match made {
            Ok(made) => TaskInput::Done {
                task,
                epoch,
                value: value_of(&made),
                samples: None,
            },
            Err(reason) => {
                shown.aside(&format!("task {task} failed: {reason}"));
                TaskInput::Failed {
                    task,
                    epoch,
                    reason,
                    transient: false,
                }
            }
        })
    }

    fn pass(&mut self, input: TaskInput) -> Vec<Output> {
        let input = ProvingInput::Task(input);
        // A word that comes too late changes nothing.
        let outputs = self.kept.proving.handle(input, UnixMillis::now());
        outputs.unwrap_or_default()
    }

    async fn perform(&mut self, outputs: Vec<Output>, shown: &Progressing) -> anyhow::Result<()> {
        let mut left = VecDeque::from(outputs);
        while let Some(output) = left.pop_front() {
            match output {
                Output::Deal { units, without } => {
                    if let Some(reason) = self.kept.proving.past().last() {
                        shown.aside(&format!("dealt again: {reason}"));
                    }
                    let gang = self.deal(units, &without).await?;
                    let outputs = self.kept.proving.handle(gang, UnixMillis::now());
                    left.extend(outputs?);
                }
                Output::Task(TaskOutput::Start {
                    task, epoch, node, ..
                }) => left.extend(self.start(task, epoch, node, shown)),
                Output::Release(_) => {
                    // Nothing of a round that is over goes on.
                    self.round.cancel();
                    self.round = CancellationToken::new();
                }
                Output::Task(TaskOutput::Cancel { .. } | TaskOutput::Ended) | Output::Ended => {}
            }
        }
        Ok(())
    }

    /// The nodes that execute it: live ones that may, each once.
    async fn deal(&self, units: u32, without: &[NodeName]) -> anyhow::Result<ProvingInput> {
        let requires = &self.work.spec.requires;
        let mut free = Vec::new();
        for node in self.client.nodes().await? {
            let peer = node.address.peer;
            let named = requires.nodes.is_empty() || requires.nodes.contains(&peer);
            let computes = node.advert.as_ref().is_some_and(|advert| {
                let mut devices = advert.devices.iter();
                devices.any(|device| device.kind == DeviceKind::Cpu && device.fault.is_none())
            });
            let name = name_of(peer)?;
            let may = named && !requires.avoid.contains(&peer) && !without.contains(&name);
            if node.live && computes && may {
                free.push(Worker { name, capacity: 1 });
            }
        }
        Ok(match Gang::deal(&free, units) {
            Ok(gang) => ProvingInput::Gang(gang),
            Err(_) => ProvingInput::NoGang {
                reason: format!(
                    "{units} nodes are asked for, and {} that may execute it are there",
                    free.len()
                ),
            },
        })
    }

    fn start(
        &mut self,
        task: TaskIndex,
        epoch: Epoch,
        node: Option<NodeName>,
        shown: &Progressing,
    ) -> Vec<Output> {
        let Some(node) = node else {
            return self.pass(TaskInput::Failed {
                task,
                epoch,
                reason: "no node of the gang is left for it".to_owned(),
                transient: false,
            });
        };
        if let Some((_, run)) = self.kept.proving.running()
            && let Some(wanted) = run.plan().task(task)
        {
            shown.aside(&format!("{} on {node}", wanted.what.phase.as_str()));
        }
        self.spawn(task, epoch, &node);
        self.pass(TaskInput::Started { task, epoch, node })
    }

    /// Has a node do a task.
    fn spawn(&mut self, task: TaskIndex, epoch: Epoch, node: &NodeName) {
        let Some((_, run)) = self.kept.proving.running() else {
            return;
        };
        let (Some(of), Ok(peer)) = (run.plan().task(task), node.as_str().parse()) else {
            return;
        };
        let given = |phase: Phase| {
            let tasks = run.plan().tasks().iter().zip(run.findings());
            tasks
                .filter(|(task, _)| task.what.phase == phase)
                .filter_map(|(_, finding)| input_of(finding.value?))
                .collect()
        };
        let wanted = Wanted {
            phase: of.what.phase,
            rank: of.what.rank,
            node: peer,
            key: self.key(task, epoch),
            contributed: given(Phase::Contribute),
            proven: given(Phase::Prove),
        };
        let (client, work) = (self.client.clone(), Arc::clone(&self.work));
        let round = self.round.clone();
        self.parts.spawn(async move {
            let made = Box::pin(part::run(&client, &work, &wanted, &round)).await;
            let made = made.map_err(|error| format!("node {peer}: {error:#}"));
            let made = (!round.is_cancelled()).then_some(made);
            Report { task, epoch, made }
        });
    }

    /// The key of a job, the same whenever it is submitted.
    fn key(&self, task: TaskIndex, epoch: Epoch) -> IdempotencyKey {
        let mut hasher = Digest::hasher();
        hasher.update(self.kept.seed.as_bytes());
        hasher.update(&self.kept.proving.round().to_le_bytes());
        hasher.update(&task.0.to_le_bytes());
        hasher.update(&epoch.0.to_le_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        IdempotencyKey::from_bytes(key)
    }
}
