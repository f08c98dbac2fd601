//! The foreign systems that an index serves: their settings, and the gateway behind them.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use embermesh_client::IndexTarget;
use embermesh_dialects::{Dialect, Profile};
use embermesh_gateway::{
    Gateway, GatewayConfig, ProvingSettings,
    users::policy::{Belief, Network, Policies, Policy},
};
use embermesh_index_server::{Beside, BoundIndex, IndexConfig};
use embermesh_job::units::Bytes;
use embermesh_job::units::MicroUnits;
use embermesh_mesh::road::{Identity, ListenConfig, Listener, Serving};
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
    /// More ports, each with systems and a form of their wires.
    listeners: Vec<ListenerSection>,
    /// The most jobs of foreign clients that are open at once.
    open_jobs: usize,
    /// The waits of provers that dial in, and of their proofs.
    proving: ProvingSection,
    /// What the models of one owner may have together, in the registry.
    model_quota: Bytes,
    /// What an hour of a foreign worker costs whoever has it work.
    worker_price: MicroUnits,
}

/// A port beside the index's own, for foreign systems only.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenerSection {
    /// `host:port`; port 0 takes a free one.
    listen: String,
    /// The form of the wires, where what is documented and what shipped differ.
    #[serde(default)]
    profile: Profile,
    /// The systems; none: those of the index's own port.
    #[serde(default)]
    dialects: Vec<Dialect>,
    /// Whether plaintext is taken; by default on loopback addresses only.
    #[serde(default)]
    plaintext: Option<bool>,
    /// Connections in plaintext at one time.
    #[serde(default = "usual_connections")]
    connections: usize,
}

/// As many as there are streams of workers that each have one.
const fn usual_connections() -> usize {
    16_384
}

/// The waits of provers and proofs, in seconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ProvingSection {
    /// How often a prover is asked whether it is there.
    heartbeat_s: u64,
    /// How long a prover may say nothing before it counts as gone.
    silence_s: u64,
    /// How long the work of a prover whose connection broke waits for it to come back.
    grace_s: u64,
    /// How long a round after the first waits until there are provers for it.
    deal_wait_s: u64,
    /// How long a prover may take for each phase.
    phase_s: u64,
    /// How long a round may take.
    round_s: u64,
    /// How many rounds a proof may take.
    rounds: u32,
}

impl Default for ProvingSection {
    fn default() -> Self {
        let usual = ProvingSettings::default();
        Self {
            heartbeat_s: usual.heartbeat.as_secs(),
            silence_s: usual.silence.as_secs(),
            grace_s: usual.grace.as_secs(),
            deal_wait_s: usual.deal_wait.as_secs(),
            phase_s: usual.phase.as_secs(),
            round_s: usual.round.as_secs(),
            rounds: usual.rounds,
        }
    }
}

impl ProvingSection {
    fn settings(&self) -> anyhow::Result<ProvingSettings> {
        let settings = ProvingSettings {
            heartbeat: Duration::from_secs(self.heartbeat_s),
            silence: Duration::from_secs(self.silence_s),
            grace: Duration::from_secs(self.grace_s),
            deal_wait: Duration::from_secs(self.deal_wait_s),
            phase: Duration::from_secs(self.phase_s),
            round: Duration::from_secs(self.round_s),
            rounds: self.rounds,
        };
        let checked = settings.checked();
        let checked = checked.map_err(|error| WrongInput(format!("gateway.proving: {error}")));
        Ok(checked?)
    }
}

impl Default for GatewaySection {
    fn default() -> Self {
        Self {
            dialects: vec![
                Dialect::TitanCompute,
                Dialect::Dim,
                Dialect::CyxWiz,
                Dialect::HiveMind,
                Dialect::Zisk,
            ],
            profile: Profile::default(),
            legacy: Vec::new(),
            legacy_from: Vec::new(),
            rest: String::new(),
            listeners: Vec::new(),
            open_jobs: 10_000,
            worker_price: MicroUnits(0),
            model_quota: Bytes(64 << 30),
            proving: ProvingSection::default(),
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
        address("gateway.rest", &self.rest).map(Some)
    }
}

/// The address that a setting means.
fn address(setting: &str, text: &str) -> anyhow::Result<SocketAddr> {
    let found = text.to_socket_addrs().ok().and_then(|mut all| all.next());
    found.ok_or_else(|| WrongInput(format!("{setting}: `{text}` is not host:port")).into())
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
    /// Where the other ports are, in the order of the settings.
    pub(crate) listeners: Vec<SocketAddr>,
    serving: Vec<Serving>,
}

impl Running {
    /// Waits until it has stopped.
    pub(crate) async fn stopped(self) {
        self.gateway.stopped().await;
        for serving in &self.serving {
            serving.ended().await;
        }
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
            model_quota: section.model_quota.0,
            proving: section.proving.settings()?,
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
    let identity = Identity::member(Arc::clone(bound.keypair()), config.membership.clone())?;
    let mut listeners = Vec::new();
    let mut serving = Vec::new();
    for more in &section.listeners {
        let setting = "gateway.listeners.listen";
        let listener = Listener::bind(&ListenConfig {
            address: address(setting, &more.listen)?,
            plaintext: more.plaintext,
            plain_connections: more.connections,
            ..ListenConfig::default()
        })
        .await
        .with_context(|| format!("choose another {setting}"))?;
        listeners.push(listener.address());
        let dialects = match &more.dialects[..] {
            [] => &section.dialects,
            some => some,
        };
        let served = gateway.serve_on(listener, &identity, dialects, more.profile);
        serving.push(served.await?);
    }
    let services = gateway.services(&section.dialects, section.profile);
    let beside = Beside {
        mount: Some(services.mount),
        names: services.names,
        descriptors: services.descriptors,
    };
    let running = Running {
        gateway,
        rest,
        listeners,
        serving,
    };
    Ok((beside, Some(running)))
}
