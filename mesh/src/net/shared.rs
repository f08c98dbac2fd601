//! What the actor shows and the handle reads, without asking the actor.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, atomic::AtomicBool},
    time::Duration,
};

use embermesh_crypto::ids::PeerId;
use libp2p::Multiaddr;
use tokio::sync::{broadcast, watch};

use super::{MeshEvent, PeerView, ReachView, Standing, traffic::Traffic};
use crate::protocol::roster::Known;

/// Events that a slow watcher can be behind.
const MAX_EVENTS: usize = 256;

pub(crate) struct Shared {
    adverts: RwLock<BTreeMap<PeerId, Known>>,
    peers: RwLock<BTreeMap<PeerId, PeerView>>,
    addresses: RwLock<Vec<String>>,
    /// This process is part of a mesh of this machine alone.
    pub(crate) local: AtomicBool,
    pub(crate) changes: watch::Sender<u64>,
    pub(crate) standing: watch::Sender<Standing>,
    pub(crate) reach: watch::Sender<ReachView>,
    events: broadcast::Sender<MeshEvent>,
    pub(crate) traffic: Traffic,
    pub(crate) closed: AtomicBool,
}

impl Shared {
    pub(crate) fn new(standing: Standing, traffic: Traffic) -> Arc<Self> {
        Arc::new(Self {
            adverts: RwLock::default(),
            peers: RwLock::default(),
            addresses: RwLock::default(),
            local: AtomicBool::new(true),
            changes: watch::Sender::new(0),
            standing: watch::Sender::new(standing),
            reach: watch::Sender::new(ReachView::default()),
            events: broadcast::Sender::new(MAX_EVENTS),
            traffic,
            closed: AtomicBool::new(false),
        })
    }

    pub(crate) fn tell(&self, event: MeshEvent) {
        // Nobody has to watch.
        let _ = self.events.send(event);
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<MeshEvent> {
        self.events.subscribe()
    }

    pub(crate) fn set_advert(&self, peer: PeerId, advert: Option<&Known>) {
        let mut adverts = self.adverts.write().unwrap_or_else(PoisonError::into_inner);
        match advert {
            Some(advert) => adverts.insert(peer, Arc::clone(advert)),
            None => adverts.remove(&peer),
        };
        drop(adverts);
        self.changes
            .send_modify(|version| *version = version.wrapping_add(1));
    }

    pub(crate) fn adverts(&self) -> Vec<Known> {
        let adverts = self.adverts.read().unwrap_or_else(PoisonError::into_inner);
        adverts.values().cloned().collect()
    }

    pub(crate) fn advert_of(&self, peer: &PeerId) -> Option<Known> {
        let adverts = self.adverts.read().unwrap_or_else(PoisonError::into_inner);
        adverts.get(peer).cloned()
    }

    pub(crate) fn set_peer(&self, view: PeerView) {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        peers.insert(view.peer, view);
    }

    pub(crate) fn set_round_trip(&self, peer: &PeerId, round_trip: Duration) {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = peers.get_mut(peer) {
            view.round_trip = Some(round_trip);
        }
    }

    pub(crate) fn set_relayed(&self, peer: &PeerId, relayed: bool) {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = peers.get_mut(peer) {
            view.relayed = relayed;
        }
    }

    pub(crate) fn remove_peer(&self, peer: &PeerId) {
        self.peers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(peer);
    }

    pub(crate) fn peers(&self) -> Vec<PeerView> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.values().cloned().collect()
    }

    pub(crate) fn peer(&self, peer: &PeerId) -> Option<PeerView> {
        self.peers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(peer)
            .cloned()
    }

    pub(crate) fn set_addresses(&self, addresses: &[Multiaddr], me: &PeerId) {
        let texts = addresses
            .iter()
            .map(|address| format!("{address}/p2p/{me}"))
            .collect();
        *self
            .addresses
            .write()
            .unwrap_or_else(PoisonError::into_inner) = texts;
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.addresses
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
