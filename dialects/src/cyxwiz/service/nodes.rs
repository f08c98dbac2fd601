//! `NodeDiscoveryService`: what nodes say of themselves, for everybody.

use embermesh_crypto::statement::DeviceKind;
use tonic::{Request, Response, Status};

use super::super::{device, shown_device, wire};
use super::Adapter;
use crate::{
    Failure,
    cyxwiz::{
        code,
        find::{self, Candidate, Key, Of, Order, Search},
    },
    port::{
        IndexPort,
        nodes::NodeView,
        servers::{ServerPort, ServerView},
    },
};

type Found = Vec<(Key, Candidate)>;

#[tonic::async_trait]
impl<P: IndexPort + ServerPort> wire::node_discovery_service_server::NodeDiscoveryService
    for Adapter<P>
{
    async fn find_nodes(
        &self,
        request: Request<wire::FindNodesRequest>,
    ) -> Result<Response<wire::FindNodesResponse>, Status> {
        let request = request.into_inner();
        let most = find::size("max_results", request.max_results)?;
        let found = search(request)?.among(self.all().await?);
        let prices = prices(&found);
        Ok(Response::new(wire::FindNodesResponse {
            total_matching: code::int32(found.len() as u64),
            avg_price_per_hour: mean(&prices),
            min_price_per_hour: prices.iter().copied().reduce(f64::min).unwrap_or(0.0),
            max_price_per_hour: prices.iter().copied().reduce(f64::max).unwrap_or(0.0),
            nodes: found
                .iter()
                .take(most)
                .map(|(_, node)| info(node))
                .collect(),
            error: None,
        }))
    }

    async fn list_nodes(
        &self,
        request: Request<wire::ListNodesRequest>,
    ) -> Result<Response<wire::ListNodesResponse>, Status> {
        let request = request.into_inner();
        let most = find::size("page_size", request.page_size)?;
        let after = find::place(&request.page_token)?;
        let found = listed(request)?.among(self.all().await?);
        let prices = prices(&found);
        let rest: Vec<_> = found
            .iter()
            .filter(|(key, _)| after.as_ref().is_none_or(|after| key > after))
            .collect();
        let page = &rest[..most.min(rest.len())];
        let next = page.last().filter(|_| rest.len() > most);
        Ok(Response::new(wire::ListNodesResponse {
            nodes: page.iter().map(|(_, node)| info(node)).collect(),
            next_page_token: next.map(|(key, _)| find::token(key)).unwrap_or_default(),
            total_count: code::int32(found.len() as u64),
            online_count: code::int32(found.iter().filter(|(_, node)| node.live).count() as u64),
            network_avg_price: mean(&prices),
            network_total_compute: found
                .iter()
                .filter_map(|(_, node)| node.facts.as_ref())
                .map(|facts| find::score(facts.fastest()))
                .sum(),
        }))
    }

    async fn get_node_info(
        &self,
        request: Request<wire::GetNodeInfoRequest>,
    ) -> Result<Response<wire::GetNodeInfoResponse>, Status> {
        let id = request.into_inner().node_id;
        let nodes = self.all().await?;
        let node = nodes
            .iter()
            .find(|node| node.id == id)
            .ok_or_else(|| Failure::not_found(format!("node_id: there is no node {id:?}")))?;
        Ok(Response::new(wire::GetNodeInfoResponse {
            info: Some(info(node)),
            error: None,
        }))
    }
}

impl<P: IndexPort + ServerPort> Adapter<P> {
    /// Nodes of the mesh and servers of the system.
    async fn all(&self) -> Result<Vec<Candidate>, Failure> {
        let nodes = self.0.nodes().await?.into_iter().map(Candidate::from);
        let servers = self.0.servers().await?.into_iter().map(Candidate::from);
        Ok(nodes.chain(servers).collect())
    }
}

fn search(request: wire::FindNodesRequest) -> Result<Search, Failure> {
    for (is_asked, what) in [
        (
            request.min_reputation > 0.0,
            "min_reputation: the reputation of nodes",
        ),
        (request.min_stake > 0.0, "min_stake: a stake"),
        (
            request.max_price_usd > 0.0,
            "max_price_usd: an exchange rate",
        ),
        (
            request.preferred_billing != 0,
            "preferred_billing: any but by the hour",
        ),
    ] {
        if is_asked {
            return Err(find::unknown(what));
        }
    }
    let most = find::price("max_price_per_hour", request.max_price_per_hour)?;
    Ok(Search {
        device: kind("required_device", request.required_device)?,
        memory: bytes("min_memory", request.min_memory)?,
        vram: bytes("min_vram", request.min_vram)?,
        score: request.min_compute_score,
        prices: (
            0,
            if request.require_free_tier {
                Some(0)
            } else {
                most
            },
        ),
        regions: request.allowed_regions,
        blocked: request.blocked_regions,
        preferred: request.preferred_region,
        live: true,
        order: Order::of(request.sort_by)?,
        descending: false,
    })
}

fn listed(request: wire::ListNodesRequest) -> Result<Search, Failure> {
    let least = find::price("min_price_per_hour", request.min_price_per_hour)?;
    Ok(Search {
        device: kind("filter_device", request.filter_device)?,
        prices: (
            least.unwrap_or(0),
            find::price("max_price_per_hour", request.max_price_per_hour)?,
        ),
        regions: Some(request.filter_region)
            .filter(|region| !region.is_empty())
            .into_iter()
            .collect(),
        live: request.online_only,
        order: Order::of(request.sort_by)?,
        descending: request.sort_descending,
        ..Search::default()
    })
}

fn kind(field: &str, code: i32) -> Result<Option<DeviceKind>, Failure> {
    code::device(code).map_err(|reason| Failure::invalid(format!("{field}: {reason}")))
}

fn bytes(field: &str, value: i64) -> Result<u64, Failure> {
    u64::try_from(value)
        .map_err(|_| Failure::invalid(format!("{field}: {value} is less than nothing")))
}

/// What an hour costs of those that say it.
fn prices(found: &Found) -> Vec<f64> {
    found
        .iter()
        .filter_map(|(_, node)| node.facts.as_ref())
        .map(|facts| code::units(facts.price))
        .collect()
}

#[allow(clippy::cast_precision_loss, reason = "a count of nodes")]
fn mean(numbers: &[f64]) -> f64 {
    if numbers.is_empty() {
        return 0.0;
    }
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

/// What is known of somebody: what nobody keeps is left at nothing.
fn info(node: &Candidate) -> wire::NodeInfo {
    let fastest = node.facts.as_ref().map_or(0, find::Facts::fastest);
    let mut info = match &node.of {
        Of::Mesh(node) => mesh_info(node),
        Of::Server(server) => server_info(server),
    };
    info.compute_score = find::score(fastest);
    info
}

/// A server as it says that it is.
fn server_info(server: &ServerView) -> wire::NodeInfo {
    let offer = &server.offer;
    wire::NodeInfo {
        node_id: offer.id.clone(),
        name: offer.name.clone(),
        version: Some(version(&offer.version)),
        devices: offer.devices.iter().map(shown_device).collect(),
        cpu_cores: code::int32(offer.cores.into()),
        ram_total: code::int64(offer.memory),
        ram_available: code::int64(server.free_memory.unwrap_or(offer.memory)),
        ip_address: server.host.clone(),
        port: offer.port.into(),
        region: offer.region.clone(),
        is_online: server.live,
        last_heartbeat: code::seconds(server.heard_at),
        available_runtimes: offer.runtimes.clone(),
        pricing: Some(pricing(server.price)),
        ..Default::default()
    }
}

fn pricing(micros: u64) -> wire::NodePricing {
    wire::NodePricing {
        price_per_hour: code::units(micros),
        free_tier_available: micros == 0,
        ..Default::default()
    }
}

/// A node as it is known.
fn mesh_info(node: &NodeView) -> wire::NodeInfo {
    let id = node.address.peer.to_string();
    let road = node
        .address
        .tls
        .first()
        .and_then(|road| road.rsplit_once(':'));
    let (host, port) = road.unwrap_or_default();
    let mut info = wire::NodeInfo {
        name: id.clone(),
        node_id: id,
        ip_address: host.trim_matches(['[', ']']).to_owned(),
        port: port.parse().unwrap_or(0),
        is_online: node.live,
        last_heartbeat: code::seconds(Some(node.last_seen)),
        ..Default::default()
    };
    let Some(advert) = &node.advert else {
        return info;
    };
    let usable = || {
        advert
            .devices
            .iter()
            .filter(|device| device.fault.is_none())
    };
    let memory = usable()
        .filter(|device| device.kind == DeviceKind::Cpu)
        .map(|device| code::int64(device.memory_bytes))
        .max()
        .unwrap_or(0);
    info.version = Some(version(&advert.version));
    info.devices = usable().map(device).collect();
    info.ram_total = memory;
    info.ram_available = memory;
    info.region.clone_from(&advert.region);
    info.available_runtimes = advert
        .runtimes
        .iter()
        .map(|runtime| runtime.as_str().to_owned())
        .collect();
    info.pricing = Some(pricing(advert.price_micros_per_hour));
    info
}

/// `1.2.3-word` as numbers, and the word as the build.
fn version(text: &str) -> wire::Version {
    let (numbers, build) = text.split_once(['-', '+']).unwrap_or((text, ""));
    let mut numbers = numbers.split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    wire::Version {
        major: next(),
        minor: next(),
        patch: next(),
        build: build.to_owned(),
    }
}
