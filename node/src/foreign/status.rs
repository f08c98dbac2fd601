//! The machine of this node, and what it does.

use embermesh_crypto::time::UnixMillis;
use embermesh_dialects::{
    Failure,
    port::node::{
        Line,
        asking::{Asking as _, ResidentView},
        status::{DeviceView, Load, NodeNow, Status},
    },
};
use sysinfo::{MINIMUM_CPU_UPDATE_INTERVAL, System};
use tokio::sync::Mutex;

use super::Foreign;

/// What measures the machine. How much of a processor is taken is known from one look to
/// the next.
#[derive(Default)]
pub(super) struct Meter {
    system: Mutex<Option<System>>,
}

impl Meter {
    /// What is taken now; nothing is told where the system does not tell it.
    async fn load(&self) -> Load {
        let mut held = self.system.lock().await;
        if held.is_none() {
            let Ok(mut system) = System::new() else {
                return Load::default();
            };
            system.refresh_cpu_usage();
            *held = Some(system);
            tokio::time::sleep(MINIMUM_CPU_UPDATE_INTERVAL).await;
        }
        let Some(system) = held.as_mut() else {
            return Load::default();
        };
        system.refresh_cpu_usage();
        system.refresh_memory();
        Load {
            cpu_percent: system.global_cpu_usage(),
            cores: u32::try_from(system.cpus().len()).unwrap_or(u32::MAX),
            memory_used: system.used_memory(),
            memory_total: system.total_memory(),
        }
    }
}

#[tonic::async_trait]
impl Status for Foreign {
    async fn now(&self, line: &Line) -> Result<NodeNow, Failure> {
        let residents = self.residents(line)?;
        Ok(self.machine(residents).await)
    }
}

impl Foreign {
    /// What is taken of the machine now.
    pub(super) async fn load(&self) -> Load {
        self.inner.meter.load().await
    }

    /// The node now, with some of its models.
    pub(super) async fn machine(&self, residents: Vec<ResidentView>) -> NodeNow {
        let parts = &self.inner.parts;
        let site = &parts.site;
        let occupancy = *site.slots.occupancy().borrow();
        let devices = site.slots.devices_now().into_iter();
        let usage = site.blobs.usage();
        let elapsed = self.inner.since.elapsed().as_millis();
        NodeNow {
            id: site.me().to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: u64::try_from(elapsed).unwrap_or(u64::MAX),
            now: UnixMillis::now(),
            draining: occupancy.draining,
            devices: devices
                .map(|device| DeviceView {
                    advert: device.advert,
                    busy: device.taken,
                })
                .collect(),
            slots: (occupancy.slots, occupancy.free),
            load: self.load().await,
            blobs: (usage.used, usage.blobs as u64),
            blob_quota: usage.quota,
            runtimes: site.slots.runtimes().iter().collect(),
            peers: site.mesh.peers().len() as u64,
            indexes: parts.indexes.clone(),
            registered: parts.gate.trust().knows_index(),
            residents,
        }
    }
}
