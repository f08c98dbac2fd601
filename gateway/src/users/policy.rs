//! Whose word is taken, per dialect.

use std::{collections::BTreeMap, net::IpAddr, str::FromStr};

use embermesh_dialects::Dialect;
use thiserror::Error;

/// Who may call a dialect. The default asks everybody for a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether a name without proof is taken for true.
    pub belief: Belief,
    /// From where such a name is believed; from this machine alone when there are none.
    pub networks: Vec<Network>,
}

/// Whether a name without proof is taken for true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Belief {
    /// Never: a token is needed.
    #[default]
    Strict,
    /// From the networks of the policy, for a name that has no password.
    Legacy,
}

/// The policies of those dialects that have another than the default.
pub type Policies = BTreeMap<Dialect, Policy>;

impl Policy {
    /// Whether a name without proof is believed from an address.
    #[must_use]
    pub fn believes(&self, remote: Option<IpAddr>) -> bool {
        let Some(remote) = remote.map(|remote| remote.to_canonical()) else {
            return false;
        };
        match self.belief {
            Belief::Strict => false,
            Belief::Legacy if self.networks.is_empty() => remote.is_loopback(),
            Belief::Legacy => self.networks.iter().any(|network| network.holds(remote)),
        }
    }
}

/// Addresses with a common beginning, such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not a network: write an address and the length of its prefix, such as 10.0.0.0/8"
)]
pub struct InvalidNetwork(String);

impl Network {
    fn holds(&self, remote: IpAddr) -> bool {
        match (self.address, remote) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let apart = ours.to_bits() ^ theirs.to_bits();
                apart.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let apart = ours.to_bits() ^ theirs.to_bits();
                apart.leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidNetwork(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let prefix: u8 = prefix.parse().map_err(|_| invalid())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        if prefix > longest {
            return Err(invalid());
        }
        Ok(Self { address, prefix })
    }
}
