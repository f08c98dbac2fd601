//! An index's address, as people write it: `host:port`, with `/p2p/PEER` behind
//! it when the key of the index is known beforehand.

use std::{fmt, str::FromStr};

use embermesh_crypto::ids::PeerId;
use embermesh_mesh::road::Target;

use crate::ClientError;

/// Where an index is, and who it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexTarget {
    /// `host:port`.
    pub address: String,
    /// Its key, when it is pinned.
    pub peer: Option<PeerId>,
}

impl IndexTarget {
    pub(crate) fn road(&self, peer: Option<PeerId>) -> Target {
        Target {
            peer: self.peer.or(peer),
            tls: vec![self.address.clone()],
            mesh: Vec::new(),
        }
    }
}

impl FromStr for IndexTarget {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |reason: &str| ClientError::InvalidTarget {
            text: text.to_owned(),
            reason: reason.to_owned(),
        };
        let text = text.trim();
        if text.contains("://") {
            return Err(refuse("it has a scheme"));
        }
        if text.starts_with('/') {
            return Err(refuse("it is a multiaddr"));
        }
        let (address, peer) = match text.split_once("/p2p/") {
            Some((address, peer)) => {
                let peer = peer
                    .parse()
                    .map_err(|error| refuse(&format!("the pinned key: {error}")))?;
                (address, Some(peer))
            }
            None => (text, None),
        };
        if address.contains('/') {
            return Err(refuse("it has a path"));
        }
        let (host, port) = address
            .rsplit_once(':')
            .ok_or_else(|| refuse("it has no port"))?;
        if host.is_empty() {
            return Err(refuse("it has no host"));
        }
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return Err(refuse("an IPv6 address stands in brackets"));
        }
        match port.parse::<u16>() {
            Ok(0) => Err(refuse("port 0 is nobody's")),
            Ok(_) => Ok(Self {
                address: address.to_owned(),
                peer,
            }),
            Err(_) => Err(refuse("the port is not a number up to 65535")),
        }
    }
}

impl fmt::Display for IndexTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)?;
        match &self.peer {
            Some(peer) => write!(f, "/p2p/{peer}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::Keypair;

    use super::*;

    #[test]
    fn addresses_are_read() {
        let peer = Keypair::from_seed(&[7; 32]).peer_id();
        let pinned: IndexTarget = format!("example.org:7420/p2p/{peer}").parse().unwrap();
        assert_eq!(pinned.address, "example.org:7420");
        assert_eq!(pinned.peer, Some(peer));
        assert_eq!(pinned.to_string().parse::<IndexTarget>().unwrap(), pinned);
        assert!("[::1]:7420".parse::<IndexTarget>().is_ok());
        assert!("127.0.0.1:1".parse::<IndexTarget>().unwrap().peer.is_none());
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for (text, reason) in [
            ("https://a:1", "scheme"),
            ("/ip4/127.0.0.1/tcp/1", "multiaddr"),
            ("localhost", "no port"),
            (":7420", "no host"),
            ("::1:7420", "brackets"),
            ("a:0", "port 0"),
            ("a:70000", "65535"),
            ("a:1/x", "path"),
            ("a:1/p2p/nobody", "pinned key"),
        ] {
            let error = text.parse::<IndexTarget>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(error.contains("host:port"), "{text}: {error}");
        }
    }
}
