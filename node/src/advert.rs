//! Keeps the mesh's word on this node true: what is free, what is broken, whether
//! it is about to stop.

use std::sync::Arc;

use embermesh_crypto::statement::{DeviceKind, Role};
use embermesh_mesh::{AdvertDraft, MeshError};
use tokio_util::sync::CancellationToken;

use crate::{config::NodeConfig, site::Site};

/// What of an advert does not change while the node runs.
pub(crate) struct Advertiser {
    pub(crate) site: Arc<Site>,
    pub(crate) region: String,
    pub(crate) price_micros_per_hour: u64,
    pub(crate) missing_fences: Option<String>,
}

impl Advertiser {
    pub(crate) fn new(
        site: Arc<Site>,
        config: &NodeConfig,
        missing_fences: Option<String>,
    ) -> Self {
        Self {
            site,
            region: config.region.clone(),
            price_micros_per_hour: config.price.0,
            missing_fences,
        }
    }

    /// Says what is so now.
    pub(crate) async fn say(&self) -> Result<(), MeshError> {
        let occupancy = *self.site.slots.occupancy().borrow();
        let devices = self.site.slots.devices_now();
        let queued = *self.site.door.waiting().borrow();
        self.site
            .mesh
            .advertise(AdvertDraft {
                role: Role::Node,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                tls_addresses: self.site.tls.clone(),
                region: self.region.clone(),
                price_micros_per_hour: self.price_micros_per_hour,
                devices: devices.into_iter().map(|device| device.advert).collect(),
                slots: occupancy.slots,
                free_slots: occupancy.free,
                queued,
                draining: occupancy.draining,
                runtimes: self.site.slots.runtimes(),
                models: self.site.residents.adverts(),
                free_residents: occupancy.free_residents,
                missing_fences: self.missing_fences.clone(),
            })
            .await
    }

    /// Says it again whenever it changes.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        self.provide_classes();
        let mut occupancy = self.site.slots.occupancy();
        let mut residents = self.site.residents.changes();
        let mut waiting = self.site.door.waiting();
        loop {
            let changed = async {
                tokio::select! {
                    changed = occupancy.changed() => changed,
                    changed = residents.changed() => changed,
                    changed = waiting.changed() => changed,
                }
            };
            let changed = cancel.run_until_cancelled(changed).await;
            if !matches!(changed, Some(Ok(()))) {
                return;
            }
            if let Err(error) = self.say().await {
                tracing::warn!(%error, "the advert could not be changed");
            }
        }
    }

    /// Announces in the DHT which kinds of device work here.
    fn provide_classes(&self) {
        let mut kinds: Vec<DeviceKind> = Vec::new();
        for device in self.site.slots.devices_now() {
            if device.advert.fault.is_none() && !kinds.contains(&device.advert.kind) {
                kinds.push(device.advert.kind);
            }
        }
        for kind in kinds {
            let mesh = self.site.mesh.clone();
            self.site.tracker.spawn(async move {
                let class = format!("device/{}", kind.as_str());
                if let Err(error) = mesh.provide_class(&class).await {
                    tracing::debug!(%class, %error, "a class was not announced");
                }
            });
        }
    }
}
