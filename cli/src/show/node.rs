//! A node, as a row and as JSON.

use embermesh_client::NodeView;
use embermesh_crypto::{
    statement::{Advert, DeviceAdvert, ModelAdvert},
    time::UnixMillis,
};
use serde_json::{Value, json};

use super::amount;

/// The heads of the columns.
pub(crate) const HEADERS: [&str; 10] = [
    "node", "state", "devices", "free", "running", "models", "region", "price/h", "address", "seen",
];

/// One row of a table.
pub(crate) fn row(node: &NodeView, now: UnixMillis) -> Vec<String> {
    let dash = || "-".to_owned();
    let advert = node.advert.as_ref();
    vec![
        node.address.peer.to_string(),
        state(node).to_owned(),
        advert.map_or_else(dash, |advert| devices(advert)),
        advert.map_or_else(dash, |advert| {
            format!("{}/{}", advert.free_slots, advert.slots)
        }),
        node.running.to_string(),
        advert
            .map(|advert| models(&advert.models))
            .filter(|models| !models.is_empty())
            .unwrap_or_else(dash),
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
            "runtimes": advert.runtimes.iter().collect::<Vec<_>>(),
            "models": advert.models.iter().map(model).collect::<Vec<_>>(),
            "free_residents": advert.free_residents,
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

fn devices(advert: &Advert) -> String {
    let runtimes = advert.runtimes.iter().map(|it| it.as_str().to_owned());
    let texts: Vec<String> = advert
        .devices
        .iter()
        .map(|device| {
            let kind = device.kind.as_str();
            match &device.fault {
                Some(_) => format!("{kind} (faulty)"),
                None => format!("{kind} {:.1} GFLOP/s", device.mflops as f64 / 1e3),
            }
        })
        .chain(runtimes)
        .collect();
    texts.join(", ")
}

fn models(models: &[ModelAdvert]) -> String {
    let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    names.join(", ")
}

fn model(model: &ModelAdvert) -> Value {
    let digest: String = model
        .digest
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    json!({ "name": model.name, "digest": digest, "memory_mib": model.memory_mib })
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
