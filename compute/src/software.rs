//! What computes here, with versions: part of what a receipt says of a result.

use embermesh_job::crypto::statement::DeviceKind;
use serde::{Deserialize, Serialize};

/// The version of burn in this build, which has no constant for it.
const BURN: &str = "0.22.1";

/// The software that does the work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Software {
    /// This program and its version.
    pub program: String,
    /// The library and the backend that compute, and the library's version.
    pub backend: String,
    /// The driver of the device, or the system that the processor runs.
    pub driver: String,
}

impl Software {
    /// What computes on a device whose driver says this of itself.
    pub(crate) fn of(kind: DeviceKind, driver: &str) -> Self {
        let backend = match kind {
            DeviceKind::Cpu => "flex",
            DeviceKind::Wgpu => "wgpu",
            DeviceKind::Cuda => "cuda",
        };
        let driver = match kind {
            DeviceKind::Cpu => system(),
            _ => [driver, &nvidia()].join(" ").trim().to_owned(),
        };
        Self {
            program: concat!("embermesh ", env!("CARGO_PKG_VERSION")).to_owned(),
            backend: format!("burn {BURN} {backend}"),
            driver,
        }
    }
}

#[cfg(unix)]
fn system() -> String {
    let name = rustix::system::uname();
    let words = [name.sysname(), name.release(), name.machine()];
    words
        .map(|word| word.to_string_lossy().into_owned())
        .join(" ")
}

#[cfg(not(unix))]
fn system() -> String {
    format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)
}

/// The version of NVIDIA's kernel module, where it is loaded.
fn nvidia() -> String {
    std::fs::read_to_string("/sys/module/nvidia/version")
        .map(|version| format!("nvidia {}", version.trim()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_burn_is_the_one_that_is_locked() {
        let lock = include_str!("../../Cargo.lock");
        let locked = format!("name = \"burn\"\nversion = \"{BURN}\"\n");
        assert!(lock.contains(&locked), "say the locked version in BURN");
        let software = Software::of(DeviceKind::Cpu, "");
        assert!(software.backend.ends_with(" flex"));
        assert!(!software.driver.is_empty() && software.program.starts_with("embermesh "));
    }
}
