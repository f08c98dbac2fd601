//! The form of the wire that shipped, and what differs in it.

use embermesh_crypto::statement::{DeviceAdvert, DeviceKind};
use embermesh_proto::cyxwiz::shipped as wire;

pub(super) use self::service::mount;
use super::code;
use crate::Profile;

#[path = "service/mod.rs"]
#[allow(
    clippy::duplicate_mod,
    reason = "one text, compiled for two forms of one wire"
)]
mod service;
mod wallet;

/// Which form it is.
const PROFILE: Profile = Profile::Shipped;

/// A device in this form.
fn device(device: &DeviceAdvert) -> wire::DeviceCaps {
    let memory = code::int64(device.memory_bytes);
    let vram = match device.kind {
        DeviceKind::Cpu => 0,
        DeviceKind::Wgpu | DeviceKind::Cuda => memory,
    };
    wire::DeviceCaps {
        device_type: code::device_type(PROFILE, device.kind),
        device_name: device.name.clone(),
        memory_total: memory,
        memory_available: memory,
        vram_total: vram,
        vram_available: vram,
        ..Default::default()
    }
}

/// A balance in this form.
fn balance(available: f64) -> wire::GetBalanceResponse {
    wire::GetBalanceResponse {
        status: code::SUCCESS,
        cyxwiz_balance: available,
        ..Default::default()
    }
}
