//! A node, as a row and as JSON.

use embermesh_client::NodeView;
use embermesh_crypto::{statement::DeviceAdvert, time::UnixMillis};
use serde_json::{Value, json};

use super::amount;

/// The heads of the columns.
pub(crate) const HEADERS: [&str; 9] = [
    "node", "state", "devices", "free", "running", "region", "price/h", "address", "seen",
];

/// One row of a table.
pub(crate) fn row(node: &NodeView, now: UnixMillis) -> Vec<String> {
    let dash = || "-".to_owned();
    let advert = node.advert.as_ref();
    vec![
        node.address.peer.to_string(),
        state(node).to_owned(),
        advert.map_or_else(dash, |advert| devices(&advert.devices)),
        advert.map_or_else(dash, |advert| {
            format!("{}/{}", advert.free_slots, advert.slots)
        }),
        node.running.to_string(),
        advert
            .map(|advert| advert.region.clone())
            .filter(|region| !region.is_empty())
            .unwrap_or_else(dash),
        advert.map_or_else(dash, |advert| {
            format!("{:.2}", advert.price_micros_per_hour as f64 / 1e6)
        }),
        node.address
            .tls
            .first()
            .or(node.address.mesh.first())
            .cloned()
            .unwrap_or_else(dash),
        amount::ago(node.last_seen, now),
    ]
}

/// The same for programs.
pub(crate) fn value(node: &NodeView) -> Value {
    let advert = node.advert.as_ref().map(|advert| {
        json!({
            "sequence": advert.sequence,
            "expires_at": advert.expires_at,
            "network": advert.network,
            "version": advert.version,
            "region": advert.region,
            "price_micros_per_hour": advert.price_micros_per_hour,
            "devices": advert.devices.iter().map(device).collect::<Vec<_>>(),
            "slots": advert.slots,
            "free_slots": advert.free_slots,
            "queued": advert.queued,
            "draining": advert.draining,
            "missing_fences": advert.missing_fences,
        })
    });
    json!({
        "node": node.address.peer,
        "state": state(node),
        "live": node.live,
        "last_seen": node.last_seen,
        "running": node.running,
        "source": node.source,
        "tls": node.address.tls,
        "mesh": node.address.mesh,
        "advert": advert,
    })
}

fn state(node: &NodeView) -> &'static str {
    match &node.advert {
        _ if !node.live => "silent",
        Some(advert) if advert.draining => "draining",
        _ if node.source == "registered" => "registered",
        _ => "heard of",
    }
}

fn devices(devices: &[DeviceAdvert]) -> String {
    let texts: Vec<String> = devices
        .iter()
        .map(|device| {
            let kind = device.kind.as_str();
            match &device.fault {
                Some(_) => format!("{kind} (faulty)"),
                None => format!("{kind} {:.1} GFLOP/s", device.mflops as f64 / 1e3),
            }
        })
        .collect();
    texts.join(", ")
}

fn device(device: &DeviceAdvert) -> Value {
    json!({
        "name": device.name,
        "kind": device.kind.as_str(),
        "memory_bytes": device.memory_bytes,
        "mflops": device.mflops,
        "fault": device.fault,
    })
}
