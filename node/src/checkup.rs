//! A look at what a node needs of this machine, without a node: its devices, each in a
//! process that may be lost, and the fences of its workers.

use std::{future, io, time::Duration};

use embermesh_compute::{device::DeviceChoice, pipe::SandboxReport, probe::DeviceReport};
use futures::future::join_all;
use thiserror::Error;
use tokio::time::timeout;

use crate::{
    config::{InvalidConfig, NodeConfig},
    fences, folder, probe,
    worker::{Spawner, WorkerCommand, describe_groups},
};

/// Why the machine cannot be looked at.
#[derive(Debug, Error)]
pub enum NoCheckup {
    /// The worker cannot be found.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// No thread could be had.
    #[error("the thread that starts workers cannot be started: {0}")]
    Spawner(#[from] io::Error),
}

/// What came of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceStanding {
    /// It works.
    Works(DeviceReport),
    /// It does not, and why.
    Faulty(String),
    /// Its driver has not come up in time; what was measured before, if anything.
    Slow(Option<DeviceReport>),
}

/// What this machine has for a node's workers.
#[derive(Clone, Debug)]
pub struct Checkup {
    /// The devices of the configuration, in its order.
    pub devices: Vec<(DeviceChoice, DeviceStanding)>,
    /// Which fences there are; nothing when the worker did not say in time.
    pub fences: Option<SandboxReport>,
    /// What the kernel's control groups bound, in words.
    pub groups: &'static str,
}

/// Looks at the devices of a configuration and at the fences, for `within` at most. The
/// devices are tried at the same time, so how fast they are found to be says little.
///
/// # Errors
/// [`NoCheckup`].
pub async fn look(config: &NodeConfig, within: Duration) -> Result<Checkup, NoCheckup> {
    let command = WorkerCommand::of(&config.worker_command)?;
    let spawner = Spawner::start()?;
    let memory = config.data_dir.join(folder::DEVICES_FILE);
    let devices = join_all(config.devices.iter().map(|&device| {
        let (command, spawner, memory) = (&command, &spawner, &memory);
        async move {
            let probing = probe::probe(device, spawner, command, future::pending());
            let standing = match timeout(within, Box::pin(probing)).await {
                Ok(Ok(report)) => DeviceStanding::Works(report),
                Ok(Err(fault)) => DeviceStanding::Faulty(fault),
                Err(_) => DeviceStanding::Slow(probe::measured(memory, command, device)),
            };
            (device, standing)
        }
    }));
    let raised = timeout(within, fences::raised(&spawner, &command));
    let (devices, raised) = tokio::join!(devices, raised);
    Ok(Checkup {
        devices,
        fences: raised.ok().flatten(),
        groups: describe_groups(),
    })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn config(script: &str) -> NodeConfig {
        NodeConfig {
            devices: vec![DeviceChoice::Cpu, DeviceChoice::Wgpu(0)],
            worker_command: ["/bin/sh", "-c", script, "sh"].map(str::to_owned).into(),
            ..NodeConfig::default()
        }
    }

    async fn looked(script: &str, within: Duration) -> Checkup {
        let looked = look(&config(script), within).await;
        looked.expect("there is a shell")
    }

    #[tokio::test]
    async fn a_driver_that_takes_its_process_down_is_told_from_one_that_works() {
        let script = r#"
case "$*" in
  *wgpu*) kill -SEGV $$ ;;
  *cpu*) echo '{"report":{"name":"a processor","kind":"cpu","memory_bytes":1,"mflops":2}}' ;;
  *) echo '{"memory":"limited","files":"absent: no landlock","calls":"seccomp"}' ;;
esac"#;
        let checkup = looked(script, Duration::from_secs(30)).await;
        let [(_, cpu), (_, gpu)] = &checkup.devices[..] else {
            panic!("{checkup:?}");
        };
        assert!(matches!(cpu, DeviceStanding::Works(report) if report.name == "a processor"));
        assert!(
            matches!(gpu, DeviceStanding::Faulty(fault) if fault.contains("took the probe down")),
            "{gpu:?}"
        );
        let fences = checkup.fences.unwrap();
        assert_eq!(fences.absent(), [("files", "absent: no landlock")]);
    }

    #[tokio::test]
    async fn a_driver_that_hangs_is_not_waited_for() {
        let checkup = looked("exec sleep 600", Duration::from_millis(50)).await;
        for (_, standing) in &checkup.devices {
            assert_eq!(*standing, DeviceStanding::Slow(None));
        }
        assert!(checkup.fences.is_none());
    }

    #[tokio::test]
    async fn a_worker_that_is_not_there_is_named() {
        let config = NodeConfig {
            worker_command: vec!["/no/such/worker".to_owned()],
            ..NodeConfig::default()
        };
        let error = look(&config, Duration::from_secs(1)).await.unwrap_err();
        assert!(error.to_string().contains("/no/such/worker"), "{error}");
    }
}
