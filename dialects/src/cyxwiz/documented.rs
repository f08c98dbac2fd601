//! The form of the wire that is documented, and what differs in it.

use embermesh_crypto::statement::DeviceAdvert;
use embermesh_proto::cyxwiz::protocol as wire;

pub(super) use self::service::mount;
use super::{code, find};
use crate::Profile;

#[path = "service/mod.rs"]
mod service;
mod wallet;

/// Which form it is.
const PROFILE: Profile = Profile::Documented;

/// A device in this form.
fn device(device: &DeviceAdvert) -> wire::DeviceCapabilities {
    let memory = code::int64(device.memory_bytes);
    wire::DeviceCapabilities {
        device_type: code::device_type(PROFILE, device.kind),
        device_name: device.name.clone(),
        total_memory: memory,
        available_memory: memory,
        compute_score: find::score(device.mflops),
        ..Default::default()
    }
}

/// A balance in this form.
fn balance(available: f64) -> wire::GetBalanceResponse {
    wire::GetBalanceResponse {
        cyxwiz_balance: available,
        ..Default::default()
    }
}
