//! A running attempt, as the rest of the node sees it.

use std::{sync::Arc, time::Duration};

use embermesh_compute::{device::DeviceChoice, pipe::Adjustment};
use embermesh_crypto::{digest::Digest, ids::PeerId, time::UnixMillis};
use embermesh_job::{assignment::TaskKey, lifecycle::JobState, spec::Optimizer};
use tokio::sync::{mpsc, watch};

use super::{Log, feed::Exchange};

/// Words to one actor that wait.
pub(super) const TOLD: usize = 8;

/// How long a pause may take to be obeyed: one step of the work.
const OBEY_WAIT: Duration = Duration::from_secs(10);

/// How long an attempt that was told to stop may take to be gone.
const STOP_WAIT: Duration = Duration::from_secs(10);

/// What an actor is told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    Pause,
    Resume,
    /// Train on with other hyperparameters.
    Adjust(Adjustment),
    /// End with what there is.
    Finish,
    /// Go to the next checkpoint and stop there.
    Drain,
    Stop(StopWhy),
}

/// Why an attempt is to stop at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StopWhy {
    /// Its owner has cancelled the task, here.
    Cancelled,
    /// The index wants it stopped: cancelled there, or replaced.
    ByIndex,
    /// A newer attempt has come to this very node.
    Superseded,
    /// The node could not wait any longer.
    Drained,
    /// The owner of the node wants it gone.
    Evicted,
}

/// What an attempt is about, for the owner of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct About {
    /// The word for its work.
    pub(crate) kind: String,
    /// What its client calls it.
    pub(crate) name: String,
    /// When it was admitted.
    pub(crate) began: UnixMillis,
}

/// What an attempt is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Inputs are on their way, or the worker is.
    Preparing,
    /// The worker works.
    Running,
    /// The worker waits.
    Paused,
    /// Nothing runs any more.
    Ended,
}

impl Phase {
    /// As a job's state.
    pub(crate) const fn state(self) -> JobState {
        match self {
            Self::Preparing => JobState::Assigned,
            Self::Running | Self::Ended => JobState::Running,
            Self::Paused => JobState::Paused,
        }
    }
}

/// A handle to a running attempt.
#[derive(Clone)]
pub(crate) struct TaskHandle {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) key: TaskKey,
    pub(super) client: PeerId,
    pub(super) reports_to: Option<PeerId>,
    pub(super) spec: Digest,
    /// How it learns, where it is a training.
    pub(super) rule: Option<Optimizer>,
    /// Whether it has something to show when it is ended early.
    pub(super) ends_early: bool,
    pub(super) about: About,
    pub(super) device: DeviceChoice,
    pub(super) log: Arc<Log>,
    pub(super) told: mpsc::Sender<Told>,
    pub(super) phase: watch::Receiver<Phase>,
    /// Where its data is fed, when it stays with the client.
    pub(super) exchange: Option<Arc<Exchange>>,
}

impl TaskHandle {
    pub(crate) fn key(&self) -> TaskKey {
        self.inner.key
    }

    pub(crate) fn client(&self) -> PeerId {
        self.inner.client
    }

    pub(crate) fn reports_to(&self) -> Option<PeerId> {
        self.inner.reports_to
    }

    pub(crate) fn spec(&self) -> Digest {
        self.inner.spec
    }

    /// How it learns, as its spec says, where it is a training.
    pub(crate) fn rule(&self) -> Option<Optimizer> {
        self.inner.rule
    }

    /// Whether it has something to show when it is ended early.
    pub(crate) fn ends_early(&self) -> bool {
        self.inner.ends_early
    }

    /// What it is about.
    pub(crate) fn about(&self) -> &About {
        &self.inner.about
    }

    pub(crate) fn device(&self) -> DeviceChoice {
        self.inner.device
    }

    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.inner.log
    }

    /// Where its data is fed, when it stays with the client.
    pub(crate) fn exchange(&self) -> Option<&Arc<Exchange>> {
        self.inner.exchange.as_ref()
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.inner.phase.borrow()
    }

    /// Tells the actor something. One that has ended hears nothing.
    pub(crate) async fn tell(&self, told: Told) {
        let _ = self.inner.told.send(told).await;
    }

    /// Pauses or resumes, and waits until that is so. Returns what is.
    pub(crate) async fn pause(&self, paused: bool) -> Phase {
        let mut phase = self.inner.phase.clone();
        let obeyed = async {
            self.tell(if paused { Told::Pause } else { Told::Resume })
                .await;
            let _ = phase
                .wait_for(|phase| match phase {
                    Phase::Ended => true,
                    phase => (*phase == Phase::Paused) == paused,
                })
                .await;
        };
        let _ = tokio::time::timeout(OBEY_WAIT, obeyed).await;
        self.phase()
    }

    /// Stops the attempt and waits until nothing of it runs.
    pub(crate) async fn stop(&self, why: StopWhy) {
        let stopped = async {
            self.tell(Told::Stop(why)).await;
            self.ended().await;
        };
        if tokio::time::timeout(STOP_WAIT, stopped).await.is_err() {
            tracing::error!(job = %self.inner.key.job, "an attempt did not stop in time");
        }
    }

    /// Waits until the attempt has ended.
    pub(crate) async fn ended(&self) {
        let mut phase = self.inner.phase.clone();
        let _ = phase.wait_for(|phase| *phase == Phase::Ended).await;
    }
}
