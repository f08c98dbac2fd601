//! The worker that waits on each device, so that a job need not wait for one.
//!
//! One actor per device owns it. While a slot of the device is free it keeps one
//! worker ready, replaces it when it dies, and hands it to whoever starts a job.

use std::{sync::Arc, time::Duration};

use embermesh_compute::device::DeviceChoice;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{Spawner, Worker, WorkerCommand, WorkerLost};

/// Requests for a worker that wait at once: as many as there may be slots.
const REQUESTS: usize = crate::config::MAX_SLOTS as usize;

/// How long to wait after a worker failed to start or died idle, at first.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// And at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long an idle worker has to end when the node stops.
const GOODBYE: Duration = Duration::from_millis(500);

type Reply = oneshot::Sender<Result<Worker, WorkerLost>>;

/// Hands out workers of one device.
#[derive(Clone)]
pub(crate) struct Warm {
    requests: mpsc::Sender<Reply>,
}

/// What the actor needs to start workers.
pub(crate) struct Nursery {
    pub(crate) spawner: Spawner,
    pub(crate) command: Arc<WorkerCommand>,
    pub(crate) device: DeviceChoice,
    /// True while a slot of the device is free.
    pub(crate) wanted: watch::Receiver<bool>,
    pub(crate) cancel: CancellationToken,
}

impl Warm {
    /// The handle and the actor behind it, to be spawned.
    pub(crate) fn new(nursery: Nursery) -> (Self, impl Future<Output = ()> + Send) {
        let (requests, queue) = mpsc::channel(REQUESTS);
        (Self { requests }, run(nursery, queue))
    }

    /// A worker that is ready: the one that waits, or a new one.
    pub(crate) async fn take(&self) -> Result<Worker, WorkerLost> {
        let gone = || WorkerLost::NotStarted(std::io::Error::other("the node stops"));
        let (reply, answer) = oneshot::channel();
        self.requests.send(reply).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

async fn run(mut nursery: Nursery, mut queue: mpsc::Receiver<Reply>) {
    let cancel = nursery.cancel.clone();
    let mut pause = FIRST_PAUSE;
    let mut asked = None;
    loop {
        // Nobody is kept ready for a device that has no slot to give.
        let first = match asked.take() {
            Some(reply) => Some(reply),
            None => tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                request = queue.recv() => match request {
                    Some(reply) => Some(reply),
                    None => return,
                },
                free = nursery.wanted.wait_for(|wanted| *wanted) => match free {
                    Ok(_) => None,
                    Err(_) => return,
                },
            },
        };
        let Some(started) = start(&nursery).await else {
            return;
        };
        match (started, first) {
            (Ok(worker), Some(reply)) => {
                pause = FIRST_PAUSE;
                // Whoever asked may have given up; the worker ends with its value.
                let _ = reply.send(Ok(worker));
            }
            (Err(lost), Some(reply)) => {
                let _ = reply.send(Err(lost));
            }
            (Ok(worker), None) => {
                if keep(worker, &mut nursery, &mut queue).await {
                    pause = FIRST_PAUSE;
                } else {
                    asked = rest(&mut pause, &mut queue, &cancel).await;
                }
            }
            (Err(lost), None) => {
                tracing::warn!(device = %nursery.device, error = %lost, "no worker could be kept ready");
                asked = rest(&mut pause, &mut queue, &cancel).await;
            }
        }
    }
}

/// A worker that is ready; `None` when the node stops. What was started and is not
/// wanted is waited for, so that nothing of it is left.
async fn start(nursery: &Nursery) -> Option<Result<Worker, WorkerLost>> {
    let started = Worker::start(&nursery.spawner, &nursery.command, nursery.device).await;
    let mut worker = match started {
        Ok(worker) => worker,
        Err(lost) => return Some(Err(lost)),
    };
    match nursery
        .cancel
        .run_until_cancelled(Box::pin(worker.until_ready()))
        .await
    {
        Some(Ok(())) => Some(Ok(worker)),
        Some(Err(lost)) => {
            worker.end(Duration::ZERO).await;
            Some(Err(lost))
        }
        None => {
            worker.end(GOODBYE).await;
            None
        }
    }
}

/// Keeps a worker until it is asked for. False when it died before.
async fn keep(
    mut worker: Worker,
    nursery: &mut Nursery,
    queue: &mut mpsc::Receiver<Reply>,
) -> bool {
    tokio::select! {
        biased;
        () = nursery.cancel.cancelled() => worker.end(GOODBYE).await,
        request = queue.recv() => {
            if let Some(reply) = request {
                // A worker that died unseen is replaced by whoever finds out.
                let _ = reply.send(Ok(worker));
            }
        }
        lost = worker.ended() => {
            tracing::warn!(device = %nursery.device, error = %lost, "an idle worker ended");
            return false;
        }
    }
    true
}

/// Waits before the next try, unless somebody asks.
async fn rest(
    pause: &mut Duration,
    queue: &mut mpsc::Receiver<Reply>,
    cancel: &CancellationToken,
) -> Option<Reply> {
    let this = *pause;
    *pause = (this * 2).min(LONGEST_PAUSE);
    tokio::select! {
        biased;
        () = cancel.cancelled() => None,
        request = queue.recv() => request,
        () = tokio::time::sleep(this) => None,
    }
}
