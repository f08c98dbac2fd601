//! One mesh of a swarm.

use std::sync::Arc;

use embermesh_crypto::{
    ids::PeerId,
    keys::Keypair,
    statement::{DeviceAdvert, DeviceKind, Role, Runtimes},
};
use embermesh_job::units::Bytes;
use embermesh_mesh::{
    AdvertDraft, Limits, Mesh, MeshConfig, MeshError, memory::Fabric, protocol::Known,
};
use tokio_util::sync::CancellationToken;

/// The memory limit of a mesh looks at the whole process, which is a thousand of them.
const PROCESS_MEMORY: Bytes = Bytes(1 << 40);

/// One mesh, as the swarm holds it.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its port on the fabric.
    pub port: u64,
    /// The mesh.
    pub mesh: Mesh,
    cancel: CancellationToken,
}

impl Member {
    /// Starts a mesh at a port, with these to join through.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(
        seed: u64,
        port: u64,
        bootstrap: Vec<String>,
        limits: Limits,
        fabric: &Fabric,
    ) -> Result<Self, MeshError> {
        let config = MeshConfig {
            listen: vec![format!("/memory/{port}")],
            bootstrap,
            limits: Limits {
                memory: PROCESS_MEMORY,
                ..limits
            },
            ..MeshConfig::default()
        };
        let cancel = CancellationToken::new();
        let key = Arc::new(key(seed, port));
        let mesh = Mesh::start_in_memory(key, config, cancel.clone(), fabric).await?;
        mesh.advertise(draft(0)).await?;
        Ok(Self { port, mesh, cancel })
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.mesh.peer_id()
    }

    /// Says something new: `round` is what the others will see.
    ///
    /// # Errors
    /// When the mesh has been shut down.
    pub async fn change(&self, round: u32) -> Result<(), MeshError> {
        self.mesh.advertise(draft(round)).await
    }

    /// Ends it without a word to anybody: its cable is pulled first.
    pub fn crash(&self, fabric: &Fabric) {
        fabric.silence(self.port);
        self.cancel.cancel();
    }

    /// Whether it believes that somebody is there to be used. One that said goodbye is not.
    #[must_use]
    pub fn counts_on(&self, peer: &PeerId) -> bool {
        self.mesh
            .advert_of(peer)
            .is_some_and(|advert| !advert.draining)
    }

    /// The round that it has seen of another.
    #[must_use]
    pub fn round_of(&self, peer: &PeerId) -> Option<u32> {
        self.mesh.advert_of(peer).map(|advert| round(&advert))
    }

    /// How many it has seen this round of, or a later one.
    #[must_use]
    pub fn seen(&self, at_least: u32) -> usize {
        let adverts = self.mesh.adverts();
        adverts
            .iter()
            .filter(|advert| round(advert) >= at_least)
            .count()
    }
}

/// Which round an advert is of.
#[must_use]
pub fn round(advert: &Known) -> u32 {
    advert.queued
}

/// The key of whoever is at a port.
#[must_use]
pub fn key(seed: u64, port: u64) -> Keypair {
    let mut bytes = [0x5a; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&port.to_le_bytes());
    Keypair::from_seed(&bytes)
}

/// The advert of a node with one device, as `round` tells it from the one before.
#[must_use]
pub fn draft(round: u32) -> AdvertDraft {
    let device = DeviceAdvert {
        name: "AMD EPYC 9654 96-Core Processor".to_owned(),
        kind: DeviceKind::Cpu,
        memory_bytes: 64 << 30,
        mflops: 1_200_000,
        fault: None,
    };
    AdvertDraft {
        role: Role::Node,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        tls_addresses: vec!["192.0.2.17:7443".to_owned()],
        region: "eu-central".to_owned(),
        price_micros_per_hour: 120_000,
        devices: vec![device],
        slots: 4,
        free_slots: 4,
        queued: round,
        draining: false,
        missing_fences: None,
        runtimes: Runtimes::default(),
        models: Vec::new(),
        free_residents: 1,
    }
}
