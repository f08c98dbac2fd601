//! What this machine's devices are: measured once each, in a process that may be
//! lost, and remembered until the worker changes.
//!
//! A driver that crashes, hangs or lies costs a device, not the node: the device
//! is advertised with its fault, and the others work.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use embermesh_compute::{device::DeviceChoice, probe::DeviceReport};
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncReadExt as _, time::sleep};

use crate::worker::{Spawner, WorkerCommand, end_group};

/// How long a driver may take to come up and to be measured.
pub(crate) const PROBE_WAIT: Duration = Duration::from_secs(60);

/// Bytes of a probe's answer that are read.
const MAX_ANSWER: u64 = 64 * 1024;

/// Bytes of a fault that are kept: an advert has little room.
const MAX_FAULT: usize = 120;

/// A device, and what came of measuring it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Probed {
    pub(crate) device: DeviceChoice,
    pub(crate) report: Result<DeviceReport, String>,
}

/// What a probe prints.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Report(DeviceReport),
    Fault(String),
}

/// What was measured before, and by which worker.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Remembered {
    worker: String,
    reports: BTreeMap<String, DeviceReport>,
}

/// Measures each device that is not remembered. Faults are not remembered: a
/// driver may be mended.
pub(crate) async fn probe_all(
    devices: &[DeviceChoice],
    spawner: &Spawner,
    command: &WorkerCommand,
    memory: &Path,
) -> Vec<Probed> {
    let worker = fingerprint(command);
    let mut remembered = recall(memory, &worker);
    let mut probed = Vec::with_capacity(devices.len());
    // One after the other: two at once would measure each other.
    for &device in devices {
        let name = device.to_string();
        let report = match remembered.reports.get(&name) {
            Some(report) => Ok(report.clone()),
            None => Box::pin(probe(device, spawner, command, sleep(PROBE_WAIT))).await,
        };
        match &report {
            Ok(report) => {
                tracing::info!(%device, name = report.name, mflops = report.mflops, "device");
                remembered.reports.insert(name, report.clone());
            }
            Err(fault) => tracing::warn!(%device, fault, "a device does not work"),
        }
        probed.push(Probed { device, report });
    }
    remember(memory, &remembered);
    probed
}

/// Measures a device, unless its time is over before.
pub(crate) async fn probe(
    device: DeviceChoice,
    spawner: &Spawner,
    command: &WorkerCommand,
    over: impl Future<Output = ()>,
) -> Result<DeviceReport, String> {
    let cut = |text: String| {
        let mut text = text.replace(char::is_control, " ");
        text.truncate(text.floor_char_boundary(MAX_FAULT));
        text
    };
    let mut child = spawner
        .spawn(command.probe(device))
        .await
        .map_err(|error| cut(format!("the probe could not be started: {error}")))?;
    let mut answer = Vec::new();
    let reading = async {
        if let Some(stdout) = child.stdout.take() {
            let _ = stdout.take(MAX_ANSWER).read_to_end(&mut answer).await;
        }
        child.wait().await
    };
    let status = tokio::select! {
        biased;
        status = reading => Some(status),
        () = over => None,
    };
    if status.is_none() {
        end_group(&mut child).await;
    }
    let line = answer
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    match (serde_json::from_slice(line), status) {
        (Ok(Answer::Report(report)), _) => Ok(report),
        (Ok(Answer::Fault(fault)), _) => Err(cut(fault)),
        (Err(_), None) => Err(format!(
            "its driver did not answer within {} s",
            PROBE_WAIT.as_secs()
        )),
        (Err(_), Some(Ok(status))) => {
            Err(cut(format!("its driver took the probe down ({status})")))
        }
        (Err(_), Some(Err(error))) => Err(cut(error.to_string())),
    }
}

/// What a device was measured to be before, by the same worker.
pub(crate) fn measured(
    memory: &Path,
    command: &WorkerCommand,
    device: DeviceChoice,
) -> Option<DeviceReport> {
    let mut remembered = recall(memory, &fingerprint(command));
    remembered.reports.remove(&device.to_string())
}

/// Something that changes when the worker's program does.
fn fingerprint(command: &WorkerCommand) -> String {
    let metadata = std::fs::metadata(&command.program).ok();
    let modified = metadata
        .as_ref()
        .and_then(|metadata| metadata.modified().ok())
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_millis());
    let length = metadata.map_or(0, |metadata| metadata.len());
    format!(
        "{} {length} {modified} {:?}",
        command.program.display(),
        command.words
    )
}

fn recall(memory: &Path, worker: &str) -> Remembered {
    std::fs::read(memory)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Remembered>(&bytes).ok())
        .filter(|remembered| remembered.worker == worker)
        .unwrap_or_else(|| Remembered {
            worker: worker.to_owned(),
            reports: BTreeMap::new(),
        })
}

/// Written beside and renamed, so that a crash leaves the old file or the new.
fn remember(memory: &Path, remembered: &Remembered) {
    let beside = memory.with_extension("new");
    let written = serde_json::to_vec(remembered)
        .map_err(std::io::Error::other)
        .and_then(|bytes| std::fs::write(&beside, bytes))
        .and_then(|()| std::fs::rename(&beside, memory));
    if let Err(error) = written {
        tracing::warn!(%error, "the devices will be measured again at the next start");
    }
}

#[cfg(all(test, unix))]
mod tests;
