//! Whose word is taken, per dialect.

use std::{collections::BTreeMap, net::IpAddr};

use embermesh_dialects::Dialect;
pub use embermesh_dialects::network::{InvalidNetwork, Network};

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
