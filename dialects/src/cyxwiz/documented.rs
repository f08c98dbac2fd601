//! The form of the wire that is documented, and what differs in it.

use embermesh_crypto::statement::DeviceAdvert;
use embermesh_proto::cyxwiz::protocol as wire;

pub(super) use self::service::{mount, node::mount as node};
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

/// A tensor of floats in this form.
fn tensor_info(_: &str, shape: &[usize]) -> wire::TensorInfo {
    let numbers: u64 = shape.iter().map(|axis| *axis as u64).product();
    wire::TensorInfo {
        shape: shape.iter().map(|axis| code::int32(*axis as u64)).collect(),
        dtype: if shape.is_empty() { "uint8" } else { "float32" }.to_owned(),
        size_bytes: if shape.is_empty() {
            0
        } else {
            code::int64(4 * numbers)
        },
    }
}
