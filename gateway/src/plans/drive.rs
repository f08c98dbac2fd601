//! Drives a plan until it has ended.

use std::{collections::HashMap, sync::Arc, time::Duration};

use embermesh_crypto::{Epoch, TaskIndex, UnixMillis};
use embermesh_dialects::port::{Principal, plans::Question};
use embermesh_job::plan::{
    Run,
    run::{Input, Output},
};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tokio_util::task::AbortOnDropHandle;

use super::{Driven, INPUTS, ask::Attempt};
use crate::{Gateway, StoreError};

/// How long to wait before a step is written down that could not be.
const AGAIN: Duration = Duration::from_secs(5);

/// How long to wait before a task is tried again that has just failed: a model that is
/// not there yet is not asked for a hundred times a second.
const PAUSE: Duration = Duration::from_millis(500);

impl Gateway {
    /// Goes on with every plan that was open when the gateway stopped.
    pub(crate) async fn go_on_with_plans(&self) -> Result<(), StoreError> {
        for kept in self.inner.store.open_plans().await? {
            let mut run = kept.run;
            // Whoever asked is gone with the last process.
            let live: Vec<(TaskIndex, Epoch)> = run
                .findings()
                .filter(|finding| finding.state == "running")
                .map(|finding| (finding.task, finding.epoch))
                .collect();
            let mut outputs = Vec::new();
            for (task, epoch) in live {
                let lost = Input::Failed {
                    task,
                    epoch,
                    reason: "the gateway was started again".to_owned(),
                    transient: true,
                };
                if let Ok(more) = run.handle(lost, UnixMillis::now()) {
                    outputs.extend(more);
                }
            }
            self.drive(kept.number, kept.owner, run, outputs);
        }
        Ok(())
    }

    /// Drives a plan from now on.
    pub(super) fn drive(
        &self,
        number: i64,
        who: Principal,
        run: Run<Question>,
        outputs: Vec<Output>,
    ) {
        let (inputs, queue) = mpsc::channel(INPUTS);
        let (shown, looks) = watch::channel(Arc::new(run.clone()));
        let driven = Driven {
            inputs: inputs.clone(),
            run: looks,
        };
        self.inner.plans.open().insert(number, driven);
        let gateway = self.clone();
        self.inner.tasks.spawn(async move {
            let driver = Driver {
                gateway: gateway.clone(),
                number,
                who,
                run,
                inputs,
                shown,
                attempts: HashMap::new(),
            };
            let cancel = gateway.inner.cancel.clone();
            let ended = cancel.run_until_cancelled(driver.drive(outputs, queue));
            if ended.await.is_some() {
                gateway.inner.plans.open().remove(&number);
            }
        });
    }
}

struct Driver {
    gateway: Gateway,
    number: i64,
    who: Principal,
    run: Run<Question>,
    inputs: mpsc::Sender<Input>,
    shown: watch::Sender<Arc<Run<Question>>>,
    attempts: HashMap<(TaskIndex, Epoch), AbortOnDropHandle<()>>,
}

impl Driver {
    async fn drive(mut self, outputs: Vec<Output>, mut queue: mpsc::Receiver<Input>) {
        self.perform(outputs);
        loop {
            self.write().await;
            self.shown.send_replace(Arc::new(self.run.clone()));
            if self.run.ended().is_some() {
                return;
            }
            let input = self.next(&mut queue).await;
            // A word of an attempt that does not count any more changes nothing.
            if let Ok(outputs) = self.run.handle(input, UnixMillis::now()) {
                self.perform(outputs);
            }
        }
    }

    async fn next(&self, queue: &mut mpsc::Receiver<Input>) -> Input {
        let wake = self.run.wake_at().unwrap_or(UnixMillis(u64::MAX));
        let wait = Duration::from_millis(wake.0.saturating_sub(UnixMillis::now().0));
        tokio::select! {
            biased;
            input = queue.recv() => input.unwrap_or(Input::Tick),
            () = sleep(wait) => Input::Tick,
        }
    }

    fn perform(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Start {
                    task,
                    epoch,
                    node,
                    avoid,
                } => self.start(task, epoch, node, avoid),
                Output::Cancel { task, epoch, .. } => {
                    self.attempts.remove(&(task, epoch));
                }
                Output::Ended => self.attempts.clear(),
            }
        }
    }

    fn start(
        &mut self,
        task: TaskIndex,
        epoch: Epoch,
        node: Option<embermesh_job::plan::NodeName>,
        avoid: Vec<embermesh_job::plan::NodeName>,
    ) {
        let Some(what) = self.run.plan().task(task).map(|task| task.what.clone()) else {
            return;
        };
        let reads = self.run.inputs(task);
        let attempt = Attempt {
            who: self.who.clone(),
            question: what,
            reads: reads.into_iter().map(|(_, value)| value.clone()).collect(),
            node,
            avoid,
            task,
            epoch,
            inputs: self.inputs.clone(),
        };
        let gateway = self.gateway.clone();
        let again = self.attempts.keys().any(|(before, _)| *before == task);
        // The attempt before this one is over; nobody hears it any more.
        self.attempts.retain(|(before, _), _| *before != task);
        let asking = tokio::spawn(async move {
            if again {
                sleep(PAUSE).await;
            }
            attempt.run(gateway).await;
        });
        let asking = AbortOnDropHandle::new(asking);
        self.attempts.insert((task, epoch), asking);
    }

    /// Writes a step down, however long the disk refuses: what was not written did not
    /// happen.
    async fn write(&self) {
        let ended = self.run.ended().map(|_| UnixMillis::now());
        let store = &self.gateway.inner.store;
        while let Err(error) = store.step_plan(self.number, &self.run, ended).await {
            tracing::error!(plan = self.number, %error, "a step of a plan cannot be written");
            sleep(AGAIN).await;
        }
    }
}
