//! One registration with an index, until the connection is lost.

use std::time::Duration;

use embermesh_crypto::{ids::PeerId, time::UnixMillis, token::SKEW_S};
use embermesh_job::assignment::TaskKey;
use embermesh_mesh::road::{Connection, Target};
use embermesh_proto::v1::{self, registry_client::RegistryClient};
use tokio::{sync::watch, time::timeout};
use tonic::transport::Channel;

use super::{
    CALL_WAIT, Parts,
    lost::{self, Lost},
    orders, reports,
};
use crate::task::{Phase, StopWhy};

/// The least and the greatest interval of heartbeats that an index can ask for.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(60));
/// Changes within this span are told in one heartbeat.
const GATHER: Duration = Duration::from_millis(100);
/// How long the own advert may take to be signed at the start.
const ADVERT_WAIT: Duration = Duration::from_secs(10);

/// What the parts of a session share.
pub(super) struct Session<'a> {
    pub(super) parts: &'a Parts,
    pub(super) index: PeerId,
    pub(super) client: RegistryClient<Channel>,
    target: &'a Target,
}

impl<'a> Session<'a> {
    pub(super) fn new(parts: &'a Parts, target: &'a Target, connection: Connection) -> Self {
        Self {
            parts,
            index: connection.peer,
            client: RegistryClient::new(connection.channel),
            target,
        }
    }

    /// Serves the index, which has taken this node, until the connection is lost.
    pub(super) async fn serve(&self, interval: Duration) -> Result<(), String> {
        tracing::info!(index = %self.index, ?interval, "registered");
        // The first of the three that ends ends the session.
        tokio::select! {
            ended = Box::pin(self.heartbeats(interval)) => ended,
            ended = Box::pin(orders::take(self)) => ended,
            ended = Box::pin(reports::send(self)) => ended,
        }
    }

    /// Introduces this node; the interval of heartbeats that the index wants.
    pub(super) async fn register(&self) -> Result<Duration, Lost> {
        let advert = self.advert().await?;
        let request = v1::RegisterNodeRequest {
            advert: advert.into(),
        };
        let mut client = self.client.clone();
        let welcome = timeout(CALL_WAIT, client.register_node(request))
            .await
            .map_err(|_| format!("no answer within {CALL_WAIT:?}"))?
            .map_err(|status| lost::refused(self.target, &status))?
            .into_inner();
        warn_of_skew(self.index, welcome.index_time_ms);
        let trust = self.parts.gate.trust();
        trust
            .take_key_set(self.index, welcome.key_set.to_vec())
            .await
            .map_err(|error| error.to_string())?;
        if !welcome.revocation.is_empty() {
            trust
                .take_revocation(self.index, welcome.revocation.to_vec())
                .await
                .map_err(|error| error.to_string())?;
        }
        self.join_through(welcome.mesh_addresses);
        let (least, most) = INTERVALS;
        Ok(Duration::from_millis(welcome.heartbeat_interval_ms).clamp(least, most))
    }

    /// The index is a bootstrap peer of the mesh: the node joins through it.
    fn join_through(&self, addresses: Vec<String>) {
        let site = &self.parts.site;
        let connected = site.mesh.peers().iter().any(|peer| peer.peer == self.index);
        if addresses.is_empty() || connected {
            return;
        }
        let (mesh, index) = (site.mesh.clone(), self.index);
        site.tracker.spawn(async move {
            let dial = timeout(CALL_WAIT, mesh.connect(index, &addresses)).await;
            match dial {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%index, %error, "the mesh was not joined through the index")
                }
                Err(_) => tracing::warn!(%index, "the index's mesh address does not answer"),
            }
        });
    }

    /// The own advert, exactly as it was signed.
    async fn advert(&self) -> Result<Vec<u8>, String> {
        let mesh = &self.parts.site.mesh;
        let me = self.parts.site.me();
        let mut changes = mesh.changes();
        let signed = async {
            loop {
                if let Some(advert) = mesh.advert_of(&me) {
                    return Some(advert.bytes().to_vec());
                }
                changes.changed().await.ok()?;
            }
        };
        timeout(ADVERT_WAIT, signed)
            .await
            .ok()
            .flatten()
            .ok_or_else(|| "this node has no advert yet".to_owned())
    }

    async fn heartbeats(&self, interval: Duration) -> Result<(), String> {
        let site = &self.parts.site;
        let mut tasks = site.changed.subscribe();
        let mut adverts = site.mesh.changes();
        let mut told = None;
        loop {
            tasks.mark_unchanged();
            let sequence = site
                .mesh
                .advert_of(&site.me())
                .map(|advert| advert.sequence);
            let advert = if sequence == told {
                Vec::new()
            } else {
                self.advert().await?
            };
            let pulse = call(self.client.clone().heartbeat(self.heartbeat(advert))).await?;
            told = sequence;
            self.obey(&pulse).await?;
            let changed = async {
                tokio::select! {
                    changed = tasks.changed() => changed.is_ok(),
                    changed = own_advert(&mut adverts, || {
                        site.mesh.advert_of(&site.me()).map(|advert| advert.sequence) != told
                    }) => changed,
                }
            };
            if let Ok(true) = timeout(interval, changed).await {
                tokio::time::sleep(GATHER.min(interval)).await;
            }
        }
    }

    fn heartbeat(&self, advert: Vec<u8>) -> v1::HeartbeatRequest {
        let running = self
            .parts
            .tasks
            .all()
            .into_iter()
            .filter(|task| task.reports_to() == Some(self.index) && task.phase() != Phase::Ended)
            .map(|task| v1::TaskHeartbeat {
                task: Some(task.key().into()),
                latest: task
                    .log()
                    .latest()
                    .filter(|event| !event.kind.is_final())
                    .map(|event| (*event).clone().into()),
                paused: task.phase() == Phase::Paused,
            });
        v1::HeartbeatRequest {
            advert: advert.into(),
            running: running.collect(),
            draining: self.parts.site.slots.occupancy().borrow().draining,
        }
    }

    /// What the index answers to a heartbeat.
    async fn obey(&self, pulse: &v1::HeartbeatResponse) -> Result<(), String> {
        for key in &pulse.stop {
            match TaskKey::try_from(key.clone()) {
                Ok(key) => self.parts.tasks.stop(key, StopWhy::ByIndex).await,
                Err(error) => tracing::warn!(%error, "the index named a task that cannot be"),
            }
        }
        let (keys, revocation) = self.parts.gate.trust().sequences(&self.index);
        if pulse.register || pulse.key_set_sequence > keys || pulse.revocation_sequence > revocation
        {
            self.register().await.map_err(|lost| lost.to_string())?;
        }
        Ok(())
    }
}

/// Waits until the table of the mesh changes in a way that `news` is about.
async fn own_advert(changes: &mut watch::Receiver<u64>, news: impl Fn() -> bool) -> bool {
    loop {
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
        if news() {
            return true;
        }
    }
}

/// One call within the bound of a wait.
pub(super) async fn call<T>(
    answer: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, String> {
    match timeout(CALL_WAIT, answer).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(format!("{}: {}", status.code(), status.message())),
        Err(_) => Err(format!("no answer within {CALL_WAIT:?}")),
    }
}

/// A clock that is off makes good tokens bad; who runs the node should know.
fn warn_of_skew(index: PeerId, index_time_ms: u64) {
    let here = UnixMillis::now().0;
    let apart = Duration::from_millis(here.abs_diff(index_time_ms));
    if apart > Duration::from_secs(SKEW_S) {
        tracing::warn!(%index, ?apart, "the clocks of this node and of the index differ: set them by NTP, or tokens will be refused");
    }
}
