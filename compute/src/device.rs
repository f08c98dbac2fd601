//! The devices that this build can compute on, chosen at run time.
//!
//! A driver may panic, hang or take its process down. So a device is opened in
//! a process that can be lost: in a worker, or, to see whether it is there at
//! all, in a [probe](crate::probe).

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;

use burn::tensor::Device;
use embermesh_job::crypto::statement::DeviceKind;
use serde::{Deserialize, Serialize};

/// A device of this machine: "cpu", "wgpu:0", "cuda:1".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum DeviceChoice {
    /// All cores, or as many as the order gives.
    Cpu,
    /// The GPU with this number among those that wgpu lists.
    Wgpu(u32),
    /// The NVIDIA GPU with this number.
    Cuda(u32),
}

/// A text that names no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no device: say cpu, wgpu:0 or cuda:0")]
pub struct InvalidDevice(String);

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceFault {
    /// Its backend is not part of this build.
    #[error("{0} is not compiled in: build with --features {kind}", kind = .0.kind())]
    NotCompiledIn(DeviceChoice),
    /// No device has this number.
    #[error("there is no {choice}: {found} such devices were found")]
    Absent {
        /// What was asked for.
        choice: DeviceChoice,
        /// How many there are.
        found: usize,
    },
    /// The driver panicked or returned an error.
    #[error("the driver of {choice} failed: {message}")]
    Driver {
        /// The device.
        choice: DeviceChoice,
        /// What it said.
        message: String,
    },
    /// The probe's process could not be started.
    #[error("the probe could not be started: {0}")]
    NotStarted(#[source] std::io::Error),
    /// The probe did not answer in time.
    #[error("the driver of {choice} did not answer within {seconds} s")]
    TimedOut {
        /// The device.
        choice: DeviceChoice,
        /// How long was waited.
        seconds: u64,
    },
    /// The probe ended without an answer.
    #[error("the driver of {choice} took its process down ({status})")]
    Died {
        /// The device.
        choice: DeviceChoice,
        /// How it ended.
        status: String,
    },
    /// The probe reported a fault.
    #[error("{0}")]
    Reported(String),
}

impl DeviceChoice {
    /// Its backend.
    #[must_use]
    pub fn kind(self) -> DeviceKind {
        match self {
            Self::Cpu => DeviceKind::Cpu,
            Self::Wgpu(_) => DeviceKind::Wgpu,
            Self::Cuda(_) => DeviceKind::Cuda,
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Wgpu(index) => write!(f, "wgpu:{index}"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = InvalidDevice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidDevice(text.chars().take(32).collect());
        let (kind, index) = text.split_once(':').unwrap_or((text, "0"));
        let index = index.parse().map_err(|_| invalid())?;
        match kind {
            "cpu" if !text.contains(':') => Ok(Self::Cpu),
            "wgpu" => Ok(Self::Wgpu(index)),
            "cuda" => Ok(Self::Cuda(index)),
            _ => Err(invalid()),
        }
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        choice.to_string()
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = InvalidDevice;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The first device of each backend of this build. Whether it works is for a
/// probe to say.
#[must_use]
pub fn compiled_in() -> Vec<DeviceChoice> {
    let mut choices = vec![DeviceChoice::Cpu];
    if cfg!(feature = "wgpu") {
        choices.push(DeviceChoice::Wgpu(0));
    }
    if cfg!(feature = "cuda") {
        choices.push(DeviceChoice::Cuda(0));
    }
    choices
}

/// An open device and what it calls itself.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) device: Device,
    pub(crate) name: String,
    /// What its driver compiles for; nothing for the processor.
    pub(crate) driver: String,
    /// Whether it is a GPU that the processor plays.
    pub(crate) software: bool,
}

/// Opens a device and runs one small computation on it, so that what would
/// fail at the first step of a job fails here.
pub(crate) fn open(choice: DeviceChoice) -> Result<Opened, DeviceFault> {
    guarded(choice, || {
        let opened = match choice {
            DeviceChoice::Cpu => Opened {
                device: Device::flex(),
                name: processor(),
                driver: String::new(),
                software: false,
            },
            DeviceChoice::Wgpu(index) => wgpu(choice, index)?,
            DeviceChoice::Cuda(index) => cuda(choice, index)?,
        };
        warm_up(&opened.device, choice)?;
        Ok(opened)
    })?
}

/// Runs what a driver may panic in and makes its panic a fault.
pub(crate) fn guarded<T>(choice: DeviceChoice, run: impl FnOnce() -> T) -> Result<T, DeviceFault> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| DeviceFault::Driver {
        choice,
        message: panic_text(&*panic),
    })
}

/// The text of a panic.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without a text".to_owned())
}

/// A product too small to start a pool of threads.
fn warm_up(device: &Device, choice: DeviceChoice) -> Result<(), DeviceFault> {
    use burn::tensor::Tensor;
    let ones = Tensor::<2>::ones([4, 4], device);
    let sum = ones.clone().matmul(ones).sum().try_into_scalar::<f32>();
    let failed = |message| DeviceFault::Driver { choice, message };
    match sum {
        Ok(64.0) => Ok(()),
        Ok(sum) => Err(failed(format!("it computed {sum} where 64 is right"))),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// The processor's name as the system has it.
fn processor() -> String {
    std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| format!("{} processor", std::env::consts::ARCH))
}

#[cfg(feature = "wgpu")]
fn wgpu(choice: DeviceChoice, index: u32) -> Result<Opened, DeviceFault> {
    listed(choice, index, burn::tensor::DeviceType::Wgpu)
}

#[cfg(not(feature = "wgpu"))]
fn wgpu(choice: DeviceChoice, _: u32) -> Result<Opened, DeviceFault> {
    Err(DeviceFault::NotCompiledIn(choice))
}

#[cfg(feature = "cuda")]
fn cuda(choice: DeviceChoice, index: u32) -> Result<Opened, DeviceFault> {
    listed(choice, index, burn::tensor::DeviceType::Cuda)
}

#[cfg(not(feature = "cuda"))]
fn cuda(choice: DeviceChoice, _: u32) -> Result<Opened, DeviceFault> {
    Err(DeviceFault::NotCompiledIn(choice))
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn listed(
    choice: DeviceChoice,
    index: u32,
    of: burn::tensor::DeviceType,
) -> Result<Opened, DeviceFault> {
    let devices = Device::enumerate(of).into_vec();
    let found = devices.len();
    let device = devices
        .into_iter()
        .nth(index as usize)
        .ok_or(DeviceFault::Absent { choice, found })?;
    let identity = device.identity();
    let software = identity
        .as_ref()
        .is_some_and(|identity| identity.physical.is_none());
    let driver = identity
        .as_ref()
        .map(|identity| identity.fingerprint.clone())
        .unwrap_or_default();
    Ok(Opened {
        device,
        driver,
        name: identity.map_or_else(|| choice.to_string(), |identity| identity.name),
        software,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices_parse_back() {
        for text in ["cpu", "wgpu:0", "cuda:3"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
        assert_eq!("wgpu".parse(), Ok(DeviceChoice::Wgpu(0)));
        for text in ["", "gpu", "cpu:1", "cuda:", "cuda:-1", "wgpu:x"] {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_cpu_opens_and_has_a_name() {
        let opened = open(DeviceChoice::Cpu).unwrap();
        assert!(!opened.name.is_empty());
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_is_not_compiled_in_says_how_to_get_it() {
        assert_eq!(
            open(DeviceChoice::Cuda(0)).unwrap_err().to_string(),
            "cuda:0 is not compiled in: build with --features cuda"
        );
    }

    #[test]
    fn a_panic_in_a_driver_becomes_a_fault() {
        let fault = guarded(DeviceChoice::Wgpu(0), || panic!("no adapter")).unwrap_err();
        assert_eq!(fault.to_string(), "the driver of wgpu:0 failed: no adapter");
    }
}
