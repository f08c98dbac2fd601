//! The foreign systems that an index serves: their settings, and the gateway behind them.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
};

use anyhow::Context as _;
use embermesh_client::IndexTarget;
use embermesh_dialects::{Dialect, Profile};
use embermesh_gateway::{
    Gateway, GatewayConfig,
    users::policy::{Belief, Network, Policies, Policy},
};
use embermesh_index_server::{Beside, BoundIndex, IndexConfig};
use embermesh_job::units::MicroUnits;
use serde::{Deserialize, Serialize};

use crate::exit::WrongInput;

/// Which foreign systems an index serves, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GatewaySection {
    /// The systems, on the port of the index.
    dialects: Vec<Dialect>,
    /// The form of their wires, where the documented one is not the one that shipped.
    profile: Profile,
    /// Those of them whose clients are believed without a token, from this machine or
    /// from `legacy_from`.
    legacy: Vec<Dialect>,
    /// Networks, such as "10.0.0.0/8", from which they are believed instead.
    legacy_from: Vec<String>,
    /// `host:port` of TitanCompute's paths over HTTP; empty: not served.
    rest: String,
    /// The most jobs of foreign clients that are open at once.
    open_jobs: usize,
    /// What an hour of a foreign worker costs whoever has it work.
    worker_price: MicroUnits,
}

impl Default for GatewaySection {
    fn default() -> Self {
        Self {
            dialects: vec![
                Dialect::TitanCompute,
                Dialect::Dim,
                Dialect::CyxWiz,
                Dialect::HiveMind,
            ],
            profile: Profile::default(),
            legacy: Vec::new(),
            legacy_from: Vec::new(),
            rest: String::new(),
            open_jobs: 10_000,
            worker_price: MicroUnits(0),
        }
    }
}

impl GatewaySection {
    fn policies(&self) -> anyhow::Result<Policies> {
        let networks: Vec<Network> = self
            .legacy_from
            .iter()
            .map(|text| {
                text.parse()
                    .map_err(|error| WrongInput(format!("gateway.legacy_from: {error}")))
            })
            .collect::<Result<_, _>>()?;
        let policy = Policy {
            belief: Belief::Legacy,
            networks,
        };
        Ok(self
            .legacy
            .iter()
            .map(|dialect| (*dialect, policy.clone()))
            .collect())
    }

    fn rest(&self) -> anyhow::Result<Option<SocketAddr>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let address = self
            .rest
            .to_socket_addrs()
            .ok()
            .and_then(|mut all| all.next());
        address.map(Some).ok_or_else(|| {
            WrongInput(format!("gateway.rest: `{}` is not host:port", self.rest)).into()
        })
    }
}

/// The gateway's part of the folder of an index.
pub(crate) fn folder(config: &IndexConfig) -> PathBuf {
    config.data_dir.join("gateway")
}

/// A gateway that runs.
pub(crate) struct Running {
    gateway: Gateway,
    /// Where TitanCompute's paths are, if they are served.
    pub(crate) rest: Option<SocketAddr>,
}

impl Running {
    /// Waits until it has stopped.
    pub(crate) async fn stopped(self) {
        self.gateway.stopped().await;
    }
}

/// Starts the gateway of an index that has its port and serves nothing yet; none when
/// no foreign system is to be served.
pub(crate) async fn start(
    section: &GatewaySection,
    config: &IndexConfig,
    bound: &BoundIndex,
) -> anyhow::Result<(Beside, Option<Running>)> {
    if section.dialects.is_empty() {
        return Ok((Beside::default(), None));
    }
    // The index is reached as anybody on this machine reaches it.
    let mut here = bound.address();
    if here.ip().is_unspecified() {
        here.set_ip(match here {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let endpoint = config.advertise.first().cloned();
    let gateway = Gateway::start(
        GatewayConfig {
            folder: folder(config),
            index: IndexTarget {
                address: here.to_string(),
                peer: Some(bound.peer_id()),
            },
            mesh: Some(bound.mesh().clone()),
            policies: section.policies()?,
            endpoint: endpoint.unwrap_or_else(|| here.to_string()),
            open_jobs: section.open_jobs,
            worker_price: section.worker_price,
        },
        bound.cancel().clone(),
    )
    .await?;
    let rest = match section.rest()? {
        Some(address) => {
            let bound = gateway.serve_rest(address).await;
            let bound = bound
                .with_context(|| format!("cannot serve {address}: choose another gateway.rest"))?;
            Some(bound)
        }
        None => None,
    };
    let services = gateway.services(&section.dialects, section.profile);
    let beside = Beside {
        mount: Some(services.mount),
        names: services.names,
        descriptors: services.descriptors,
    };
    Ok((beside, Some(Running { gateway, rest })))
}
