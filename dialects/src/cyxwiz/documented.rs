//! The form of the wire that is documented, and what differs in it.

use embermesh_crypto::statement::DeviceAdvert;
use embermesh_proto::cyxwiz::protocol as wire;

pub(super) use self::service::{
    call::assign, mount, mount_models, mount_reservations, node::mount as node,
};
use super::{
    code, find,
    tensor::{Dtype, Spec, Tensor},
};
use crate::{Profile, port::servers::ServerDevice};

#[path = "service/mod.rs"]
mod service;
mod wallet;

/// Which form it is.
const PROFILE: Profile = Profile::Documented;
/// How far behind the port of a server the one is where it is assigned jobs.
const ASSIGN_OFFSET: u16 = 0;

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

/// What a server says of a device in this form.
fn server_device(device: wire::DeviceCapabilities) -> ServerDevice {
    ServerDevice {
        kind: code::device(device.device_type).ok().flatten(),
        name: device.device_name,
        memory: u64::try_from(device.total_memory).unwrap_or(0),
        score: code::score(device.compute_score),
    }
}

/// That again.
fn shown_device(device: &ServerDevice) -> wire::DeviceCapabilities {
    let memory = code::int64(device.memory);
    wire::DeviceCapabilities {
        device_type: device
            .kind
            .map_or(0, |kind| code::device_type(PROFILE, kind)),
        device_name: device.name.clone(),
        total_memory: memory,
        available_memory: memory,
        compute_score: device.score,
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

/// What a tensor is like, in this form, which has no place for its name.
fn tensor_info(spec: &Spec) -> wire::TensorInfo {
    // Of one sample: a length that is any counts as one.
    let numbers = spec
        .shape
        .iter()
        .map(|length| length.max(&1).unsigned_abs());
    let bytes = numbers.fold(spec.dtype.size() as u64, u64::saturating_mul);
    wire::TensorInfo {
        shape: spec
            .shape
            .iter()
            .map(|length| i32::try_from(*length).unwrap_or(i32::MAX))
            .collect(),
        dtype: spec.dtype.word().to_owned(),
        size_bytes: code::int64(bytes),
    }
}

/// The shape of a tensor that is sent, and the number of what its numbers are.
fn described(info: wire::TensorInfo) -> Result<(Vec<i64>, i32), String> {
    let dtype = Dtype::of_word(&info.dtype)
        .ok_or_else(|| "dtype: give float32, float64, int32, int64 or uint8".to_owned())?;
    let shape = info.shape.into_iter().map(i64::from).collect();
    Ok((shape, dtype.number()))
}

/// What a result is like.
fn shaped(tensor: &Tensor) -> wire::TensorInfo {
    wire::TensorInfo {
        shape: tensor
            .shape
            .iter()
            .map(|length| i32::try_from(*length).unwrap_or(i32::MAX))
            .collect(),
        dtype: Dtype::F32.word().to_owned(),
        size_bytes: code::int64(tensor.data.len() as u64),
    }
}
