//! The form of the wire that shipped, and what differs in it.

use embermesh_crypto::statement::{DeviceAdvert, DeviceKind};
use embermesh_proto::cyxwiz::shipped as wire;

pub(super) use self::service::{
    call::assign, mount, mount_models, mount_reservations, node::mount as node,
};
use super::{
    code,
    tensor::{Spec, Tensor},
};
use crate::{Profile, port::servers::ServerDevice};

#[path = "service/mod.rs"]
#[allow(
    clippy::duplicate_mod,
    reason = "one text, compiled for two forms of one wire"
)]
mod service;
mod wallet;

/// Which form it is.
const PROFILE: Profile = Profile::Shipped;
/// How far behind the port of a server the one is where it is assigned jobs.
const ASSIGN_OFFSET: u16 = 3;

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

/// What a server says of a device in this form, in which none says how fast it is.
fn server_device(device: wire::DeviceCaps) -> ServerDevice {
    let memory = device.memory_total.max(device.vram_total);
    ServerDevice {
        kind: code::device(device.device_type).ok().flatten(),
        name: device.device_name,
        memory: u64::try_from(memory).unwrap_or(0),
        score: 0.0,
    }
}

/// That again.
fn shown_device(device: &ServerDevice) -> wire::DeviceCaps {
    let memory = code::int64(device.memory);
    let vram = match device.kind {
        Some(DeviceKind::Wgpu | DeviceKind::Cuda) => memory,
        Some(DeviceKind::Cpu) | None => 0,
    };
    wire::DeviceCaps {
        device_type: device
            .kind
            .map_or(0, |kind| code::device_type(PROFILE, kind)),
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

/// What a tensor is like, in this form.
fn tensor_info(spec: &Spec) -> wire::TensorInfo {
    wire::TensorInfo {
        shape: spec.shape.clone(),
        dtype: spec.dtype.number(),
        name: spec.name.to_owned(),
    }
}

/// The shape of a tensor that is sent, and the number of what its numbers are.
#[allow(
    clippy::unnecessary_wraps,
    reason = "the other form can say nothing of it"
)]
fn described(info: wire::TensorInfo) -> Result<(Vec<i64>, i32), String> {
    Ok((info.shape, info.dtype))
}

/// What a result is like.
fn shaped(tensor: &Tensor) -> wire::TensorInfo {
    wire::TensorInfo {
        shape: tensor.shape.clone(),
        dtype: tensor.dtype,
        name: tensor.name.clone(),
    }
}
