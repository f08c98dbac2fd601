//! The executor, signals, logs, and the death of the parent.

use std::{future::Future, io::Read as _, time::Duration};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// How long background tasks have once the command is done.
const LAST_TASKS: Duration = Duration::from_secs(2);

/// Which signal asked the process to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// SIGINT: now.
    Interrupt,
    /// SIGTERM: in good order.
    Terminate,
}

/// Runs a command to its end.
pub(crate) fn run<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    // On the main thread: what it starts dies when it dies, see `die_with_parent`.
    let result = runtime.block_on(command);
    runtime.shutdown_timeout(LAST_TASKS);
    result
}

/// Logs go to stderr: warnings, more with each `-v`, or what a filter says.
pub(crate) fn log(verbose: u8, quiet: bool, filter: Option<&str>) -> anyhow::Result<()> {
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
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(console_colours())
        .init();
    Ok(())
}

fn console_colours() -> bool {
    use std::io::IsTerminal as _;
    std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Waits for SIGINT or SIGTERM. From its first poll on they no longer end the
/// process by themselves.
///
/// # Errors
/// When the system does not let the process hear signals.
pub(crate) async fn asked_to_stop() -> anyhow::Result<Asked> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to SIGTERM")?;
    Ok(tokio::select! {
        _ = interrupt.recv() => Asked::Interrupt,
        _ = terminate.recv() => Asked::Terminate,
    })
}

/// A token that SIGINT and SIGTERM cancel.
pub(crate) fn stop_token() -> CancellationToken {
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        if let Err(error) = asked_to_stop().await {
            tracing::warn!(%error, "signals are not heard");
            return;
        }
        cancel.cancel();
    });
    token
}

/// Ends this process when the one that started it ends, however that ends: the
/// kernel kills it, and where that does not work the end of stdin, which the parent
/// holds, cancels `cancel`.
pub(crate) fn die_with_parent(cancel: CancellationToken) -> anyhow::Result<()> {
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
