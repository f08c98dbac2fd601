//! Counts what gossip brings, every copy of it: libp2p shows a message once, and drops
//! the copies that other neighbours send without a word.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use libp2p::gossipsub::{DataTransform, Message, RawMessage, TopicHash};

/// What gossip has brought since the start. Divide [`GossipTraffic::received`] by
/// [`GossipTraffic::delivered`] for the copies that each message costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GossipTraffic {
    /// Messages that came from neighbours, each copy counted.
    pub received: u64,
    /// Bytes of these, without what frames them.
    pub received_bytes: u64,
    /// Messages that had not come before.
    pub delivered: u64,
    /// Of these, how many were passed on.
    pub accepted: u64,
}

/// The counters, shared by gossip, which counts, and the handle, which reads.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traffic(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    received: AtomicU64,
    received_bytes: AtomicU64,
    delivered: AtomicU64,
    accepted: AtomicU64,
}

impl Traffic {
    /// A message was seen for the first time.
    pub(crate) fn delivered(&self) {
        self.0.delivered.fetch_add(1, Ordering::Relaxed);
    }

    /// It may be passed on.
    pub(crate) fn accepted(&self) {
        self.0.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> GossipTraffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        GossipTraffic {
            received: read(&self.0.received),
            received_bytes: read(&self.0.received_bytes),
            delivered: read(&self.0.delivered),
            accepted: read(&self.0.accepted),
        }
    }
}

/// Changes nothing: gossip calls it for every copy, before it looks whether it is one.
impl DataTransform for Traffic {
    fn inbound_transform(&self, raw: RawMessage) -> io::Result<Message> {
        self.0.received.fetch_add(1, Ordering::Relaxed);
        let bytes = u64::try_from(raw.data.len()).unwrap_or(u64::MAX);
        self.0.received_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(Message {
            source: raw.source,
            data: raw.data,
            sequence_number: raw.sequence_number,
            topic: raw.topic,
        })
    }

    fn outbound_transform(&self, _topic: &TopicHash, data: Vec<u8>) -> io::Result<Vec<u8>> {
        Ok(data)
    }
}
