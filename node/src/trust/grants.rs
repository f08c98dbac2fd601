//! Clients whom an owner has let in by a grant: a signed statement that they bring
//! themselves, so that no list at the node has to change.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use embermesh_crypto::{
    ids::{NetworkName, PeerId},
    statement::{Grant, Signed, StatementError},
    time::UnixMillis,
    token::SKEW_S,
};
use thiserror::Error;

/// Clients whose grants are remembered. Of too many, the one that ends first is forgotten,
/// and shows its grant again.
const MAX_SHOWN: usize = 4096;

/// Why a grant lets nobody in.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum NotGranted {
    /// It is no grant, or not signed by whom it names.
    #[error("the grant does not hold: {0}")]
    Statement(#[from] StatementError),
    /// Its signer is no owner of this node.
    #[error("the grant is signed by {0}, who is no owner of this node")]
    NotAnOwner(PeerId),
    /// It is somebody else's.
    #[error("the grant is for client {0}")]
    OtherClient(PeerId),
    /// It is for other nodes.
    #[error("the grant does not name this node")]
    OtherNode,
    /// It is for another network.
    #[error("the grant is for the network `{0}`")]
    OtherNetwork(NetworkName),
    /// It is over, or does not hold yet.
    #[error("the grant holds from {from} to {to}, by this node's clock")]
    NotNow {
        /// From when.
        from: UnixMillis,
        /// Until when.
        to: UnixMillis,
    },
}

impl NotGranted {
    /// A stable word for it.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Statement(_) => "grant_malformed",
            Self::NotAnOwner(_) => "grant_not_of_the_owner",
            Self::OtherClient(_) => "grant_of_another_client",
            Self::OtherNode => "grant_for_another_node",
            Self::OtherNetwork(_) => "grant_for_another_network",
            Self::NotNow { .. } => "grant_expired",
        }
    }
}

/// What a grant must be about.
pub(crate) struct Meant<'a> {
    pub(crate) node: &'a PeerId,
    pub(crate) network: &'a NetworkName,
    pub(crate) client: &'a PeerId,
    pub(crate) is_owner: &'a dyn Fn(&PeerId) -> bool,
}

/// The grants that were shown, by client, with when each ends.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    shown: Mutex<BTreeMap<PeerId, UnixMillis>>,
}

impl Grants {
    /// Takes a grant that a client shows.
    pub(crate) fn show(
        &self,
        bytes: Vec<u8>,
        meant: &Meant<'_>,
        now: UnixMillis,
    ) -> Result<(), NotGranted> {
        let ends = checked(bytes, meant, now)?;
        let mut shown = self.shown();
        if shown.len() >= MAX_SHOWN && !shown.contains_key(meant.client) {
            let first = shown.iter().min_by_key(|(_, ends)| **ends);
            if let Some(client) = first.map(|(client, _)| *client) {
                shown.remove(&client);
            }
        }
        let known = shown.entry(*meant.client).or_insert(ends);
        *known = (*known).max(ends);
        Ok(())
    }

    /// Whether a client has shown one that holds.
    pub(crate) fn has(&self, client: &PeerId, now: UnixMillis) -> bool {
        self.shown()
            .get(client)
            .is_some_and(|ends| now < ends.saturating_add(SKEW))
    }

    fn shown(&self) -> MutexGuard<'_, BTreeMap<PeerId, UnixMillis>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Two clocks may differ by as much as for tokens.
const SKEW: Duration = Duration::from_secs(SKEW_S);

/// When a grant ends that says what is meant.
fn checked(bytes: Vec<u8>, meant: &Meant<'_>, now: UnixMillis) -> Result<UnixMillis, NotGranted> {
    let grant = Signed::<Grant>::from_bytes(bytes)?.open()?;
    if !(meant.is_owner)(&grant.owner) {
        return Err(NotGranted::NotAnOwner(grant.owner));
    }
    if grant.client != *meant.client {
        return Err(NotGranted::OtherClient(grant.client));
    }
    if grant.network != *meant.network {
        return Err(NotGranted::OtherNetwork(grant.network.clone()));
    }
    if !grant.names(meant.node) {
        return Err(NotGranted::OtherNode);
    }
    let holds =
        grant.issued_at <= now.saturating_add(SKEW) && now < grant.expires_at.saturating_add(SKEW);
    if !holds {
        return Err(NotGranted::NotNow {
            from: grant.issued_at,
            to: grant.expires_at,
        });
    }
    Ok(grant.expires_at)
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::{Keypair, statement::sign};

    use super::*;
    use crate::store::tests::peer;

    const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);
    const OWNER: u8 = 7;
    const NODE: u8 = 1;
    const CLIENT: u8 = 2;

    fn grant(by: u8, change: impl FnOnce(&mut Grant)) -> Vec<u8> {
        let owner = Keypair::from_seed(&[by; 32]);
        let mut grant = Grant {
            owner: owner.peer_id(),
            client: peer(CLIENT),
            network: NetworkName::default(),
            nodes: Vec::new(),
            issued_at: NOW,
            expires_at: NOW.saturating_add(HOUR),
        };
        change(&mut grant);
        sign(&grant, &owner).unwrap().bytes().to_vec()
    }

    fn show(
        grants: &Grants,
        bytes: Vec<u8>,
        client: u8,
        now: UnixMillis,
    ) -> Result<(), NotGranted> {
        let meant = Meant {
            node: &peer(NODE),
            network: &NetworkName::default(),
            client: &peer(client),
            is_owner: &|key| *key == peer(OWNER),
        };
        grants.show(bytes, &meant, now)
    }

    #[test]
    fn a_grant_lets_its_client_in_until_it_ends() {
        let grants = Grants::default();
        assert!(!grants.has(&peer(CLIENT), NOW));
        show(&grants, grant(OWNER, |_| {}), CLIENT, NOW).unwrap();
        assert!(grants.has(&peer(CLIENT), NOW));
        assert!(!grants.has(&peer(3), NOW));
        assert!(!grants.has(&peer(CLIENT), NOW.saturating_add(HOUR + SKEW)));
        // A shorter one takes nothing back.
        let short = |grant: &mut Grant| grant.expires_at = UnixMillis(NOW.0 + 1);
        show(&grants, grant(OWNER, short), CLIENT, NOW).unwrap();
        assert!(grants.has(&peer(CLIENT), NOW.saturating_add(HOUR)));
    }

    #[test]
    fn each_grant_that_does_not_fit_is_refused_with_a_word_of_its_own() {
        let grants = Grants::default();
        let later = NOW.saturating_add(HOUR + SKEW);
        let sooner = UnixMillis(NOW.0 - 31_000);
        let other: NetworkName = "other".parse().unwrap();
        let cases = [
            (vec![0; 100], CLIENT, NOW, "grant_malformed"),
            (grant(9, |_| {}), CLIENT, NOW, "grant_not_of_the_owner"),
            (grant(OWNER, |_| {}), 3, NOW, "grant_of_another_client"),
            (
                grant(OWNER, |grant| grant.nodes = vec![peer(8)]),
                CLIENT,
                NOW,
                "grant_for_another_node",
            ),
            (
                grant(OWNER, move |grant| grant.network = other),
                CLIENT,
                NOW,
                "grant_for_another_network",
            ),
            (grant(OWNER, |_| {}), CLIENT, later, "grant_expired"),
            (grant(OWNER, |_| {}), CLIENT, sooner, "grant_expired"),
        ];
        for (bytes, client, now, code) in cases {
            let refused = show(&grants, bytes, client, now).unwrap_err();
            assert_eq!(refused.code(), code, "{refused}");
        }
        assert!(grants.shown().is_empty());
    }

    #[test]
    fn no_more_than_so_many_are_remembered() {
        let grants = Grants::default();
        {
            let mut shown = grants.shown();
            for number in 0..MAX_SHOWN as u64 {
                let mut seed = [0; 32];
                seed[..8].copy_from_slice(&number.to_be_bytes());
                let client = Keypair::from_seed(&seed).peer_id();
                shown.insert(client, UnixMillis(NOW.0 + 10 + number));
            }
        }
        show(&grants, grant(OWNER, |_| {}), CLIENT, NOW).unwrap();
        let shown = grants.shown();
        assert_eq!(shown.len(), MAX_SHOWN);
        assert!(!shown.values().any(|ends| *ends == UnixMillis(NOW.0 + 10)));
    }
}
