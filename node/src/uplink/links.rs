//! The lines to all indexes together, as the owner of the node has them: wanted or not,
//! and how many stand.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use embermesh_crypto::ids::PeerId;
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

/// What the lines share. Clones are the same.
#[derive(Clone)]
pub(crate) struct Links {
    inner: Arc<Inner>,
}

struct Inner {
    wanted: watch::Sender<bool>,
    up: watch::Sender<BTreeSet<PeerId>>,
    again: Notify,
}

/// A line that stands until this is dropped.
pub(crate) struct Up {
    links: Links,
    index: PeerId,
}

impl Default for Links {
    fn default() -> Self {
        Self {
            inner: Arc::new(Inner {
                wanted: watch::Sender::new(true),
                up: watch::Sender::default(),
                again: Notify::new(),
            }),
        }
    }
}

impl Links {
    /// Whether the owner wants lines.
    pub(crate) fn wanted(&self) -> bool {
        *self.inner.wanted.borrow()
    }

    /// How many stand.
    pub(crate) fn up(&self) -> usize {
        self.inner.up.borrow().len()
    }

    /// Whether the line to this index stands.
    pub(crate) fn reaches(&self, index: &PeerId) -> bool {
        self.inner.up.borrow().contains(index)
    }

    /// Dials every index now that has none, or leaves them all.
    pub(crate) fn want(&self, wanted: bool) {
        self.inner.wanted.send_replace(wanted);
        if wanted {
            self.inner.again.notify_waiters();
        }
    }

    /// Waits until one stands (`any`) or none does, for so long at most.
    pub(crate) async fn settled(&self, any: bool, within: Duration) {
        let mut up = self.inner.up.subscribe();
        let _ = timeout(within, up.wait_for(|up| up.is_empty() != any)).await;
    }

    /// Waits until lines are wanted.
    pub(super) async fn until_wanted(&self) {
        let mut wanted = self.inner.wanted.subscribe();
        let _ = wanted.wait_for(|wanted| *wanted).await;
    }

    /// What `line` comes to, unless the owner leaves the indexes before.
    pub(super) async fn while_wanted<T>(&self, line: impl Future<Output = T>) -> Option<T> {
        let mut wanted = self.inner.wanted.subscribe();
        tokio::select! {
            biased;
            _ = wanted.wait_for(|wanted| !wanted) => None,
            ended = line => Some(ended),
        }
    }

    /// A pause between two dials, which the owner can end.
    pub(super) async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = self.inner.again.notified() => {}
            () = sleep(pause) => {}
        }
    }

    /// The line to an index stands.
    pub(crate) fn stands(&self, index: PeerId) -> Up {
        self.inner.up.send_modify(|up| {
            up.insert(index);
        });
        Up {
            links: self.clone(),
            index,
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.links.inner.up.send_modify(|up| {
            up.remove(&self.index);
        });
    }
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::Keypair;
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_line_is_left_and_taken_up_again_by_the_owners_word() {
        let links = Links::default();
        let line = links.while_wanted(std::future::pending::<()>());
        let mut line = Box::pin(line);
        assert!(line.as_mut().now_or_never().is_none());
        links.want(false);
        assert_eq!(line.await, None);
        assert!(links.until_wanted().now_or_never().is_none());
        let mut pause = Box::pin(links.pause(Duration::from_secs(3600)));
        assert!(pause.as_mut().now_or_never().is_none());
        links.want(true);
        pause.await;
        links.until_wanted().await;
    }

    #[tokio::test]
    async fn lines_are_counted_while_they_stand() {
        let links = Links::default();
        let index = |seed| Keypair::from_seed(&[seed; 32]).peer_id();
        let (one, two) = (links.stands(index(1)), links.stands(index(2)));
        drop(one);
        assert_eq!(links.up(), 1);
        assert!(!links.reaches(&index(1)) && links.reaches(&index(2)));
        links.settled(true, Duration::from_secs(3600)).await;
        drop(two);
        links.settled(false, Duration::from_secs(3600)).await;
        assert_eq!(links.up(), 0);
    }
}
