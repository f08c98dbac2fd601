//! The executor, signals, logs, and the death of the parent.

use std::{future::Future, io::Read as _, time::Duration};

use anyhow::Context as _;
use embermesh_node::Logs;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{
    EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::exit::Interrupted;

/// How long background tasks have once the command is done.
const LAST_TASKS: Duration = Duration::from_secs(2);

/// What asked the process to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// SIGINT: now.
    Interrupt,
    /// SIGTERM: in good order.
    Terminate,
    /// Whoever started this process is gone.
    Orphaned,
}

/// Runs a command to its end.
pub(crate) fn run<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    // On the main thread: what it starts dies when it dies, see `die_with_parent`.
    let result = runtime.block_on(command);
    runtime.block_on(crate::mesh::leave());
    runtime.shutdown_timeout(LAST_TASKS);
    result
}

/// Lets this process have as many descriptors as it may: each connection takes one, and
/// what a shell gives is often no more than 1,024.
pub(crate) fn allow_many_connections() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// Logs go to stderr: warnings, more with each `-v`, or what a filter says; and to `kept`
/// by its own level.
pub(crate) fn log(
    verbose: u8,
    quiet: bool,
    filter: Option<&str>,
    kept: Option<&Logs>,
) -> anyhow::Result<()> {
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (false, 0) => "warn,libp2p=error",
        (false, 1) => "info,libp2p=error",
        (false, 2) => "debug,libp2p=info,h2=info,rustls=info",
        (false, _) => "trace",
    };
    let filter = EnvFilter::try_new(filter.unwrap_or(level)).map_err(|error| {
        crate::exit::WrongInput(format!("the log filter cannot be read: {error}"))
    })?;
    let shown = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(console_colours())
        .with_filter(filter);
    tracing_subscriber::registry()
        .with(kept.map(Logs::layer))
        .with(shown)
        .init();
    Ok(())
}

fn console_colours() -> bool {
    use std::io::IsTerminal as _;
    std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Hears what asks this process to stop. Once it is made, SIGINT and SIGTERM no
/// longer end the process by themselves, and none is lost before it is waited for.
pub(crate) struct Stopping {
    interrupt: Signal,
    terminate: Signal,
    orphaned: CancellationToken,
}

impl Stopping {
    /// Hears SIGINT and SIGTERM from now on.
    ///
    /// # Errors
    /// When the system does not let the process hear signals.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("cannot listen to SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("cannot listen to SIGTERM")?,
            orphaned: CancellationToken::new(),
        })
    }

    /// Hears the end of the process that started this one, too.
    ///
    /// # Errors
    /// When the parent cannot be watched.
    pub(crate) fn or_orphaned(self) -> anyhow::Result<Self> {
        die_with_parent(self.orphaned.clone())?;
        Ok(self)
    }

    /// Waits until the process is asked to stop. Cancel safe.
    pub(crate) async fn asked(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Interrupt,
            _ = self.terminate.recv() => Asked::Terminate,
            () = self.orphaned.cancelled() => Asked::Orphaned,
        }
    }
}

/// A token that SIGINT and SIGTERM cancel, from now on.
///
/// # Errors
/// When the system does not let the process hear signals.
pub(crate) fn stop_token() -> anyhow::Result<CancellationToken> {
    let mut stopping = Stopping::listen()?;
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        stopping.asked().await;
        cancel.cancel();
    });
    Ok(token)
}

/// Runs what a signal may break off; `left` says how things stand then.
///
/// # Errors
/// Those of `run`, and [`Interrupted`].
pub(crate) async fn unless_stopped<T>(
    cancel: &CancellationToken,
    left: &str,
    run: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    match cancel.run_until_cancelled(run).await {
        Some(end) => end,
        None => Err(Interrupted(left.to_owned()).into()),
    }
}

/// Ends this process when the one that started it ends, however that ends: the
/// kernel kills it, and where that does not work the end of stdin, which the parent
/// holds, cancels `cancel`.
fn die_with_parent(cancel: CancellationToken) -> anyhow::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("cannot ask the kernel for the parent's death")?;
    std::thread::Builder::new()
        .name("parent".to_owned())
        .stack_size(64 * 1024)
        .spawn(move || {
            let mut buffer = [0; 64];
            while matches!(std::io::stdin().read(&mut buffer), Ok(read) if read > 0) {}
            cancel.cancel();
        })
        .context("cannot watch the parent")?;
    Ok(())
}
