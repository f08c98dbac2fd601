//! Which fences this system has for the workers: found out at the start, in a process
//! that raises them and does nothing else, so that the owner and whoever reads the
//! node's advert know before the first job runs.

use std::time::Duration;

use embermesh_compute::pipe::SandboxReport;
use tokio::{io::AsyncReadExt as _, time::timeout};

use crate::worker::{Spawner, WorkerCommand, describe_groups, end_group};

/// How long the process may take that raises them.
const WAIT: Duration = Duration::from_secs(20);

/// Bytes of its answer that are read.
const MAX_ANSWER: u64 = 16 * 1024;

/// Says at the start which fences there are, and gives the names of those that are
/// missing, for the advert; nothing when there are all.
pub(crate) async fn look(spawner: &Spawner, command: &WorkerCommand) -> Option<String> {
    let Some(report) = raised(spawner, command).await else {
        tracing::warn!(
            "which fences workers have could not be found out: the worker gave no answer to --fences"
        );
        return Some("unknown".to_owned());
    };
    for (fence, reason) in report.absent() {
        tracing::warn!(fence, reason, "workers run without a fence of this system");
    }
    tracing::info!(bounds = describe_groups(), "the kernel bounds workers");
    if report.absent().is_empty() {
        tracing::info!(
            memory = report.memory,
            files = report.files,
            calls = report.calls,
            "workers are fenced in"
        );
    }
    missing(&report)
}

fn missing(report: &SandboxReport) -> Option<String> {
    let names: Vec<&str> = report.absent().into_iter().map(|(name, _)| name).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// Which fences a worker has raised; nothing when it does not say.
pub(crate) async fn raised(spawner: &Spawner, command: &WorkerCommand) -> Option<SandboxReport> {
    let mut child = spawner.spawn(command.fences()).await.ok()?;
    let mut answer = Vec::new();
    let reading = async {
        if let Some(stdout) = child.stdout.take() {
            let _ = stdout.take(MAX_ANSWER).read_to_end(&mut answer).await;
        }
    };
    let _ = timeout(WAIT, reading).await;
    end_group(&mut child).await;
    let line = answer.split(|byte| *byte == b'\n').next()?;
    serde_json::from_slice(line).ok()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// A worker that answers like this.
    fn answers(text: &str) -> WorkerCommand {
        WorkerCommand {
            program: "/bin/sh".into(),
            words: vec!["-c".to_owned(), format!("echo '{text}'"), "sh".to_owned()],
        }
    }

    #[tokio::test]
    async fn what_a_system_lacks_is_named() {
        let spawner = Spawner::start().unwrap();
        let all = r#"{"memory":"limited","files":"landlock, in full","calls":"seccomp: all"}"#;
        assert_eq!(look(&spawner, &answers(all)).await, None);
        let older = r#"{"memory":"limited","files":"absent: this kernel has no landlock","calls":"absent: seccomp refused"}"#;
        let missing = look(&spawner, &answers(older)).await;
        assert_eq!(missing.as_deref(), Some("files, calls"));
        // A worker that does not know the question may lack anything.
        let silent = look(&spawner, &answers("usage: worker")).await;
        assert_eq!(silent.as_deref(), Some("unknown"));
    }
}
