//! Which submit made which job, so that one sent again makes no second job.

use std::collections::{BTreeMap, VecDeque};

use embermesh_crypto::{
    digest::Digest,
    ids::{JobId, PeerId},
};

use super::{settings::IDEMPOTENCY_KEYS_KEPT, writes::RememberedSubmit};

/// The newest submits by client and key.
#[derive(Debug, Default)]
pub(super) struct Idempotency {
    submits: BTreeMap<(PeerId, [u8; 16]), (JobId, Digest)>,
    order: VecDeque<(PeerId, [u8; 16])>,
}

impl Idempotency {
    /// The job that a submit made before, and the digest of its spec.
    pub(super) fn find(&self, client: PeerId, key: [u8; 16]) -> Option<(JobId, Digest)> {
        self.submits.get(&(client, key)).copied()
    }

    /// Remembers a submit, and forgets the oldest when there are too many.
    pub(super) fn remember(&mut self, submit: RememberedSubmit) {
        let name = (submit.client, submit.key);
        if self
            .submits
            .insert(name, (submit.job, submit.spec))
            .is_none()
        {
            self.order.push_back(name);
        }
        while self.order.len() > IDEMPOTENCY_KEYS_KEPT {
            if let Some(oldest) = self.order.pop_front() {
                self.submits.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::{keys::Keypair, time::UnixMillis};

    use super::*;

    #[test]
    fn the_oldest_key_is_forgotten_first() {
        let client = Keypair::from_seed(&[1; 32]).peer_id();
        let mut kept = Idempotency::default();
        let name = |n: usize| (n as u128).to_be_bytes();
        for n in 0..=IDEMPOTENCY_KEYS_KEPT {
            kept.remember(RememberedSubmit {
                client,
                key: name(n),
                job: JobId::v7(UnixMillis(n as u64), [1; 10]),
                spec: Digest::of(b"spec"),
            });
        }
        assert!(kept.find(client, name(0)).is_none());
        assert!(kept.find(client, name(1)).is_some());
        assert!(kept.find(client, name(IDEMPOTENCY_KEYS_KEPT)).is_some());
        assert_eq!(kept.submits.len(), IDEMPOTENCY_KEYS_KEPT);
        assert_eq!(kept.order.len(), IDEMPOTENCY_KEYS_KEPT);
    }
}
