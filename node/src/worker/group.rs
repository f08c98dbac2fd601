//! The end by force of a process that leads a group of its own, with all that it has
//! started.

use std::time::Duration;

use tokio::{process::Child, time::timeout};

/// How long a killed process may take to be gone: its memory is given back in that
/// time. One that a driver holds in the kernel may stay for ever, and whoever waits for
/// it must not.
const REAP_WAIT: Duration = Duration::from_secs(5);

/// Kills a process and its group.
pub(super) fn kill_group(child: &mut Child) {
    // After it has been waited for, its id may be somebody else's.
    let Some(pid) = child.id() else { return };
    #[cfg(unix)]
    if let Some(group) = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    #[cfg(not(unix))]
    let _ = pid;
    let _ = child.start_kill();
}

/// Kills a process and its group, and waits until it is gone. One that the kernel does
/// not let go of is left to the runtime, which reaps it when it can.
pub(crate) async fn end_group(child: &mut Child) {
    let pid = child.id();
    kill_group(child);
    if !within(REAP_WAIT, child.wait()).await {
        tracing::error!(
            pid,
            after = ?REAP_WAIT,
            "a killed process is not gone: a driver holds it in the kernel; its device may not work until the machine is restarted"
        );
    }
}

async fn within<T>(bound: Duration, gone: impl Future<Output = T>) -> bool {
    timeout(bound, gone).await.is_ok()
}

#[cfg(all(test, unix))]
mod tests {
    use std::{process::Stdio, time::Duration};

    use tokio::{io::AsyncReadExt as _, process::Command};

    use super::*;

    #[tokio::test]
    async fn all_of_a_group_is_gone_with_it() {
        let mut child = Command::new("/bin/sh")
            .args(["-c", "sleep 600 & echo up; wait"])
            .process_group(0)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut word = [0; 3];
        stdout.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"up\n");
        end_group(&mut child).await;
        assert_eq!(child.id(), None, "it is reaped");
        // The pipe ends with the last process that holds it.
        assert_eq!(stdout.read(&mut word).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_the_kernel_does_not_let_go_of_is_not_waited_for() {
        assert!(!within(Duration::ZERO, std::future::pending::<()>()).await);
        assert!(within(Duration::ZERO, std::future::ready(())).await);
    }
}
