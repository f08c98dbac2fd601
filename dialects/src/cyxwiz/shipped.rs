//! The form of the wire that shipped, and what differs in it.

use embermesh_crypto::statement::{DeviceAdvert, DeviceKind};
use embermesh_proto::cyxwiz::shipped as wire;

pub(super) use self::service::{mount, mount_models, mount_reservations, node::mount as node};
use super::{
    code,
    tensor::{Spec, Tensor},
};
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
