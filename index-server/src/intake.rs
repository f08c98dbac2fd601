//! Brings what the mesh hears of and measures to the state machine: adverts, and
//! round trips to the peers that are connected.

use std::{collections::BTreeMap, time::Duration};

use embermesh_crypto::ids::PeerId;
use embermesh_mesh::Mesh;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::{actor::Handle, state::Command};

/// The most adverts brought in one command.
const ADVERTS_AT_ONCE: usize = 1_024;

/// How long adverts gather before they are brought in.
const GATHER: Duration = Duration::from_millis(200);

/// How often round trips are brought in. The mesh measures about as often.
const MEASURE_INTERVAL: Duration = Duration::from_secs(15);

/// Runs until cancelled, or until the mesh or the actor has gone.
pub(crate) async fn run(mesh: Mesh, handle: Handle, cancel: CancellationToken) {
    let mut changes = mesh.changes();
    let mut seen = BTreeMap::new();
    let mut measured = tokio::time::interval(MEASURE_INTERVAL);
    measured.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if bring(&mesh, &handle, &mut seen).await.is_none() {
            return;
        }
        let next = async {
            changes.changed().await.ok()?;
            tokio::time::sleep(GATHER).await;
            Some(())
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            _ = measured.tick() => bring_round_trips(&mesh, &handle).await,
            changed = next => if changed.is_none() { return },
        }
    }
}

/// Brings in what is new. Its map is bounded as the mesh's table is: it holds
/// who is in the table and nobody else.
async fn bring(mesh: &Mesh, handle: &Handle, seen: &mut BTreeMap<PeerId, u64>) -> Option<()> {
    let table = mesh.adverts();
    let news: Vec<_> = table
        .iter()
        .filter(|advert| seen.get(&advert.peer) != Some(&advert.sequence))
        .map(|advert| (**advert).clone())
        .collect();
    *seen = table
        .iter()
        .map(|advert| (advert.peer, advert.sequence))
        .collect();
    for adverts in news.chunks(ADVERTS_AT_ONCE) {
        // A full queue is no reason to stop: the next advert comes in minutes.
        if let Err(error) = handle.call(Command::Adverts(adverts.to_vec())).await {
            tracing::debug!(%error, "adverts were not taken in");
        }
    }
    (!mesh.is_closed()).then_some(())
}

/// Brings in the round trips as they are now. There are as many as the mesh
/// allows connections.
async fn bring_round_trips(mesh: &Mesh, handle: &Handle) {
    let peers = mesh.peers().into_iter();
    let round_trips = peers.filter_map(|view| Some((view.peer, view.round_trip?)));
    let command = Command::RoundTrips(round_trips.collect());
    if let Err(error) = handle.call(command).await {
        tracing::debug!(%error, "round trips were not taken in");
    }
}
