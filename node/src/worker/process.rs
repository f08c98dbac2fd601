//! One worker process: its pipe, its last words, its end.
//!
//! The process is killed with its whole group, and reaped, whenever the value is
//! dropped or [`Worker::end`] runs; there is no way to lose it.

use std::{io, process::ExitStatus, time::Duration};

use embermesh_compute::{
    device::DeviceChoice,
    frame::{self, FrameError, HEADER, Part},
    pipe::{FromWorker, Ready, ToWorker},
    software::Software,
    usage::Usage,
};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin},
    sync::mpsc,
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Spawner, WorkerCommand,
    cgroup::Group,
    group::{end_group, kill_group},
    tail::Tail,
};

/// Messages of a worker that wait for the daemon; beyond them the pipe fills and
/// the worker waits.
const FRAMES: usize = 64;

/// How long a worker may take to bring its device up.
const READY_WAIT: Duration = Duration::from_secs(60);

/// How long a worker may take to take a message from its pipe.
const SEND_WAIT: Duration = Duration::from_secs(2);

/// How long a worker that has closed its pipe may take to exit.
const EXIT_WAIT: Duration = Duration::from_secs(2);

/// A worker is gone, or of no use.
#[derive(Debug, Error)]
pub(crate) enum WorkerLost {
    /// It could not be started.
    #[error("the worker could not be started: {0}")]
    NotStarted(#[source] io::Error),
    /// It did not say that it is ready.
    #[error("the worker of {device} was not ready within {} s", READY_WAIT.as_secs())]
    NotReady {
        /// Its device.
        device: DeviceChoice,
    },
    /// It said that its device does not work.
    #[error("the worker refused: {0}")]
    Refused(String),
    /// It ended without a last message.
    #[error("the worker ended unexpectedly ({status}){}", last_words(words))]
    Died {
        /// How it ended.
        status: String,
        /// What it wrote to stderr.
        words: String,
    },
    /// What it sent makes no sense.
    #[error("the worker's pipe failed: {0}")]
    Pipe(#[from] FrameError),
    /// The kernel ended it for its memory.
    #[error("the worker took all the memory that it may: raise `limits.memory`")]
    OutOfMemory,
    /// The kernel ended it for the size of a file.
    #[error("the worker wrote a file larger than it may")]
    FileTooLarge,
    /// It does not take messages.
    #[error("the worker does not read its pipe")]
    Stuck,
}

fn last_words(words: &str) -> String {
    if words.is_empty() {
        String::new()
    } else {
        format!("; its last words: {words}")
    }
}

/// A worker process.
pub(crate) struct Worker {
    child: Child,
    pid: u32,
    stdin: Option<ChildStdin>,
    frames: mpsc::Receiver<Result<FromWorker, FrameError>>,
    tail: Tail,
    ready: Ready,
    /// What it had taken before it was given a job.
    idle: Usage,
    /// The kernel's ceilings around it, once it has a job.
    group: Option<Group>,
    _reader: AbortOnDropHandle<()>,
    stderr: AbortOnDropHandle<()>,
}

impl Worker {
    /// Starts a worker, whose device is yet to come up.
    pub(crate) async fn start(
        spawner: &Spawner,
        command: &WorkerCommand,
        device: DeviceChoice,
    ) -> Result<Self, WorkerLost> {
        let mut child = spawner
            .spawn(command.serve(device))
            .await
            .map_err(WorkerLost::NotStarted)?;
        let missing = || WorkerLost::NotStarted(io::Error::other("it has no pipe"));
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let stdin = child.stdin.take();
        let (sender, frames) = mpsc::channel(FRAMES);
        let tail = Tail::default();
        Ok(Self {
            pid: child.id().unwrap_or_default(),
            child,
            stdin,
            frames,
            ready: Ready {
                device,
                name: String::new(),
                software: Software::default(),
            },
            idle: Usage::default(),
            group: None,
            _reader: AbortOnDropHandle::new(tokio::spawn(read_frames(stdout, sender))),
            stderr: AbortOnDropHandle::new(tokio::spawn(tail.clone().fill(stderr))),
            tail,
        })
    }

    /// Waits until its device is up.
    pub(crate) async fn until_ready(&mut self) -> Result<(), WorkerLost> {
        let device = self.ready.device;
        let first = timeout(READY_WAIT, self.next()).await;
        match first.map_err(|_| WorkerLost::NotReady { device })?? {
            Some(FromWorker::Ready(ready)) => self.ready = ready,
            Some(FromWorker::Failed { message, .. }) => return Err(WorkerLost::Refused(message)),
            Some(_) => {
                let message = "its first word was not that it is ready".to_owned();
                return Err(WorkerLost::Refused(message));
            }
            None => return Err(self.died().await),
        }
        self.idle = Usage::of(self.pid).unwrap_or_default();
        Ok(())
    }

    /// What it said of its device.
    pub(crate) const fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Puts it under the kernel's ceilings, before it is given its job, where there are
    /// any. `memory_bytes` is what the job may take.
    pub(crate) fn confine(&mut self, memory_bytes: u64) {
        let memory = self.idle.resident_bytes.saturating_add(memory_bytes);
        self.group = self.child.id().and_then(|pid| Group::around(pid, memory));
    }

    /// What it has taken until now; nothing when it is gone. The time that it took to
    /// come up is not the job's.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let pid = self.child.id()?;
        Usage::of(pid).map(|usage| self.beside_idle(usage))
    }

    /// The job's part of what the process has taken in time.
    pub(crate) fn beside_idle(&self, usage: Usage) -> Usage {
        Usage {
            cpu_ms: usage.cpu_ms.saturating_sub(self.idle.cpu_ms),
            ..usage
        }
    }

    /// Bytes of memory that its job has now, beside what it had when idle.
    pub(crate) fn job_bytes(&self) -> Option<u64> {
        let used = self.usage()?;
        Some(used.resident_bytes.saturating_sub(self.idle_bytes()))
    }

    /// Bytes that it had before it was given a job.
    pub(crate) const fn idle_bytes(&self) -> u64 {
        self.idle.resident_bytes
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, message: &ToWorker) -> Result<(), WorkerLost> {
        self.write(frame::encode(message)?).await
    }

    /// Sends some bytes of samples.
    pub(crate) async fn send_part(&mut self, part: &Part) -> Result<(), WorkerLost> {
        self.write(frame::encode_part(part)?).await
    }

    async fn write(&mut self, frame: Vec<u8>) -> Result<(), WorkerLost> {
        let Some(stdin) = &mut self.stdin else {
            return Err(WorkerLost::Stuck);
        };
        let writing = async {
            stdin.write_all(&frame).await?;
            stdin.flush().await
        };
        match timeout(SEND_WAIT, writing).await {
            Ok(Ok(())) => Ok(()),
            // Half a frame may be in the pipe: nothing more can be said.
            Ok(Err(error)) => {
                self.stdin = None;
                Err(FrameError::Io(error).into())
            }
            Err(_) => {
                self.stdin = None;
                Err(WorkerLost::Stuck)
            }
        }
    }

    /// The next message; `None` once the worker has closed its pipe. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<FromWorker>, WorkerLost> {
        Ok(self.frames.recv().await.transpose()?)
    }

    /// Waits for the end of a worker that has nothing to do.
    pub(crate) async fn ended(&mut self) -> WorkerLost {
        let _ = self.child.wait().await;
        self.died().await
    }

    /// How a worker ended that has closed its pipe.
    pub(crate) async fn died(&mut self) -> WorkerLost {
        let status = match timeout(EXIT_WAIT, self.child.wait()).await {
            Ok(Ok(status)) if over_file_size(status) => return WorkerLost::FileTooLarge,
            Ok(Ok(_)) if self.group.as_ref().is_some_and(Group::out_of_memory) => {
                return WorkerLost::OutOfMemory;
            }
            Ok(Ok(status)) => describe(status),
            Ok(Err(error)) => error.to_string(),
            Err(_) => {
                kill_group(&mut self.child);
                "it closed its pipe and did not exit".to_owned()
            }
        };
        // What it wrote before its end may still be in the pipe.
        let _ = timeout(EXIT_WAIT, &mut self.stderr).await;
        WorkerLost::Died {
            status,
            words: self.tail.text(),
        }
    }

    /// Ends the process within `grace`, by force after it, and reaps it, unless the
    /// kernel does not let go of it.
    pub(crate) async fn end(mut self, grace: Duration) {
        self.stdin = None;
        if timeout(grace, self.child.wait()).await.is_err() {
            end_group(&mut self.child).await;
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The runtime reaps what is dropped before it was waited for.
        kill_group(&mut self.child);
    }
}

async fn read_frames(
    mut from: impl AsyncRead + Unpin,
    to: mpsc::Sender<Result<FromWorker, FrameError>>,
) {
    loop {
        let frame = read_frame(&mut from).await;
        let over = frame.is_err();
        let frame = match frame {
            // The end of the process says more than the end of its pipe.
            Err(FrameError::Closed | FrameError::Truncated) => return,
            frame => frame,
        };
        if to.send(frame).await.is_err() || over {
            return;
        }
    }
}

async fn read_frame(from: &mut (impl AsyncRead + Unpin)) -> Result<FromWorker, FrameError> {
    let mut header = [0; HEADER];
    from.read_exact(&mut header).await.map_err(ended)?;
    let mut body = vec![0; frame::body_len(header)?];
    from.read_exact(&mut body).await.map_err(ended)?;
    frame::decode(&body)
}

fn ended(error: io::Error) -> FrameError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => FrameError::Closed,
        _ => FrameError::Io(error),
    }
}

/// Whether it was ended for writing beyond the limit on files.
fn over_file_size(status: ExitStatus) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt as _;
        status.signal() == Some(rustix::process::Signal::XFSZ.as_raw())
    }
    #[cfg(not(unix))]
    {
        let _ = status;
        false
    }
}

fn describe(status: ExitStatus) -> String {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt as _;
        if status.signal() == Some(9) {
            return "killed, by the system for want of memory or by somebody".to_owned();
        }
    }
    status.to_string()
}
