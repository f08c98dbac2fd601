//! The thread that starts every worker.
//!
//! A worker asks the kernel to die with its parent, and the kernel takes the
//! *thread* that started it for the parent. So workers are started by one thread
//! that lives as long as the node does, not by whichever of the runtime's threads
//! happens to run the task.

use std::{io, sync::mpsc, thread};

use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};

/// Processes that wait to be started at once.
const QUEUE: usize = 16;

struct Request {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// Starts processes. Clones are the same thread; it ends with the last of them.
#[derive(Clone)]
pub(crate) struct Spawner {
    requests: mpsc::SyncSender<Request>,
}

impl Spawner {
    /// Starts the thread. Must be called within the runtime that will hear of the
    /// processes' ends.
    pub(crate) fn start() -> io::Result<Self> {
        let (requests, queue) = mpsc::sync_channel::<Request>(QUEUE);
        let runtime = Handle::current();
        thread::Builder::new()
            .name("worker-spawner".to_owned())
            .spawn(move || {
                let _entered = runtime.enter();
                while let Ok(Request { mut command, reply }) = queue.recv() {
                    // Whoever asked may have given up; the process is killed on drop.
                    let _ = reply.send(command.spawn());
                }
            })?;
        Ok(Self { requests })
    }

    /// Starts a process.
    pub(crate) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let gone = || io::Error::other("the thread that starts workers is gone");
        let (reply, answer) = oneshot::channel();
        self.requests
            .try_send(Request { command, reply })
            .map_err(|error| match error {
                mpsc::TrySendError::Full(_) => io::Error::other("too many workers start at once"),
                mpsc::TrySendError::Disconnected(_) => gone(),
            })?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}
