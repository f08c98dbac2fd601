//! What the node shows of itself.

use std::time::Instant;

use embermesh_crypto::time::UnixMillis;
use embermesh_proto::v1::{self, status_response};

use crate::{site::Site, task::Tasks};

/// This node now.
pub(super) fn show(site: &Site, tasks: &Tasks, since: Instant) -> v1::StatusResponse {
    let devices = site
        .slots
        .devices_now()
        .into_iter()
        .map(|device| status_response::Device {
            name: device.advert.name,
            kind: device.advert.kind.as_str().to_owned(),
            memory_bytes: device.advert.memory_bytes,
            busy: device.taken > 0,
            fault: device.advert.fault.unwrap_or_default(),
        });
    let running = tasks
        .all()
        .into_iter()
        .map(|handle| status_response::Running {
            job_id: handle.key().job.to_string(),
            task: handle.key().task.0,
            epoch: handle.key().epoch.0,
            device: handle.device().to_string(),
            seq: handle.log().head().last,
            state: v1::JobState::from(handle.phase().state()).into(),
        });
    v1::StatusResponse {
        node_id: site.me().to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
        draining: site.slots.occupancy().borrow().draining,
        devices: devices.collect(),
        running: running.collect(),
        peers: site.mesh.peers().len() as u64,
        blob_bytes: site.blobs.usage().used,
        now_ms: UnixMillis::now().0,
    }
}
